# SPDX-License-Identifier: Apache-2.0
"""How long a phase of some work still takes, by its pace until now."""

from __future__ import annotations

import math
from typing import Final

_LEAST_S: Final = 1.0  # that a phase must have gone on before anything is said about its end


class Pace:
    """Of one run. Steps that were done before the phase was first heard of (a job that goes on) took no time here."""

    def __init__(self) -> None:
        self._phase = ""
        self._first = self._last = (0, 0.0)  # steps done when it was first heard of, and when that was; the same now

    def seconds_left(self, phase: str, done: int, total: int, now: float) -> int | None:
        """Seconds until `done` will be `total`; None where nobody can tell yet.

        Args:
            phase: what is being done.
            done: steps behind us.
            total: steps in all; 0 = not known.
            now: seconds on a steady clock.
        """
        if phase != self._phase or done < self._last[0]:
            self._phase, self._first, self._last = phase, (done, now), (done, now)
        elif done > self._last[0]:
            self._last = (done, now)
        steps, seconds = self._last[0] - self._first[0], self._last[1] - self._first[1]
        if steps < 1 or now - self._first[1] < _LEAST_S or not done <= total:
            return None
        step = max(seconds / steps, (now - self._first[1]) / (steps + 1))  # one that is slow counts before it ends
        into = min(now - self._last[1], step) if done < total else 0.0  # the step that is being done
        return math.ceil((total - done) * step - into)
