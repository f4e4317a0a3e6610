# SPDX-License-Identifier: GPL-3.0-or-later
"""Picked points: where the source camera sees them, and what they say of a shot's size."""

from __future__ import annotations

import numpy as np
import pytest

from blender_addon.core import picks
from shared_protocol.errors import BAD_INPUT, Ex4dError

LENS = picks.Lens(500.0, 321.0, 180.5)
SIZE = (640, 360)


def test_a_point_on_a_ray_is_seen_where_the_ray_was_cast():
    for u, v in ((321.0, 180.5), (10.25, 350.0), (639.5, 0.5)):
        point = np.array(picks.ray(u, v, LENS)) * 7.5
        assert point[2] == -7.5
        assert picks.place(point.tolist(), LENS, SIZE, "p") == pytest.approx((u, v))


def test_right_and_down_in_the_picture_are_right_and_down_in_blenders_camera():
    x, y, _ = picks.ray(LENS.cx + 50.0, LENS.cy + 20.0, LENS)
    assert (x, y) == pytest.approx((0.1, -0.04))


@pytest.mark.parametrize("point", [(0.0, 0.0, 1.0), (0.0, 0.0, 0.0), (10.0, 0.0, -1.0), (0.0, -10.0, -1.0)])
def test_points_that_the_camera_does_not_see_are_refused_by_name(point):
    with pytest.raises(Ex4dError, match="'door A'") as caught:
        picks.place(point, LENS, SIZE, "door A")
    assert caught.value.code == BAD_INPUT


def test_pixels_of_the_clip_as_it_comes_in():
    assert picks.in_clip((320.0, 90.0), SIZE, (1920, 1080)) == pytest.approx((960.0, 270.0))
    assert picks.in_clip((90.0, 320.0), (360, 640), (1920, 1080)) == pytest.approx((270.0, 960.0)), "turned upright"


def test_the_height_above_level_ground_is_along_the_worlds_z():
    assert picks.camera_height((1.0, 2.0, 1.6), [(5.0, 9.0, 0.1), (0.0, 9.0, -0.1)]) == pytest.approx(1.6)
    with pytest.raises(Ex4dError, match="not above"):
        picks.camera_height((0.0, 0.0, 0.0), [(0.0, 5.0, 1.0)])


def test_three_points_tell_how_the_ground_is_tilted():
    up = np.array([0.3, -0.2, 0.9])
    up /= np.linalg.norm(up)
    across = np.cross(up, (0.0, 1.0, 0.0))
    along = np.cross(up, across)
    ground = [a * across + b * along for a, b in ((1.0, 4.0), (-2.0, 6.0), (0.5, 9.0), (3.0, 5.0))]
    assert picks.camera_height((1.4 * up).tolist(), [point.tolist() for point in ground]) == pytest.approx(1.4)
    with pytest.raises(Ex4dError, match="on one line"):
        picks.camera_height((0.0, 0.0, 1.0), [(0.0, 1.0, 0.0), (0.0, 2.0, 0.0), (0.0, 3.0, 0.0)])


def test_several_factors_become_one_and_how_far_they_differ_is_told():
    assert picks.together([2.0]) == pytest.approx((2.0, 0.0))
    factor, off = picks.together([2.0, 2.2, 2.1])
    assert factor == pytest.approx(2.1)
    assert off == pytest.approx(2.1 / 2.0 - 1.0)
