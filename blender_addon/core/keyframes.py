# SPDX-License-Identifier: GPL-3.0-or-later
"""Preset moves as a few keys with slopes, which an artist can edit. Plain Python, no Blender.

Between two keys an F-curve with handles at a third of the way is the cubic Hermite curve of the keys' values and
slopes, so with the move's own slopes a few keys follow it closely.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from shared_protocol.moves import eye_at, look_at

Channels = tuple[float, ...]  # location x, y, z, then rotation x, y, z (order ZXY: roll, tilt, pan), as keyed

SPACING = 8  # frames between keys, about
LEAST = 5  # keys, where there are as many frames
LOCATION_ERROR = 5e-3  # of the distance to the pivot, between keys
ROTATION_ERROR = math.radians(0.3)
_STEP = 1e-4  # in u, for slopes


@dataclass(frozen=True)
class Key:
    """Where all channels stand at one frame, and how fast they change there (per frame)."""

    frame: int
    value: Channels
    slope: Channels


def pose_at(move: str, u: float, radius: float) -> Channels:
    """Location and rotation, in Blender's axes relative to the source camera, at `u` of a preset move.

    The camera of the moves is level: rotation order ZXY splits it into pan (about y, last), tilt (about x) and no roll.
    """
    eye = eye_at(move, u, radius)
    _, _, forward = look_at(eye, (0.0, 0.0, radius))
    x, y, z = forward[0], -forward[1], -forward[2]  # OpenCV axes to Blender's
    return (eye[0], -eye[1], -eye[2], math.asin(max(-1.0, min(1.0, y))), math.atan2(-x, -z), 0.0)


def preset(move: str, first: int, last: int, radius: float) -> tuple[Key, ...]:
    """Keys on whole frames for a preset move from frame `first` to `last`.

    About every eighth frame has one, more where the curve between them would leave the move.

    Raises:
        ValueError: an unknown move.
    """
    steps = last - first
    if steps <= 0:
        value = pose_at(move, 0.0, radius)
        return (Key(first, value, (0.0,) * len(value)),)

    def at(frame: float) -> Channels:
        return pose_at(move, (frame - first) / steps, radius)

    parts = min(steps, max(LEAST - 1, math.ceil(steps / SPACING)))
    while True:
        keys = tuple(_key(at, first + round(k * steps / parts), first, last) for k in range(parts + 1))
        if parts == steps or _close(keys, at, radius):
            return keys
        parts += 1


def value_at(keys: tuple[Key, ...], frame: float) -> Channels:
    """The channels between keys, as Blender's F-curves have them with handles at a third of the way."""
    if frame <= keys[0].frame:
        return keys[0].value
    for a, b in pairwise(keys):
        if frame <= b.frame:
            h = float(b.frame - a.frame)
            t = (frame - a.frame) / h
            return tuple(
                (1 + 2 * t) * (1 - t) ** 2 * p
                + t * (1 - t) ** 2 * h * m
                + t * t * (3 - 2 * t) * q
                - t * t * (1 - t) * h * n
                for p, m, q, n in zip(a.value, a.slope, b.value, b.slope, strict=True)
            )
    return keys[-1].value


def _key(at: Callable[[float], Channels], frame: int, first: int, last: int) -> Key:
    step = _STEP * (last - first)
    before, after = max(float(first), frame - step), min(float(last), frame + step)
    slope = tuple((q - p) / (after - before) for p, q in zip(at(before), at(after), strict=True))
    return Key(frame, at(frame), slope)


def _close(keys: tuple[Key, ...], at: Callable[[float], Channels], radius: float) -> bool:
    for frame in range(keys[0].frame, keys[-1].frame + 1):
        off = [abs(p - q) for p, q in zip(value_at(keys, frame), at(frame), strict=True)]
        if max(off[:3]) > LOCATION_ERROR * radius or max(off[3:]) > ROTATION_ERROR:
            return False
    return True
