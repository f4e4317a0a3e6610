# SPDX-License-Identifier: Apache-2.0
"""How unfinished latents look, without decoding them: a linear map from latents to colours.

Wan's latents are close to a small picture already. Which colours they stand for is read off the conditioning, whose
pictures and latents are both at hand before the first step, so no table of some model's factors is needed. What is
shown is where the latents are heading: they themselves are hardly more than noise for most of the steps.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ex4d.generate.diffusion.windows import TIME
from ex4d.values import U8

SIDE_BY_SIDE = 4  # latent frames in a picture
SCALE = 4  # its pixels to a latent, each way
_RIDGE = 1e-4  # of the latents' own variance, about 1: keeps factors small where the conditioning shows hardly anything


class LatentPalette:
    """The colours of latents."""

    def __init__(self, factors: Tensor) -> None:
        """`factors`: [channels + 1, 3] float32, latents and a one → sRGB 0..1."""
        self._factors = factors

    @classmethod
    def fit(cls, latents: Tensor, colour: U8) -> LatentPalette:
        """The linear map that gives a video's colours best from its latents, by least squares.

        Args:
            latents: [1, 16, t, h, w] of the video.
            colour: [T, H, W, 3] sRGB, its frames, T = 4 (t - 1) + 1.
        """
        channels, count, height, width = latents.shape[1:]
        small = np.stack([cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA) for frame in colour])
        seen = torch.from_numpy(small).double().div_(255.0)
        later = seen[1:].view(count - 1, TIME, height, width, 3).mean(1)
        wanted = torch.cat([seen[:1], later]).view(-1, 3)
        known = _rows(latents.cpu().double())
        ridge = torch.full((channels + 1,), _RIDGE * len(known), dtype=torch.float64)
        ridge[-1] = 0.0
        factors = torch.linalg.solve(known.T @ known + ridge.diag(), known.T @ wanted)
        return cls(factors.float())

    def colours(self, latents: Tensor) -> Tensor:
        """[1, 16, t, h, w] → [t, h, w, 3] float32 on the CPU, sRGB, mostly 0..1."""
        return (_rows(latents.cpu().float()) @ self._factors).view(*latents.shape[2:], 3)

    def picture(self, latents: Tensor) -> U8:
        """A few moments of the video side by side: [4 h, 4 w * moments, 3] sRGB."""
        count = latents.shape[2]
        moments = np.linspace(0, count - 1, min(SIDE_BY_SIDE, count)).round().astype(int).tolist()
        colours = self.colours(latents[:, :, moments]).permute(0, 3, 1, 2)
        large = functional.interpolate(colours, scale_factor=SCALE, mode="bilinear", align_corners=False)
        levels = (large * 255.0).round().clamp(0.0, 255.0).to(torch.uint8)
        picture: U8 = torch.cat(list(levels), dim=2).permute(1, 2, 0).contiguous().numpy()
        return picture


def _rows(latents: Tensor) -> Tensor:
    rows = latents[0].flatten(1).T
    return torch.cat([rows, torch.ones_like(rows[:, :1])], dim=1)
