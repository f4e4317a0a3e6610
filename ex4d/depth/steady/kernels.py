# SPDX-License-Identifier: Apache-2.0
"""The inner loop of the filter over time."""

from __future__ import annotations

import math

from ex4d.render.compiled import compiled

_UNTRUSTED = 0.02  # less trust than that is none
_FAR = 16.0  # squared deviations from which on something is another surface
_MOST = 2.0  # factor by which the camera's movement is believed to change disparity


@compiled
def gather(frame, neighbour, way, change, bounds, total, weights, first, last):  # type: ignore[no-untyped-def]
    """Adds a neighbouring frame, along the flow, to the rows first to last of a frame's weighted mean.

    Args:
        frame: disparity [H, W], picture [H, W] and steepness [H, W] (`steepness`) of the frame.
        neighbour: disparity and picture of the neighbour.
        way: flow [h, w, 2], trust [h, w] and looseness [h, w] of the way from the frame to the neighbour, in pixels of
            their own size.
        change: pivot and factors [5] of `ex4d.depth.steady.fit.Change` from the frame to the neighbour.
        bounds: relative noise of disparity; how far disparity may differ on one surface, as a share of itself and of
            a floor; that floor; by how many levels the picture may differ.
        total, weights: [H, W] what is added to.
        first, last: rows.
    """
    here, grey, steep = frame
    there, other = neighbour
    flow, trust, loose = way
    pivot, factors = change
    noise, reach, floor, levels = bounds
    height, width = here.shape
    small_height, small_width = trust.shape
    across, down = small_width / width, small_height / height
    for row in range(first, last):
        v = min(max((row + 0.5) * down - 0.5, 0.0), small_height - 1.0)
        v0 = int(v)
        v1, t = min(v0 + 1, small_height - 1), v - v0
        for column in range(width):
            u = min(max((column + 0.5) * across - 0.5, 0.0), small_width - 1.0)
            u0 = int(u)
            u1, s = min(u0 + 1, small_width - 1), u - u0
            a, b, c, d = (1.0 - s) * (1.0 - t), s * (1.0 - t), (1.0 - s) * t, s * t
            sure = a * trust[v0, u0] + b * trust[v0, u1] + c * trust[v1, u0] + d * trust[v1, u1]
            if sure < _UNTRUSTED:
                continue
            right = a * flow[v0, u0, 0] + b * flow[v0, u1, 0] + c * flow[v1, u0, 0] + d * flow[v1, u1, 0]
            below = a * flow[v0, u0, 1] + b * flow[v0, u1, 1] + c * flow[v1, u0, 1] + d * flow[v1, u1, 1]
            slack = a * loose[v0, u0] + b * loose[v0, u1] + c * loose[v1, u0] + d * loose[v1, u1]
            x, y = column + right / across, row + below / down
            if x < -0.5 or y < -0.5 or x > width - 0.5 or y > height - 0.5:
                continue
            x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
            x0, y0 = int(x), int(y)
            x1, y1, s, t = min(x0 + 1, width - 1), min(y0 + 1, height - 1), x - x0, y - y0
            a, b, c, d = (1.0 - s) * (1.0 - t), s * (1.0 - t), (1.0 - s) * t, s * t
            own = here[row, column]
            p = own / pivot
            turned = factors[3] * ((column + 0.5) / width - 0.5) + factors[4] * ((row + 0.5) / height - 0.5)
            gone = factors[0] + p * (factors[1] + factors[2] * p + turned)
            found = a * there[y0, x0] + b * there[y0, x1] + c * there[y1, x0] + d * there[y1, x1]
            found *= _MOST if gone * _MOST < p else max(p / gone, 1.0 / _MOST)
            seen = a * other[y0, x0] + b * other[y0, x1] + c * other[y1, x0] + d * other[y1, x1]
            off = (found - own) / (reach * (own + floor))
            unlike = (seen - grey[row, column]) / levels
            far = off * off + unlike * unlike
            if far > _FAR:
                continue
            # A neighbour is as good as the frame itself but where the flow may slip on a slope.
            slip = steep[row, column] * slack / across / noise
            weight = sure * math.exp(-0.5 * far) / (1.0 + slip * slip)
            total[row, column] += weight * found
            weights[row, column] += weight
