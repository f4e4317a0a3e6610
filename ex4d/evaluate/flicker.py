# SPDX-License-Identifier: Apache-2.0
"""Flicker: how much a surface changes from one frame to the next once its movement is taken out.

The usual warping error (e.g. Lai et al., "Learning Blind Video Temporal Consistency", ECCV 2018, section 4): optical
flow between consecutive frames, the later one warped onto the earlier, mean absolute difference where flow there and
back agree. Flow: DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), from OpenCV.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise

import cv2
import numpy as np

from ex4d.values import F32, U8, Bool
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

# Forward and backward flow agree where |f + b|^2 <= AGREE * (|f|^2 + |b|^2) + SLACK (Sundaram, Brox and Keutzer, "Dense
# Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010, section 4.1).
AGREE = 0.01
SLACK = 0.5  # pixels squared


def flow(a: U8, b: U8) -> F32:
    """Movement of every pixel of `a` to `b`, [H, W, 2] float32 in pixels (x, y); both [H, W, 3] sRGB."""
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    start = np.zeros((*a.shape[:2], 2), np.float32)
    first, second = (cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY) for frame in (a, b))
    return np.asarray(dis.calc(first, second, start), np.float32)


def landing(a: U8, b: U8) -> tuple[F32, F32, Bool]:
    """Where the pixels of a frame are in the next one.

    Args:
        a: [H, W, 3] sRGB.
        b: of the same size.

    Returns:
        x and y [H, W], in pixels of `b` counted from the centre of its first; and [H, W] whose flow stays in the
        picture and leads back to where it came from (so what is hidden or shown anew does not count).
    """
    height, width = a.shape[:2]
    there, back = flow(a, b), flow(b, a)
    grid_x, grid_y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    x, y = grid_x + there[..., 0], grid_y + there[..., 1]
    counts = (x >= 0.0) & (y >= 0.0) & (x <= width - 1.0) & (y <= height - 1.0)
    returned = np.asarray(cv2.remap(back, x, y, cv2.INTER_LINEAR), np.float32)
    off = ((there + returned) ** 2).sum(axis=-1)
    counts &= off <= AGREE * ((there**2).sum(axis=-1) + (returned**2).sum(axis=-1)) + SLACK
    return x, y, counts


def warped_difference(a: U8, b: U8, area_a: Bool | None = None, area_b: Bool | None = None) -> tuple[float, int]:
    """Flow-warped difference of two consecutive frames.

    Args:
        a: [H, W, 3] sRGB, the earlier frame.
        b: the later one.
        area_a: [H, W] pixels of `a` that count; all if left out.
        area_b: [H, W] pixels of `b` that these have to land on.

    Returns:
        Sum of the absolute differences 0..255 (mean over the channels), and over how many pixels: those in both areas
        that `landing` counts.

    Raises:
        Ex4dError: SIZE_MISMATCH.
    """
    if a.shape != b.shape or any(area is not None and area.shape != a.shape[:2] for area in (area_a, area_b)):
        raise Ex4dError(SIZE_MISMATCH, "Frames and areas must have one size to be compared.")
    x, y, counts = landing(a, b)
    if area_a is not None:
        counts &= area_a
    if area_b is not None:
        counts &= np.asarray(cv2.remap(area_b.astype(np.float32), x, y, cv2.INTER_LINEAR), np.float32) > 0.99
    warped = np.asarray(cv2.remap(b.astype(np.float32), x, y, cv2.INTER_LINEAR), np.float32)
    difference = np.abs(warped - a.astype(np.float32)).mean(axis=-1)
    return float(difference[counts].sum(dtype=np.float64)), int(counts.sum())


def flicker(frames: Iterable[U8], areas: Sequence[Bool] | None = None) -> float:
    """Mean flow-warped difference over a sequence, 0..255; nan where nothing could be compared.

    Args:
        frames: [H, W, 3] sRGB each, in order.
        areas: [H, W] for each frame, the pixels that count (for a result: where it was painted); all if left out.
    """
    total, count = 0.0, 0
    for index, (a, b) in enumerate(pairwise(frames)):
        chosen = (None, None) if areas is None else (areas[index], areas[index + 1])
        difference, pixels = warped_difference(a, b, *chosen)
        total, count = total + difference, count + pixels
    return total / count if count else float("nan")
