# SPDX-License-Identifier: Apache-2.0
"""Depth as colours."""

from __future__ import annotations

import numpy as np
import pytest

from ex4d.depth.preview import turbo


def test_near_is_red_and_far_is_blue() -> None:
    colours = turbo(np.array([[1.0, 10.0, 0.5, 1e6]], np.float32), 1.0, 10.0)
    assert (colours.shape, colours.dtype) == ((1, 4, 3), np.uint8)
    near, far, nearer, farther = colours[0].astype(int)
    assert near[0] > 2 * near[1:].max()
    assert far[2] > far[:2].max()
    np.testing.assert_array_equal(nearer, near)
    np.testing.assert_array_equal(farther, far)


def test_colours_are_even_in_disparity_and_each_is_its_own() -> None:
    z = (1.0 / np.linspace(0.1, 1.0, 256)).astype(np.float32)[None]
    colours = turbo(z, 1.0, 10.0)[0]
    assert len(np.unique(colours, axis=0)) > 250
    green = turbo(np.array([[1.0 / 0.55]], np.float32), 1.0, 10.0)[0, 0]  # half way between 1 / 10 and 1
    assert green[1] > green[0]
    assert green[1] > green[2]


def test_the_colour_of_a_depth_does_not_depend_on_the_rest_of_its_frame() -> None:
    z = np.random.default_rng(0).uniform(1.0, 9.0, (8, 8)).astype(np.float32)
    other = z.copy()
    other[4:] = 2.0
    np.testing.assert_array_equal(turbo(z, 1.5, 8.0)[:4], turbo(other, 1.5, 8.0)[:4])


@pytest.mark.filterwarnings("error")
def test_flat_depth_has_one_colour() -> None:
    assert len(np.unique(turbo(np.full((4, 4), 3.0, np.float32), 3.0, 3.0).reshape(-1, 3), axis=0)) == 1
