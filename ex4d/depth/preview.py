# SPDX-License-Identifier: Apache-2.0
"""Depth as colours, to look at."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from ex4d.values import F32, U8


def turbo(z: F32, near: float, far: float) -> U8:
    """Depth in the colours of the turbo map: red is near, blue is far.

    Colours are even in disparity, as what the eye sees of a move is. With the same ends for all frames of a clip they
    do not flicker.

    Args:
        z: [H, W] z-depth, > 0.
        near: z of the dark red end; what is nearer has the same colour.
        far: z of the dark blue end; what is farther has the same colour.

    Returns:
        [H, W, 3] sRGB.
    """
    far = max(far, near * (1.0 + 1e-6))  # of a flat picture: all of it is as near as it gets
    disparity = 1.0 / z.astype(np.float64)
    share = (disparity - 1.0 / far) / (1.0 / near - 1.0 / far)
    return _colours()[np.round(np.clip(share, 0.0, 1.0) * 255.0).astype(np.uint8)]


@lru_cache(maxsize=1)
def _colours() -> U8:
    """[256, 3] Google's turbo map (Mikhailov 2019), as OpenCV has it, from blue to red."""
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    table = np.ascontiguousarray(cv2.applyColorMap(ramp, cv2.COLORMAP_TURBO)[:, 0, ::-1], np.uint8)
    table.flags.writeable = False
    return table
