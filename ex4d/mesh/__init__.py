# SPDX-License-Identifier: Apache-2.0
"""The depth watertight mesh: lifting depth into it, and which of its faces were seen."""

from ex4d.mesh.extent import far_depth
from ex4d.mesh.lift import adjust_depth, default_intrinsics, lift, ray_positions, vertices
from ex4d.mesh.topology import face_valid, faces

__all__ = [
    "adjust_depth",
    "default_intrinsics",
    "face_valid",
    "faces",
    "far_depth",
    "lift",
    "ray_positions",
    "vertices",
]
