# SPDX-License-Identifier: GPL-3.0-or-later
"""What cameras see of a scene, by ray cast against its triangles: depth, visibility, and certainty.

All poses and points are in OpenCV axes, in the world of the source camera's first frame (`_truth_cameras`). Blender's
tree of triangles only says which triangle a ray meets; where it meets it is worked out here in float64.
"""

from __future__ import annotations

import numpy as np
from _truth_cameras import Lens
from mathutils.bvhtree import BVHTree

OVERSAMPLING = 3  # source rays along each side of a pixel for `certain`; odd, so that pixel centres are among them
_SAME_POINT = 1e-4  # of the distance: how much nearer a hit may lie and still be the point itself
_SAME_PLANE = 2e-5  # of the distance: how far the point may lie from the plane of a hit that is its own surface
_BEHIND = 2e-4  # relative: how far behind a surface a ray must pass to count
_NEAR = 1e-3  # metres; nothing in the scenes is as near to a camera
_STEP = 0.5  # source pixels from one test to the next along a ray
_BATCH = 200_000  # tests at a time: what fits a processor's cache is done twice as fast


class Surfaces:
    """The triangles of a scene at one moment."""

    def __init__(self, triangles: np.ndarray) -> None:
        """`triangles` [N, 3, 3]: corners, counter-clockwise from outside, metres."""
        corners = triangles.astype(np.float32)  # what the tree keeps
        indices = np.arange(len(corners) * 3).reshape(-1, 3)
        self._tree = BVHTree.FromPolygons(
            corners.reshape(-1, 3).tolist(), indices.tolist(), all_triangles=True, epsilon=0.0
        )
        corners = corners.astype(np.float64)
        normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
        length = np.linalg.norm(normal, axis=1, keepdims=True)
        self.normal = normal / np.maximum(length, 1e-30)  # [N, 3]
        self.offset = np.einsum("ij,ij->i", self.normal, corners[:, 0])  # [N]: normal . x = offset on the plane

    def cast(self, origin: np.ndarray, directions: np.ndarray) -> np.ndarray:
        """The triangle that each ray meets first, [N] int64; -1 where there is none. `directions` [N, 3]."""
        cast, start = self._tree.ray_cast, tuple(origin.tolist())
        met = np.array([cast(start, way)[2] for way in directions.tolist()], np.float64)  # None becomes nan
        return np.where(np.isnan(met), -1.0, met).astype(np.int64)

    def along(self, origin: np.ndarray, directions: np.ndarray, triangle: np.ndarray) -> np.ndarray:
        """How many times its direction each ray goes until it meets its triangle's plane, [N] float64."""
        normal = self.normal[triangle]
        height = self.offset[triangle] - normal @ origin
        return height / np.einsum("ij,ij->i", normal, directions)

    def distance(self, point: np.ndarray) -> float:
        """From a point to the nearest surface, metres."""
        return float(self._tree.find_nearest(tuple(point.tolist()))[3])


class View:
    """What one camera sees: for each pixel's centre the triangle, its z-depth and the point in the world."""

    def __init__(self, surfaces: Surfaces, lens: Lens, pose: np.ndarray, oversampling: int = 1) -> None:
        self.surfaces, self.lens, self.pose = surfaces, lens, pose
        grid = lens.directions(pose, oversampling)
        directions = grid.reshape(-1, 3)
        self.eye = pose[:3, 3]
        self.triangle = surfaces.cast(self.eye, directions)  # [H * n * W * n]
        hit = self.triangle >= 0
        z = np.zeros(len(directions))
        z[hit] = surfaces.along(self.eye, directions[hit], self.triangle[hit])
        self.closed = bool(hit.all())
        backs = np.einsum("ij,ij->i", surfaces.normal[self.triangle], directions) >= 0.0
        self.from_behind = float(backs[hit].mean())  # share of rays that meet a surface from behind
        self.points = self.eye + z[:, None] * directions  # [H * n * W * n, 3]
        self.z = z.reshape(grid.shape[:2])


