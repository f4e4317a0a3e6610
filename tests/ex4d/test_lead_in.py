# SPDX-License-Identifier: Apache-2.0
"""Frames before a shot that glide there from the source camera."""

from __future__ import annotations

import dataclasses
from fractions import Fraction

import numpy as np
import pytest
from mesh_cases import picture, pose, smooth_depth, towards

from ex4d.cameras import check_path, preset_path, static_source
from ex4d.lead_in import needs_lead_in, with_lead_in
from ex4d.render import render_conditioning
from ex4d.scene import build_scene
from ex4d.values import F32, F64, CameraPath, Clip, DepthVideo, Scene, Shot
from shared_protocol.errors import BAD_INPUT, Ex4dError

FPS = Fraction(24)
WIDTH, HEIGHT, FRAMES = 64, 48, 6


def a_scene(z: F32 | None = None, *, moving: bool = False) -> Scene:
    clip = Clip(np.stack([picture(HEIGHT, WIDTH, t) for t in range(FRAMES)]), FPS, "small")
    depth = DepthVideo(np.repeat((smooth_depth(HEIGHT, WIDTH) if z is None else z)[None], FRAMES, 0), "file", False)
    poses = np.stack([pose((0.2 * t, 0.0, 0.1 * t), (0.0, 0.05 * t, 0.0)) for t in range(FRAMES)])
    camera = CameraPath(poses, np.tile([60.0, 60.0, 33.0, 23.5], (FRAMES, 1)), WIDTH, HEIGHT, FPS)
    return build_scene(clip, depth, camera=camera if moving else None, focal=60.0)


def a_shot(
    poses: F64, *, scene: Scene | None = None, lens: F64 | None = None, size: tuple[int, int] | None = None
) -> Shot:
    scene = scene or a_scene()
    width, height = size or (WIDTH, HEIGHT)
    lenses = np.tile([60.0, 60.0, width / 2, height / 2], (len(poses), 1)) if lens is None else lens
    return Shot(scene, CameraPath(poses, lenses, width, height, FPS), static_source(scene, len(poses)))


def orbit(frames: int = 5, start: float = 0.5) -> F64:
    """Cameras on a circle around (0, 0, 3), beside the source camera."""
    angles = start + 0.03 * np.arange(frames)
    return np.stack([towards((3.0 * np.sin(a), -0.4, 3.0 - 3.0 * np.cos(a)), (0.0, 0.0, 3.0)) for a in angles])


def steps(path: CameraPath) -> F64:
    return np.linalg.norm(np.diff(path.world_from_camera[:, :3, 3], axis=0), axis=1)


def turns(path: CameraPath) -> F64:
    """Angles from each frame to the next."""
    rotation = path.world_from_camera[:, :3, :3]
    relative = np.swapaxes(rotation[:-1], 1, 2) @ rotation[1:]
    off = np.stack([relative[:, 2, 1] - relative[:, 1, 2], relative[:, 0, 2] - relative[:, 2, 0]])
    sine = 0.5 * np.sqrt((off**2).sum(axis=0) + (relative[:, 1, 0] - relative[:, 0, 1]) ** 2)
    return np.arctan2(sine, 0.5 * (np.trace(relative, axis1=1, axis2=2) - 1.0))


def test_it_starts_at_the_source_and_leaves_the_shot_as_it_is() -> None:
    shot = a_shot(orbit())
    longer = with_lead_in(shot, 12, 0)
    check_path(longer.path)
    assert len(longer.path.world_from_camera) == len(longer.source.frame) == 17
    np.testing.assert_array_equal(longer.path.world_from_camera[0], np.eye(4))
    np.testing.assert_array_equal(longer.path.intrinsics[0], [60.0, 60.0, 32.0, 24.0])
    np.testing.assert_array_equal(longer.path.world_from_camera[12:], shot.path.world_from_camera)
    np.testing.assert_array_equal(longer.path.intrinsics[12:], shot.path.intrinsics)
    np.testing.assert_array_equal(longer.source.frame, [0] * 12 + [0, 1, 2, 3, 4])
    assert (longer.path.fps, longer.scene) == (FPS, shot.scene)


