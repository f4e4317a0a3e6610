# SPDX-License-Identifier: Apache-2.0
"""What the windows need: networks, noise, pictures. As protocols: others than the published ones can stand in."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

Picture = Callable[[int], Tensor]  # frame of a clip, from 0 → [3, H, W] float32 in 0..1, sides multiples of 64
Tell = Callable[[int], None]  # told how much more is done; with 0, that work goes on. May raise


class Networks(Protocol):
    """The networks. All take float32 tensors and give such, on their device."""

    device: torch.device
    scaling: float  # what latents were multiplied by for the denoiser

    def embed(self, pixels: Tensor) -> Tensor:
        """Pixels for CLIP [n, 3, 224, 224] → image embeddings [n, C]."""
        ...

    def encode(self, frames: Tensor) -> Tensor:
        """Frames [n, 3, H, W] in -1..1 → latents [n, 4, H/8, W/8], not scaled."""
        ...

    def denoise(self, latents: Tensor, time: Tensor, embeddings: Tensor, about: Tensor) -> Tensor:
        """The velocity of latents.

        Args:
            latents: [1, T, 8, h, w], those that are denoised and the frames'.
            time: what the scheduler calls it.
            embeddings: [1, T, C].
            about: [1, 3], frames per second, amount of motion, strength of the noise on the frames.

        Returns:
            [1, T, 4, h, w]
        """
        ...

    def decode(self, latents: Tensor) -> Tensor:
        """Latents of frames one after the other [n, 4, h, w], not scaled → frames [n, 3, H, W], about -1..1."""
        ...


class Noise(Protocol):
    """Where random numbers come from: normally distributed, float32."""

    def latents(self, shape: tuple[int, ...]) -> Tensor:
        """What the windows start from; asked for once, first of all."""
        ...

    def frame(self, index: int, shape: tuple[int, ...]) -> Tensor:
        """What is added to a frame; asked for once each, in order."""
        ...


class Seeded:
    """Noise of a seed, the same on every machine."""

    def __init__(self, seed: int) -> None:
        self._generator = torch.Generator().manual_seed(seed)

    def latents(self, shape: tuple[int, ...]) -> Tensor:
        """See `Noise`."""
        return torch.randn(shape, generator=self._generator)

    def frame(self, index: int, shape: tuple[int, ...]) -> Tensor:
        """See `Noise`."""
        return torch.randn(shape, generator=self._generator)


@dataclass(frozen=True)
class Recipe:
    """How a clip is gone through."""

    window: int  # frames that are denoised at once
    overlap: int  # frames that a window shares with the one before; fewer than its frames
    steps: int  # of denoising
    guidance: float  # 1 = none; above, each step takes the denoiser twice
    chunk: int  # frames that are decoded at once, which see each other
