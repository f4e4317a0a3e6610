# SPDX-License-Identifier: Apache-2.0
"""Depth of a clip looked up at single points, and brought to another scale and shift, frame by frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np

from ex4d.on_disk import forget
from ex4d.values import F32, F64, Beyond, Bool

EDGE = 1.15  # depth ratio around a point from which on it lies on an outline: what is looked up there is neither side
AROUND = 9  # pixels: size of that surrounding
FURTHEST = 50.0  # times the usual depth: where a shift leaves no disparity, depth ends there
FORGET_EVERY = 16  # frames
_LOOKED_AT = 64  # frames for the usual depth, ...
_APART = 8  # ... and pixels between those that are


def without_specks(z: F32) -> F32:
    """[H, W] without noise of single pixels."""
    return np.asarray(cv2.medianBlur(np.ascontiguousarray(z), 5), np.float32)


def on_one_surface(z: F32) -> Bool:
    """[H, W] where depth around a pixel is that of one surface."""
    around = np.ones((AROUND, AROUND), np.uint8)
    return np.asarray(cv2.dilate(z, around) <= EDGE * cv2.erode(z, around), np.bool_)


def disparity_at(z: F32, at: F64) -> F64:
    """[N] disparity between pixels; it is disparity that is linear across a plane.

    Args:
        z: [H, W] of one frame, from `without_specks`.
        at: [N, 2] x, y pixels, centres at +0.5.
    """
    if not len(at):
        return np.empty(0)
    u, v = (at - 0.5).T.astype(np.float32)
    found = cv2.remap(1.0 / z, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(found.ravel(), np.float64)


def rescale(
    z: F32,
    scale: float,
    shift: float,
    progress: Callable[[int, int], None] = lambda done, total: None,
    beyond: Sequence[Beyond] = (),
) -> tuple[Beyond, ...]:
    """1 / z becomes scale / z + shift, in place.

    Args:
        z: [T, H, W].
        progress: called as progress(done, total); it may raise.
        beyond: what is background. It stays as many times as far as the rest, where a shift would draw it in.

    Returns:
        Where the background is now.
    """
    least = 0.0
    if shift < 0.0:
        frames = z[:: max(1, len(z) // _LOOKED_AT), ::_APART, ::_APART]
        least = float(np.median(scale / frames + shift)) / FURTHEST
        least = least if least > 0.0 else scale / float(frames.max()) / FURTHEST

    def moved(values: F64 | float) -> F64:
        return np.asarray(1.0 / np.maximum(scale / values + shift, least), np.float64)

    after = [max(float(moved(each.z)), each.times * float(moved(each.z / each.times))) for each in beyond]
    for index, values in enumerate(z):
        progress(index, len(z))
        behind = [values == np.float32(each.z) for each in beyond]
        values[:] = moved(values.astype(np.float64))
        for where, far in zip(behind, after, strict=True):
            values[where] = far
        if index % FORGET_EVERY == 0:
            forget(z)
    progress(len(z), len(z))
    return tuple(Beyond(float(np.float32(far)), each.times) for far, each in zip(after, beyond, strict=True))
