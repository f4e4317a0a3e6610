# SPDX-License-Identifier: Apache-2.0
"""One frame's mesh as a PLY file, for other programs."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ex4d.export.posed import PosedMesh
from ex4d.files import replacing
from ex4d.mesh.topology import face_valid, faces
from ex4d.upstream.mesh import UpstreamMesh
from ex4d.values import BORDER, F32, F64, I32, U8, Bool


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
    rgba = np.zeros((posed.mesh.depth.size, 4), np.uint8)
    rgba[:, :3] = np.pad(posed.picture, ((BORDER, BORDER), (BORDER, BORDER), (0, 0)), mode="edge").reshape(-1, 3)
    rgba[triangles[valid].ravel(), 3] = 255
    kept = valid if seen_only else np.ones_like(valid)
    _write(path, posed.points(), rgba, triangles[kept], valid[kept])


def write_upstream_ply(path: Path, mesh: UpstreamMesh) -> None:
    """The same of the public code's mesh: a face is `valid` where none of its corners was painted out.

    Raises:
        Ex4dError: DISK when the file cannot be written.
    """
    _write(path, mesh.vertices, mesh.rgba, mesh.faces, (mesh.rgba[mesh.faces, 3] > 0).all(axis=1))


def _write(path: Path, points: F32 | F64, rgba: U8, triangles: I32, valid: Bool) -> None:
    point = np.empty(len(points), [("p", "<f4", 3), ("rgba", "u1", 4)])  # packed: numpy adds no padding unless asked to
    point["p"], point["rgba"] = points, rgba
    face = np.empty(len(triangles), [("n", "u1"), ("v", "<i4", 3), ("valid", "u1")])
    face["n"], face["v"], face["valid"] = 3, triangles, valid
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
