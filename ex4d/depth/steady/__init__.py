# SPDX-License-Identifier: Apache-2.0
"""Depth that does not wobble: frames aligned to their neighbours, then smoothed over time."""

from __future__ import annotations

from ex4d.depth.door import Progress
from ex4d.values import F32, U8


def steady_depth(z: F32, frames: U8, progress: Progress) -> list[str]:
    """Changes z [T, H, W] in place. Returns notes for a person. Memory does not grow with the number of frames.

    Args:
        z: depth, finite and > 0.
        frames: [T, H, W, 3] sRGB.
        progress: told at each frame; may raise.

    Raises:
        Ex4dError: whatever `progress` raises.
    """
    if len(z) < 2:
        return []
    from ex4d.depth.steady.alignment import align
    from ex4d.depth.steady.smoothing import smooth  # loads Numba

    found = align(z, frames, progress)
    smooth(z, frames, found, progress)
    return [found.note]
