# SPDX-License-Identifier: Apache-2.0
"""The mesh as it is drawn: what becomes of stretched faces, which lie between something near and something far.

Between the centres of two pixels with a gap between them the edge of the near thing lies somewhere, most likely in the
middle. So every stretched face is divided there: towards each of its corners the surface goes on for half a pixel at
that corner's depth, and was seen; a wall along the source camera's rays joins the parts. It is never seen, hides what
is behind it, and keeps the mesh closed. In the source camera's own view such walls have no area.

A bounded mesh keeps of each wall only what is less than `REACH` times its near depth behind its near side. Behind a
thin pole that makes a difference: nobody's pole is as deep as the street.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d.mesh.edges import gap
from ex4d.mesh.lift import ray_positions
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import F64, I32, Bool, DWMesh, Intrinsics

GEOMETRIES: tuple[str, ...] = ("closed", "bounded", "upstream")
REACH = 0.1  # of the near depth: how far back a bounded wall goes


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh ready for a rasterizer."""

    points: F64  # [V, 3] source camera's axes
    faces: I32  # [F, 3]
    valid: Bool  # [F] False = walls and the back
    camera: Intrinsics  # the source camera's


def plain(mesh: DWMesh) -> Surface:
    """The grid itself, stretched faces and all."""
    corners = _Corners(mesh)
    return corners.surface([(faces(mesh.intrinsics.height, mesh.intrinsics.width), face_valid(mesh))])


def closed(mesh: DWMesh) -> Surface:
    """The watertight mesh."""
    corners = _Corners(mesh)
    skirt, parts = _divided(mesh, corners, None)
    back = faces(mesh.intrinsics.height, mesh.intrinsics.width)[-2:]
    return corners.surface([*parts, (skirt, False), (back, False)])


def bounded(mesh: DWMesh, reach: float = REACH) -> Surface:
    """The mesh with its walls cut off at (1 + reach) times the depth that they begin at, and no back.

    Args:
        mesh: what was lifted.
        reach: fraction of the near depth, > 0.
    """
    corners = _Corners(mesh)
    skirt, parts = _divided(mesh, corners, reach)
    z = corners.z[0]
    limit = (1.0 + reach) * z[skirt].min(axis=1, keepdims=True)
    rows, columns = np.nonzero(z[skirt] > limit)
    beyond = skirt[rows, columns]
    cut = skirt.copy()
    cut[rows, columns] = corners.add(corners.u[0][beyond], corners.v[0][beyond], limit[rows, 0])
    return corners.surface([*parts, (cut, False)])


class _Corners:
    """Vertices: those of the grid, and more as they are needed."""

    def __init__(self, mesh: DWMesh) -> None:
        self._camera = mesh.intrinsics
        u, v = ray_positions(mesh.intrinsics.height, mesh.intrinsics.width)
        columns, rows = np.meshgrid(u, v)
        self.u, self.v = [columns.reshape(-1)], [rows.reshape(-1)]
        self.z = [mesh.depth.reshape(-1).astype(np.float64)]
        self._count = mesh.depth.size

    def add(self, u: F64, v: F64, z: F64) -> I32:
        """New vertices on the rays through u, v at depth z; their indices."""
        self.u.append(u)
        self.v.append(v)
        self.z.append(z)
        new = np.arange(self._count, self._count + len(z), dtype=np.int32)
        self._count += len(z)
        return new

    def towards(self, own: I32, *others: I32) -> I32:
        """Vertices in the middle between grid vertices, at the depth of the first."""
        return self.add(*self._middle(own, *others), self.z[0][own])

    def column(self, between: tuple[I32, ...], reach: float | None) -> tuple[I32, I32]:
        """The near and the back end of a wall in the middle between grid vertices; it stands between the depths of
        the first two."""
        u, v = self._middle(*between)
        near = np.minimum(self.z[0][between[0]], self.z[0][between[1]])
        back = np.maximum(self.z[0][between[0]], self.z[0][between[1]])
        if reach is not None:
            back = np.minimum(back, (1.0 + reach) * near)
        return self.add(u, v, near), self.add(u, v, back)

    def _middle(self, *corners: I32) -> tuple[F64, F64]:
        u, v = (np.stack([grid[corner] for corner in corners]) for grid in (self.u[0], self.v[0]))
        # Sorted, so that the sum and with it the place does not depend on which face asks.
        return np.sort(u, axis=0).sum(axis=0) / len(corners), np.sort(v, axis=0).sum(axis=0) / len(corners)

    def surface(self, parts: list[tuple[I32, Bool | bool]]) -> Surface:
        """All of it, with the faces of `parts` and whether they were seen."""
        u, v, z = np.concatenate(self.u), np.concatenate(self.v), np.concatenate(self.z)
        points = np.empty((len(z), 3), np.float64)
        points[:, 0] = z * ((u - self._camera.cx) / self._camera.fx)
        points[:, 1] = z * ((v - self._camera.cy) / self._camera.fy)
        points[:, 2] = z
        valid = np.concatenate([np.broadcast_to(seen, len(part)) for part, seen in parts])
        triangles = np.ascontiguousarray(np.concatenate([part for part, _ in parts]), np.int32)
        return Surface(points, triangles, valid, self._camera)


