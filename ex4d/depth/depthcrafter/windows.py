# SPDX-License-Identifier: Apache-2.0
"""A clip of any length through networks that see so many frames at once.

Windows of frames are denoised one after the other. The frames that a window shares with the one before start from what
that one made of them, as noisy as the rest, and are blended into it afterwards. As soon as no later window changes a
frame, and the frames that it is decoded with are there, it is given. Nothing is kept beyond one window: the latents and
embeddings of its frames.

What is computed is what the public code computes (Tencent/DepthCrafter, `depthcrafter/depth_crafter_ppl.py`), which has
the latents, embeddings and frames of the whole clip in memory.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from diffusers import EulerDiscreteScheduler
from torch import Tensor

from ex4d.depth.depthcrafter.parts import Networks, Noise, Picture, Recipe, Tell
from ex4d.depth.depthcrafter.pixels import clip_pixels

CHANNELS, SMALLER = 4, 8  # of the latents, which are so much smaller than the frame
NOISE = 0.02  # on the frames before they are encoded
_ABOUT = (7.0, 127.0, NOISE)  # frames per second, amount of motion: what the denoiser was trained with


class Crafter:
    """Networks, and how to go through clips with them."""

    def __init__(
        self, networks: Networks, scheduler: EulerDiscreteScheduler, recipe: Recipe, noise: Noise, tell: Tell
    ) -> None:
        """`tell` is told of one thing done for each frame that is encoded, denoised by a step, or decoded."""
        self._networks, self._scheduler, self._recipe = networks, scheduler, recipe
        self._noise, self._tell = noise, tell
        self._about = torch.tensor([_ABOUT], device=networks.device)

    def frames(self, count: int, picture: Picture) -> Iterator[Tensor]:
        """What the networks make of each of `count` frames: [3, H, W] float32 in 0..1 on the CPU."""
        chunk, left = self._recipe.chunk, count
        waiting: Tensor | None = None
        for settled in self.latents(count, picture):
            waiting = settled if waiting is None else torch.cat([waiting, settled])
            while len(waiting) >= min(chunk, left) > 0:
                frames, waiting = self._decode(waiting[:chunk]), waiting[chunk:]
                left -= len(frames)
                yield from frames

    def latents(self, count: int, picture: Picture) -> Iterator[Tensor]:
        """Latents of a clip of `count` frames [n, 4, h, w], some with each window: those that it leaves final."""
        window, overlap = self._recipe.window, self._recipe.overlap
        if count <= window:
            window, overlap = count, 0
        device, stride = self._networks.device, window - overlap
        height, width = (side // SMALLER for side in picture(0).shape[1:])
        self._scheduler.set_timesteps(self._recipe.steps)
        noise = self._noise.latents((1, window, CHANNELS, height, width)).to(device)
        weights = torch.linspace(0.0, 1.0, overlap, device=device).view(1, -1, 1, 1, 1)
        images, embeddings = self._look(range(min(window, count)), picture)
        before: Tensor | None = None  # latents of the frames that the next window shares
        for start in window_starts(count, self._recipe):
            stop = min(start + window, count)
            if start:
                new = self._look(range(start + overlap, stop), picture)
                images = torch.cat([images[:, stride:], new[0]], dim=1)
                embeddings = torch.cat([embeddings[:, stride:], new[1]], dim=1)
            latents = noise[:, : stop - start] * self._scheduler.init_noise_sigma
            noise = noise.roll(overlap, dims=1)
            if before is not None:
                latents[:, :overlap] = before + _noise_of(latents[:, :overlap], self._scheduler)
            latents = self.sample(latents, images, embeddings)
            if before is not None:
                blended = latents[:, :overlap] * weights + before * (1.0 - weights)
                latents = torch.cat([blended, latents[:, overlap:]], dim=1)
            final = stop - start if stop == count else stride
            yield latents[0, :final]
            before = latents[:, stride:]

    def sample(self, latents: Tensor, images: Tensor, embeddings: Tensor) -> Tensor:
        """Denoises a window.

        Args:
            latents: [1, T, 4, h, w], as noisy as the scheduler's first step.
            images: [1, T, 4, h, w] latents of the frames.
            embeddings: [1, T, C] of the frames.

        Returns:
            [1, T, 4, h, w]
        """
        self._scheduler.set_timesteps(self._recipe.steps)
        guidance = self._recipe.guidance
        for time in self._scheduler.timesteps:
            given = self._scheduler.scale_model_input(latents, time)
            velocity = self._velocity(given, images, time, embeddings)
            if guidance > 1.0:
                blind = self._velocity(given, torch.zeros_like(images), time, torch.zeros_like(embeddings))
                velocity = blind + guidance * (velocity - blind)
            latents = self._scheduler.step(velocity, time, latents).prev_sample
            self._tell(latents.shape[1])
        return latents

    def _velocity(self, latents: Tensor, images: Tensor, time: Tensor, embeddings: Tensor) -> Tensor:
        with torch.no_grad():
            return self._networks.denoise(torch.cat([latents, images], dim=2), time, embeddings, self._about)

    def _look(self, which: range, picture: Picture) -> tuple[Tensor, Tensor]:
        """Latents [1, n, 4, h, w] and embeddings [1, n, C] of frames. One at a time, for which memory is least."""
        images, embeddings = [], []
        for index in which:
            frame = picture(index)[None].to(self._networks.device) * 2.0 - 1.0
            noise = self._noise.frame(index, tuple(frame.shape[1:])).to(frame.device)
            with torch.no_grad():
                embeddings.append(self._networks.embed(clip_pixels(frame)))
                images.append(self._networks.encode(frame + NOISE * noise))
            self._tell(1)
        return torch.cat(images)[None], torch.cat(embeddings)[None]

    def _decode(self, latents: Tensor) -> Tensor:
        with torch.no_grad():
            frames = self._networks.decode(latents / self._networks.scaling)
        self._tell(len(frames))
        return (frames.float() * 0.5 + 0.5).clamp(0.0, 1.0).cpu()


def window_starts(count: int, recipe: Recipe) -> range:
    """The first frames of the windows of a clip; one where the clip fits into a window."""
    if count <= recipe.window:
        return range(1)
    return range(0, count - recipe.overlap, recipe.window - recipe.overlap)


def work(count: int, recipe: Recipe) -> int:
    """How much a `Crafter` tells in all, of a clip of `count` frames."""
    denoised = sum(min(recipe.window, count - start) for start in window_starts(count, recipe))
    return 2 * count + recipe.steps * denoised


def _noise_of(latents: Tensor, scheduler: EulerDiscreteScheduler) -> Tensor:
    """Noise at the strength that the schedule starts with, of latents that are nothing but noise."""
    noise: Tensor = latents / scheduler.init_noise_sigma * scheduler.sigmas[0]
    return noise
