# SPDX-License-Identifier: Apache-2.0
"""Classifier-free guidance: what is to be seen and what is not, in one pass or two."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

POSITIVE, NEGATIVE, BOTH = "positive", "negative", "both"  # contexts of caches that live from step to step


@dataclass(frozen=True, eq=False)
class Prompts:
    """What the text encoder makes of the prompts. Each [1, 512, width]; rows beyond a prompt's end are zero."""

    positive: Tensor
    negative: Tensor

    def of(self, which: str) -> Tensor:
        """[1, 512, width] for `POSITIVE` or `NEGATIVE`, [2, 512, width] for `BOTH`, in that order."""
        if which == BOTH:
            return torch.cat([self.positive, self.negative])
        return self.positive if which == POSITIVE else self.negative


def guided(predict: Callable[[str], Tensor], cfg: float, batched: bool) -> Tensor:
    """negative + cfg * (positive - negative), which at 1 needs no negative.

    Args:
        predict: predict(which) is the network's answer to `POSITIVE`, `NEGATIVE`, or `BOTH` along the first axis.
        cfg: scale of the guidance.
        batched: ask for both in one pass.
    """
    if cfg == 1.0:
        return predict(POSITIVE)
    if batched:
        positive, negative = predict(BOTH).chunk(2)
    else:
        positive, negative = predict(POSITIVE), predict(NEGATIVE)
    return negative + cfg * (positive - negative)
