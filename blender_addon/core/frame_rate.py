# SPDX-License-Identifier: GPL-3.0-or-later
"""Frame rates as a pair of whole numbers, and as Blender stores them: a whole `fps` over a float `fps_base`."""

from __future__ import annotations

from fractions import Fraction

_BLENDER_MAX = 32767  # of `render.fps`


def to_blender(rate: tuple[int, int]) -> tuple[int, float]:
    """(fps, fps_base) for a rate (numerator, denominator): 60000/1001 becomes 60 / 1.001, as Blender's own presets."""
    exact = Fraction(*rate)
    n, d = exact.numerator, exact.denominator
    if d == 1001 and n % 1000 == 0:
        return n // 1000, 1.001
    if n <= _BLENDER_MAX:
        return n, float(d)
    fps = max(1, round(exact))
    return fps, float(fps / exact)


def from_blender(fps: int, fps_base: float) -> tuple[int, int]:
    """The rate as (numerator, denominator). `fps_base` is a float32, so 1.001 arrives as 1.00100004673."""
    rate = fps / Fraction(f"{fps_base:.6f}").limit_denominator(1_000_000)
    return rate.numerator, rate.denominator
