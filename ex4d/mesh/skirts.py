# SPDX-License-Identifier: Apache-2.0
"""What hangs behind the edges of things: a closed wall, or one that reaches back only a little.

In a closed mesh a stretched face runs from a near thing's edge to whatever lies behind it, and from the picture's edge
to the far depth: whatever it hides counts as unseen. Behind a thin pole that is much: nobody's pole is as deep as the
street. A bounded mesh keeps of each stretched face only what is less than `REACH` times its near depth behind its
nearest corner. So it is a part of the closed one, and hides nothing that the closed one shows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.mesh.lift import vertices
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import F64, I32, Bool, DWMesh

GEOMETRIES: tuple[str, ...] = ("closed", "bounded", "upstream")
REACH = 0.1  # of the near depth: how far back a bounded skirt goes
_TIP = 1e-6  # of a stretched face that is left at its far corners, so that a pixel exactly there is not a hole


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh ready for a rasterizer."""

    points: F64  # [V, 3] source camera's axes; the first (H + 4) * (W + 4) are the grid's
    faces: I32  # [F, 3]
    valid: Bool  # [F]; a face that is valid has only vertices of the grid


def closed(mesh: DWMesh) -> Surface:
    """The mesh as it is: watertight."""
    return Surface(vertices(mesh), faces(mesh.intrinsics.height, mesh.intrinsics.width), face_valid(mesh))


def bounded(mesh: DWMesh, reach: float = REACH) -> Surface:
    """The mesh with its skirts cut off at (1 + reach) times the depth that they hang from, and no back.

    Args:
        mesh: the closed mesh.
        reach: fraction of the near depth, > 0.
    """
    whole = closed(mesh)
    kept = whole.faces[whole.valid]
    walls = whole.faces[:-2][~whole.valid[:-2]]  # the last two close the back
    # Corners from near to far; turning a face over makes no difference, both sides are seen.
    order = np.argsort(whole.points[walls, 2], axis=1, kind="stable")
    a, b, c = (np.take_along_axis(walls, order, axis=1)[:, k] for k in range(3))
    za, zb, zc = (whole.points[corner, 2] for corner in (a, b, c))
    limit = (1.0 + reach) * za
    points, triangles, count = [whole.points], [kept], len(whole.points)

    def cut(here: I32, there: I32, share: F64) -> I32:
        """New vertices between two of each face."""
        nonlocal count
        points.append(whole.points[here] + share[:, None] * (whole.points[there] - whole.points[here]))
        new = count + np.arange(len(here), dtype=np.int32)
        count += len(here)
        return new

    near = zc <= limit  # a steep face, and not a deep one: whole
    triangles.append(np.stack([a[near], b[near], c[near]], axis=1))
    one, two = ~near & (zb > limit), ~near & (zb <= limit)  # how many corners are near enough
    share_ab, share_ac = (limit - za)[one] / (zb - za)[one], (limit - za)[one] / (zc - za)[one]
    triangles.append(np.stack([a[one], cut(a[one], b[one], share_ab), cut(a[one], c[one], share_ac)], axis=1))
    on_ac = cut(a[two], c[two], (limit - za)[two] / (zc - za)[two])
    on_bc = cut(b[two], c[two], (limit - zb)[two] / (zc - zb)[two])
    triangles.append(np.stack([a[two], b[two], on_bc], axis=1))
    triangles.append(np.stack([a[two], on_bc, on_ac], axis=1))
    for chosen, tip, others in ((one, b, (a, c)), (~near, c, (a, b))):
        at = tip[chosen]
        share = np.full(len(at), _TIP)
        triangles.append(np.stack([at, *(cut(at, other[chosen], share) for other in others)], axis=1))
    together = np.concatenate(triangles).astype(np.int32)
    valid = np.zeros(len(together), np.bool_)
    valid[: len(kept)] = True
    return Surface(np.concatenate(points), together, valid)
