# SPDX-License-Identifier: Apache-2.0
"""The measures of depth on clips whose every figure is known."""

from __future__ import annotations

import math
from dataclasses import fields

import numpy as np
import pytest

from ex4d.evaluate.depth import FIGURES, DepthCounts, Landing, figures, in_exact_units, landings, measure
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

HEIGHT, WIDTH = 12, 16


def still(count: int = 3) -> list[Landing]:
    """Nothing moves."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)
    return [(x, y, np.ones((HEIGHT, WIDTH), np.bool_))] * (count - 1)


def flat(*depths: float) -> np.ndarray:
    """[T, H, W], each frame of one depth."""
    return np.broadcast_to(np.array(depths, np.float32)[:, None, None], (len(depths), HEIGHT, WIDTH)).copy()


def found(z: np.ndarray, exact: np.ndarray, landed: list[Landing] | None = None) -> dict[str, float]:
    return figures(measure(z, exact, still(len(z)) if landed is None else landed))


def test_exact_depth_has_no_errors() -> None:
    result = found(flat(4, 4, 4), flat(4, 4, 4))
    assert [result[name] for name in ("temporal", "inner", "warped", "true_warped", "absrel")] == [0.0] * 5
    assert result["delta1"] == 1.0
    assert tuple(result) == FIGURES


def test_one_wrong_frame_is_one_change_there_and_one_back() -> None:
    result = found(flat(4, 4.4, 4), flat(4, 4, 4))
    assert result["temporal"] == result["inner"] == pytest.approx(math.log(1.1), rel=1e-5)
    assert result["warped"] == pytest.approx((0.1 + 1.0 - 1.0 / 1.1) / 2.0, rel=1e-5)
    assert result["absrel"] == pytest.approx(0.1 / 3.0, rel=1e-5)


def test_what_truly_comes_nearer_is_no_temporal_error() -> None:
    result = found(flat(4, 3.9, 3.8), flat(4, 3.9, 3.8))
    assert result["temporal"] == 0.0
    assert result["warped"] == result["true_warped"] == pytest.approx((0.1 / 4 + 0.1 / 3.9) / 2, rel=1e-4)
    frozen = found(flat(4, 4, 4), flat(4, 3.9, 3.8))
    assert frozen["temporal"] == pytest.approx(math.log(4 / 3.8) / 2, rel=1e-4)
    assert frozen["warped"] == 0.0


def test_a_factor_that_stays_is_a_depth_error_alone() -> None:
    result = found(flat(6, 6, 6), flat(4, 4, 4))
    assert result["temporal"] == 0.0
    assert result["absrel"] == pytest.approx(0.5)
    assert result["delta1"] == 0.0
    assert found(flat(4.9, 4.9, 3.1), flat(4, 4, 4))["delta1"] == pytest.approx(2 / 3)


def test_where_the_flow_leaves_its_surface_nothing_is_told() -> None:
    exact = flat(4, 4)
    exact[1, :, 8:] = 8.0  # flow says that nothing moved there: it is wrong
    z = exact.copy()
    z[1, :, 8:] = 7.0
    result = found(z, exact)
    assert result["temporal"] == 0.0
    assert result["warped"] == pytest.approx(0.5 * 0.75, rel=1e-5)


def test_pixels_beside_a_jump_are_not_inner() -> None:
    exact = flat(4, 4)
    exact[:, :, 8:] = 8.0
    z = exact.copy()
    z[1, :, 6:10] *= 1.1
    result = found(z, exact)
    assert result["temporal"] == pytest.approx(math.log(1.1) * 4 / WIDTH, rel=1e-4)
    assert result["inner"] == 0.0
    z[1, :, :5] *= 1.1
    assert found(z, exact)["inner"] == pytest.approx(math.log(1.1) * 5 / (WIDTH - 6), rel=1e-4)


def test_hidden_pixels_do_not_count() -> None:
    x, y, seen = still(2)[0]
    seen = seen.copy()
    seen[:, :4] = False
    z = flat(4, 4)
    z[1, :, :4] = 9.0
    assert found(z, flat(4, 4), [(x, y, seen)])["temporal"] == 0.0


def test_depth_is_followed_along_the_flow() -> None:
    """A slope that moves two pixels to the right."""
    rng = np.random.default_rng(0)
    wide = rng.integers(0, 255, (32, 70, 3)).repeat(2, 0).repeat(2, 1).astype(np.uint8)
    frames = np.stack([wide[:, 4 - 2 * t : 104 - 2 * t] for t in range(3)])
    slope = np.broadcast_to(np.linspace(2.0, 3.0, 140, dtype=np.float32), (64, 140))
    exact = np.stack([slope[:, 4 - 2 * t : 104 - 2 * t] for t in range(3)])
    result = figures(measure(exact * np.array([1.0, 1.05, 1.0])[:, None, None], exact, landings(frames)))
    assert result["true_warped"] < 2e-3
    assert result["temporal"] == pytest.approx(math.log(1.05), rel=1e-3)
    assert result["warped"] == pytest.approx(0.05, rel=0.1)


def test_one_frame_has_no_temporal_error_to_tell() -> None:
    result = found(flat(5), flat(4))
    assert math.isnan(result["temporal"])
    assert math.isnan(result["warped"])
    assert result["absrel"] == pytest.approx(0.25)


def test_scale_and_shift_of_disparity_are_found_for_the_clip_as_a_whole() -> None:
    exact = np.random.default_rng(0).uniform(1.0, 9.0, (3, HEIGHT, WIDTH)).astype(np.float32)
    relative = 1.0 / (0.7 / exact + 0.4)
    assert in_exact_units(relative, exact) == pytest.approx(exact, rel=1e-4)
    wobbly = relative * np.array([1.0, 1.1, 0.9])[:, None, None]
    assert found(in_exact_units(wobbly, exact), exact)["absrel"] > 0.02


def test_depth_without_any_contrast_gets_the_mean_disparity() -> None:
    exact = flat(2, 4)
    assert in_exact_units(flat(7, 7), exact) == pytest.approx(1.0 / np.mean(1.0 / exact), rel=1e-5)


def test_aligned_depth_stays_positive() -> None:
    exact = np.tile(np.array([1.0, 1.0, 1.0, 50.0], np.float32), (1, HEIGHT, WIDTH // 4))
    z = np.tile(np.array([1.0, 2.0, 3.0, 1000.0], np.float32), (1, HEIGHT, WIDTH // 4))
    assert (in_exact_units(z, exact) > 0.0).all()


def test_several_clips_together_are_one_over_all_their_pixels() -> None:
    one = measure(flat(4, 4.4), flat(4, 4), still(2))
    two = measure(flat(4, 4, 4), flat(4, 4, 4), still(3))
    assert figures(one + two)["temporal"] == pytest.approx(math.log(1.1) / 3, rel=1e-4)
    ones = DepthCounts(*[1] * len(fields(DepthCounts)))
    assert ones + ones == DepthCounts(*[2] * len(fields(DepthCounts)))


def test_another_size_is_refused() -> None:
    with pytest.raises(Ex4dError) as refused:
        measure(flat(4, 4), flat(4, 4, 4), still(3))
    assert refused.value.code == SIZE_MISMATCH