class Source(View):
    """The source camera at one frame, which can say what another camera sees of what it saw itself."""

    def __init__(self, surfaces: Surfaces, lens: Lens, pose: np.ndarray) -> None:
        super().__init__(surfaces, lens, pose, OVERSAMPLING)
        middle = OVERSAMPLING // 2
        self.depth = self.z[middle::OVERSAMPLING, middle::OVERSAMPLING]  # [H, W], at pixel centres
        # 1/z of a plane n.x = d is linear in the ray (x, y, 1): n^T R / (d - n.eye)
        normal = surfaces.normal @ pose[:3, :3]
        with np.errstate(divide="ignore"):  # planes through the eye are never seen
            slope = normal / (surfaces.offset - surfaces.normal @ self.eye)[:, None]
        self._slope = slope[self.triangle]  # [H * n * W * n, 3]

    def _local(self, points: np.ndarray) -> np.ndarray:
        return (points - self.eye) @ self.pose[:3, :3]

    def visible(self, view: View) -> np.ndarray:
        """Which of the points that `view` sees lie in this picture with nothing in between, [H, W] bool."""
        seen = np.zeros(view.z.size, bool)
        local = self._local(view.points)
        limits = self._limits()
        inside = np.flatnonzero((local @ limits.T >= -1e-9).all(axis=1) & (local[:, 2] > _NEAR) & (view.triangle >= 0))
        ways = view.points[inside] - self.eye
        met = self.surfaces.cast(self.eye, ways)
        own = met == view.triangle[inside]
        own |= self.surfaces.along(self.eye, ways, np.maximum(met, 0)) >= 1.0 - _SAME_POINT
        # A surface seen edge-on: its other triangles may be met well before the point, but they lie in its plane.
        away = np.einsum("ij,ij->i", self.surfaces.normal[met], view.points[inside]) - self.surfaces.offset[met]
        own |= np.abs(away) <= _SAME_PLANE * np.linalg.norm(ways, axis=1)
        seen[inside] = own | (met < 0)
        return seen.reshape(view.z.shape)

    def certain(self, view: View, visible: np.ndarray) -> np.ndarray:
        """Which of the visible pixels' rays never pass behind what this camera saw, [H, W] bool."""
        sure = visible.ravel().copy()
        rays = np.flatnonzero(sure)
        first, last = self._stretch(self._local(view.eye[None])[0], self._local(view.points[rays]))
        length = np.linalg.norm(_on_picture(last) - _on_picture(first), axis=1) * self.lens.focal
        tests = np.ceil(length / _STEP - 1e-6).astype(np.int64)
        order = np.argsort(tests)
        order = order[tests[order] > 0]
        ends = np.cumsum(tests[order])
        for part in np.split(order, np.searchsorted(ends, np.arange(_BATCH, ends[-1], _BATCH)) if len(order) else []):
            if len(part):
                hidden = self._passes_behind(first[part], last[part], tests[part])
                sure[rays[part[hidden]]] = False
        return sure.reshape(visible.shape)

    def _limits(self) -> np.ndarray:
        """Inward normals [4, 3] of the four planes through the eye and the picture's edges."""
        (cx, cy), f = self.lens.centre, self.lens.focal
        right, bottom = self.lens.width - cx, self.lens.height - cy
        return np.array([(f, 0.0, cx), (-f, 0.0, right), (0.0, f, cy), (0.0, -f, bottom)])

    def _stretch(self, eye: np.ndarray, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The part of each ray from `eye` to a visible point (in this camera's axes) that lies in this camera's view
        and not nearer than all surfaces.
        """
        limits = np.concatenate([self._limits(), [(0.0, 0.0, 1.0)]])
        margin = np.array([0.0, 0.0, 0.0, 0.0, 0.99 * self.z.min()])
        at_eye, at_point = limits @ eye - margin, np.maximum(points @ limits.T - margin, 0.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = at_eye / (at_eye - at_point)
        start = np.where(at_eye < 0.0, np.clip(crossing, 0.0, 1.0), 0.0).max(axis=1)
        return eye + start[:, None] * (points - eye), points

    def _passes_behind(self, first: np.ndarray, last: np.ndarray, tests: np.ndarray) -> np.ndarray:
        """Which stretches pass behind a seen surface, [N] bool. `tests` [N]: how many points of each are looked at.

        Along a straight line in the picture 1/z of the points of a ray is linear, as it is on each triangle.
        """
        ray = np.repeat(np.arange(len(tests)), tests)
        step = np.arange(len(ray)) - np.repeat(np.cumsum(tests) - tests, tests)
        s = ((step + 0.5) / tests[ray])[:, None]
        a, b = _on_picture(first), _on_picture(last)
        place = a[ray] + s * (b - a)[ray]  # [M, 2], at depth 1
        inverse = 1.0 / first[:, 2]
        inverse = inverse[ray] + s[:, 0] * (1.0 / last[:, 2] - inverse)[ray]
        height, width = self.z.shape
        column = ((place[:, 0] * self.lens.focal + self.lens.centre[0]) * OVERSAMPLING).astype(np.int64)
        row = ((place[:, 1] * self.lens.focal + self.lens.centre[1]) * OVERSAMPLING).astype(np.int64)
        cell = np.clip(row, 0, height - 1) * width + np.clip(column, 0, width - 1)
        slope = self._slope[cell]
        surface = slope[:, 0] * place[:, 0] + slope[:, 1] * place[:, 1] + slope[:, 2]
        behind = surface / inverse
        doubt = np.flatnonzero(behind > 1.0 + _BEHIND)
        hidden = np.zeros(len(tests), bool)
        # Cells are a third of a pixel wide, so near edges one may name the wrong surface: a cast has the last word,
        # first where the ray is deepest behind.
        doubt = doubt[np.lexsort((-behind[doubt], ray[doubt]))]
        while len(doubt):
            _, deepest = np.unique(ray[doubt], return_index=True)
            asked = doubt[deepest]
            ways = np.concatenate([place[asked], np.ones((len(asked), 1))], axis=1) @ self.pose[:3, :3].T
            ways /= inverse[asked, None]
            met = self.surfaces.cast(self.eye, ways)
            share = self.surfaces.along(self.eye, ways, np.maximum(met, 0))
            hidden[ray[asked[(met >= 0) & (share < 1.0 / (1.0 + _BEHIND))]]] = True
            doubt = np.delete(doubt, deepest)
            doubt = doubt[~hidden[ray[doubt]]]
        return hidden


def _on_picture(local: np.ndarray) -> np.ndarray:
    """Points in a camera's axes to where they are seen, at depth 1."""
    return local[:, :2] / local[:, 2:]
