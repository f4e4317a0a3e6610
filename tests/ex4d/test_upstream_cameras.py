# SPDX-License-Identifier: Apache-2.0
"""The public code's moves in our convention, in its own, and in a file that it wrote."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import pose, smooth_depth

from ex4d.cameras import load_path, preset_path
from ex4d.upstream import UPSTREAM_MOVES, upstream_intrinsics, upstream_path, upstream_radius
from ex4d.upstream.cameras import clip_from_world, extrinsics, fields_of_view, over_rotation, poses_as_built, projection
from ex4d.values import Intrinsics
from shared_protocol.errors import BAD_INPUT, Ex4dError

LENS = upstream_intrinsics(512, 512)
FPS = Fraction(30)


def test_the_file_of_the_public_codes_example_is_met(reference: Callable[[str], Path]) -> None:
    file = reference("flower/camera_180.npz")
    path = upstream_path("180", 49, 2.7401087, LENS, FPS)
    with np.load(file) as saved:
        np.testing.assert_allclose(extrinsics(path.world_from_camera), saved["extrinsics"], rtol=0.0, atol=1e-6)
    loaded = load_path(file)
    np.testing.assert_allclose(path.world_from_camera, loaded.world_from_camera, rtol=0.0, atol=1e-6)
    np.testing.assert_array_equal(path.intrinsics, loaded.intrinsics)
    assert (path.width, path.height, path.fps) == (loaded.width, loaded.height, loaded.fps)


@pytest.mark.parametrize("move", UPSTREAM_MOVES)
def test_a_move_is_the_same_for_every_number_of_frames(move: str) -> None:
    few, many = (upstream_path(move, n, 3.0, LENS, FPS).world_from_camera for n in (13, 49))
    np.testing.assert_allclose(few, many[::4], atol=1e-12)
    np.testing.assert_allclose(few[0], np.eye(4), atol=1e-12)
    np.testing.assert_allclose(many, preset_path(move, 49, 3.0, LENS, FPS).world_from_camera, atol=1e-12)


@pytest.mark.parametrize(("frames", "expected"), [(49, 1.0), (98, 2.0), (25, 1.96), (7, 7.0)])
def test_how_far_the_public_code_turns(frames: int, expected: float) -> None:
    assert over_rotation(frames) == pytest.approx(expected)
    path = upstream_path("30", frames, 2.0, LENS, FPS, turn=over_rotation(frames))
    eye = path.world_from_camera[-1, :3, 3]
    assert eye[0] == pytest.approx(2.0 * np.sin(np.radians(30.0) * expected))
    assert 2.0 - eye[2] == pytest.approx(2.0 * abs(np.cos(np.radians(30.0) * expected)))


def test_its_poses_are_reflections_and_negated_they_are_not() -> None:
    poses = upstream_path("60", 9, 3.0, LENS, FPS).world_from_camera
    built, saved = poses_as_built(poses), extrinsics(poses)
    np.testing.assert_allclose(built[0], np.diag([-1.0, 1.0, 1.0, 1.0]), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(built[:, :3, :3]), -1.0)
    np.testing.assert_allclose(np.linalg.det(saved[:, :3, :3]), 1.0)
    np.testing.assert_allclose(saved[:, :3], -built[:, :3])
    for pose_, view in zip(poses, built, strict=True):
        eye = pose_[:3, 3]
        forward = (np.array([0.0, 0.0, 3.0]) - eye) / np.linalg.norm(np.array([0.0, 0.0, 3.0]) - eye)
        right = np.cross(forward, [0.0, 1.0, 0.0])
        np.testing.assert_allclose(view[2, :3], forward, atol=1e-12)
        np.testing.assert_allclose(view[0, :3], right / np.linalg.norm(right), atol=1e-12)
        np.testing.assert_allclose(view[:3] @ [*eye, 1.0], 0.0, atol=1e-12)


@pytest.mark.parametrize(
    "lens", [Intrinsics(64, 48, 50.0, 60.0, 32.0, 24.0), Intrinsics(64, 48, 50.0, 60.0, 20.5, 31.0)]
)
def test_the_projection_is_a_pinhole_camera(lens: Intrinsics) -> None:
    world_from_camera = pose((0.3, -0.2, 0.1), (0.1, -0.4, 0.2))
    points = np.random.default_rng(0).uniform([-2, -2, 3], [2, 2, 9], (20, 3))
    clip = np.column_stack([points, np.ones(20)]) @ clip_from_world(world_from_camera, lens).T
    seen = (np.linalg.inv(world_from_camera) @ np.column_stack([points, np.ones(20)]).T)[:3]
    np.testing.assert_allclose(clip[:, 3], seen[2])
    np.testing.assert_allclose((clip[:, 0] / clip[:, 3] + 1.0) * 32.0, seen[0] / seen[2] * lens.fx + lens.cx)
    np.testing.assert_allclose((clip[:, 1] / clip[:, 3] + 1.0) * 24.0, seen[1] / seen[2] * lens.fy + lens.cy)


def test_what_lies_on_the_clipping_planes() -> None:
    matrix = projection(LENS, near=0.5, far=20.0)
    for depth, side in ((0.5, -1.0), (20.0, 1.0)):
        clip = matrix @ [0.0, 0.0, -depth, 1.0]
        assert clip[2] / clip[3] == pytest.approx(side)
    assert matrix[1, 1] < 0.0 < matrix[0, 0]


def test_angles_of_view() -> None:
    lens = Intrinsics(100, 50, 50.0, 25.0, 50.0, 25.0)
    assert fields_of_view(lens) == pytest.approx((np.pi / 2, np.pi / 2))


def test_the_radius_leaves_the_border_out() -> None:
    depth = smooth_depth(6, 8)
    depth[0, 0], depth[2, 3] = 0.5, 1.25
    assert upstream_radius(depth) == pytest.approx(1.4)
    assert upstream_radius(depth, 1.0) == pytest.approx(1.15)


@pytest.mark.parametrize(
    ("move", "frames", "radius", "turn", "says"),
    [
        ("45", 9, 2.0, 1.0, "no camera move called '45'.*30, 60, 90, 180"),
        ("zoom_in", 9, 2.0, 1.0, "no camera move"),
        ("60", 0, 2.0, 1.0, "0 frames"),
        ("60", 9, 0.0, 1.0, "radius of 0.0"),
        ("60", 9, float("nan"), 1.0, "radius of nan"),
        ("60", 9, 2.0, float("inf"), "turn of inf"),
    ],
)
def test_what_is_no_move_is_refused(move: str, frames: int, radius: float, turn: float, says: str) -> None:
    with pytest.raises(Ex4dError, match=says) as caught:
        upstream_path(move, frames, radius, LENS, FPS, turn=turn)
    assert caught.value.code == BAD_INPUT
