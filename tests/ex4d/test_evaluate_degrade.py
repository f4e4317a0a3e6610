# SPDX-License-Identifier: Apache-2.0
"""Degraded depth: the faults are there, in the amounts that are written down, and the same for the same seed."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ex4d.evaluate.degrade import NOISE, SCALE_SPREAD, SHIFT_SPREAD, degrade, smeared


def test_the_same_seed_gives_the_same_depth_and_another_does_not() -> None:
    z = np.random.default_rng(1).uniform(1.0, 9.0, (3, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(degrade(z, 4, "street"), degrade(z, 4, "street"))
    assert (degrade(z, 4, "street") != degrade(z, 5, "street")).mean() > 0.99
    assert (degrade(z, 4, "street") != degrade(z, 4, "figure")).mean() > 0.99


def test_a_part_of_a_clip_is_degraded_as_in_the_whole() -> None:
    z = np.random.default_rng(1).uniform(1.0, 9.0, (5, 20, 30)).astype(np.float32)
    np.testing.assert_array_equal(degrade(z, 0)[:2], degrade(z[:2], 0))


def test_a_step_is_smeared_over_two_pixels_and_nothing_else() -> None:
    disparity = np.where(np.arange(12) < 6, 0.5, 0.2) * np.ones((8, 1))
    result = smeared(disparity)
    np.testing.assert_allclose(result[:, 5:7], [[0.4, 0.3]] * 8)
    np.testing.assert_allclose(result[:, :5], 0.5)
    np.testing.assert_allclose(result[:, 7:], 0.2)


def test_a_slanted_floor_and_a_small_step_stay_as_they_are() -> None:
    floor = np.linspace(0.1, 0.9, 40)[:, None] * np.ones((1, 20))  # a plane has linear disparity
    np.testing.assert_allclose(smeared(floor)[1:-1], floor[1:-1])
    step = np.where(np.arange(12) < 6, 0.5, 0.49) * np.ones((8, 1))
    np.testing.assert_array_equal(smeared(step), step)


def test_noise_and_jitter_have_the_spread_that_is_written_down() -> None:
    z = np.full((1500, 8, 8), 2.0, np.float32)
    ratio = 2.0 / degrade(z, 3)
    each_frame = ratio.mean(axis=(1, 2))
    assert abs(each_frame.mean() - 1.0) < 0.003
    assert 0.93 < each_frame.std() / np.hypot(SCALE_SPREAD, SHIFT_SPREAD) < 1.07
    within = (ratio / each_frame[:, None, None]).std()
    assert 0.95 < within / NOISE < 1.05


def test_scale_and_shift_are_the_same_all_over_a_frame() -> None:
    z = np.full((40, 30, 60), 2.0, np.float32)
    z[:, :, 40:] = 6.0  # the median is the near side's
    disparity = 1.0 / degrade(z, 8)
    near, far = disparity[:, :, 2:38].mean(axis=(1, 2)), disparity[:, :, 42:].mean(axis=(1, 2))
    scale = (near - far) / (1 / 2 - 1 / 6)
    shift = near - scale / 2
    assert 0.7 < scale.std() / SCALE_SPREAD < 1.3
    assert 0.7 < shift.std() / (SHIFT_SPREAD / 2) < 1.3


@given(
    arrays(np.float32, (2, 5, 6), elements=st.floats(2.0**-10, 2.0**20, width=32)),
    st.integers(0, 2**32 - 1),
)
def test_whatever_comes_in_depth_stays_positive_and_finite(z: np.ndarray, seed: int) -> None:
    result = degrade(z, seed)
    assert result.shape == z.shape
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert (result > 0.0).all()
