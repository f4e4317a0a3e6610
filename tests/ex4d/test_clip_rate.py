# SPDX-License-Identifier: Apache-2.0
"""Frame rates as exact fractions."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from ex4d.media.rate import STANDARD, nearest_standard, settle


def ticks(fps: Fraction, base: Fraction, count: int, start: int = 0) -> list[int]:
    """Times of an even clip, rounded to the tick as containers do."""
    return [start + round(k / (fps * base)) for k in range(count)]


def printed(fps: Fraction) -> tuple[float, ...]:
    """What ffmpeg shows of a rate."""
    return (round(float(fps), 2),)


@given(
    st.sampled_from([f for f in STANDARD if f <= 120]),
    st.sampled_from([Fraction(1, 90000), Fraction(1, 1000), Fraction(1, 15360), Fraction(1, 1_000_000)]),
    st.integers(2, 400),
    st.integers(-5000, 5000),
)
def test_every_usual_rate_is_found_in_every_usual_time_base(
    fps: Fraction, base: Fraction, count: int, start: int
) -> None:
    rate = settle(ticks(fps, base, count, start), base, printed(fps))
    assert rate.fps == fps
    assert not rate.variable


def test_times_decide_against_a_wrong_print() -> None:
    base = Fraction(1, 60000)
    assert settle(ticks(Fraction(60000, 1001), base, 50), base, (60.0,)).fps == Fraction(60000, 1001)
    assert settle(ticks(Fraction(60), base, 50), base, (59.94,)).fps == 60
    assert settle(ticks(Fraction(24000, 1001), base, 50), base, ()).fps == Fraction(24000, 1001)


def test_an_odd_rate_is_kept_when_the_times_say_so() -> None:
    odd = Fraction(47, 4)
    assert settle(ticks(odd, Fraction(1, 47000), 40), Fraction(1, 47000), (11.75,)).fps == odd
    camera = Fraction(1199, 50)  # 23.98 taken at its word: not film's rate, and far enough from it to tell
    assert settle(ticks(camera, Fraction(1, 19184), 60), Fraction(1, 19184), (23.98,)).fps == camera


def test_one_frame_goes_by_its_own_length_then_by_the_print() -> None:
    assert settle([0], Fraction(1, 60000), (59.94,), 1001).fps == Fraction(60000, 1001)
    assert settle([0], Fraction(1, 1000), (23.98,), 42).fps == Fraction(24000, 1001)
    assert settle([0], Fraction(1, 1000), (29.97,), 0).fps == Fraction(30000, 1001)
    assert "assumed" in settle([0], Fraction(1, 1000), (), 0).note


def test_jitter_is_not_a_variable_rate() -> None:
    base = Fraction(1, 90000)
    times = [t + (-1) ** k * 300 for k, t in enumerate(ticks(Fraction(30), base, 60))]
    rate = settle(times, base, (30.0,))
    assert rate.fps == 30
    assert not rate.variable
    assert "jitter" in rate.note


def test_gaps_are_a_variable_rate() -> None:
    base = Fraction(1, 90000)
    times = [t for k, t in enumerate(ticks(Fraction(30000, 1001), base, 60)) if k not in (7, 8, 30)]
    rate = settle(times, base, (28.5, 29.97))
    assert rate.fps == Fraction(30000, 1001)
    assert rate.variable


def test_rates_near_a_usual_one_are_that_one() -> None:
    assert nearest_standard(Fraction(2997, 100)) == Fraction(30000, 1001)
    assert nearest_standard(Fraction(7, 3)) == Fraction(7, 3)
