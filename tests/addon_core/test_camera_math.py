# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's camera and ours, without Blender."""

from __future__ import annotations

import math

import numpy as np
import pytest

from blender_addon.core import camera_math, frame_rate, keyframes
from blender_addon.core.camera_math import Lens
from shared_protocol.errors import Ex4dError
from shared_protocol.moves import MOVES, eye_at, look_at


def _turn(x: float, y: float, z: float) -> np.ndarray:
    (cx, sx), (cy, sy), (cz, sz) = ((math.cos(a), math.sin(a)) for a in (x, y, z))
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def _matrix(turn: np.ndarray, place: tuple[float, float, float], scale: object = 1.0) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3] = turn * np.asarray(scale)  # scales columns: the object's own axes
    matrix[:3, 3] = place
    return matrix


@pytest.mark.parametrize(
    ("lens", "size", "expected"),
    [
        (Lens(50.0), (1920, 1080), (50 / 36 * 1920, 960.0, 540.0)),
        (Lens(50.0), (1080, 1920), (50 / 36 * 1920, 540.0, 960.0)),  # AUTO, portrait: sensor *width* to the height
        (Lens(50.0, sensor_fit="VERTICAL"), (1920, 1080), (50 / 24 * 1080, 960.0, 540.0)),
        (Lens(50.0, sensor_fit="HORIZONTAL"), (1080, 1920), (50 / 36 * 1080, 540.0, 960.0)),
        (Lens(36.0, shift_x=0.1, shift_y=-0.2), (100, 50), (100.0, 40.0, 5.0)),
    ],
)
def test_focal_length_and_centre_by_hand(lens, size, expected):
    fx, fy, cx, cy = camera_math.intrinsics(lens, *size)
    assert fx == pytest.approx(fy)
    assert (fx, cx, cy) == pytest.approx(expected)


def test_wide_pixels_make_fewer_of_them_per_focal_length():
    fx, fy, _, _ = camera_math.intrinsics(Lens(36.0), 100, 100, aspect_x=2.0)
    assert (fx, fy) == pytest.approx((100.0, 200.0))


@pytest.mark.parametrize("size", [(64, 48), (37, 53), (640, 640)])
def test_a_camera_made_for_pixels_gives_these_pixels(size):
    lens = camera_math.lens_for(417.5, 12.25, 33.5, *size)
    assert camera_math.intrinsics(lens, *size) == pytest.approx((417.5, 417.5, 12.25, 33.5))


def in_blender(world_from_camera: np.ndarray) -> np.ndarray:
    """Matrix of the same camera in Blender, which looks along -z with y up."""
    return camera_math.FLIP @ world_from_camera @ camera_math.FLIP


def test_a_pose_goes_to_blender_and_back():
    pose = _matrix(_turn(0.3, -1.1, 0.7), (1.0, -2.0, 3.0))
    back = camera_math.world_from_camera(np.eye(4), in_blender(pose))
    assert np.allclose(back, pose, atol=1e-12)


def test_moving_turning_and_scaling_both_changes_no_pose():
    pose = _matrix(_turn(0.2, 0.4, -0.1), (0.5, 0.1, -0.7))
    root = _matrix(_turn(1.2, -0.4, 2.0), (100.0, -30.0, 7.0), 3.5)
    camera = root @ in_blender(pose)
    camera[:3, :3] *= 0.25  # a camera's own scale counts for nothing
    assert np.allclose(camera_math.world_from_camera(root, camera), pose, atol=1e-12)


@pytest.mark.parametrize(
    ("root", "camera", "words"),
    [
        (_matrix(np.eye(3), (0, 0, 0), (1.0, 1.0, 1.2)), np.eye(4), "scaled by 1 x 1 x 1.2"),
        (_matrix(np.eye(3), (0, 0, 0), -1.0), np.eye(4), "mirrored"),
        (_matrix(np.eye(3), (0, 0, 0), 0.0), np.eye(4), "scale of zero"),
        (np.eye(4), _matrix(np.eye(3), (0, 0, 0), (-1.0, 1.0, 1.0)), "camera is mirrored"),
        (np.eye(4), np.diag([1.0, 2.0, 1.0, 1.0]) @ _matrix(_turn(0.0, 0.0, 0.5), (0, 0, 0)), "camera is sheared"),
    ],
)
def test_scales_that_cannot_be_reproduced_are_refused_by_name(root, camera, words):
    with pytest.raises(Ex4dError, match=words) as caught:
        camera_math.world_from_camera(root, camera)
    assert caught.value.hint


def test_without_a_reconstruction_a_camera_is_told_in_an_upright_world():
    """Blender's camera at rest looks down: its forward is our down, its up our forward."""
    pose = camera_math.world_from_camera(camera_math.UPRIGHT, _matrix(np.eye(3), (1.0, 2.0, 3.0), 2.0))
    expected = np.array([[1, 0, 0, 1], [0, 0, 1, -3], [0, -1, 0, 2], [0, 0, 0, 1]], float)  # z forward goes to y, down
    assert np.allclose(pose, expected, atol=1e-12)
    assert np.allclose(camera_math.UPRIGHT @ camera_math.blender_pose(pose), _matrix(np.eye(3), (1.0, 2.0, 3.0)))


@pytest.mark.parametrize("rate", [(24, 1), (25, 1), (60000, 1001), (24000, 1001), (25, 2), (2997, 100), (120, 1)])
def test_frame_rates_survive_blenders_float(rate):
    fps, base = frame_rate.to_blender(rate)
    assert isinstance(fps, int)
    assert frame_rate.from_blender(fps, float(np.float32(base))) == rate


def test_an_odd_rate_is_kept_to_a_millionth():
    fps, base = frame_rate.to_blender((1234567, 41000))
    n, d = frame_rate.from_blender(fps, float(np.float32(base)))
    assert n / d == pytest.approx(1234567 / 41000, rel=1e-6)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6, 13, 49, 200])
def test_keys_follow_the_exact_move(move, frames):
    radius = 2.5
    keys = keyframes.preset(move, 11, 10 + frames, radius)
    assert keys[0].frame == 11
    assert keys[-1].frame == 10 + frames
    assert len(keys) >= min(frames, keyframes.LEAST)
    assert len(keys) <= max(11, frames / 5)
    for k in range(frames):
        x, y, z, tilt, pan, roll = keyframes.value_at(keys, 11 + k)
        eye = eye_at(move, k / max(frames - 1, 1), radius)
        exact = np.array(look_at(eye, (0.0, 0.0, radius))).T
        assert math.dist((x, -y, -z), eye) <= 0.005 * radius
        assert roll == 0.0
        turn = _turn(0.0, pan, 0.0) @ _turn(tilt, 0.0, 0.0)
        flip = np.diag([1.0, -1.0, -1.0])
        assert np.abs(flip @ turn @ flip - exact).max() < math.radians(0.6)
