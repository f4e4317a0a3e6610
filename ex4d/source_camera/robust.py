# SPDX-License-Identifier: Apache-2.0
"""A line through points of which a good part may be wrong: MSAC (Torr and Zisserman, "MLESAC", CVIU 2000) over pairs of
points, refined by least squares with Tukey's biweight."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.values import F64, Bool

TRIES = 500  # pairs of points
STEPS = 20  # of the refinement, which settles much sooner
SEED = 0  # of the choice of pairs: the same points give the same line
HEIGHTS = 8  # steps that the range of heights is cut into
FEW = 0.04  # of all points: a step with fewer gets less weight than the others, or a few wrong points would weigh most
_PART = 4096  # points looked at in the search; more change nothing


@dataclass(frozen=True, eq=False)
class Line:
    """y = slope x + offset."""

    slope: float
    offset: float
    misfit: F64  # [N] min((residual / tolerance)^2, 1): what does not agree has 1
    weight: F64  # [N] of the points, sums to 1

    @property
    def agrees(self) -> Bool:
        """[N] within the tolerance."""
        return np.asarray(self.misfit < 1.0, np.bool_)

    @property
    def share(self) -> float:
        """Of all points' weight, how much agrees."""
        return float(self.weight[self.agrees].sum())


def robust_line(x: F64, y: F64, noise: F64, relative: float, *, offset: bool) -> Line:
    """The line that most points agree with, near and far ones alike: many points at one height do not make a line, so
    points count the less the more there are of their height.

    Args:
        x: [N] > 0, N >= 2.
        y: [N].
        noise: [N] what y may be off by itself.
        relative: what it may be off on top of that, as a share of y.
        offset: False for a line through 0.
    """
    rng = np.random.default_rng(SEED)
    part = np.sort(rng.permutation(len(x))[:_PART])
    weight = _rarity(y)
    px, py, pw = x[part], y[part], weight[part]
    tolerance = np.hypot(noise[part], relative * np.abs(py))  # of the points, not of the line, so that none is favoured
    slopes, offsets = _candidates(px, py, rng, offset)
    costs = np.array([pw @ _misfit(py - s * px - c, tolerance) for s, c in zip(slopes, offsets, strict=True)])
    best = int(np.argmin(costs))
    slope, shift = float(slopes[best]), float(offsets[best])
    for _ in range(STEPS):
        fitted = slope * x + shift
        reach = np.hypot(noise, relative * np.maximum(np.abs(fitted), 1e-300)) + 1e-300
        trust = (np.clip(1.0 - ((y - fitted) / reach) ** 2, 0.0, None) / reach) ** 2
        slope, shift = _least_squares(x, y, _rarity(fitted) * trust, offset) or (slope, shift)
    fitted = slope * x + shift
    reach = np.hypot(noise, relative * np.abs(fitted)) + 1e-300
    return Line(slope, shift, _misfit(y - fitted, reach), weight / weight.sum())


def _rarity(y: F64) -> F64:
    """[N] weights: points share the weight of their height, counted in steps of equal ratio."""
    low, high = (max(float(edge), 1e-12) for edge in np.percentile(np.maximum(y, 0.0), (5.0, 95.0)))
    if high <= low:
        return np.ones(len(y))
    share = np.log(np.clip(y, low, high) / low) / np.log(high / low)
    step = np.minimum((share * HEIGHTS).astype(int), HEIGHTS - 1)
    count = np.bincount(step, minlength=HEIGHTS)
    return np.asarray(1.0 / np.maximum(count, FEW * len(y))[step], np.float64)


def _candidates(x: F64, y: F64, rng: np.random.Generator, offset: bool) -> tuple[F64, F64]:
    if not offset:
        chosen = rng.permutation(len(x))[:TRIES]
        return y[chosen] / x[chosen], np.zeros(len(chosen))
    a, b = rng.integers(0, len(x), (2, TRIES))
    run = x[b] - x[a]
    apart = np.abs(run) > 1e-6 * np.maximum(x[a], x[b])
    a, b, run = a[apart], b[apart], run[apart]
    slopes = (y[b] - y[a]) / run
    return np.append(slopes, np.median(y / x)), np.append(y[a] - slopes * x[a], 0.0)


def _least_squares(x: F64, y: F64, weight: F64, offset: bool) -> tuple[float, float] | None:
    """Slope and offset; None where the points leave them open."""
    total, xx, xy = float(weight.sum()), float((weight * x * x).sum()), float((weight * x * y).sum())
    if not offset:
        return (xy / xx, 0.0) if xx > 0.0 else None
    mean_x, mean_y = (float((weight * v).sum()) / total if total > 0.0 else 0.0 for v in (x, y))
    run = float((weight * (x - mean_x) ** 2).sum())
    if run <= 1e-12 * xx:
        return None
    slope = float((weight * (x - mean_x) * (y - mean_y)).sum()) / run
    return slope, mean_y - slope * mean_x


def _misfit(residual: F64, tolerance: F64) -> F64:
    return np.asarray(np.minimum((residual / tolerance) ** 2, 1.0), np.float64)
