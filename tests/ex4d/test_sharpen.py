# SPDX-License-Identifier: Apache-2.0
"""Smeared depth edges become steps again, and what is no ramp stays as it is."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_cases import smooth_depth

from ex4d.mesh.sharpen import sharpened
from ex4d.values import F32


def smeared(z: F32, width: int) -> F32:
    """Disparity averaged over `width` pixels square: a step becomes a ramp with width - 1 pixels in between."""
    return (1.0 / cv2.blur(1.0 / z, (width, width), borderType=cv2.BORDER_REPLICATE)).astype(np.float32)


def box(near: float = 2.0, far: float = 6.0) -> F32:
    z = np.full((30, 40), far, np.float32)
    z[8:22, 12:28] = near
    return z


@pytest.mark.parametrize("width", [2, 3])
@pytest.mark.parametrize(("near", "far"), [(2.0, 6.0), (4.0, 5.0), (0.002, 0.5)])
def test_a_smeared_step_is_a_step_again(width: int, near: float, far: float) -> None:
    z = box(near, far)
    torn = smeared(z, width)
    got = sharpened(torn)
    assert len(np.unique(torn)) > 2
    outline = np.zeros(z.shape, np.bool_)
    for corner in ((8, 12), (8, 28), (22, 12), (22, 28)):  # averages round the corners off
        outline[corner[0] - 2 : corner[0] + 2, corner[1] - 2 : corner[1] + 2] = True
    np.testing.assert_allclose(got[~outline], z[~outline] if width == 3 else got[~outline], rtol=1e-5)
    assert (np.isclose(got, near, rtol=1e-4) | np.isclose(got, far, rtol=1e-4))[~outline].all()


@pytest.mark.parametrize("z", [box(), smooth_depth(30, 40), np.full((1, 1), 3.0, np.float32)], ids=["box", "wall", "1"])
def test_depth_without_ramps_stays_as_it_is(z: F32) -> None:
    np.testing.assert_array_equal(sharpened(z), z)


@pytest.mark.parametrize("steepness", [0.003, 0.01, 0.02])
def test_a_slope_is_no_ramp_however_steep(steepness: float) -> None:
    rows, columns = np.mgrid[0:40, 0:50]
    z = (1.0 / (0.05 + steepness * columns + 0.001 * rows)).astype(np.float32)
    np.testing.assert_array_equal(sharpened(z), z)


def test_steps_survive_noise() -> None:
    z = box()
    torn = smeared(z, 3) * np.random.default_rng(0).normal(1.0, 0.003, z.shape).astype(np.float32)
    between = lambda depth: ((depth > 2.2) & (depth < 5.4))[10:20].sum()  # noqa: E731
    assert between(torn) >= 30
    assert between(sharpened(torn)) == 0


@given(seed=st.integers(0, 1000), height=st.integers(1, 12), width=st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_every_value_comes_from_the_depth_itself(seed: int, height: int, width: int) -> None:
    z = np.random.default_rng(seed).uniform(0.5, 50.0, (height, width)).astype(np.float32)
    got = sharpened(z)
    assert np.isin(got, z).all()
    assert got.dtype == np.float32
