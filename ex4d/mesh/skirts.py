# SPDX-License-Identifier: Apache-2.0
"""What hangs behind the edges of things: a closed wall, or one that reaches back only a little.

In a closed mesh a stretched face runs from a near thing's edge to whatever lies behind it, and from the picture's edge
to the far depth: whatever it hides counts as unseen. Behind a thin pole that is much: nobody's pole is as deep as the
street. A bounded mesh takes each stretched face as the side of something `REACH` times its distance thick.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.mesh.lift import vertices
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import F64, I32, Bool, DWMesh

GEOMETRIES: tuple[str, ...] = ("closed", "bounded", "upstream")
REACH = 0.1  # of the near depth: how far back a bounded skirt goes


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh ready for a rasterizer. Vertices beyond those of the grid are corners of bounded skirts."""

    points: F64  # [V, 3] source camera's axes; the first (H + 4) * (W + 4) are the grid's
    faces: I32  # [F, 3]
    valid: Bool  # [F]
    texel: I32  # [V] the vertex of the grid on whose ray each vertex lies


def closed(mesh: DWMesh) -> Surface:
    """The mesh as it is: watertight."""
    points = vertices(mesh)
    triangles = faces(mesh.intrinsics.height, mesh.intrinsics.width)
    return Surface(points, triangles, face_valid(mesh), np.arange(len(points), dtype=np.int32))


def bounded(mesh: DWMesh, reach: float = REACH) -> Surface:
    """The mesh with its skirts cut off at (1 + reach) times the depth that they hang from, and no back.

    Args:
        mesh: the closed mesh.
        reach: fraction of the near depth, > 0.
    """
    whole = closed(mesh)
    z = whole.points[:, 2]
    skirt = np.flatnonzero(~whole.valid[:-2])  # the last two close the back
    corners = whole.faces[skirt]
    limit = (1.0 + reach) * z[corners].min(axis=1, keepdims=True)
    moved = z[corners] > limit
    rows = np.nonzero(moved)[0]
    beyond = corners[moved]
    cut = whole.points[beyond] * (limit[rows, 0] / z[beyond])[:, None]
    corners = corners.copy()
    corners[moved] = len(z) + np.arange(len(beyond), dtype=np.int32)
    triangles = whole.faces[:-2].copy()
    triangles[skirt] = corners
    return Surface(
        np.concatenate([whole.points, cut]), triangles, whole.valid[:-2], np.concatenate([whole.texel, beyond])
    )
