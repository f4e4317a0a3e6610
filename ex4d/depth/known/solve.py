# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of disparity from few or many pairs of what depth says and what is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.source_camera.disparity_line import AGREES, both_lines, needs_shift, off_by
from ex4d.source_camera.robust import Line, robust_line
from ex4d.values import F64, Bool

NEVER = 1 << 31  # more pairs than there are
HALF = 0.5  # share of the pairs that has to agree, else nothing of it is believed

_NOISE = 0.01  # of the usual disparity: what is known of things far away may be off by that beside a share of itself
_MANY = 10  # pairs from which on statistics tell whether a shift is noise
_CLEARLY = 0.05  # of the disparity: with fewer, the usual difference without a shift has to be larger than that
_FINEST, _WIDTHS, _ROUNDS = 0.003, 4.0, 10  # how closely those that agree do at least, in usual differences; steps
_APART = 1.25  # ratio of disparities below which points lie at one depth, which leaves a shift open


@dataclass(frozen=True, eq=False)
class Solved:
    """known = scale given + shift."""

    scale: float
    shift: float
    off: F64  # [N] relative difference of each pair
    agrees: Bool  # [N]
    sure: bool  # False: what is known contradicts itself or the depth; then the scale is a median

    @property
    def agreeing(self) -> float:
        """Share of the pairs that agree, 0..1."""
        return float(self.agrees.mean())

    @property
    def residual(self) -> float:
        """Median relative difference of those that agree; of all, where none does."""
        return float(np.median(self.off[self.agrees] if self.agrees.any() else self.off))


def solve(given: F64, known: F64, *, shift_from: int) -> Solved:
    """A scale, and a shift where it may be and the pairs ask for it clearly.

    Args:
        given: [N] > 0, N >= 1, disparity as estimated.
        known: [N] > 0, the disparity that is known there.
        shift_from: how many pairs there have to be for a shift to be looked for; `NEVER`, or 2 and more.
    """
    if len(given) == 1:
        return Solved(float(known[0] / given[0]), 0.0, np.zeros(1), np.ones(1, np.bool_), True)
    noise = np.full(len(given), _NOISE * float(np.median(known)))
    if len(given) < _MANY:  # too few to tell how closely they can agree
        line, shifted = (robust_line(given, known, noise, AGREES, offset=offset) for offset in (False, True))
    else:
        line, shifted = both_lines(given, known, noise)
    if len(given) >= shift_from:
        if len(given) == 2:
            line = _through_two(line, given, known)
        elif (
            _apart(given[shifted.agrees])
            and needs_shift(line, shifted, given)
            and _clearly(line, shifted, given, known, noise)
        ):
            line = shifted
    line = _polished(line, given, known, noise)
    off = off_by(line, given, known)
    agrees = np.asarray(off <= np.hypot(AGREES, noise / np.abs(line.slope * given + line.offset)), np.bool_)
    fewest = 1.0 if len(given) == 2 else HALF
    if line.slope <= 0.0 or float(agrees.mean()) < fewest:
        scale = float(np.median(known / given))
        off = np.asarray(np.abs(known / (scale * given) - 1.0), np.float64)
        return Solved(scale, 0.0, off, np.asarray(off <= AGREES, np.bool_), False)
    return Solved(line.slope, line.offset, off, agrees, True)


def _polished(line: Line, given: F64, known: F64, noise: F64) -> Line:
    """Least squares over those that agree, as closely as they do: what is known is often exact, and of those that are
    wrong some are only a little so."""
    slope, offset = line.slope, line.offset
    columns = np.stack([given, np.ones_like(given)], axis=1)[:, : 1 + (offset != 0.0)]
    for _ in range(_ROUNDS):
        modelled = slope * given + offset
        off = _off(modelled, known, noise)
        close = off <= AGREES
        if slope <= 0.0 or int(close.sum()) < 3:
            return line
        limit = float(np.clip(_WIDTHS * np.median(off[close]), _FINEST, AGREES))
        trust = np.clip(1.0 - (off / limit) ** 2, 0.0, None) / np.hypot(modelled, noise / AGREES)
        if int((trust > 0.0).sum()) < 3:
            return line
        found = np.linalg.lstsq(columns * trust[:, None], known * trust, rcond=None)[0]
        slope, offset = float(found[0]), float(found[1]) if len(found) > 1 else 0.0
    return Line(slope, offset, line.misfit, line.weight)


def _off(modelled: F64, known: F64, noise: F64) -> F64:
    """[N] relative difference; of what is far away, as much less as noise makes it uncertain."""
    return np.asarray(np.abs(known - modelled) / np.hypot(modelled, noise / AGREES), np.float64)


def _apart(given: F64) -> bool:
    if not len(given):
        return False
    far, near = np.percentile(given, (2.0, 98.0))
    return bool(near >= _APART * far)


def _clearly(line: Line, shifted: Line, given: F64, known: F64, noise: F64) -> bool:
    """Of few pairs, a shift takes up the noise: it has to explain more than one free number would by itself."""
    count = len(given)
    if count >= _MANY:
        return True
    left_over = float(np.median(_off(line.slope * given, known, noise)))
    if left_over <= _CLEARLY or int(shifted.agrees.sum()) < 3:
        return False
    return float(shifted.misfit.sum()) / (count - 2) < 0.5 * float(line.misfit.sum()) / (count - 1)


def _through_two(line: Line, given: F64, known: F64) -> Line:
    """Two pairs at different depths that no scale alone fits leave one line."""
    if line.agrees.all() or not _apart(given):
        return line
    slope = float(np.diff(known)[0] / np.diff(given)[0])
    offset = float(known[0] - slope * given[0])
    return Line(slope, offset, np.zeros(2), np.full(2, 0.5)) if slope > 0.0 else line
