# SPDX-License-Identifier: Apache-2.0
"""Exact depth → depth with the faults that estimated depth has, the same for the same seed.

Estimators predict disparity up to a scale and a shift that are not quite the same in every frame, smear it where it
jumps, and are never free of noise. All three faults therefore act on the disparity 1 / z. The amounts are round numbers
chosen once for the benchmark; they are no model of a particular estimator.
"""

from __future__ import annotations

import zlib

import cv2
import numpy as np

from ex4d.values import F32, F64

SCALE_SPREAD = 0.02  # standard deviation of the factor on a frame's disparity
SHIFT_SPREAD = 0.01  # of what is added to it, as a share of the frame's median disparity
SMEAR = 2  # pixels between the two sides of a jump that take on values in between
JUMP = 1.05  # ratio of depths within 3 x 3 pixels from which on they count as a jump
NOISE = 0.005  # standard deviation of the factor on each pixel's disparity
_LEAST = 1e-3  # of the median disparity: nothing gets further than that


def degrade(z: F32, seed: int, name: str = "") -> F32:
    """Depth as an estimator might give it.

    Each frame has random numbers of its own, drawn from (seed, name, frame): a part of a clip is degraded as it is in
    the whole, and scenes with different names differently.

    Args:
        z: [T, H, W] z-depth, > 0.
        seed: at least 0.
        name: of the scene.

    Returns:
        [T, H, W] float32, > 0.
    """
    out = np.empty(z.shape, np.float32)
    for t, frame in enumerate(z):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8")), t])
        scale, shift = rng.normal(1.0, SCALE_SPREAD), rng.normal(0.0, SHIFT_SPREAD)
        noise = rng.normal(1.0, NOISE, frame.shape)
        exact = 1.0 / frame.astype(np.float64)
        typical = float(np.median(exact))
        disparity = smeared(exact) * noise * scale + shift * typical
        out[t] = 1.0 / np.maximum(disparity, _LEAST * typical)
    return out


def smeared(disparity: F64) -> F64:
    """Averages [H, W] disparity over `SMEAR` + 1 pixels square where depth jumps; elsewhere nothing changes."""
    window = np.ones((3, 3), np.uint8)
    jumps = cv2.dilate(disparity, window) > JUMP * cv2.erode(disparity, window)
    blurred = cv2.blur(disparity, (SMEAR + 1, SMEAR + 1), borderType=cv2.BORDER_REPLICATE)
    return np.where(jumps, blurred, disparity)
