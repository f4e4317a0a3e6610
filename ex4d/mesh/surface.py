# SPDX-License-Identifier: Apache-2.0
"""The mesh as it is drawn: what becomes of stretched faces, which lie between something near and something far.

Between the centres of two pixels with a gap between them the edge of the near thing lies somewhere, most likely in the
middle. So every stretched face is divided there: towards each of its corners the surface goes on for half a pixel at
that corner's depth, and was seen; a wall along the source camera's rays joins the parts. It is never seen, hides what
is behind it, and keeps the mesh closed. In the source camera's own view such walls have no area.

A bounded mesh takes a thing to be as deep as it is wide: of each wall it keeps what is no further behind its near side
than the near thing measures across. Behind a thin pole that makes a difference: no pole is as deep as the street.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ex4d.mesh.edges import gap
from ex4d.mesh.lift import ray_positions
from ex4d.mesh.topology import face_valid, faces
from ex4d.values import F32, F64, I32, Bool, DWMesh, Intrinsics

GEOMETRIES: tuple[str, ...] = ("closed", "bounded", "upstream")
_Part = tuple[I32, bool]  # faces, and whether they were seen


@dataclass(frozen=True, eq=False)
class Surface:
    """A mesh ready for a rasterizer."""

    points: F64  # [V, 3] source camera's axes
    faces: I32  # [F, 3]
    valid: Bool  # [F] False = walls and the back
    camera: Intrinsics  # the source camera's


def plain(mesh: DWMesh) -> Surface:
    """The grid itself, stretched faces and all."""
    return _Corners(mesh).surface(faces(mesh.intrinsics.height, mesh.intrinsics.width), face_valid(mesh), [])


def undivided(mesh: DWMesh) -> Surface:
    """The grid within the picture's edges, every face of it seen: what the source camera itself sees."""
    within = faces(mesh.intrinsics.height, mesh.intrinsics.width)[:-2][~_rim(mesh)]
    return _Corners(mesh).surface(within, np.ones(len(within), np.bool_), [])


def closed(mesh: DWMesh) -> Surface:
    """The watertight mesh."""
    corners = _Corners(mesh)
    grid = faces(mesh.intrinsics.height, mesh.intrinsics.width)
    stretched, parts = _divided(mesh, grid, corners, None)
    kept = grid.copy()
    kept[stretched] = 0  # no area: nothing is drawn
    return corners.surface(kept, face_valid(mesh), parts)


def bounded(mesh: DWMesh) -> Surface:
    """The mesh with its walls cut off where things end that are as deep as they are wide, and no back."""
    corners = _Corners(mesh)
    reach = _width(mesh).reshape(-1) / mesh.intrinsics.fx
    grid = faces(mesh.intrinsics.height, mesh.intrinsics.width)
    stretched, parts = _divided(mesh, grid, corners, reach)
    kept = grid[:-2].copy()  # the last two close the back
    kept[stretched] = 0
    rim = np.flatnonzero(_rim(mesh))
    skirt = kept[rim]
    z = corners.z[0]
    near = np.take_along_axis(skirt, z[skirt].argmin(axis=1)[:, None], axis=1)
    limit = (1.0 + reach[near]) * z[near]
    rows, columns = np.nonzero(z[skirt] > limit)
    beyond = skirt[rows, columns]
    skirt[rows, columns] = corners.add(corners.u[0][beyond], corners.v[0][beyond], limit[rows, 0])
    kept[rim] = skirt
    return corners.surface(kept, face_valid(mesh)[:-2], parts)


def _width(mesh: DWMesh) -> F64:
    """How wide the thing is that each vertex belongs to, across or down, whichever is less: pixels between gaps."""
    lifted = mesh.depth if mesh.lifted is None else mesh.lifted
    return np.minimum(_runs(lifted), _runs(lifted.T).T)


