# SPDX-License-Identifier: GPL-3.0-or-later
"""Points that a motion tracker solved, as a file for the backend. Plain Python and numpy, no Blender."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .camera_math import F64, FLIP, UPRIGHT

MOST = 200_000  # markers in a file
_VERSION = 1
_DIGITS = 7  # of a position, significant
_PLACES = 3  # of a pixel


@dataclass(frozen=True)
class Bundle:
    """A tracked point."""

    position: tuple[float, float, float]  # in Blender's world
    track: tuple[tuple[int, float, float], ...]  # frame of the clip's file, from 1; x, y in pixels, y down


def pixel(x: float, y: float, size: tuple[int, int]) -> tuple[float, float]:
    """A marker's place in pixels from the top left corner; in Blender it goes from 0 to 1, from the bottom left."""
    return x * size[0], (1.0 - y) * size[1]


def our_world(position: Sequence[float]) -> F64:
    """A point of Blender's world, [3], in the world that a source camera is told in: see `camera_math.UPRIGHT`."""
    turn = FLIP[:3, :3] @ UPRIGHT[:3, :3].T
    return np.asarray(turn @ np.asarray(position, dtype=np.float64))


def to_json(bundles: Sequence[Bundle], most: int = MOST) -> bytes:
    """The file's content. Of more than `most` markers only every second, third, ... of each track are told: the fit
    does not gain by more, and the backend takes no file without end."""
    step = max(1, math.ceil(sum(len(bundle.track) for bundle in bundles) / most))
    told = [
        {
            "xyz": [float(f"{value:.{_DIGITS}g}") for value in our_world(bundle.position)],
            "track": [[frame, round(x, _PLACES), round(y, _PLACES)] for frame, x, y in bundle.track[::step]],
        }
        for bundle in bundles
    ]
    return json.dumps({"version": _VERSION, "bundles": told}).encode()
