# SPDX-License-Identifier: Apache-2.0
"""What ties the windows of a long shot together: noise, latents held while denoising, and one stream to decode.

A window starts from the noise that the window before it had in the frames that both paint, so both head for the same
picture there. While it is denoised, its latents of these frames are held to those of the window before, at the noise
level at hand; how firmly falls from all to nothing over the overlap. (Putting what is known in place at each level goes
back to Lugmayr et al., "RePaint", CVPR 2022.) Between steps it falls steeply, since what is held a little at each of
many steps is held a lot; at the last, evenly, which is a cross-fade of latents. In the end the latents of all windows
are one stream, decoded with latents of the window before as context: a decoder that started afresh at each window would
show it.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from itertools import pairwise

import torch
from torch import Tensor

from ex4d.generate.diffusion.model import LatentVideo
from ex4d.generate.diffusion.windows import TIME, Span

CHANNELS = 16
_BETWEEN_STEPS = 3  # power of the weights: with it the seam is small for 4 steps as for 50 (see tests)
CONTEXT = 8  # latents decoded once more before those of a window: with fewer the seam can be measured


def window_noise(seed: int, spans: Sequence[Span], index: int, height: int, width: int) -> Tensor:
    """The noise that a window starts from: of seed and windows alone.

    Args:
        seed: of the shot.
        spans: all windows of the shot.
        index: of the window.
        height: of the latents.
        width: of the latents.

    Returns:
        [1, 16, t, height, width] float32 on the CPU. The first window's is what torch draws with that seed; a later
        one's has, in the frames that it shares with the window before, that window's, and else draws of its own.
    """
    noise = _draw(seed, spans[0].latents, height, width)
    for before, span in pairwise(spans[: index + 1]):
        shared = noise[:, :, span.first_latent - before.first_latent :]
        own = _draw(_seed_of(seed, span.start), span.latents - shared.shape[2], height, width)
        noise = torch.cat([shared, own], dim=2)
    return noise


class Pin:
    """Holds the first latents of a window to what is known of them."""

    def __init__(self, known: Tensor, noise: Tensor) -> None:
        """What is known, held the less the later it is: all of the first latent, nothing of the last.

        Args:
            known: [1, 16, n, h, w] clean latents that the window is to begin with.
            noise: [1, 16, t, h, w] that it starts from.
        """
        count = known.shape[2]
        self._known, self._noise = known.float(), noise[:, :, :count].to(known.device, torch.float32)
        self._fading = torch.linspace(1.0, 0.0, count).view(1, 1, -1, 1, 1)

    @classmethod
    def none(cls) -> Pin:
        """Holds nothing."""
        return cls(torch.empty(1, CHANNELS, 0, 0, 0), torch.empty(1, CHANNELS, 0, 0, 0))

    @classmethod
    def to_shot(cls, shot: Tensor, span: Span, first: Tensor, noise: Tensor) -> Pin:
        """Holds a window to the window before.

        Args:
            shot: [1, 16, n, h, w] latents of the shot so far, see `join`.
            span: of the window.
            first: [1, 16, 1, h, w] the window's first frame encoded as the first of a video, which is what a latent
                there stands for; the shot's own has the frames before it as well.
            noise: [1, 16, t, h, w] that the window starts from.
        """
        here = span.first_latent + 1
        return cls(torch.cat([first, shot[:, :, here : here + span.shared_latents].to(first)], dim=2), noise)

    def hold(self, latents: Tensor, sigma: float) -> Tensor:
        """The latents [1, 16, t, h, w] at noise level `sigma`, 1..0, with those that are held in their place."""
        count = self._known.shape[2]
        if not count:
            return latents
        known, noise, fading = (part.to(latents) for part in (self._known, self._noise, self._fading))
        weights = fading**_BETWEEN_STEPS if sigma > 0.0 else fading
        held = torch.lerp(latents[:, :, :count], (1.0 - sigma) * known + sigma * noise, weights)
        return torch.cat([held, latents[:, :, count:]], dim=2)


def join(shot: Tensor | None, latents: Tensor, span: Span) -> Tensor:
    """The latents of a shot, with those of one more window.

    Args:
        shot: [1, 16, n, h, w] of all windows before; None: there is none.
        latents: [1, 16, t, h, w] of the window, clean.
        span: of the window.

    Returns:
        [1, 16, n', h, w]: the shot's up to the window's first frame, the window's from there on.
    """
    if shot is None:
        return latents
    return torch.cat([shot[:, :, : span.first_latent + 1].to(latents), latents[:, :, 1:]], dim=2)


def decode(vae: LatentVideo, shot: Tensor, span: Span) -> Tensor:
    """Pictures of a window, from the latents of the shot up to it.

    Args:
        vae: the autoencoder.
        shot: [1, 16, n, h, w] of `join` with this window; later windows may have been joined as well.
        span: of the window.

    Returns:
        [1, 3, T, H, W] in -1..1: of the first window all frames, of a later one those after its first.
    """
    begin = max(span.first_latent - CONTEXT, 0)
    pictures = vae.decode(shot[:, :, begin : span.first_latent + span.latents])
    known = span.start - TIME * begin + 1 if span.overlap else 0
    return pictures[:, :, known:]


def _draw(seed: int, latents: int, height: int, width: int) -> Tensor:
    shape = (1, CHANNELS, latents, height, width)
    return torch.randn(shape, dtype=torch.float32, generator=torch.Generator("cpu").manual_seed(seed))


def _seed_of(seed: int, start: int) -> int:
    return int.from_bytes(sha256(f"{seed} {start}".encode()).digest()[:8], "little") >> 1
