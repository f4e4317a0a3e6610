# SPDX-License-Identifier: Apache-2.0
"""What each frame has to be corrected by, from how it differs from its neighbours.

A quantity of each frame (the log of its level, or of its gain) truly is u_t and was estimated as u_t + e_t. Pairs of
frames tell how much the estimates differ. Errors jump from frame to frame; what is true changes smoothly, and not at
all where the picture stands still. So corrections x_t = -e_t are looked for that are small, and after which

- neighbours differ little, the less the stiller the picture is, and
- the change goes on as it was: second differences are small.

Each of these has a standard deviation, and the corrections are the least squares: a smoother of the kind of Whittaker's
("On a New Method of Graduation", 1923). A steady change is kept as it is: it has no second differences.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ex4d.values import F64

SPANS = (1, 2, 4, 8)  # frames between the two of a pair
STANDS = 2e-4  # standard deviation of what changes from frame to frame where nothing moves: a drift of the light
MOVES = 10.0  # the same, for each share of the picture's longest side that the picture deforms by
BENDS = 1e-5  # standard deviation of how the change changes where nothing moves
BENDS_MOVING = 3.0  # as MOVES
BENDS_MOST = 1e-3  # of a camera that is carried or driven
NORMAL = 1.4826  # standard deviation over the median of the absolute values
LEAST, MOST = 1e-3, 0.3  # standard deviation of what frames are wrong by, that is believed


@dataclass(frozen=True)
class Difference:
    """How much an estimate of frame `a` and one of frame `b` differ."""

    a: int
    b: int
    value: float  # b less a
    error: float  # standard deviation
    motion: float  # how far the picture deforms between the two, as a share of its longest side


def corrections(count: int, changes: Sequence[Difference]) -> F64:
    """[count] what to add to each frame's estimate; its mean is about 0 in each part of the clip without a cut."""
    spread = jitter(changes)
    reach = 2 * max(SPANS)
    matrix = np.zeros((count, reach + 1))  # matrix[i, k]: entry of row i and column i + k
    target: F64 = np.zeros(count)
    matrix[:, 0] += 1.0 / spread**2

    def add(places: Sequence[int], factors: Sequence[float], value: float, deviation: float) -> None:
        weight = 1.0 / deviation**2
        for m, i in enumerate(places):
            target[i] -= weight * factors[m] * value
            for n in range(m, len(places)):
                matrix[i, places[n] - i] += weight * factors[m] * factors[n]

    gone = _travelled(count, changes)
    known = {(change.a, change.b): change for change in changes}
    for change in changes:
        span = change.b - change.a
        motion = float(gone[change.b] - gone[change.a])
        changes_by = STANDS * np.sqrt(span) + MOVES * motion
        add((change.a, change.b), (-1.0, 1.0), change.value, float(np.hypot(change.error, changes_by)))
        later = known.get((change.b, change.b + span))
        if later is not None:
            rate = max(motion, float(gone[later.b] - gone[later.a])) / span
            bends = min(BENDS + BENDS_MOVING * rate, BENDS_MOST) * span**1.5
            errors = float(np.hypot(change.error, later.error))
            places = (change.a, change.b, later.b)
            add(places, (1.0, -2.0, 1.0), later.value - change.value, float(np.hypot(errors, bends)))
    return _solved(matrix, target)


def jitter(changes: Sequence[Difference]) -> float:
    """Standard deviation of what frames are wrong by.

    Taken from how changes change between neighbours, and from how far frames are apart that movement gives no reason
    for, which a slow wobble shows in.
    """
    steps = {change.a: change.value for change in changes if change.b == change.a + 1}
    bends = np.abs([steps[a + 1] - steps[a] for a in steps if a + 1 in steps])
    longest = max((change.b - change.a for change in changes), default=0)
    apart = np.array([
        max(abs(change.value) - 2.0 * MOVES * change.motion, 0.0)
        for change in changes
        if change.b - change.a == longest
    ])  # fmt: skip
    found = [NORMAL * float(np.median(off)) / np.sqrt(terms) for off, terms in ((bends, 6.0), (apart, 2.0)) if len(off)]
    return float(np.clip(max(found, default=0.0), LEAST, MOST))


def _travelled(count: int, changes: Sequence[Difference]) -> F64:
    """[count] how far the picture has deformed up to each frame.

    Each step is judged by the pairs around it too: a slow move shows over several frames only.
    """
    rate: F64 = np.zeros(count)
    for change in changes:
        part = rate[change.a : change.b]
        np.maximum(part, change.motion / (change.b - change.a), out=part)
    return np.concatenate([[0.0], np.cumsum(rate[:-1])])


def _solved(matrix: F64, target: F64) -> F64:
    """The solution of a banded, symmetric, positive definite system by Cholesky's factors; changes both arrays."""
    count, wide = matrix.shape
    for i in range(count):
        row = matrix[i]
        row /= np.sqrt(row[0])  # the factor's row
        for k in range(1, min(wide, count - i)):
            if row[k] != 0.0:
                matrix[i + k, : wide - k] -= row[k] * row[k:]
    for i in range(count):
        target[i] /= matrix[i, 0]
        last = min(wide, count - i)
        target[i + 1 : i + last] -= matrix[i, 1:last] * target[i]
    for i in range(count - 1, -1, -1):
        last = min(wide, count - i)
        target[i] = (target[i] - matrix[i, 1:last] @ target[i + 1 : i + last]) / matrix[i, 0]
    return target
