# SPDX-License-Identifier: Apache-2.0
"""Depth edges that were smeared over a few pixels, made sharp again.

Estimated depth leaves pixels between a near thing and what is behind it that belong to neither: a ramp, which seen from
aside is a torn curtain. Each pixel of such a ramp gets the depth of the side that it is closer to. Depth with sharp
edges has no ramps and stays as it is, but for strips one pixel wide.
"""

from __future__ import annotations

import math

import numpy as np

from ex4d.mesh.edges import EDGE_RATIO
from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.values import F32

REACH = 2  # pixels
FLAT = 0.25  # of the steepest step at a pixel: a ramp ends where steps are smaller ...
NOISE = 0.01  # ... or smaller than this share of the disparity
_BEYOND = 3  # pixels after a ramp's ends that are looked at
_PIECES = 4


def sharpened(depth: F32, *, reach: int = REACH, plateau: float = math.inf, belongs: F32 | None = None) -> F32:
    """Depth [H, W] of a picture without smeared edges.

    Args:
        depth: z.
        reach: pixels from one of a ramp to where it ends; what goes on for longer is a slope.
        plateau: of a ramp's own steepness: where disparity is steeper than that beyond its ends, it is none.
        belongs: [H, W] disparity that tells which side of a ramp a pixel belongs to; None = its own.
    """
    disparity = (1.0 / depth).astype(np.float32)
    belongs = disparity if belongs is None else belongs
    out = depth.copy()
    height = len(depth)

    def rows(start: int, stop: int) -> None:
        _sharpen(disparity, belongs, depth, EDGE_RATIO, reach, plateau, start, stop, out)

    in_parallel(rows, height, max(1, min(threads() * _PIECES, height // 8)))
    return out


@compiled
def _end(d, j, i, dj, di, sign, flat, reach):  # type: ignore[no-untyped-def]
    """Where a ramp that rises in a direction ends: row, column, steps; -1 steps where it goes on for too long or leaves
    the picture."""
    steps = 0
    while steps <= reach:
        y, x = j + dj, i + di
        if not (0 <= y < d.shape[0] and 0 <= x < d.shape[1]):
            break
        if (d[y, x] - d[j, i]) * sign < flat:
            return j, i, steps
        j, i = y, x
        steps += 1
    return j, i, -1


@compiled
def _steepness(d, j, i, dj, di):  # type: ignore[no-untyped-def]
    """The most that disparity changes a step, from a pixel in a direction."""
    most = np.float32(0.0)
    for steps in range(1, _BEYOND + 1):
        y, x = j + steps * dj, i + steps * di
        if not (0 <= y < d.shape[0] and 0 <= x < d.shape[1]):
            break
        most = max(most, abs(d[y, x] - d[j, i]) / np.float32(steps))
    return most


@compiled
def _sharpen(d, belongs, depth, edge_ratio, reach, plateau, start, stop, out):  # type: ignore[no-untyped-def]
    height, width = d.shape
    for j in range(start, stop):
        for i in range(width):
            here, widest = d[j, i], np.float32(0.0)
            for k in range(4):  # across, down, and the two diagonals
                dj = 0 if k == 0 else 1
                di = 0 if k == 1 else (-1 if k == 3 else 1)
                if not (0 <= j - dj and j + dj < height and 0 <= min(i - di, i + di) and max(i - di, i + di) < width):
                    continue
                after, before = d[j + dj, i + di] - here, here - d[j - dj, i - di]
                if after * before <= 0.0:
                    continue
                sign = np.float32(1.0) if after > 0.0 else np.float32(-1.0)
                flat = max(FLAT * max(abs(after), abs(before)), NOISE * here)
                if min(abs(after), abs(before)) < flat:  # no ramp here, which is so nearly everywhere
                    continue
                y1, x1, n1 = _end(d, j, i, dj, di, sign, flat, reach)
                y0, x0, n0 = _end(d, j, i, -dj, -di, -sign, flat, reach)
                if n0 < 1 or n1 < 1:
                    continue
                one, other = d[y1, x1], d[y0, x0]
                if abs(one - other) <= max(widest, (edge_ratio - 1.0) * min(one, other)):
                    continue
                steepest = plateau * abs(one - other) / (n0 + n1)
                if _steepness(d, y1, x1, dj, di) > steepest or _steepness(d, y0, x0, -dj, -di) > steepest:
                    continue
                widest = abs(one - other)
                to_one, to_other = abs(one - belongs[j, i]), abs(other - belongs[j, i])
                if to_one < to_other or (to_one == to_other and n1 < n0):
                    out[j, i] = depth[y1, x1]
                else:
                    out[j, i] = depth[y0, x0]
