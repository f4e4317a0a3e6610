# SPDX-License-Identifier: Apache-2.0
"""The frame rate of a clip as an exact fraction, settled by the times of its frames.

ffmpeg prints rates with two places, and containers round times to their tick (1 ms in Matroska), so neither alone
gives 60000/1001. A rate is right when every frame lies where it says, within one tick. Several rates pass for a short
clip in a coarse time base; then the rate that the container declares decides, and a broadcast rate goes before an odd
one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ex4d.values import F64

WHOLE = (*range(1, 31), 48, 50, 60, 72, 75, 90, 96, 100, 120, 144, 200, 240)
NTSC = (24, 30, 48, 60, 120, 240)
STANDARD = tuple(Fraction(n) for n in WHOLE) + tuple(Fraction(n * 1000, 1001) for n in NTSC) + (Fraction(25, 2),)
JITTER = 0.25  # frames may lie this far (in frame periods) off an even grid and still count as evenly spaced


@dataclass(frozen=True)
class Rate:
    """A frame rate. With `variable`, frames are unevenly spaced and have to be resampled to it."""

    fps: Fraction
    variable: bool = False
    note: str = ""


def settle(times: Sequence[int], base: Fraction, printed: Sequence[float], duration: int = 0) -> Rate:
    """The frame rate that these times mean.

    Args:
        times: of the frames, ascending, in ticks.
        base: seconds per tick.
        printed: frames per second as declared, rounded to two places, the most trusted first.
        duration: of a frame in ticks, 0 when not known; decides for a clip of one frame.
    """
    if len(times) < 2:
        return _alone(base, printed, duration)
    ticks = np.asarray(times, np.float64) - times[0]
    steps = np.diff(ticks)
    if not steps.any():
        return _alone(base, printed, duration)
    average = Fraction(len(times) - 1, times[-1] - times[0]) / base
    odd = tuple(fps for fps in (average, *(average.limit_denominator(d) for d in (1001, 100))) if fps > 0)
    fitting = [fps for fps in (*STANDARD, *odd) if _spread(ticks, fps, base) <= 1.0 + 1e-6]
    if fitting:
        return Rate(min(fitting, key=lambda fps: _rank(fps, ticks, base, printed)))
    # Nothing fits to a tick. Capture devices and remuxers jitter; uneven clips drop and repeat.
    near = [fps for fps in (*STANDARD, *odd) if _spread(ticks, fps, base) <= 2 * JITTER / float(fps * base)]
    if near:
        fps = min(near, key=lambda fps: _spread(ticks, fps, base))
        off = _spread(ticks, fps, base) * float(base) * 500
        return Rate(fps, note=f"frame times jitter by up to {off:.1f} ms; read as an even {spoken(fps)} fps")
    typical = 1 / (Fraction(int(np.median(steps[steps > 0]))) * base)
    fps = nearest_standard(typical)
    slow, fast = (1 / (float(base) * float(step)) for step in (steps.max(), max(steps[steps > 0].min(), 1)))
    return Rate(
        fps,
        variable=True,
        note=f"variable frame rate ({slow:.4g} to {fast:.4g} fps) resampled to an even {spoken(fps)} fps: "
        "frames are repeated or left out where needed",
    )


def nearest_standard(rate: Fraction) -> Fraction:
    """The usual rate within 1.5 %, or else the rate itself with a small denominator."""
    best = min(STANDARD, key=lambda fps: abs(fps - rate))
    return best if abs(best / rate - 1) < Fraction(15, 1000) else rate.limit_denominator(1001)


def spoken(fps: Fraction) -> str:
    """A rate for a sentence: "25", "60000/1001"."""
    return str(fps.numerator) if fps.denominator == 1 else f"{fps.numerator}/{fps.denominator}"


def _spread(ticks: F64, fps: Fraction, base: Fraction) -> float:
    """How far frames lie from an even grid of that rate, at most, in ticks: 0 exact, 1 rounded to the tick."""
    off = ticks - np.arange(len(ticks)) * float(1 / (fps * base))
    return float(off.max() - off.min())


def _rank(fps: Fraction, ticks: F64, base: Fraction, printed: Sequence[float]) -> tuple[int, int, float, int]:
    declared = next((k for k, value in enumerate(printed) if abs(float(fps) - value) <= 0.0051), len(printed))
    return declared, 0 if fps in STANDARD else 1, round(_spread(ticks, fps, base), 3), fps.denominator


def _alone(base: Fraction, printed: Sequence[float], duration: int) -> Rate:
    """A single frame: its own duration, or else what is declared, or else film's 24."""
    declared = next((value for value in printed if value > 0), 0.0)
    if duration > 0:
        fps = 1 / (duration * base)
        close = [s for s in STANDARD if abs(float(1 / (s * base)) - duration) <= 0.5]
        agreeing = [s for s in close if abs(float(s) - declared) <= 0.0051]
        return Rate((agreeing or sorted(close, key=lambda s: abs(s - fps)) or [fps])[0])
    if declared:
        return Rate(nearest_standard(Fraction(declared).limit_denominator(1001)))
    return Rate(Fraction(24), note="no frame rate is stored; 24 fps is assumed")
