# SPDX-License-Identifier: Apache-2.0
"""The fits between two frames, and the corrections that they lead to."""

from __future__ import annotations

import numpy as np
import pytest

from ex4d.depth.steady.fit import Points, fit_change, fit_step
from ex4d.depth.steady.solve import SPANS, Difference, corrections


def points(p: np.ndarray, q: np.ndarray, deforms: float = 0.0, moves: float = 0.0) -> Points:
    rng = np.random.default_rng(9)
    u, v = rng.uniform(-0.5, 0.5, (2, len(p)))
    return Points(p, q, u, v, np.ones(len(p)), deforms, moves)


def test_scale_and_shift_are_found_though_a_third_moves() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 1.0, 3000)
    q = 1.07 * p - 0.02
    q[:1000] = 1.6 * p[:1000]
    pivot = 0.5
    step = fit_step(points(p, q * rng.normal(1.0, 0.002, len(p))), pivot)
    assert step is not None
    at = 1.07 * pivot - 0.02
    assert step.level == pytest.approx(np.log(at / pivot), abs=1e-3)
    assert step.gain == pytest.approx(np.log(1.07 * pivot / at), abs=3e-3)
    assert step.level_error < 1e-3


def test_a_wall_has_a_scale_and_no_shift_however_noisy_it_is() -> None:
    rng = np.random.default_rng(0)
    wall = 0.5 * np.ones(3000)
    p, q = wall * rng.normal(1.0, 0.02, 3000), 1.1 * wall * rng.normal(1.0, 0.02, 3000)
    step = fit_step(points(p, q), 0.5)
    assert step is not None
    assert step.level == pytest.approx(np.log(1.1), abs=3e-3)
    assert step.gain == 0.0
    assert step.gain_error >= 1.0


def test_few_points_tell_nothing() -> None:
    few = np.linspace(0.1, 1.0, 20)
    assert fit_step(points(few, few), 0.5) is None
    assert fit_change(points(few, few), 0.5) is None


def test_what_a_camera_does_is_told_from_noise() -> None:
    """Forwards by 0.05 and turned a little: 1 / (z - t - a x z)."""
    rng = np.random.default_rng(0)
    z = rng.uniform(2.0, 8.0, 4000)
    here = points(1.0 / z, 1.0 / z, deforms=0.02)
    gone = z - 0.05 - 0.02 * here.u * z
    q = 1.0 / gone * rng.normal(1.0, 0.003, len(z))
    change = fit_change(Points(here.here, q, here.u, here.v, here.trust, 0.02, 0.0), 0.25)
    assert change is not None
    p = here.here / 0.25
    c = change.factors
    found = 0.25 * (c[0] + p * (c[1] + c[2] * p + c[3] * here.u + c[4] * here.v))
    assert np.abs(found * gone - 1.0).max() < 2e-3
    assert change.noise == pytest.approx(0.003, rel=0.4)


def test_where_nothing_moves_no_change_is_found_in_noise() -> None:
    rng = np.random.default_rng(0)
    p = rng.uniform(0.1, 1.0, 4000)
    change = fit_change(points(p, p * rng.normal(1.02, 0.02, len(p))), 0.5)
    assert change is not None
    assert change.factors == pytest.approx([0.0, 1.0, 0.0, 0.0, 0.0], abs=1e-3)


def differences(values: np.ndarray, motion: float, error: float = 1e-4) -> list[Difference]:
    return [
        Difference(a, a + span, float(values[a + span] - values[a]), error, motion * span)
        for span in SPANS
        for a in range(len(values) - span)
    ]


def test_jitter_goes_and_a_steady_change_stays() -> None:
    count = 40
    true = 0.01 * np.arange(count)
    off = np.random.default_rng(0).normal(0.0, 0.02, count)
    found = true + off + corrections(count, differences(true + off, motion=0.01))
    assert np.std(np.diff(found - true)) < 0.05 * np.std(np.diff(off))
    assert found[-1] - found[0] == pytest.approx(true[-1] - true[0], abs=0.03)
    assert np.mean(found) == pytest.approx(np.mean(true + off), abs=1e-3)


def test_exact_values_need_no_correction() -> None:
    eased = 0.3 * np.sin(np.linspace(0.0, 3.0, 60)) ** 2
    assert np.abs(corrections(60, differences(eased, motion=0.005))).max() < 2e-3


def test_where_the_picture_stands_still_slow_wobble_goes_too() -> None:
    count = 80
    slow = 0.03 * np.sin(np.arange(count) / 6.0)
    found = slow + corrections(count, differences(slow, motion=0.0))
    assert np.std(found) < 0.05 * np.std(slow)


def test_parts_without_pairs_between_them_keep_their_own_mean() -> None:
    off = np.random.default_rng(0).normal(0.0, 0.02, 24)
    off[12:] += 1.0
    pairs = [d for d in differences(off, motion=0.0) if (d.a < 12) == (d.b < 12)]
    found = off + corrections(24, pairs)
    for part in (slice(0, 12), slice(12, 24)):
        assert found[part] == pytest.approx(off[part].mean(), abs=2e-3)


def test_without_any_pairs_nothing_is_corrected() -> None:
    assert (corrections(5, []) == 0.0).all()


def test_corrections_are_the_least_squares() -> None:
    """Against a dense solver, two frames: minimise x0^2 / s^2 + x1^2 / s^2 + (v + x1 - x0)^2 / e^2."""
    value, error = 0.1, 0.05
    spread = 1.4826 * value / np.sqrt(2.0)
    deviation = np.hypot(error, 2e-4)
    weights = np.array([1 / spread, 1 / spread, 1 / deviation])
    rows = np.array([[1.0, 0.0], [0.0, 1.0], [-1.0, 1.0]]) * weights[:, None]
    expected = np.linalg.lstsq(rows, np.array([0.0, 0.0, -value]) * weights, rcond=None)[0]
    assert corrections(2, [Difference(0, 1, value, error, 0.0)]) == pytest.approx(expected, rel=1e-6)
