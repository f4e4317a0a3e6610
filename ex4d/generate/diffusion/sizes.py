# SPDX-License-Identifier: Apache-2.0
"""How large the frames of a shot are painted: its own aspect, as many pixels as the model is good at."""

from __future__ import annotations

import math
from types import MappingProxyType
from typing import Final

from shared_protocol.errors import BAD_INPUT, Ex4dError

STEP: Final = 16  # pixels: 8 to a latent, 2 latents to a patch
ASPECT: Final = 0.015  # how far the aspect may be off; less cannot be seen
NEAR: Final = 0.16  # of areas, as the difference of their logarithms: further off is no result of `working_size`
# Pixels of a frame, by quality preset.
AREAS: Final = MappingProxyType({"512": 512 * 512, "480p": 832 * 480, "720p": 1280 * 720})


def working_size(width: int, height: int, quality: str, wanted: tuple[int, int] = (0, 0)) -> tuple[int, int]:
    """Width and height to paint a shot at, both multiples of 16.

    A size that can be painted as it is, and whose area is near the preset's, stays: a shot that was rendered at its
    working size is not resampled. Otherwise, of the sizes whose aspect is within 1.5 % of the shot's, the one whose
    area is nearest to the preset's; where there is no such size, the one that is nearest in aspect.

    Args:
        width: of the shot's frames, in pixels.
        height: likewise.
        quality: a key of `AREAS`.
        wanted: width and height that were asked for instead of a preset; where one is 0, it follows from the aspect.

    Raises:
        Ex4dError: BAD_INPUT for a preset that there is not, or a side that is not a multiple of 16.
    """
    if width < 1 or height < 1:
        raise Ex4dError(BAD_INPUT, f"A frame of {width}x{height} pixels cannot be painted.")
    for name, side in zip(("width", "height"), wanted, strict=True):
        if side < 0 or side % STEP:
            below = max(STEP, side // STEP * STEP)
            hint = f"Give {below} or {below + STEP}, or leave it out."
            raise Ex4dError(BAD_INPUT, f"{name} cannot be {side}: the model paints multiples of {STEP} pixels.", hint)
    wide, high = wanted
    if wide or high:
        return wide or _nearest(high * width / height), high or _nearest(wide * height / width)
    if quality not in AREAS:
        raise Ex4dError(BAD_INPUT, f"There is no quality '{quality}'.", f"Choose: {', '.join(AREAS)}.")
    area, aspect = AREAS[quality], max(width, height) / min(width, height)
    if width % STEP == 0 and height % STEP == 0 and abs(math.log(width * height / area)) <= NEAR:
        return width, height

    def off(size: tuple[int, int]) -> tuple[float, float]:
        long, short = size
        bent = abs(math.log(long / short / aspect))
        return (bent if bent > math.log1p(ASPECT) else 0.0), abs(math.log(long * short / area))

    shorts = range(STEP, math.isqrt(area) + 2 * STEP, STEP)
    long, short = min(((_nearest(short * aspect), short) for short in shorts), key=off)
    return (long, short) if width >= height else (short, long)


def _nearest(side: float) -> int:
    return max(STEP, STEP * round(side / STEP))
