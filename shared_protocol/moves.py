# SPDX-License-Identifier: Apache-2.0
"""The preset camera moves, as pure functions of a parameter 0..1.

Both sides need them: the engine for its command line, the extension to lay down keyframes with no backend running.
Axes are OpenCV's (x right, y down, z forward), the origin is the source camera, lengths are scene units.

The arcs are those of the public EX-4D code (tau-yihouxiang/EX-4D, recon.py): "180" swings to each side and comes
back, "30", "60" and "90" go one way around the pivot and rise a fifth of the radius. That code scales the angle by
max(49 / n, n / 49), so its moves over-rotate for n other than 49 frames; here the move is the same for every n.
zoom_in and zoom_out are named in that project's README and absent from its code: here they travel along the optical
axis by half the distance to the pivot.
"""

from __future__ import annotations

import math

Vec3 = tuple[float, float, float]

MOVES: tuple[str, ...] = ("30", "60", "90", "180", "zoom_in", "zoom_out")


def eye_at(move: str, u: float, radius: float) -> Vec3:
    """Where the camera stands at `u` (0 = first frame, 1 = last); it looks at (0, 0, radius) throughout.

    Args:
        move: one of `MOVES`.
        u: position along the move, 0..1.
        radius: distance from the source camera to the pivot, scene units, > 0.

    Raises:
        ValueError: `move` is not one of `MOVES`.
    """
    if move == "zoom_in":
        return (0.0, 0.0, 0.5 * radius * u)
    if move == "zoom_out":
        return (0.0, 0.0, -0.5 * radius * u)
    if move == "180":
        a = 2.0 * math.pi * u
        return (radius * math.sin(a), 0.2 * radius * (math.cos(a) - 1.0), 0.0)
    if move in ("30", "60", "90"):
        a = math.radians(float(move)) * u
        lift = 1.0 - abs(math.cos(a))
        return (radius * math.sin(a), -0.2 * radius * lift, radius * lift)
    raise ValueError(f"unknown camera move {move!r}; known: {', '.join(MOVES)}")


def look_at(eye: Vec3, target: Vec3) -> tuple[Vec3, Vec3, Vec3]:
    """Axes (right, down, forward) of a level camera at `eye` that looks at `target`, as unit vectors in world axes.

    They are the columns of the rotation in `world_from_camera`. Where the view is straight up or down, "right"
    stays the world's x axis.
    """
    f = _unit((target[0] - eye[0], target[1] - eye[1], target[2] - eye[2]))
    right = _cross((0.0, 1.0, 0.0), f)
    length = math.sqrt(sum(c * c for c in right))
    right = (1.0, 0.0, 0.0) if length < 1e-9 else _unit(right)
    return right, _cross(f, right), f


def _cross(a: Vec3, b: Vec3) -> Vec3:
    return (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])


def _unit(a: Vec3) -> Vec3:
    n = math.sqrt(sum(c * c for c in a))
    if n == 0.0:
        raise ValueError("a camera cannot look at the point where it stands")
    return (a[0] / n, a[1] / n, a[2] / n)
