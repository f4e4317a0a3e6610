# SPDX-License-Identifier: Apache-2.0
"""The sampling loop: from noise to the latents of a window, one noise level after the other."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ex4d.generate.diffusion.model import Conditioned
from ex4d.generate.diffusion.schedule import Schedule
from shared_protocol.errors import BAD_INPUT, Ex4dError


def _as_it_is(latents: Tensor, _sigma: float) -> Tensor:
    return latents


@torch.no_grad()
def sample(
    model: Conditioned,
    latents: Tensor,
    schedule: Schedule,
    cfg: float,
    *,
    start: int = 0,
    hold: Callable[[Tensor, float], Tensor] = _as_it_is,
    after_step: Callable[[int, Tensor, Tensor], None],
) -> Tensor:
    """Takes latents from one noise level to the next until they are clean.

    Args:
        model: what has been shown the window.
        latents: [1, 16, t, h, w] float32 at the noise level of step `start`: at 0, noise.
        schedule: the levels, beginning at `start`.
        cfg: scale of classifier-free guidance.
        start: the first step taken, counted from 0.
        hold: hold(latents, sigma) puts what is known of the window in its place, at a noise level.
        after_step: after_step(step, latents, clean) once a step is behind us, with the clean latents that the model
            takes them to be on their way to; may raise to stop the work.

    Returns:
        Clean latents, like `latents`.

    Raises:
        Ex4dError: BAD_INPUT where the model's answer holds infinities or what is no number.
    """
    for step in range(start, schedule.steps):
        velocity = model.velocity(latents, schedule.timestep(step), cfg)
        clean = latents - schedule.sigma(step) * velocity
        latents = hold(schedule.advance(step, latents, velocity), schedule.sigma(step + 1))
        if not torch.isfinite(latents).all():  # they would become black pictures
            raise Ex4dError(
                BAD_INPUT,
                f"In step {step + 1} the model gives no numbers: its weights, a LoRA's, or a strength are at fault.",
                "`ex4d models verify` finds damaged files. Try without LoRAs, and with weights on bf16.",
            )
        after_step(step, latents, clean)
    return latents
