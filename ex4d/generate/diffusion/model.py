# SPDX-License-Identifier: Apache-2.0
"""What the sampling loop asks of a video diffusion model, whichever it is.

Shapes: frames T, picture H x W; their latents are [1, 16, t, h, w] with t = (T - 1) / 4 + 1, h = H / 8, w = W / 8.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.values import U8, Bool


@dataclass(frozen=True, eq=False)
class Window:
    """Frames that are painted in one go, at the size they are painted at."""

    colour: U8  # [T, H, W, 3] sRGB; T = 4k + 1, H and W multiples of 16
    mask: Bool  # [T, H, W] True = seen, or finished before
    finished: int  # this many frames at the start are finished pictures of the window before; 0 for the first window
    start: int  # of the shot's frames, the one that this window's first frame is


class Conditioned(Protocol):
    """A model that has been shown a window and the prompts."""

    @property
    def palette(self) -> LatentPalette:
        """What colours its latents stand for, for glimpses."""
        ...

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        """The flow-matching velocity at `latents`.

        Args:
            latents: [1, 16, t, h, w] float32.
            timestep: 0..1000.
            cfg: scale of classifier-free guidance; at 1 the negative prompt is not run.

        Returns:
            [1, 16, t, h, w] float32: negative + cfg * (positive - negative).
        """
        ...


class LatentVideo(Protocol):
    """The autoencoder between pictures and latents, normalised per channel."""

    def encode(self, video: Tensor) -> Tensor:
        """[1, 3, T, H, W] in -1..1 → [1, 16, t, h, w] float32: the normalised mean, never a sample."""
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, t, h, w] → [1, 3, T, H, W] float32, clamped to -1..1."""
        ...


class VideoModel(Protocol):
    """A loaded model, placed on its device."""

    vae: LatentVideo
    device: torch.device  # where latents live and work is done

    def condition(self, window: Window) -> Conditioned:
        """Everything about a window that does not change from step to step, computed once."""
        ...
