# SPDX-License-Identifier: Apache-2.0
"""Depth of what the network shows, as the public EX-4D code makes it (tau-yihouxiang/EX-4D, `utils/depth_utils.py`).

The network's pictures are grey but for small differences between their channels. Their mean, stretched to 0..1 over the
whole clip, is taken for a disparity whose unit was chosen to be like that of another estimator.
"""

from __future__ import annotations

import numpy as np

from ex4d.values import F32

NEAREST, FARTHEST = 1e-4, 1e4  # depth is cut to these
_FULL = 3900.0  # disparity of what is nearest, in 1 / 10000 of one unit
_UNIT = 10000.0
_LEAST = 1e-5


def one_channel(frames: F32) -> F32:
    """[..., H, W, 3] → [..., H, W], the mean of the channels."""
    return np.asarray(frames.sum(axis=-1, dtype=np.float32) / np.float32(frames.shape[-1]), np.float32)


def normalised(values: F32, low: float, high: float) -> F32:
    """Values of a clip that go from `low` to `high`, stretched to 0..1; zero throughout where they are all the same."""
    span = np.float32(high) - np.float32(low)
    if span <= 0:
        return np.zeros_like(values)
    return np.asarray((values - np.float32(low)) / span, np.float32)


def upstream_depth(share: F32) -> F32:
    """z in that code's units, of a disparity in 0..1."""
    disparity = np.maximum(share * np.float32(_FULL), np.float32(_LEAST))
    return np.asarray(np.clip(np.float32(_UNIT) / disparity, NEAREST, FARTHEST), np.float32)
