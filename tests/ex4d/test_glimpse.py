# SPDX-License-Identifier: Apache-2.0
"""Pictures of unfinished latents."""

from __future__ import annotations

import numpy as np
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.latents import WanLatents, to_video
from ex4d.values import U8


def clip(frames: int, height: int, width: int) -> U8:
    """Soft patches of colour that drift, black where nothing is seen."""
    y, x = np.mgrid[:height, :width] / 16.0
    waves = [np.sin(x * (1 + k) + y * (2 - k) + 0.4 * t + k) for t in range(frames) for k in range(3)]
    video = np.round(127.5 + 127.5 * np.array(waves)).astype(np.uint8).reshape(frames, 3, height, width)
    video = np.ascontiguousarray(video.transpose(0, 2, 3, 1))
    video[:, :, : width // 4] = 0
    return video


def small(video: U8) -> Tensor:
    """What a latent's colour is taken to be: the mean over its pixels and frames, 0..1. [t, h, w, 3]"""
    frames, height, width = video.shape[:3]
    blocks = torch.from_numpy(video).double().view(frames, height // 8, 8, width // 8, 8, 3).mean((2, 4)) / 255.0
    return torch.cat([blocks[:1], blocks[1:].unflatten(0, (-1, 4)).mean(1)])


def test_a_linear_autoencoder_is_seen_through() -> None:
    video = clip(9, 32, 48)
    matrix = torch.randn(3, 16, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    latents = ((small(video) - 0.4) @ matrix).permute(3, 0, 1, 2)[None].float()
    found = LatentPalette.fit(latents, video).colours(latents)
    assert (found - small(video)).abs().max() < 2 / 255


def test_a_real_autoencoder_is_better_than_nothing() -> None:
    torch.manual_seed(0)
    video = clip(17, 64, 64)
    latents = WanLatents(AutoencoderKLWan(base_dim=4)).encode(to_video(video))
    off = LatentPalette.fit(latents, video).colours(latents) - small(video)
    spread = small(video) - small(video).mean((0, 1, 2))
    assert off.square().mean() < 0.9 * spread.square().mean()  # a random encoder is far from linear


def test_moments_stand_side_by_side() -> None:
    video = clip(29, 16, 24)
    latents = small(video).permute(3, 0, 1, 2)[None].float()
    palette = LatentPalette.fit(latents, video)
    picture = palette.picture(latents)
    assert picture.dtype == np.uint8
    assert picture.shape == (8, 4 * 12, 3)
    for place, moment in enumerate((0, 2, 5, 7)):
        alone = palette.picture(latents[:, :, moment : moment + 1])
        assert alone.shape == (8, 12, 3)
        np.testing.assert_array_equal(picture[:, 12 * place : 12 * (place + 1)], alone)


def test_nothing_to_be_seen_is_no_trouble() -> None:
    """A conditioning without a single seen pixel, and noise that no linear map fits."""
    noise = torch.randn(1, 16, 3, 2, 3)
    picture = LatentPalette.fit(noise, np.zeros((9, 16, 24, 3), np.uint8)).picture(noise)
    assert picture.shape == (8, 36, 3)
    assert picture.max() <= 1
