# SPDX-License-Identifier: Apache-2.0
"""The sampling loop, where a model fails."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.sampler import sample
from ex4d.generate.diffusion.schedule import Schedule
from shared_protocol.errors import BAD_INPUT, Ex4dError


class Overflowing:
    """A model whose answer is too large in its second step."""

    palette = LatentPalette(torch.zeros(17, 3))

    def __init__(self, answer: float) -> None:
        self.asked, self.answer = 0, answer

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        self.asked += 1
        velocity = torch.zeros_like(latents)
        if self.asked == 2:
            velocity[0, 3, 0, 1, 1] = self.answer
        return velocity


@pytest.mark.parametrize("answer", [float("inf"), float("nan")])
def test_what_is_no_number_ends_the_run_in_its_step_and_is_not_kept(answer: float) -> None:
    kept: list[int] = []
    with pytest.raises(Ex4dError, match="In step 2 the model gives no numbers") as caught:
        sample(
            Overflowing(answer),
            torch.zeros(1, 16, 1, 2, 2),
            Schedule(4, 5.0),
            1.0,
            after_step=lambda step, *_: kept.append(step),
        )
    assert caught.value.code == BAD_INPUT
    assert kept == [0]
