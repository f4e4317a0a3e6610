# SPDX-License-Identifier: GPL-3.0-or-later
"""Scale and shift of disparity from distances that an artist wants."""

from __future__ import annotations

import pytest

from blender_addon.core import depth_range
from shared_protocol.errors import BAD_INPUT, Ex4dError


@pytest.mark.parametrize(
    ("near", "far", "wanted"),
    [(2.0, 8.0, (2.0, 8.0)), (2.0, 8.0, (0.5, 300.0)), (0.4, 950.0, (3.0, 3.5)), (1.0, 1.01, (1.0, 5.0))],
)
def test_two_distances_go_where_they_are_wanted(near, far, wanted):
    scale, shift = depth_range.for_range(near, far, *wanted)
    got = depth_range.adjusted(near, scale, shift), depth_range.adjusted(far, scale, shift)
    assert got == pytest.approx(wanted, rel=1e-9)


def test_what_is_as_it_was_takes_no_scale_and_no_shift():
    assert depth_range.for_range(2.0, 8.0, 2.0, 8.0) == pytest.approx((1.0, 0.0), abs=1e-12)


@pytest.mark.parametrize("wanted", [(5.0, 5.0), (5.0, 4.0), (0.0, 4.0), (-1.0, 4.0), (1.0, float("inf"))])
def test_a_near_that_is_not_before_far_is_refused(wanted):
    with pytest.raises(Ex4dError) as caught:
        depth_range.for_range(2.0, 8.0, *wanted)
    assert caught.value.code == BAD_INPUT


def test_everything_becomes_so_many_times_as_far_whatever_the_shift():
    scale, shift = 0.7, 0.05
    changed = depth_range.times(scale, shift, 2.5)
    for z in (0.5, 3.0, 40.0):
        assert depth_range.adjusted(z, *changed) == pytest.approx(2.5 * depth_range.adjusted(z, scale, shift))
    with pytest.raises(Ex4dError):
        depth_range.times(1.0, 0.0, 0.0)


def test_the_furthest_is_a_million_units_away_as_in_the_engine():
    assert depth_range.adjusted(10.0, 1.0, -0.5) == 1e6