def test_the_first_picture_is_the_source_picture() -> None:
    shot = a_shot(orbit(2), scene=a_scene(moving=True))
    shot = dataclasses.replace(shot, source=dataclasses.replace(shot.source, frame=np.array([3, 4], np.int32)))
    made = render_conditioning(with_lead_in(shot, 2, 0))
    np.testing.assert_array_equal(made.colour[0], shot.scene.clip.frames[3])
    assert made.coverage[0] == 1.0
    assert made.coverage[1] < 1.0


def test_a_moving_source_camera_is_left_where_the_shot_begins() -> None:
    scene = a_scene(moving=True)
    shot = a_shot(orbit(3), scene=scene)
    shot = dataclasses.replace(shot, source=dataclasses.replace(shot.source, frame=np.array([2, 3, 4], np.int32)))
    longer = with_lead_in(shot, 4, 0)
    np.testing.assert_array_equal(longer.path.world_from_camera[0], scene.camera.world_from_camera[2])
    np.testing.assert_array_equal(longer.source.frame, [2, 2, 2, 2, 2, 3, 4])


def test_the_sources_settings_are_held() -> None:
    shot = a_shot(orbit(2))
    source = dataclasses.replace(
        shot.source, focal=np.array([50.0, 55.0]), cx=np.array([30.0, 31.0]), disparity_scale=np.array([1.1, 1.2])
    )
    longer = with_lead_in(dataclasses.replace(shot, source=source), 3, 0)
    np.testing.assert_array_equal(longer.path.intrinsics[0], [50.0, 50.0, 30.0, 24.0])
    np.testing.assert_array_equal(longer.source.focal, [50.0, 50.0, 50.0, 50.0, 55.0])
    np.testing.assert_array_equal(longer.source.disparity_scale, [1.1, 1.1, 1.1, 1.1, 1.2])
    assert longer.source.frame.dtype == np.int32


@pytest.mark.parametrize("frames", [8, 24, 61])
@pytest.mark.parametrize("start", [-1.2, 0.3, 1.0])
def test_the_way_is_eased_and_joins_without_a_jump(frames: int, start: float) -> None:
    path = with_lead_in(a_shot(orbit(6, start)), frames, 0).path
    places = path.world_from_camera[:, :3, 3]
    assert (np.diff(places[: frames + 1] @ places[frames]) > 0.0).all()  # onward all the time
    for speed in (steps(path), turns(path)):
        assert speed[0] < 0.5 * speed[1]  # at rest, then faster
        assert speed[frames - 1] <= 1.05 * max(speed[frames - 2], speed[frames])
        if start > 0.0:  # the shot goes on in the direction that it is reached in
            change = np.abs(np.diff(speed))
            assert change[frames - 1] <= 1.2 * change[frames - 4 : frames - 1].max()


def test_it_arrives_with_the_shots_own_motion() -> None:
    poses = np.stack([pose((1.0 + 0.05 * t, 0.02 * t, 0.0), (0.0, -0.2 - 0.01 * t, 0.004 * t)) for t in range(3)])
    path = with_lead_in(a_shot(poses), 40, 0).path
    places = path.world_from_camera[:, :3, 3]
    np.testing.assert_allclose(places[40] - places[39], places[41] - places[40], atol=0.006)
    inverse = np.swapaxes(path.world_from_camera[:, :3, :3], 1, 2)
    before, after = (inverse[k] @ path.world_from_camera[k + 1, :3, :3] for k in (39, 40))
    np.testing.assert_allclose(before, after, atol=2e-3)


