# SPDX-License-Identifier: Apache-2.0
"""The size at which the network sees a clip. Needs no torch."""

from __future__ import annotations

UNIT = 64  # pixels that both sides are a multiple of


def network_size(height: int, width: int, longest: int) -> tuple[int, int]:
    """Height and width near those of the clip, in whole units.

    As in the public code (Tencent/DepthCrafter, `read_video_frames`): the frame's own sides are rounded; where the
    longer one is beyond `longest` then, the frame is shrunk to that first. Halves are rounded to the even unit. A side
    has a unit at least.

    Args:
        height, width: of the clip's frames, pixels.
        longest: pixels that the longer side may have.
    """
    sides = _whole(height), _whole(width)
    if max(sides) <= longest:
        return sides
    shrink = longest / max(height, width)
    return _whole(height * shrink), _whole(width * shrink)


def _whole(side: float) -> int:
    return max(1, round(side / UNIT)) * UNIT
