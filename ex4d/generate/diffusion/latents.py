# SPDX-License-Identifier: Apache-2.0
"""Pictures and their latents: Wan's autoencoder as the public code uses it.

It encodes to the mean of what the encoder predicts, never to a sample, and normalises each of the 16 channels.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from ex4d.values import F32, U8

TIME = 4  # frames per latent frame; the first frame has one of its own
SPACE = 8  # pixels per latent, each way


class WanLatents:
    """`LatentVideo` of an `AutoencoderKLWan`."""

    def __init__(self, vae: AutoencoderKLWan) -> None:
        """`vae` is on the device where it works; what comes in is brought there."""
        self._vae = vae
        shape = (1, -1, 1, 1, 1)
        self._mean = torch.tensor(vae.config.latents_mean).view(shape)
        # The public code multiplies by the reciprocal; dividing rounds otherwise.
        self._scale = 1.0 / torch.tensor(vae.config.latents_std).view(shape)

    @torch.no_grad()
    def encode(self, video: Tensor) -> Tensor:
        """[1, 3, T, H, W] in -1..1 → [1, 16, t, h, w] float32, on the autoencoder's device."""
        raw = self._vae.encode(video.to(self._vae.device, self._vae.dtype)).latent_dist.mean.float()
        latents: Tensor = (raw - self._mean.to(raw.device)) * self._scale.to(raw.device)
        return latents

    @torch.no_grad()
    def decode(self, latents: Tensor) -> Tensor:
        """[1, 16, t, h, w] → [1, 3, T, H, W] float32, clamped to -1..1, on the autoencoder's device."""
        latents = latents.to(self._vae.device, torch.float32)
        raw = latents / self._scale.to(latents.device) + self._mean.to(latents.device)
        video: Tensor = self._vae.decode(raw.to(self._vae.dtype), return_dict=False)[0]
        return video.float()


def latent_size(frames: int, height: int, width: int) -> tuple[int, int, int]:
    """t, h, w of the latents of a video."""
    return (frames - 1) // TIME + 1, height // SPACE, width // SPACE


def to_video(frames: U8 | F32) -> Tensor:
    """[T, H, W, 3], uint8 or -1..1 → [1, 3, T, H, W] float32 in -1..1."""
    video = torch.from_numpy(frames).permute(3, 0, 1, 2)[None]
    return video.float() / 127.5 - 1.0 if video.dtype == torch.uint8 else video


def to_frames(video: Tensor) -> U8:
    """[1, 3, T, H, W] in -1..1 → [T, H, W, 3] uint8: cut off to whole levels, as the public code does."""
    levels = ((video[0].float() + 1.0) * 127.5).clamp(0.0, 255.0).to(torch.uint8)
    frames: U8 = levels.permute(1, 2, 3, 0).cpu().numpy()
    return frames
