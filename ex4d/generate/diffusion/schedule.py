# SPDX-License-Identifier: Apache-2.0
"""Noise levels of flow matching, as the public Wan and EX-4D code steps through them."""

from __future__ import annotations

import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor


class Schedule:
    """Noise levels from 1 down to 0, taken one after the other."""

    def __init__(self, steps: int, shift: float, start: int = 0) -> None:
        """`steps` levels: s evenly from 1 to 0 without the 0 itself, then shift * s / (1 + (shift - 1) * s).

        The scheduler's own choice of levels is another one; the released weights were run with this.

        Args:
            steps: how many levels, 1 or more.
            shift: more of it spends more steps at high noise.
            start: the step, counted from 0, that is taken first: where an interrupted run goes on.
        """
        self._scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
        self._scheduler.set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1])
        self._scheduler.set_begin_index(start)
        self.steps = steps

    def sigma(self, step: int) -> float:
        """Noise level at the start of a step counted from 0; 0 after the last."""
        return float(self._scheduler.sigmas[step])

    def timestep(self, step: int) -> float:
        """What the network is told about it, 0..1000."""
        return float(self._scheduler.timesteps[step])

    def advance(self, step: int, latents: Tensor, velocity: Tensor) -> Tensor:
        """Euler's step from one noise level to the next. Steps have to be taken in order."""
        moved: Tensor = self._scheduler.step(velocity, self._scheduler.timesteps[step], latents, return_dict=False)[0]
        return moved
