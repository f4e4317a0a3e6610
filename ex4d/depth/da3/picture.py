# SPDX-License-Identifier: Apache-2.0
"""Frames as Depth Anything 3 was trained to see them. Needs no torch."""

from __future__ import annotations

from typing import Final

import cv2
import numpy as np

from ex4d.values import F32, U8

PATCH: Final = 14
_MEAN: Final = np.array([0.485, 0.456, 0.406], np.float32)  # of ImageNet
_DEVIATION: Final = np.array([0.229, 0.224, 0.225], np.float32)


def seen_sizes(height: int, width: int, long_side: int) -> tuple[tuple[int, int], tuple[int, int]]:
    """Height and width after each of two steps: the long side as wanted, then whole patches."""
    scale = long_side / max(height, width)
    first = max(1, round(height * scale)), max(1, round(width * scale))
    return first, (_patches(first[0]), _patches(first[1]))


def seen(frame: U8, long_side: int) -> F32:
    """[3, h, w] of a frame [H, W, 3], in two steps of 8 bits as the package's own `InputProcessor` does it."""
    picture = frame
    for height, width in seen_sizes(frame.shape[0], frame.shape[1], long_side):
        if picture.shape[:2] != (height, width):
            larger = height > picture.shape[0] or width > picture.shape[1]
            how = cv2.INTER_CUBIC if larger else cv2.INTER_AREA
            picture = np.asarray(cv2.resize(picture, (width, height), interpolation=how), np.uint8)
    normed = (picture.astype(np.float32) / 255 - _MEAN) / _DEVIATION
    return np.ascontiguousarray(normed.transpose(2, 0, 1), np.float32)


def _patches(side: int) -> int:
    """The nearest whole number of patches, in pixels; of two as near, the larger."""
    return max(PATCH, (side + PATCH // 2) // PATCH * PATCH)