def _runs(depth: F32) -> F64:
    """How many vertices each has in its row between the gaps to either side, itself included."""
    rows, columns = depth.shape
    gaps = np.ones((rows, columns + 1), np.bool_)
    gaps[:, 1:-1] = gap(depth[:, :-1], depth[:, 1:])
    at = np.arange(columns + 1)
    before = np.maximum.accumulate(np.where(gaps, at, 0), axis=1)[:, :-1]
    after = np.minimum.accumulate(np.where(gaps, at, columns)[:, ::-1], axis=1)[:, ::-1][:, 1:]
    return (after - before).astype(np.float64)


def _rim(mesh: DWMesh) -> Bool:
    """Which faces of the grid are the skirt: [F - 2], as `topology.faces`."""
    rows, columns = mesh.depth.shape
    rim = np.ones((rows - 1, columns - 1, 2), np.bool_)
    rim[1:-1, 1:-1] = False
    return rim.reshape(-1)


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

    def column(self, between: tuple[I32, ...], reach: F64 | None) -> tuple[I32, I32]:
        """The near and the back end of a wall in the middle between grid vertices; it stands between the depths of
        the first two."""
        u, v = self._middle(*between)
        one, other = between[:2]
        first = self.z[0][one] <= self.z[0][other]
        near, back = self.z[0][np.where(first, one, other)], self.z[0][np.where(first, other, one)]
        if reach is not None:
            back = np.minimum(back, (1.0 + reach[np.where(first, one, other)]) * near)
        return self.add(u, v, near), self.add(u, v, back)

    def _middle(self, *corners: I32) -> tuple[F64, F64]:
        u, v = (np.stack([grid[corner] for corner in corners]) for grid in (self.u[0], self.v[0]))
        # Sorted, so that the sum and with it the place does not depend on which face asks.
        return np.sort(u, axis=0).sum(axis=0) / len(corners), np.sort(v, axis=0).sum(axis=0) / len(corners)

    def surface(self, kept: I32, valid: Bool, parts: list[_Part]) -> Surface:
        """The faces `kept` and those of `parts`, and which of them were seen."""
        u, v, z = np.concatenate(self.u), np.concatenate(self.v), np.concatenate(self.z)
        points = np.empty((len(z), 3), np.float64)
        points[:, 0] = z * ((u - self._camera.cx) / self._camera.fx)
        points[:, 1] = z * ((v - self._camera.cy) / self._camera.fy)
        points[:, 2] = z
        seen = [valid, *(np.full(len(part), flag) for part, flag in parts)]
        triangles = np.concatenate([kept, *(part for part, _ in parts)])
        return Surface(points, triangles, np.concatenate(seen), self._camera)


def _divided(mesh: DWMesh, grid: I32, at: _Corners, reach: F64 | None) -> tuple[NDArray[np.int64], list[_Part]]:
    """Which faces of the grid are stretched across a gap, and the parts to draw instead of them."""
    candidates = np.flatnonzero(~mesh.valid.reshape(-1) & ~_rim(mesh))
    walls = grid[candidates]
    lifted = (mesh.depth if mesh.lifted is None else mesh.lifted).reshape(-1)
    across = np.stack([gap(lifted[walls[:, k]], lifted[walls[:, (k + 1) % 3]]) for k in range(3)], axis=1)
    count = across.sum(axis=1)
    parts: list[_Part] = []

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
    return candidates[count > 0], parts


def _turned(walls: I32, across: Bool, chosen: Bool, first: Callable[[Bool], NDArray[np.int64]]) -> tuple[I32, I32, I32]:
    """The corners of some faces, each turned so that a certain one comes first."""
    order = (first(across[chosen])[:, None] + np.arange(3)) % 3
    corners = np.take_along_axis(walls[chosen], order, axis=1)
    return corners[:, 0], corners[:, 1], corners[:, 2]


def _faces(a: I32, b: I32, c: I32) -> I32:
    return np.stack([a, b, c], axis=1)
