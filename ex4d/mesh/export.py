# SPDX-License-Identifier: Apache-2.0
"""One frame's mesh as a PLY file, for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ex4d.files import replacing
from ex4d.mesh.lift import vertices
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import BORDER, U8, DWMesh


def write_ply(path: Path, mesh: DWMesh, picture: U8, *, use_dwmesh: bool = True) -> None:
    """Writes a binary PLY: vertices in the source camera's axes (OpenCV) with colours, faces with a `valid` flag.

    A vertex has alpha 255 where it belongs to a face that was seen, else 0.

    Args:
        path: the file; replaced in one step.
        mesh: what to write.
        picture: [H, W, 3] u8 sRGB, the frame the mesh was lifted from.
        use_dwmesh: False leaves out the faces that were not seen, and with them the skirt and the back.

    Raises:
        Ex4dError: DISK when the file cannot be written.
    """
    triangles = faces(mesh.intrinsics.height, mesh.intrinsics.width)
    valid = face_valid(mesh)
    point = np.empty(
        mesh.depth.size, [("p", "<f4", 3), ("rgb", "u1", 3), ("a", "u1")]
    )  # packed: numpy adds no padding unless asked to
    point["p"] = vertices(mesh)
    point["rgb"] = np.pad(picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge").reshape(-1, 3)
    point["a"] = 0
    point["a"][triangles[valid].ravel()] = 255
    kept = np.ones_like(valid) if use_dwmesh else valid
    face = np.empty(int(kept.sum()), [("n", "u1"), ("v", "<i4", 3), ("valid", "u1")])
    face["n"], face["v"], face["valid"] = 3, triangles[kept], valid[kept]
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment depth watertight mesh; OpenCV axes: x right, y down, z forward",
            f"element vertex {point.size}",
            *(f"property float {axis}" for axis in "xyz"),
            *(f"property uchar {name}" for name in ("red", "green", "blue", "alpha")),
            f"element face {face.size}",
            "property list uchar int vertex_indices",
            "property uchar valid",
            "end_header\n",
        ]
    )
    with replacing(path) as part, part.open("wb") as out:
        out.write(header.encode("ascii"))
        out.write(point.tobytes())
        out.write(face.tobytes())
