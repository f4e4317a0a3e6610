# SPDX-License-Identifier: Apache-2.0
"""What the network is shown of a window, with every trait that the released EX-4D weights were trained with.

Public code (tau-yihouxiang/EX-4D generate.py, and the pipeline of DiffSynth-Studio that it drives) does some of this by
accident. The weights know it no other way, so each of these stands here by name:

- the mask goes from 0..1 to -1..1 twice, and reaches the autoencoder as -3 and 1 (`mask_video`);
- the first frame loses its fractions of a level before it is encoded (`first_frame`);
- frames that are not known are grey in the image condition, but black in the geometry condition;
- masks are eroded by a box of another size in each frame (`Erosion`), here drawn with a seed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ex4d.generate.diffusion.model import LatentVideo
from ex4d.values import Bool

MASK_CHANNELS = 4


def first_frame(video: Tensor) -> Tensor:
    """The first frame [1, 3, H, W] of a video [1, 3, T, H, W] in -1..1, cut off to whole levels of 255.

    The public code turns it into a picture file's values and back: leaving that out moves final latents by 8e-3.
    """
    levels = ((video[:, :, 0].float() * 0.5 + 0.5) * 255.0).to(torch.uint8)
    return levels.float() * (2.0 / 255.0) - 1.0


def image_condition(picture: Tensor, frames: int, vae: LatentVideo) -> Tensor:
    """The latents that tell the base model its first frame.

    Args:
        picture: [1, 3, H, W] in -1..1, of `first_frame`.
        frames: T of the window.
        vae: the autoencoder.

    Returns:
        [1, 4 + 16, t, h, w] float32: channels that are 1 in the first latent frame and 0 in the others, then the
        latents of the first frame followed by grey ones.
    """
    video = torch.zeros(1, 3, frames, *picture.shape[-2:], device=picture.device)
    video[:, :, 0] = picture
    latents = vae.encode(video)
    known = torch.zeros(1, MASK_CHANNELS, *latents.shape[2:], device=latents.device)
    known[:, :, 0] = 1.0
    return torch.cat([known, latents], dim=1)


def mask_video(mask: Bool) -> Tensor:
    """[T, H, W] → [1, 3, T, H, W] float32 with 1 where seen and -3 elsewhere.

    0 and 1 mapped to -1 and 1, and once more as if they were 0 and 1 still: a single mapping moves final latents by
    0.11.
    """
    levels = torch.from_numpy(mask).float()[None, None].expand(1, 3, *mask.shape)
    return (levels * 2.0 - 1.0) * 2.0 - 1.0
