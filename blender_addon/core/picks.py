# SPDX-License-Identifier: GPL-3.0-or-later
"""Points that were picked on the mesh, and what is known of them. Plain Python and numpy, no Blender.

A pick is known by where the source camera sees it. `local` coordinates are those of the mesh: Blender's camera axes
(x right, y up, looking along -z) of the source camera at the pick's frame.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from shared_protocol.errors import BAD_INPUT, Ex4dError

from .camera_math import F64

PLANE = 3  # points that tell a plane
_FLAT = 1e-3  # how thin a triangle of ground points may be, as a share of its length


@dataclass(frozen=True)
class Lens:
    """Of the source camera, in pixels of the reconstruction's pictures."""

    focal: float
    cx: float
    cy: float


def ray(u: float, v: float, lens: Lens) -> tuple[float, float, float]:
    """Direction in which the source camera sees a place of its picture, with a depth of 1."""
    return (u - lens.cx) / lens.focal, (lens.cy - v) / lens.focal, -1.0


def place(local: Sequence[float], lens: Lens, size: tuple[int, int], name: str) -> tuple[float, float]:
    """Where the source camera sees a point, in pixels of its picture.

    Args:
        local: the point.
        lens: of the camera.
        size: width and height of its picture.
        name: of the point, for messages.

    Raises:
        Ex4dError: BAD_INPUT for a point behind the camera or outside the picture.
    """
    x, y, z = (float(value) for value in local)
    if z >= 0.0:
        raise Ex4dError(BAD_INPUT, f"'{name}' lies behind the source camera.", "Move it onto the mesh, or delete it.")
    u, v = lens.cx - lens.focal * x / z, lens.cy + lens.focal * y / z
    if not (0.0 <= u <= size[0] and 0.0 <= v <= size[1]):
        raise Ex4dError(BAD_INPUT, f"'{name}' lies outside the clip's picture.", "Move it onto the mesh, or delete it.")
    return u, v


def in_clip(at: tuple[float, float], size: tuple[int, int], clip: tuple[int, int]) -> tuple[float, float]:
    """A place in the pixels of the clip as it comes in, where its pictures were scaled down.

    Args:
        at: pixels of the reconstruction.
        size: width and height of its pictures.
        clip: of the clip's own; turned by a quarter where the file says so and the pictures were turned upright.
    """
    if (clip[0] > clip[1]) != (size[0] > size[1]):
        clip = clip[1], clip[0]
    return at[0] * clip[0] / size[0], at[1] * clip[1] / size[1]


def camera_height(camera: Sequence[float], ground: Sequence[Sequence[float]]) -> float:
    """How high a camera stands above points on the ground.

    Three points or more tell the ground's plane; with fewer the ground is taken to be level in Blender's world, along
    its Z axis.

    Args:
        camera: position in the world.
        ground: positions in the world, at least one.

    Raises:
        Ex4dError: BAD_INPUT where the camera is not above the ground, or three points lie on one line.
    """
    points = np.asarray(ground, dtype=np.float64)
    middle = points.mean(axis=0)
    up: F64 = np.array([0.0, 0.0, 1.0])
    if len(points) >= PLANE:
        _, lengths, axes = np.linalg.svd(points - middle)
        if lengths[1] <= _FLAT * lengths[0]:
            raise Ex4dError(
                BAD_INPUT, "The ground points lie on one line, which tells no plane.", "Move one of them aside."
            )
        up = axes[2]
    height = float((np.asarray(camera, dtype=np.float64) - middle) @ up)
    height = abs(height) if len(points) >= PLANE else height
    if not (math.isfinite(height) and height > 0.0):
        raise Ex4dError(BAD_INPUT, "The source camera is not above the ground points.", "Move them onto the ground.")
    return height


def together(factors: Sequence[float]) -> tuple[float, float]:
    """The one factor that fits several best, their geometric median, and by what share the worst is off.

    Args:
        factors: at least one, above zero.
    """
    logs = np.log(np.asarray(factors, dtype=np.float64))
    middle = float(np.median(logs))
    return math.exp(middle), float(np.expm1(np.abs(logs - middle).max()))
