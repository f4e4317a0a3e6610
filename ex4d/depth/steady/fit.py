# SPDX-License-Identifier: Apache-2.0
"""How disparity changes from a frame to another, robust to what moves. Both fits are iterated reweighting."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.values import F64

ROUNDS = 10  # of reweighting; it settles sooner
SOFT = 4  # of these with Cauchy's weights, which forget nothing; then Tukey's biweight
TUKEY = 4.685  # standard deviations: 95 % efficient for normal errors
FEWEST = 48  # points
ADDED = 0.3  # of the pivot: errors are taken to grow with disparity, on top of those that are the same everywhere
CLUMP = 64.0  # points whose errors are alike, as those of neighbouring pixels are
ALIKE = 0.5  # correlation below which disparity is too much the same everywhere to tell a shift from a scale;
TAILS = (10.0, 90.0)  # percentiles that have to be
DEPTH = 0.1  # of the pivot apart for that: a few points alone do not tell
SHIFTED = 0.02  # what a frame's gain is off by, where it is not told
BENT = 2.0  # standard deviation of what the camera's movement does to disparity, over how far the picture deforms
SLIGHT = 2e-4  # the least of it
_QUIET = 1e-5  # relative error below which nothing is measured


@dataclass(frozen=True, eq=False)
class Points:
    """Disparity of the same N points in two frames, > 0."""

    here: F64
    there: F64
    u: F64  # place in the first frame, -0.5..0.5
    v: F64
    trust: F64  # 0..1
    deforms: float  # how far the picture deforms between the two, as a share of its longest side
    moves: float  # how far it moves as a whole


@dataclass(frozen=True)
class Step:
    """Disparity d of a frame becomes e^level (pivot + e^gain (d - pivot)) in another."""

    level: float
    gain: float
    level_error: float  # standard deviations
    gain_error: float


def fit_step(points: Points, pivot: float) -> Step | None:
    """The scale and the shift between two frames; None where too few points are seen in both.

    The slope is that of the reduced major axis, since both sides are equally wrong: where disparity is the same
    everywhere, it tends to the plain scale.

    Args:
        points: what is compared.
        pivot: a typical disparity of the first frame.
    """
    p, q = points.here / pivot, points.there / pivot
    if len(p) < FEWEST:
        return None
    low, high = np.percentile(p, TAILS)
    deep = bool(high - low > DEPTH)
    level = gain = float(np.median(q / p))
    shift, alike, middle = 0.0, 0.0, 1.0
    noise, trust = 1.0, points.trust
    for turn in range(ROUNDS):
        off = (q - gain * p - shift) / ((p + ADDED) * level)
        noise = max(1.4826 * float(np.median(np.abs(off))), _QUIET)
        trust = points.trust * (_cauchy(off / noise) if turn < SOFT else _tukey(off / noise))
        weight = trust / np.square(p + ADDED)
        weight /= weight.sum()
        middle, aim = float(weight @ p), float(weight @ q)
        along, across = float(weight @ np.square(p - middle)), float(weight @ np.square(q - aim))
        size = np.sqrt(along * across)
        alike = float(weight @ ((p - middle) * (q - aim))) / size if size > 0.0 else 0.0
        level = aim / middle
        gain = float(np.sqrt(across / along)) if deep and alike > ALIKE else level
        shift = aim - gain * middle
    at_pivot = gain + shift
    if not at_pivot > 0.0:
        return None
    count = max(float(trust.sum()) / CLUMP, 1.0)
    gain_error = float(np.sqrt(max(1.0 - alike * alike, 0.0) / count)) if deep and alike > ALIKE else 1.0
    level_error = float(np.hypot(noise * (1.0 + ADDED) / np.sqrt(count), (1.0 - middle) * min(gain_error, SHIFTED)))
    return Step(float(np.log(at_pivot)), float(np.log(gain / at_pivot)), level_error, gain_error)


@dataclass(frozen=True, eq=False)
class Change:
    """How disparity changes from a frame to another, by where a pixel is and how near.

    With u, v the place in the picture from -0.5 to 0.5 and p the disparity over the pivot, that in the other frame is
    pivot (c0 + c1 p + c2 p^2 + c3 p u + c4 p v). To first order that is all that scale, shift and a camera's movement
    do: with z' = z - t + (a x + b y) z, 1 / z' is 1 / z + t / z^2 - (a x + b y) / z.
    """

    factors: F64  # [5]
    noise: float  # relative standard deviation of one point's difference


def fit_change(points: Points, pivot: float) -> Change | None:
    """Fits a change; None where too few points are seen in both frames.

    What the picture's movement gives no reason for is held near to nothing (a normal prior on each factor).
    """
    p, q = points.here / pivot, points.there / pivot
    if len(p) < FEWEST:
        return None
    design = np.stack([np.ones_like(p), p, np.square(p), p * points.u, p * points.v], axis=1) / (p + ADDED)[:, None]
    target = (q - p) / (p + ADDED)
    bent = SLIGHT + BENT * points.deforms
    turned = bent + BENT * points.moves
    spread = np.array([bent, bent, bent, turned, turned])
    factors: F64 = np.zeros(5)
    off, noise = target - float(np.median(target)), 0.0
    for _ in range(ROUNDS):
        noise = max(1.4826 * float(np.median(np.abs(off))), _QUIET)
        weight = points.trust * _tukey(off / noise)
        normal = design.T @ (design * weight[:, None]) + np.diag(CLUMP * np.square(noise / spread))
        factors = np.asarray(np.linalg.solve(normal, design.T @ (target * weight)), np.float64)
        off = target - design @ factors
    factors[1] += 1.0
    return Change(factors, noise)


def _cauchy(far: F64) -> F64:
    return np.asarray(1.0 / (1.0 + np.square(far)), np.float64)


def _tukey(far: F64) -> F64:
    return np.asarray(np.square(np.clip(1.0 - np.square(far / TUKEY), 0.0, 1.0)), np.float64)
