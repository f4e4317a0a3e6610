# SPDX-License-Identifier: Apache-2.0
"""The first frame as CLIP gets it in the public Wan and EX-4D code.

Stretched straight to 224x224 with a bicubic filter and no antialiasing, whatever its aspect. The image processor that
comes with the model's repository crops and antialiases instead, and gives other features.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

SIDE = 224  # pixels
# Channel statistics that CLIP was trained with (openai/CLIP, clip.py, `_transform`).
_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(picture: Tensor) -> Tensor:
    """[B, 3, H, W] in -1..1 → [B, 3, 224, 224] float32, normalised for CLIP."""
    resized = functional.interpolate(
        picture.float(), size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=False
    )
    mean, std = (torch.tensor(values, device=picture.device).view(1, 3, 1, 1) for values in (_MEAN, _STD))
    return (resized * 0.5 + 0.5 - mean) / std
