# SPDX-License-Identifier: Apache-2.0
"""What leaves for other programs: the mesh of every frame as PLY, all of them as one animated USD, cameras."""
