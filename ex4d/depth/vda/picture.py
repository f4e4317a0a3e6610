# SPDX-License-Identifier: Apache-2.0
"""A frame as the network takes it. Needs no torch."""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.values import F32, U8

# ImageNet's mean and standard deviation of red, green and blue.
_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_WIDE, _WIDE_KEPT = 1.78, 1.777  # long side over short: from the first on, the short side is made smaller


def network_size(height: int, width: int, input_size: int, patch: int) -> tuple[int, int]:
    """Height and width at which the network sees frames: multiples of the patch, the aspect about kept.

    The short side becomes `input_size`. Of a picture that is wider than 16:9 (or higher than 9:16) it becomes smaller,
    so that the long side stays what it is at 16:9.
    Source: DepthAnything/Video-Depth-Anything, `video_depth.py` and `dpt_temporal`'s transform, with Python's rounding.

    Args:
        height, width: of the frames.
        input_size: pixels.
        patch: pixels; 14 in every published network.
    """
    aspect = max(height, width) / min(height, width)
    if aspect > _WIDE:
        # Nothing is left of the short side of a strip: one patch at least.
        input_size = max(patch, round(int(input_size * _WIDE_KEPT / aspect) / patch) * patch)
    scale = max(input_size / height, input_size / width)
    return _multiple(scale * height, input_size, patch), _multiple(scale * width, input_size, patch)


def network_picture(frame: U8, height: int, width: int) -> F32:
    """[3, height, width] of a frame [H, W, 3] sRGB: resized by a cubic that may overshoot, and normalised."""
    unit = frame.astype(np.float32) / np.float32(255.0)
    sized = cv2.resize(unit, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.ascontiguousarray(((sized - np.array(_MEAN)) / np.array(_DEVIATION)).transpose(2, 0, 1), np.float32)


def _multiple(side: float, least: int, patch: int) -> int:
    nearest = round(side / patch) * patch
    return nearest if nearest >= least else int(np.ceil(side / patch)) * patch
