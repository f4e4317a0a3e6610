# SPDX-License-Identifier: Apache-2.0
"""One frame's mesh as a PLY file, for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ex4d.export.posed import PosedMesh
from ex4d.files import replacing
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import BORDER


def write_ply(path: Path, posed: PosedMesh, *, seen_only: bool = False) -> None:
    """Writes a binary PLY: vertices in the world (OpenCV axes) with colours, faces with a `valid` flag.

    A vertex has alpha 255 where it belongs to a face that was seen, else 0.

    Args:
        path: the file; replaced in one step.
        posed: what to write.
        seen_only: leave out the faces that were not seen, and with them the skirt and the back.

    Raises:
        Ex4dError: DISK when the file cannot be written.
    """
    camera = posed.mesh.intrinsics
    triangles = faces(camera.height, camera.width)
    valid = face_valid(posed.mesh)
    point = np.empty(
        posed.mesh.depth.size, [("p", "<f4", 3), ("rgb", "u1", 3), ("a", "u1")]
    )  # packed: numpy adds no padding unless asked to
    point["p"] = posed.points()
    point["rgb"] = np.pad(posed.picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge").reshape(-1, 3)
    point["a"] = 0
    point["a"][triangles[valid].ravel()] = 255
    kept = valid if seen_only else np.ones_like(valid)
    face = np.empty(int(kept.sum()), [("n", "u1"), ("v", "<i4", 3), ("valid", "u1")])
    face["n"], face["v"], face["valid"] = 3, triangles[kept], valid[kept]
    header = "\n".join(
        [
            "ply",
            "format binary_little_endian 1.0",
            "comment depth watertight mesh in the world of its scene; OpenCV axes: x right, y down, z forward",
            "comment in Blender import it with forward axis Z and up axis -Y; colours are sRGB",
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
