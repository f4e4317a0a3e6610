# SPDX-License-Identifier: Apache-2.0
"""Filling what is not known in a picture from what is known around it."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ex4d.values import F32, Bool

_SMALLEST = 4  # pixels; a pyramid level of this size is filled with its mean


def membrane(values: F32, known: Bool, *, relaxations: int = 16, wrap: bool = False) -> F32:
    """Stretches a membrane over the unknown part: smooth, and equal to the known values at its rim.

    Multigrid for Laplace's equation: averages of the known values down a pyramid, then back up, each level starting
    from the coarser one and relaxing. A plane comes out as that plane, up to the rest error of the relaxation.

    Args:
        values: [H, W] or [H, W, C]; what stands in unknown places is ignored.
        known: [H, W].
        relaxations: smoothing steps at each level.
        wrap: the left and right edges touch (a panorama).

    Returns:
        As `values`; known places unchanged, 0 everywhere if nothing is known.
    """
    flat = values.reshape(*values.shape[:2], -1).astype(np.float32)
    return _level(flat, known, relaxations, wrap).reshape(values.shape)


def _level(values: F32, known: Bool, relaxations: int, wrap: bool) -> F32:
    height, width = known.shape
    if known.all():
        return values
    if not known.any():
        return np.zeros_like(values)
    if max(height, width) <= _SMALLEST:
        mean = values[known].mean(axis=0)
        return np.where(known[..., None], values, mean).astype(np.float32)
    half = ((width + 1) // 2, (height + 1) // 2)
    weight = known.astype(np.float32)
    small_weight = cv2.resize(weight, half, interpolation=cv2.INTER_AREA)
    small = _planes(cv2.resize(values * weight[..., None], half, interpolation=cv2.INTER_AREA))
    small_known = small_weight > 0.0
    small = (small / np.where(small_known, small_weight, 1.0)[..., None]).astype(np.float32)
    coarse = _level(small, small_known, relaxations, wrap)
    guess = _planes(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR))
    out = np.where(known[..., None], values, guess).astype(np.float32)
    # Only the rectangle around the unknown part need be relaxed.
    rows, columns = np.flatnonzero(~known.all(axis=1)), np.flatnonzero(~known.all(axis=0))
    top, bottom = max(rows[0] - 1, 0), min(rows[-1] + 2, height)
    left, right = (0, width) if wrap else (max(columns[0] - 1, 0), min(columns[-1] + 2, width))
    part, fixed = out[top:bottom, left:right], known[top:bottom, left:right, None]
    for _ in range(relaxations):
        if wrap:
            wide = np.concatenate([part[:, -1:], part, part[:, :1]], axis=1)
            smooth = _planes(cv2.blur(wide, (3, 3), borderType=cv2.BORDER_REPLICATE))[:, 1:-1]
        else:
            smooth = _planes(cv2.blur(part, (3, 3), borderType=cv2.BORDER_REPLICATE))
        part = np.where(fixed, part, smooth).astype(np.float32)
    out[top:bottom, left:right] = part
    return out


def _planes(image: Any) -> Any:
    """OpenCV drops a last axis of length one."""
    return image if image.ndim == 3 else image[..., None]
