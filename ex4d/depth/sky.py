# SPDX-License-Identifier: Apache-2.0
"""Sky: found in the picture, and pushed far away."""

from __future__ import annotations

from ex4d.depth.door import Progress
from ex4d.values import F32, U8, Bool


def push_sky(z: F32, frames: U8, known: Bool | None, progress: Progress) -> list[str]:
    """Changes z [T, H, W] in place. Returns notes for a person.

    Args:
        z: depth.
        frames: [T, H, W, 3] sRGB.
        known: [T, H, W] the sky, where somebody knows it; None: it is looked for.
        progress: told at each frame; may raise.

    Raises:
        Ex4dError: whatever `progress` raises.
    """
    return []