def test_a_shot_that_begins_with_a_cut_does_not_run_back_and_forth() -> None:
    poses = np.stack([pose((1.0, 0.0, 0.0)), pose((40.0, 0.0, 0.0))])
    along = with_lead_in(a_shot(poses), 10, 0).path.world_from_camera[:, 0, 3]
    assert (np.diff(along) > 0.0).all()
    back = with_lead_in(a_shot(np.stack([pose((1.0, 0.0, 0.0)), pose((-40.0, 0.0, 0.0))])), 10, 0).path
    assert (np.diff(back.world_from_camera[:11, 0, 3]) > 0.0).all()


@pytest.mark.parametrize("turn", [(0.0, 3.1, 0.0), (1e-3, 0.0, 0.0), (0.4, -1.0, 2.0)])
def test_any_turn_is_gone_all_the_way(turn: tuple[float, float, float]) -> None:
    path = with_lead_in(a_shot(pose((0.0, 0.0, 0.0), turn)[None]), 30, 0).path
    check_path(path)
    np.testing.assert_allclose(path.world_from_camera[:, :3, 3], 0.0, atol=1e-12)
    speed = turns(path)
    one_axis = turns(dataclasses.replace(path, world_from_camera=path.world_from_camera[[0, -1]]))[0]
    assert speed.sum() == pytest.approx(one_axis, rel=1e-6)  # the shortest way
    assert speed.max() == pytest.approx(1.5 * one_axis / 30, rel=0.01)  # the cubic's greatest speed


def test_the_lens_goes_in_equal_ratios() -> None:
    lens = np.tile([240.0, 120.0, 40.0, 20.0], (2, 1))
    path = with_lead_in(a_shot(np.tile(np.eye(4), (2, 1, 1)), lens=lens), 4, 0).path
    np.testing.assert_array_equal(path.world_from_camera, np.tile(np.eye(4), (6, 1, 1)))
    np.testing.assert_allclose(path.intrinsics[2], [120.0, 60.0 * np.sqrt(2.0), 36.0, 22.0])
    assert (np.diff(path.intrinsics[:5, 0]) > 0.0).all()
    np.testing.assert_array_equal(path.intrinsics[0], [60.0, 60.0, 32.0, 24.0])


@pytest.mark.parametrize(
    ("size", "lens"),
    [
        ((128, 96), (120.0, 120.0, 64.0, 48.0)),
        ((128, 48), (120.0, 120.0, 64.0, 24.0)),  # wider: the source fills the width, its height is cut
        ((48, 96), (120.0, 120.0, 24.0, 48.0)),  # taller: it fills the height
    ],
)
def test_another_size_is_filled_by_the_source(size: tuple[int, int], lens: tuple[float, ...]) -> None:
    longer = with_lead_in(a_shot(orbit(2), size=size), 3, 0)
    np.testing.assert_allclose(longer.path.intrinsics[0], lens)
    assert (longer.path.width, longer.path.height) == size
    assert render_conditioning(longer).coverage[0] == 1.0


def test_a_shot_that_starts_at_the_source_gets_none() -> None:
    scene = a_scene()
    preset = Shot(scene, preset_path("60", 5, scene.pivot, scene.intrinsics, FPS), static_source(scene, 5))
    assert not needs_lead_in(preset)
    assert with_lead_in(preset, 10, 0) is preset
    moved = a_shot(orbit())
    assert needs_lead_in(moved)
    assert with_lead_in(moved, 0, 0) is moved


@pytest.mark.parametrize("what", ["place", "turn", "focal", "centre", "size", "source"])
def test_a_small_difference_needs_one(what: str) -> None:
    poses, lens = np.tile(np.eye(4), (2, 1, 1)), np.tile([60.0, 60.0, 32.0, 24.0], (2, 1))
    if what == "place":
        poses[:, 0, 3] = 0.01
    elif what == "turn":
        poses[:] = pose((0.0, 0.0, 0.0), (0.001, 0.0, 0.0))
    elif what == "focal":
        lens[:, :2] = 60.1
    elif what == "centre":
        lens[:, 3] = 24.2
    shot = a_shot(poses, lens=lens, size=(65, 48) if what == "size" else None)
    if what == "source":
        shot = dataclasses.replace(shot, source=dataclasses.replace(shot.source, focal=np.array([59.0, 60.0])))
    assert needs_lead_in(shot)


