# SPDX-License-Identifier: Apache-2.0
"""A frame as the CLIP network gets it that Stable Video Diffusion was trained with.

Stretched straight to 224x224, whatever its aspect: blurred by as much as it shrinks, then by a bicubic filter that has
the corners' pixels on the corners. The image processor that comes with the model only normalises.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 224  # pixels
# Channel statistics that CLIP was trained with (openai/CLIP, clip.py, `_transform`).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(frames: Tensor) -> Tensor:
    """[n, 3, H, W] in -1..1 → [n, 3, 224, 224] float32, normalised for CLIP."""
    resized = functional.interpolate(_blurred(frames.float()), (SIDE, SIDE), mode="bicubic", align_corners=True)
    mean, std = (torch.tensor(values, device=frames.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (resized * 0.5 + 0.5 - mean) / std


def _blurred(frames: Tensor) -> Tensor:
    """Blurred down and across by a Gaussian of half of what the shrinking leaves out, edges mirrored."""
    for axis in (2, 3):
        kernel = _gaussian(frames.shape[axis] / SIDE).to(frames.device)
        reach = len(kernel) // 2
        padding = (reach, reach, 0, 0) if axis == 3 else (0, 0, reach, reach)
        shape = (1, 1, 1, -1) if axis == 3 else (1, 1, -1, 1)
        weights = kernel.view(shape).expand(frames.shape[1], 1, -1, -1).contiguous()
        frames = functional.conv2d(
            functional.pad(frames, padding, mode="reflect"), weights, groups=frames.shape[1], padding=0
        )
    return frames


def _gaussian(shrink: float) -> Tensor:
    """Of a width that follows scikit-image's rule for shrinking (`skimage.transform.resize`), cut at two of it."""
    sigma = max((shrink - 1.0) / 2.0, 0.001)
    taps = int(max(4.0 * sigma, 3))
    taps += 1 - taps % 2
    away = torch.arange(taps, dtype=torch.float32) - taps // 2
    kernel = torch.exp(-(away**2) / (2.0 * sigma**2))
    return kernel / kernel.sum()