def _divided(mesh: DWMesh, at: _Corners, reach: float | None) -> tuple[I32, list[tuple[I32, Bool | bool]]]:
    """The skirt's faces, and all others with whether they were seen: stretched ones in parts."""
    grid = faces(mesh.intrinsics.height, mesh.intrinsics.width)[:-2]
    rows, columns = mesh.depth.shape
    valid = mesh.valid.reshape(-1)
    outer = np.ones((rows - 1, columns - 1, 2), np.bool_)
    outer[1:-1, 1:-1] = False
    outer = outer.reshape(-1)
    walls = grid[~valid & ~outer]
    lifted = (mesh.depth if mesh.lifted is None else mesh.lifted).reshape(-1)
    across = np.stack([gap(lifted[walls[:, k]], lifted[walls[:, (k + 1) % 3]]) for k in range(3)], axis=1)
    count = across.sum(axis=1)
    parts: list[tuple[I32, Bool | bool]] = [(grid[valid], True), (walls[count == 0], False)]

    # One gap: between p and q. The third corner belongs to both sides.
    p, q, s = _turned(walls, across, count == 1, lambda gaps: gaps.argmax(axis=1))
    near, back = at.column((p, q), reach)
    parts += [(_faces(p, at.towards(p, q), s), True), (_faces(q, s, at.towards(q, p)), True)]
    parts.append((_faces(s, near, back), False))

    # Two: p on one side, q and r on the other.
    p, q, r = _turned(walls, across, count == 2, lambda gaps: (gaps.argmin(axis=1) + 2) % 3)
    by_q, by_r = at.towards(q, p), at.towards(r, p)
    parts += [(_faces(p, at.towards(p, q), at.towards(p, r)), True), (_faces(q, r, by_r), True)]
    parts.append((_faces(q, by_r, by_q), True))
    (near_q, back_q), (near_r, back_r) = at.column((p, q), reach), at.column((p, r), reach)
    parts += [(_faces(near_q, near_r, back_r), False), (_faces(near_q, back_r, back_q), False)]

    # Three: each corner for itself, and walls that meet in the middle.
    turned = _turned(walls, across, count == 3, lambda gaps: np.zeros(len(gaps), np.int64))
    for k in range(3):
        p, q, r = turned[k], turned[(k + 1) % 3], turned[(k + 2) % 3]
        middle = at.towards(p, q, r)
        parts += [(_faces(p, at.towards(p, q), middle), True), (_faces(p, middle, at.towards(p, r)), True)]
        near, back = at.column((p, q), reach)
        near_middle, back_middle = at.column((p, q, r), reach)
        parts += [(_faces(near, near_middle, back_middle), False), (_faces(near, back_middle, back), False)]
    return grid[outer], parts


def _turned(walls: I32, across: Bool, chosen: Bool, first: Callable[[Bool], NDArray[np.int64]]) -> tuple[I32, I32, I32]:
    """The corners of some faces, each turned so that a certain one comes first."""
    order = (first(across[chosen])[:, None] + np.arange(3)) % 3
    corners = np.take_along_axis(walls[chosen], order, axis=1)
    return corners[:, 0], corners[:, 1], corners[:, 2]


def _faces(a: I32, b: I32, c: I32) -> I32:
    return np.stack([a, b, c], axis=1)
