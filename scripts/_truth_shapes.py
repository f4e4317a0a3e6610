# SPDX-License-Identifier: Apache-2.0
"""Bodies of the ground-truth scenes, as points and faces.

Every face runs counter-clockwise when seen from outside, so that a ray that meets a face from behind shows that it
started inside a body. Axes as Blender's: x right, y away, z up; metres.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

Matrix4 = np.ndarray  # [4, 4] float64
Point = tuple[float, float, float]


@dataclass(frozen=True)
class Shape:
    """A closed surface, or several."""

    points: np.ndarray  # [V, 3] float64
    faces: list[tuple[int, ...]]
    smooth: bool = False

    def moved(self, matrix: Matrix4) -> Shape:
        """The same shape elsewhere; `matrix` must not mirror."""
        return Shape(self.points @ matrix[:3, :3].T + matrix[:3, 3], self.faces, self.smooth)

    def at(self, x: float, y: float, z: float) -> Shape:
        """The same shape, shifted."""
        return Shape(self.points + np.array((x, y, z)), self.faces, self.smooth)


def join(*shapes: Shape) -> Shape:
    """Several shapes as one."""
    starts = np.cumsum([0] + [len(shape.points) for shape in shapes])
    faces = [
        tuple(int(v + start) for v in face)
        for shape, start in zip(shapes, starts[:-1], strict=True)
        for face in shape.faces
    ]
    return Shape(np.concatenate([shape.points for shape in shapes]), faces, any(shape.smooth for shape in shapes))


def box(low: Point, high: Point, *, inside: bool = False) -> Shape:
    """A box between two corners; `inside` turns its faces inward, for a room."""
    points = np.array([(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])])
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    return Shape(points.astype(np.float64), [face[::-1] for face in faces] if inside else faces)


def block(width: float, depth: float, height: float) -> Shape:
    """A box that stands on the origin."""
    return box((-width / 2, -depth / 2, 0.0), (width / 2, depth / 2, height))


def revolve(profile: list[tuple[float, float]], steps: int = 32, *, smooth: bool = True) -> Shape:
    """A body of revolution about z from (radius, height) points that run from the axis at the bottom to the axis at
    the top. A point that is given twice makes a sharp edge there.
    """
    angle = 2.0 * math.pi * np.arange(steps) / steps
    points: list[np.ndarray] = []
    rings: list[list[int]] = []
    total = 0
    for radius, height in profile:
        on_axis = radius == 0.0
        ring = np.array([(0.0, 0.0, height)]) if on_axis else np.stack(
            [radius * np.cos(angle), radius * np.sin(angle), np.full(steps, height)], axis=1
        )  # fmt: skip
        points.append(ring)
        rings.append([total] * steps if on_axis else list(range(total, total + steps)))
        total += len(ring)
    faces: list[tuple[int, ...]] = []
    for k in range(len(profile) - 1):
        if profile[k] == profile[k + 1]:
            continue
        a, b = rings[k], rings[k + 1]
        for i in range(steps):
            j = (i + 1) % steps
            corners = (a[i], a[j], b[j], b[i])
            faces.append(tuple(dict.fromkeys(corners)))
    return Shape(np.concatenate(points), faces, smooth)


def pole(radius: float, height: float, steps: int = 12, *, top: float | None = None) -> Shape:
    """An upright cylinder (or, with another radius at the top, a cone's stump) that stands on the origin."""
    top = radius if top is None else top
    profile = [(0.0, 0.0), (radius, 0.0), (radius, 0.0), (top, height), (top, height), (0.0, height)]
    return revolve(profile, steps)


def ball(radius: float, rings: int = 24, steps: int = 48, stretch: float = 1.0) -> Shape:
    """A ball around the origin, stretched along z."""
    inner = [math.pi * k / rings - math.pi / 2 for k in range(1, rings)]
    profile = [(radius * math.cos(a), stretch * radius * math.sin(a)) for a in inner]
    return revolve([(0.0, -stretch * radius), *profile, (0.0, stretch * radius)], steps)


def limb(radius: float, length: float, end: float | None = None, steps: int = 20) -> Shape:
    """A round-ended limb that hangs from the origin down to -length."""
    end = radius if end is None else end
    quarter = [math.pi / 2 * k / 5 for k in range(6)]
    foot = [(end * math.sin(a), -length - end * math.cos(a)) for a in quarter]
    head = [(radius * math.cos(a), radius * math.sin(a)) for a in quarter]
    return revolve([(0.0, foot[0][1]), *foot[1:], *head[:-1], (0.0, radius)], steps)


def ring(radius: float, tube: float, steps: int = 40, around: int = 14) -> Shape:
    """A torus about z, around the origin."""
    a, b = np.meshgrid(2 * np.pi * np.arange(steps) / steps, 2 * np.pi * np.arange(around) / around, indexing="ij")
    across = radius + tube * np.cos(b)
    points = np.stack([across * np.cos(a), across * np.sin(a), tube * np.sin(b)], axis=-1).reshape(-1, 3)
    faces = [
        (i * around + j, (i + 1) % steps * around + j, (i + 1) % steps * around + (j + 1) % around,
         i * around + (j + 1) % around)
        for i in range(steps) for j in range(around)
    ]  # fmt: skip
    return Shape(points, faces, True)


def shift(x: float, y: float, z: float) -> Matrix4:
    """The matrix that moves by (x, y, z)."""
    matrix = np.eye(4)
    matrix[:3, 3] = (x, y, z)
    return matrix


def turn(axis: str, degrees: float) -> Matrix4:
    """The matrix that turns about "x", "y" or "z", right-handed."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    i, j = {"x": (1, 2), "y": (2, 0), "z": (0, 1)}[axis]
    matrix = np.eye(4)
    matrix[i, i], matrix[i, j], matrix[j, i], matrix[j, j] = c, -s, s, c
    return matrix
