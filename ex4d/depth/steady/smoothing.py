# SPDX-License-Identifier: Apache-2.0
"""A filter over time along the motion, which keeps to the edges of depth and of the picture.

Each pixel becomes the mean of itself and of what the flow finds in the frames around it. Neighbours count the less the
more their disparity and their picture differ (a bilateral filter along the flow): what is hidden, moves by itself or
lies on another surface does not mix. How far disparity may differ follows from the noise that the clip has: depth that
is steady already stays as it is. What the camera's movement changes between two frames is taken out before they are
compared, so nothing is pulled along where neighbours are known on one side only.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.depth.door import Progress
from ex4d.depth.steady.alignment import Alignment, points
from ex4d.depth.steady.fit import ADDED, fit_change
from ex4d.depth.steady.follow import Follower, Way, steepness
from ex4d.depth.steady.kernels import gather
from ex4d.on_disk import forget
from ex4d.render.compiled import in_parallel, threads
from ex4d.values import F32, U8

PHASE = "Steadying depth"
SIDE = 512  # longest side, pixels, that flow is looked for at
REACH = 4  # frames to each side
RANGE = 4.0  # standard deviations of the noise that disparity may differ by on one surface
QUIET = 2e-4  # noise below which depth counts as exact
LEVELS = 10.0  # of 255, that the picture may differ by
_FORGET_EVERY = 16  # frames


@dataclass(frozen=True, eq=False)
class _Frame:
    """A frame of the window."""

    disparity: F32  # [H, W], aligned
    grey: U8  # [H, W]
    small: F32  # [h, w] disparity in the size of the flow


def smooth(z: F32, frames: U8, alignment: Alignment, progress: Progress) -> None:
    """Changes z [T, H, W] in place: aligned, then averaged over a window of frames, which alone are held in memory."""
    count = len(z)
    follower = Follower(frames, SIDE)
    window: dict[int, _Frame] = {}
    ways: dict[tuple[int, int], Way] = {}
    noise = max(alignment.noise, QUIET)
    for t in range(count):
        progress(PHASE, t, count)
        around = range(max(t - REACH, 0), min(t + REACH + 1, count))
        for k in around:
            if k >= t and k not in window:  # those before t are written over already
                window[k] = _frame(z[k], frames[k], alignment, k, follower)
        pivot = float(alignment.pivot[t])
        mean = _Mean(window[t], pivot, noise)
        for k in around:
            if k == t:
                continue
            if k > t:
                ways[t, k], ways[k, t] = follower.ways(t, k)
            mean.add(window[k], ways.pop((t, k)))
        z[t] = mean.depth()
        window.pop(t - REACH, None)
        follower.forget_before(t + 1)
        if (t + 1) % _FORGET_EVERY == 0:
            forget(z, frames)
    progress(PHASE, count, count)


def _frame(z: F32, picture: U8, alignment: Alignment, t: int, follower: Follower) -> _Frame:
    disparity = alignment.disparity(z, t)
    size = (follower.width, follower.height)
    small = np.asarray(cv2.resize(disparity, size, interpolation=cv2.INTER_NEAREST), np.float32)
    return _Frame(
        disparity, np.asarray(cv2.cvtColor(np.ascontiguousarray(picture), cv2.COLOR_RGB2GRAY), np.uint8), small
    )


class _Mean:
    """A frame's weighted mean with its neighbours."""

    def __init__(self, frame: _Frame, pivot: float, noise: float) -> None:
        self._frame, self._pivot = frame, pivot
        floor = ADDED * pivot
        self._steep = steepness(frame.disparity, floor)
        self._bounds = (noise, RANGE * noise, floor, LEVELS)
        self._total, self._weights = frame.disparity.copy(), np.ones_like(frame.disparity)

    def add(self, neighbour: _Frame, way: Way) -> None:
        """Takes a neighbour in, where enough of it is to be seen in the frame."""
        change = fit_change(points(self._frame.small, neighbour.small, way, self._pivot), self._pivot)
        if change is None:
            return
        ours = (self._frame.disparity, self._frame.grey, self._steep)
        theirs = (neighbour.disparity, neighbour.grey)
        led = (way.flow, way.trust, way.loose)
        moved = (self._pivot, change.factors)

        def rows(first: int, last: int) -> None:
            gather(ours, theirs, led, moved, self._bounds, self._total, self._weights, first, last)

        in_parallel(rows, len(self._total), threads())

    def depth(self) -> F32:
        """[H, W] z."""
        return np.asarray(self._weights / self._total, np.float32)
