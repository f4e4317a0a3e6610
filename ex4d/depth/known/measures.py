# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of a clip's disparity from known distances between picked points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ex4d.depth.known.picks import picked_disparity, placed, rays
from ex4d.depth.known.solve import HALF, NEVER, Solved, solve
from ex4d.depth.known.values import LENGTHS, Measure
from ex4d.source_camera.disparity_line import AGREES
from ex4d.values import F32, F64, Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

MOST = 1000
_APART = 1.0  # pixels of the clip's frames
_CLEARLY = 0.03  # of a distance: what a scale alone has to leave over of two or more for a shift to be asked for
_LEAST, _MOST, _STEPS = 1e-3, 10.0, 150  # shifts that are tried, of the usual disparity, either way
_STARTS, _ROUNDS, _STEPS_IN = 64, 5, 40


@dataclass(frozen=True, eq=False)
class Lengths:
    """Measured distances in the clip's depth."""

    rays: F64  # [N, 2, 3] to both ends, z = 1
    disparity: F64  # [N, 2] of both ends
    known: F64  # [N] distances, scene units

    def at(self, scale: float, shift: float) -> F64:
        """[N] distances in depth whose disparity is scale d + shift; infinite where an end is at infinity."""
        disparity = scale * self.disparity + shift
        with np.errstate(divide="ignore"):
            z = np.where(disparity > 0.0, 1.0 / np.maximum(disparity, 0.0), np.inf)
        with np.errstate(invalid="ignore"):
            ends = self.rays * z[..., None]
            length = np.linalg.norm(ends[:, 0] - ends[:, 1], axis=1)
        return np.where(np.isfinite(length), length, np.inf)


def check_measures(measures: Sequence[Measure], clip: Clip, first: int = 0) -> list[F64]:
    """[2, 2] both points of each measure, in pixels of the clip's frames. Messages count frames from `first`.

    Raises:
        Ex4dError: BAD_INPUT for a distance that is none, points outside the clip or on one another, or too many
            measures.
    """
    if len(measures) > MOST:
        raise Ex4dError(BAD_INPUT, f"{len(measures)} measured distances were given.", f"Give {MOST} at most.")
    found = []
    for number, measure in enumerate(measures, 1):
        if not LENGTHS[0] <= measure.distance <= LENGTHS[1]:  # nor is what is not a number
            raise Ex4dError(
                BAD_INPUT,
                f"The distance of measure {number} is {measure.distance:g}.",
                f"Give the distance between its two points in scene units, {LENGTHS[0]:g} to {LENGTHS[1]:g}.",
            )
        a, b = (
            placed(f"Point {name} of measure {number}", measure.frame, point, clip, first)
            for name, point in (("A", measure.a), ("B", measure.b))
        )
        if np.hypot(a[0] - b[0], a[1] - b[1]) < _APART:
            raise Ex4dError(
                BAD_INPUT,
                f"Both points of measure {number} are the same pixel ({measure.a[0]:.6g}, {measure.a[1]:.6g}).",
                "Pick two points that lie apart in the picture.",
            )
        found.append(np.array([a, b]))
    return found


def lengths(z: F32, clip: Clip, measures: Sequence[Measure], lens: F64) -> Lengths:
    """Measures looked up in depth.

    Args:
        z: [T, H, W].
        clip: the pictures.
        measures: at least one.
        lens: [T, 4] fx, fy, cx, cy.

    Raises:
        Ex4dError: as `check_measures`.
    """
    ends = check_measures(measures, clip)
    disparity = [
        [picked_disparity(z[measure.frame], *end) for end in pair.tolist()]
        for measure, pair in zip(measures, ends, strict=True)
    ]
    ray = [rays(pair, lens[measure.frame]) for measure, pair in zip(measures, ends, strict=True)]
    return Lengths(np.stack(ray), np.array(disparity), np.array([measure.distance for measure in measures]))


def fit_lengths(found: Lengths, *, shift_from: int) -> Solved:
    """What fits. With a scale alone, 1 / known = scale / length: a line through 0.

    How lengths change with a shift depends on where their ends lie, so a shift (over the scale) is searched. It has to
    explain what a scale leaves over of two distances or more: picked points are never exact, one distance may be wrong,
    and those that all lie at one depth would let it be anything.
    """
    plain = solve(1.0 / found.at(1.0, 0.0), 1.0 / found.known, shift_from=NEVER)
    count = len(found.known)
    if count < max(shift_from, 2):
        return plain
    usual = float(np.median(found.disparity))
    steps = usual * np.geomspace(_LEAST, _MOST, _STEPS)
    tried = np.concatenate([-steps[::-1], [0.0], steps])
    costs = [_scatter(found, moved)[0] for moved in tried]
    best = int(np.argmin(costs))
    moved = _narrowed(found, tried[max(best - 1, 0)], tried[min(best + 1, len(tried) - 1)])
    cost, scale, off = _scatter(found, moved)
    without, _, before = _scatter(found, 0.0)
    agrees = np.asarray(off <= AGREES, np.bool_)
    if count == 2:
        asked = not plain.sure
    else:
        explained = agrees & (before > _CLEARLY) & (off < 0.5 * before)
        asked = int(explained.sum()) >= 2 and cost / (count - 2) < 0.5 * without / (count - 1)
    if not asked or int(agrees.sum()) < max(2, HALF * count):
        return plain
    return Solved(scale, scale * moved, off, agrees, True)


def _scatter(found: Lengths, moved: float) -> tuple[float, float, F64]:
    """With a shift over the scale: how much the lengths scatter about one scale, cut off for those that disagree; that
    scale; and [N] the relative differences."""
    length = found.at(1.0, moved)
    there = np.isfinite(length) & (length > 0.0)
    if not there.any():
        return float(len(length)), 1.0, np.full(len(length), np.inf)
    ratio = np.log(length[there] / found.known[there])  # of depth; the scale is of disparity
    starts = ratio[:_STARTS]
    costs = np.minimum(((ratio - starts[:, None]) / AGREES) ** 2, 1.0).sum(axis=1)
    centre = float(starts[int(np.argmin(costs))])
    for _ in range(_ROUNDS):
        trust = np.clip(1.0 - ((ratio - centre) / AGREES) ** 2, 0.0, None) ** 2
        centre = float(trust @ ratio / trust.sum())
    off = np.full(len(length), np.inf)
    off[there] = np.abs(np.expm1(ratio - centre))
    return float(np.minimum((off / AGREES) ** 2, 1.0).sum()), float(np.exp(centre)), off


def _narrowed(found: Lengths, low: float, high: float) -> float:
    """The best shift within an interval, by golden section."""
    inner = (5.0**0.5 - 1.0) / 2.0
    for _ in range(_STEPS_IN):
        a, b = high - inner * (high - low), low + inner * (high - low)
        if _scatter(found, a)[0] <= _scatter(found, b)[0]:
            high = b
        else:
            low = a
    return 0.5 * (low + high)