def test_rounding_needs_none() -> None:
    poses = np.tile(pose((1e-5, -1e-5, 1e-5), (1e-5, 1e-6, 0.0)), (2, 1, 1)).astype(np.float32).astype(np.float64)
    assert not needs_lead_in(a_shot(poses, lens=np.tile([60.003, 60.003, 32.01, 24.0], (2, 1))))


def before_a_post() -> Scene:
    """A post at z = 2, right ahead of the source camera, in a room 6 deep."""
    z = np.full((HEIGHT, WIDTH), 6.0, np.float32)
    z[:, 26:38] = 2.0
    return a_scene(z)


def in_the_post(path: CameraPath) -> int:
    """How many cameras are within a tenth of the post's depth of it."""
    x, _, z = path.world_from_camera[:, :3, 3].T
    return int(((np.abs(z - 2.0) < 0.2) & (np.abs(x) < 0.2)).sum())


def test_a_way_through_something_leads_around_it() -> None:
    shot = a_shot(pose((0.0, 0.0, 3.5), (0.0, 0.3, 0.0))[None], scene=before_a_post())
    path = with_lead_in(shot, 40, 0).path
    assert in_the_post(path) == 0
    straight = with_lead_in(dataclasses.replace(shot, scene=a_scene(np.full((HEIGHT, WIDTH), 9.0, np.float32))), 40, 0)
    np.testing.assert_allclose(straight.path.world_from_camera[:, :2, 3], 0.0, atol=1e-12)
    assert in_the_post(straight.path) > 0  # what it would be without the detour
    np.testing.assert_array_equal(path.world_from_camera[0], np.eye(4))
    np.testing.assert_array_equal(path.world_from_camera[40], shot.path.world_from_camera[0])
    assert (steps(path)[[0, -1]] < 0.2 * steps(path).max()).all()


def test_something_moved_by_the_artist_is_where_he_put_it() -> None:
    """The disparity's scale brings the post from 2 to 8: the way is free."""
    shot = a_shot(pose((0.0, 0.0, 3.5))[None], scene=before_a_post())
    source = dataclasses.replace(shot.source, disparity_scale=np.array([0.25]))
    path = with_lead_in(dataclasses.replace(shot, source=source), 20, 0).path
    np.testing.assert_allclose(path.world_from_camera[:, :2, 3], 0.0, atol=1e-12)


def test_the_detour_hangs_on_the_seed_and_nothing_else() -> None:
    shot = a_shot(pose((0.0, 0.0, 3.5))[None], scene=before_a_post())
    one, again, other = (with_lead_in(shot, 20, seed).path for seed in (3, 3, 4))
    np.testing.assert_array_equal(one.world_from_camera, again.world_from_camera)
    assert np.abs(one.world_from_camera - other.world_from_camera).max() > 0.01
    free = a_shot(orbit())  # the straight way is free: nothing is drawn
    first, second = (with_lead_in(free, 20, seed).path for seed in (3, 4))
    np.testing.assert_array_equal(first.world_from_camera, second.world_from_camera)


def test_a_start_inside_something_is_still_reached() -> None:
    shot = a_shot(pose((0.0, 0.0, 2.0))[None], scene=before_a_post())
    path = with_lead_in(shot, 30, 0).path
    check_path(path)
    assert in_the_post(path) > 0
    np.testing.assert_array_equal(path.world_from_camera[30], shot.path.world_from_camera[0])


@pytest.mark.parametrize(("frames", "seed"), [(-1, 0), (481, 0), (5, -1)])
def test_what_makes_no_sense_is_refused(frames: int, seed: int) -> None:
    with pytest.raises(Ex4dError, match="cannot be") as caught:
        with_lead_in(a_shot(orbit()), frames, seed)
    assert caught.value.code == BAD_INPUT
