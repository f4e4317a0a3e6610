# SPDX-License-Identifier: Apache-2.0
"""The EX-4D engine: depth, depth watertight mesh, cameras, rendering and generation, as a library and a command."""
