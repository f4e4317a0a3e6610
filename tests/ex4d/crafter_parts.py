# SPDX-License-Identifier: Apache-2.0
"""Networks that are formulas, and their windows gone through with the whole clip in memory: what DepthCrafter's own
windows have to come to."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor
from torch.nn import functional

from ex4d.depth.depthcrafter.parts import Recipe, Seeded
from ex4d.depth.depthcrafter.pixels import clip_pixels
from scripts._tiny_depth import SVD_SCHEDULER


class Formulas:
    """Stands in for the networks. The decoder mixes the frames that are decoded together, as the real one does."""

    device = torch.device("cpu")
    scaling = 0.5

    def __init__(self) -> None:
        self.calls: list[tuple[str, int]] = []  # what was asked for, and of how many frames

    def embed(self, pixels: Tensor) -> Tensor:
        self.calls.append(("embed", len(pixels)))
        return pixels.mean(dim=(2, 3))

    def encode(self, frames: Tensor) -> Tensor:
        self.calls.append(("encode", len(frames)))
        small = functional.avg_pool2d(frames, 8)
        return torch.cat([small, small.mean(dim=1, keepdim=True)], dim=1)

    def denoise(self, latents: Tensor, time: Tensor, embeddings: Tensor, about: Tensor) -> Tensor:
        self.calls.append(("denoise", latents.shape[1]))
        noisy, images = latents.chunk(2, dim=2)
        seen = embeddings.mean(dim=-1)[:, :, None, None, None]
        together = noisy.mean(dim=1, keepdim=True)
        return torch.tanh(noisy + 0.2 * together) + 0.5 * images * about[0, 2] + 0.1 * seen + 0.01 * time

    def decode(self, latents: Tensor) -> Tensor:
        self.calls.append(("decode", len(latents)))
        mixed = latents + 0.5 * latents.mean(dim=0, keepdim=True)
        return functional.interpolate(mixed[:, :3], scale_factor=8)


def whole_clip(video: Tensor, recipe: Recipe, seed: int) -> Tensor:
    """[T, 3, H, W] of a clip [T, 3, H, W] in 0..1, with the latents of all of it at hand."""
    networks, noise = Formulas(), Seeded(seed)
    scheduler: Any = EulerDiscreteScheduler(**SVD_SCHEDULER)
    scheduler.set_timesteps(recipe.steps)
    total, _, height, width = video.shape
    window, overlap = (recipe.window, recipe.overlap) if total > recipe.window else (total, 0)
    start_noise = noise.latents((1, window, 4, height // 8, width // 8))
    frames = video * 2 - 1
    embeddings = networks.embed(clip_pixels(frames))
    added = torch.stack([noise.frame(index, tuple(frames.shape[1:])) for index in range(total)])
    images = networks.encode(frames + 0.02 * added)
    every = torch.empty(0)
    begin = 0
    while begin < total - overlap:
        end = min(begin + window, total)
        latents = start_noise[:, : end - begin] * scheduler.init_noise_sigma
        if begin:
            head = start_noise[:, :overlap] * scheduler.sigmas[0]
            latents = torch.cat([every[None, begin : begin + overlap] + head, latents[:, overlap:]], dim=1)
        start_noise = torch.cat([start_noise[:, window - overlap :], start_noise[:, : window - overlap]], dim=1)
        scheduler.set_timesteps(recipe.steps)
        for time in scheduler.timesteps:
            scaled = scheduler.scale_model_input(latents, time)
            about = torch.tensor([[7.0, 127.0, 0.02]])
            velocity = networks.denoise(
                torch.cat([scaled, images[None, begin:end]], dim=2), time, embeddings[None, begin:end], about
            )
            if recipe.guidance > 1:
                nothing = torch.cat([scaled, torch.zeros_like(scaled)], dim=2)
                blind = networks.denoise(nothing, time, torch.zeros_like(embeddings[None, begin:end]), about)
                velocity = blind + recipe.guidance * (velocity - blind)
            latents = scheduler.step(velocity, time, latents).prev_sample
        share = torch.linspace(0, 1, overlap)[:, None, None, None]
        if begin:
            every[begin:] = latents[0, :overlap] * share + every[begin:] * (1 - share)
            every = torch.cat([every, latents[0, overlap:]])
        else:
            every = latents[0]
        begin += window - overlap
    chunks = [networks.decode(part / networks.scaling) for part in every.split(recipe.chunk)]
    return (torch.cat(chunks) * 0.5 + 0.5).clamp(0, 1)
