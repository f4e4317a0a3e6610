# SPDX-License-Identifier: Apache-2.0
"""What a VACE network is shown of a window: 96 channels beside the latents.

Facts from the public code (ali-vilab/VACE, vace/models/wan/wan_vace.py; diffusers, WanVACEPipeline): a mask is 1 where
something is to be painted, and there the video is grey, 0 in -1..1. 16 channels are the latents of what is kept, 16
those of what is to be changed, 64 the mask with each 8x8 pixels folded into channels. A reference picture stands as one
more latent frame before the others. The latents of what is to be changed are those of a grey video here: a new view has
nothing there yet.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ex4d.generate.diffusion.latents import SPACE, TIME, to_video
from ex4d.generate.diffusion.model import LatentVideo, Window
from ex4d.values import U8, Bool

LATENTS = 16  # channels


def kept(window: Window, edge: int) -> Bool:
    """What of a window stays as it is.

    Args:
        window: the frames that are finished are kept whole.
        edge: what was seen gives way this many pixels along its borders, where rendered and resized pictures have
            colours of both sides mixed. The picture's own borders are no such edge.

    Returns:
        [T, H, W] bool.
    """
    if edge == 0:
        keep = window.mask.copy()
    else:
        box = np.ones((2 * edge + 1, 2 * edge + 1), np.uint8)
        keep = np.stack([cv2.erode(seen.astype(np.uint8), box) > 0 for seen in window.mask])
    keep[: window.finished] = True
    return keep


def control(colour: U8, keep: Bool, vae: LatentVideo) -> Tensor:
    """The control channels of a window.

    Args:
        colour: [T, H, W, 3] sRGB; its values do not matter outside `keep`.
        keep: [T, H, W] of `kept`.
        vae: the autoencoder.

    Returns:
        [1, 96, t, h, w] float32, the first 16 the latents of what is kept, on grey.
    """
    grey = torch.zeros(1, 3, *keep.shape)
    inactive = vae.encode(torch.where(torch.from_numpy(keep), to_video(colour), grey))
    return torch.cat([inactive, vae.encode(grey), _folded(~keep).to(inactive.device)], dim=1)


def with_reference(channels: Tensor, reference: Tensor) -> Tensor:
    """Control channels with a latent frame before them that is known whole.

    Args:
        channels: [1, 96, t, h, w] of `control`.
        reference: [1, 16, 1, h, w] of `reference_latents`.

    Returns:
        [1, 96, 1 + t, h, w].
    """
    nothing_to_paint = torch.zeros_like(channels[:, LATENTS:, :1])
    return torch.cat([torch.cat([reference.to(channels), nothing_to_paint], dim=1), channels], dim=2)


def reference_latents(picture: U8, height: int, width: int, vae: LatentVideo) -> Tensor:
    """Latents of a reference picture: as large as fits into the window, on white where the aspect differs.

    Args:
        picture: [h, w, 3] sRGB, of any size.
        height: of the window, pixels.
        width: of the window, pixels.
        vae: the autoencoder.

    Returns:
        [1, 16, 1, height / 8, width / 8] float32.
    """
    scale = min(height / picture.shape[0], width / picture.shape[1])
    inner = (min(height, round(picture.shape[0] * scale)), min(width, round(picture.shape[1] * scale)))
    small = functional.interpolate(to_video(picture[None])[:, :, 0], size=inner, mode="bilinear", antialias=True)
    top, left = (height - inner[0]) // 2, (width - inner[1]) // 2
    canvas = torch.ones(1, 3, 1, height, width)
    canvas[:, :, 0, top : top + inner[0], left : left + inner[1]] = small
    return vae.encode(canvas)


def _folded(paint: Bool) -> Tensor:
    """[T, H, W] True = to be painted → [1, 64, t, h, w] float32.

    Each latent frame has the mask of one of its frames or of one next to them: the nearest where t frames lie evenly
    over T, as the public code takes them. The weights were trained with that.
    """
    frames, height, width = paint.shape
    cells = torch.from_numpy(paint).float().view(frames, height // SPACE, SPACE, width // SPACE, SPACE)
    channels = cells.permute(2, 4, 0, 1, 3).flatten(0, 1)[None]
    size = ((frames - 1) // TIME + 1, *channels.shape[3:])
    return functional.interpolate(channels, size=size, mode="nearest-exact")
