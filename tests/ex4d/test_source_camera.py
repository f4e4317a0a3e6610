# SPDX-License-Identifier: Apache-2.0
"""A source camera that moves: its path fitted to the clip, and depth fitted to the path."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from fractions import Fraction
from functools import cache

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_cases import pose

from ex4d.cameras import camera_from_world
from ex4d.source_camera import Fit, fit_to_clip, rebased, scale_depth
from ex4d.source_camera.robust import robust_line
from ex4d.source_camera.scale import fitted
from ex4d.source_camera.tracks import Tracks
from ex4d.values import F32, F64, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, CANCELLED, SIZE_MISMATCH, Ex4dError

WIDTH, HEIGHT, FRAMES = 288, 216, 20
FPS = Fraction(24)


# --- a small world of textured rectangles, with exact depth ---


@dataclass(frozen=True)
class Rectangle:
    """corner + a * side + b * up, a and b in 0..1; it may move by `step` in each frame."""

    corner: tuple[float, float, float]
    side: tuple[float, float, float]
    up: tuple[float, float, float]
    seed: int
    step: tuple[float, float, float] = (0.0, 0.0, 0.0)


ROOM = (
    Rectangle((-9.0, -5.0, 9.0), (18.0, 0.0, 0.0), (0.0, 10.0, 0.0), 1),  # back wall
    Rectangle((-9.0, 1.5, 0.5), (18.0, 0.0, 0.0), (0.0, 0.0, 9.0), 2),  # floor
    Rectangle((-2.5, -0.5, 4.0), (1.5, 0.0, 0.4), (0.0, 2.0, 0.0), 3),  # two boards
    Rectangle((0.6, -1.0, 5.5), (1.8, 0.0, -0.5), (0.0, 2.5, 0.0), 4),
)
# A third of the picture, and it moves along with the camera, where the epipolar lines do not give it away.
WALKER = Rectangle((-0.9, -1.5, 3.0), (1.6, 0.0, 0.0), (0.0, 3.0, 0.0), 5, (0.06, 0.0, 0.0))


@cache
def texture(seed: int) -> F32:
    noise = np.random.default_rng(seed).uniform(0.0, 255.0, (256, 256, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(noise, (0, 0), 1.2)
    return np.clip((soft - 127.5) * 3.0 + 127.5, 0.0, 255.0).astype(np.float32)


def seen(rectangles: tuple[Rectangle, ...], world_from_camera: F64, lens: F64, t: int) -> tuple[F32, F32]:
    """Picture [H, W, 3] and z-depth [H, W] at pixel centres."""
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    rays = np.stack([(u - lens[2]) / lens[0], (v - lens[3]) / lens[1], np.ones_like(u)], axis=-1)
    rays = rays @ world_from_camera[:3, :3].T
    z = np.full((HEIGHT, WIDTH), np.inf)
    picture = np.zeros((HEIGHT, WIDTH, 3), np.float32)
    for rectangle in rectangles:
        corner = np.array(rectangle.corner) + t * np.array(rectangle.step)
        side, up = np.array(rectangle.side), np.array(rectangle.up)  # at right angles
        normal, away = np.cross(side, up), corner - world_from_camera[:3, 3]
        with np.errstate(divide="ignore", invalid="ignore"):
            distance = (normal @ away) / (rays @ normal)
            point = distance[..., None] * rays - away
        a, b = point @ side / (side @ side), point @ up / (up @ up)
        hit = (distance > 0.05) & (distance < z) & (a >= 0) & (a <= 1) & (b >= 0) & (b <= 1)
        z[hit] = distance[hit]
        size = (np.linalg.norm(side), np.linalg.norm(up))
        maps = [(share * length * 14.0 % 255.0).astype(np.float32) for share, length in zip((a, b), size, strict=True)]
        picture[hit] = cv2.remap(texture(rectangle.seed), *maps, cv2.INTER_LINEAR)[hit]
    return picture, z.astype(np.float32)


def moving(kind: str, frames: int = FRAMES) -> F64:
    poses = []
    for t in range(frames):
        u = t / max(frames - 1, 1)
        turn = (0.02 * np.sin(3.0 * u), 0.12 * u, 0.01 * u)
        eye = {"travels": (1.2 * u, -0.2 * u, 0.3 * u), "turns": (0.0, 0.0, 0.0), "stands": (0.0, 0.0, 0.0)}[kind]
        poses.append(pose(eye, (0.0, 0.0, 0.0) if kind == "stands" else turn))
    return np.stack(poses)


@cache
def filmed(kind: str, *, walker: bool = False, noise: float = 0.0) -> tuple[Clip, DepthVideo, CameraPath]:
    rng = np.random.default_rng(7)
    poses = moving(kind)
    lens = np.stack([[250.0 * (1.0 + 0.01 * t), 250.0 * (1.0 + 0.01 * t), 150.0, 104.0] for t in range(FRAMES)])
    rectangles = (*ROOM, WALKER) if walker else ROOM
    made = [seen(rectangles, poses[t], lens[t], t) for t in range(FRAMES)]
    pictures = np.stack([picture for picture, _ in made])
    pictures += rng.normal(0.0, noise, pictures.shape).astype(np.float32) if noise else 0.0
    z = np.stack([depth for _, depth in made])
    assert np.isfinite(z).all()
    clip = Clip(np.clip(pictures.round(), 0, 255).astype(np.uint8), FPS, kind)
    return clip, DepthVideo(z, "file", False, ("as it came",)), CameraPath(poses, lens, WIDTH, HEIGHT, FPS)


@pytest.fixture(scope="module")
def travels() -> tuple[Clip, DepthVideo, CameraPath]:
    return filmed("travels")


def fit_of(made: tuple[Clip, DepthVideo, CameraPath], z: F32 | None = None) -> tuple[DepthVideo, Fit]:
    clip, depth, camera = made
    return scale_depth(depth if z is None else dataclasses.replace(depth, z=z.astype(np.float32)), camera, clip)


# --- the path ---


def a_clip(frames: int = 3, width: int = 64, height: int = 36) -> Clip:
    return Clip(np.zeros((frames, height, width, 3), np.uint8), FPS, "clip")


def a_path(frames: int = 5, width: int = 1920, height: int = 1080) -> CameraPath:
    poses = np.stack([pose((0.3 * t + 1.0, -0.2, 2.0 + t), (0.1 * t, 0.3, -0.2)) for t in range(frames)])
    lens = np.stack([[1500.0 + t, 1500.0 + t, 970.0, 530.0] for t in range(frames)])
    return CameraPath(poses, lens, width, height, Fraction(25))


def test_a_path_is_brought_to_the_clip() -> None:
    path = a_path()
    found, given_from_world = fit_to_clip(path, a_clip(), first=2)
    assert (found.width, found.height, found.fps) == (64, 36, FPS)
    np.testing.assert_array_equal(found.world_from_camera[0], np.eye(4))
    np.testing.assert_array_equal(given_from_world, path.world_from_camera[2])
    np.testing.assert_allclose(given_from_world @ found.world_from_camera, path.world_from_camera[2:5], atol=1e-12)
    np.testing.assert_allclose(found.intrinsics, path.intrinsics[2:5] / 30.0)


def test_a_path_that_is_the_clips_already_stays_as_it_is() -> None:
    first = a_path(3, 64, 36)
    poses = np.concatenate([np.eye(4)[None], first.world_from_camera[1:]])
    path = dataclasses.replace(first, world_from_camera=poses)
    found, given_from_world = fit_to_clip(path, a_clip())
    np.testing.assert_array_equal(found.world_from_camera, poses)
    np.testing.assert_array_equal(found.intrinsics, path.intrinsics)
    np.testing.assert_array_equal(given_from_world, np.eye(4))


def test_another_camera_of_the_same_world_keeps_its_place_beside_the_source() -> None:
    source, other = a_path(), dataclasses.replace(a_path(2), world_from_camera=np.stack([pose((4.0, 5.0, 6.0))] * 2))
    found, given_from_world = fit_to_clip(source, a_clip())
    moved = rebased(other, given_from_world)
    before = camera_from_world(source.world_from_camera[1]) @ other.world_from_camera[0]
    after = camera_from_world(found.world_from_camera[1]) @ moved.world_from_camera[0]
    np.testing.assert_allclose(after, before, atol=1e-12)
    np.testing.assert_array_equal(rebased(source, source.world_from_camera[0]).world_from_camera[0], np.eye(4))


def test_a_path_of_as_many_frames_as_were_chosen_belongs_to_them() -> None:
    path = a_path(3)
    found, given_from_world = fit_to_clip(path, a_clip(3), first=7)
    np.testing.assert_array_equal(given_from_world, path.world_from_camera[0])
    assert len(found.world_from_camera) == 3


def test_a_path_that_is_too_short_is_refused() -> None:
    with pytest.raises(Ex4dError, match="has 5 frames; the clip's frames 4 to 6 need 6") as caught:
        fit_to_clip(a_path(5), a_clip(3), first=3)
    assert caught.value.code == SIZE_MISMATCH


def test_another_aspect_is_refused_and_rounded_sides_are_not() -> None:
    with pytest.raises(Ex4dError, match="pictures of 1920x1080, the clip is 64x48") as caught:
        fit_to_clip(a_path(), a_clip(height=48))
    assert caught.value.code == SIZE_MISMATCH
    found, _ = fit_to_clip(a_path(3, 1918, 1080), a_clip(3, 426, 240))
    assert (found.intrinsics[:, 0] == found.intrinsics[:, 1]).all()


def test_pixels_that_are_not_square_are_refused() -> None:
    path = a_path()
    path.intrinsics[1, 1] *= 1.07
    with pytest.raises(Ex4dError, match="frame 2 has fx 1501 and fy 1606") as caught:
        fit_to_clip(path, a_clip())
    assert caught.value.code == BAD_INPUT
    path.intrinsics[1, 1] = path.intrinsics[1, 0] * 1.002
    found, _ = fit_to_clip(path, a_clip())
    assert found.intrinsics[1, 0] == found.intrinsics[1, 1] == pytest.approx(1501.0 * 1.001 / 30.0)


def test_a_first_frame_below_zero_is_refused() -> None:
    with pytest.raises(Ex4dError, match="counted from 0"):
        fit_to_clip(a_path(), a_clip(), first=-1)


# --- the depth ---


def test_exact_depth_stays_bit_for_bit(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    out, fit = fit_of(travels)
    assert not fit.applied
    assert fit.agreeing > 0.9
    assert fit.points > 1000
    np.testing.assert_array_equal(out.z, travels[1].z)
    assert out.notes == ("as it came", fit.note)
    assert "fits the source camera as it is" in fit.note


@pytest.mark.parametrize("factor", [0.05, 0.95, 3.21, 40.0])
def test_an_unknown_scale_is_found(travels: tuple[Clip, DepthVideo, CameraPath], factor: float) -> None:
    out, fit = fit_of(travels, travels[1].z * factor)
    assert fit.applied
    assert (fit.scale, fit.shift) == (pytest.approx(factor, rel=0.01), 0.0)
    np.testing.assert_allclose(out.z, travels[1].z, rtol=0.01)
    assert f"depth was multiplied by {1.0 / fit.scale:.4g}" in fit.note


@pytest.mark.parametrize(("scale", "shift"), [(1.0, 0.03), (0.5, 0.05), (1.5, -0.1)])
def test_an_unknown_scale_and_shift_of_the_disparity_are_found(
    travels: tuple[Clip, DepthVideo, CameraPath], scale: float, shift: float
) -> None:
    z = travels[1].z
    out, fit = fit_of(travels, scale / (1.0 / z - shift))
    assert fit.scale == pytest.approx(scale, rel=0.02)
    assert fit.shift == pytest.approx(shift, rel=0.03)
    np.testing.assert_allclose(out.z, z, rtol=0.03)
    assert "shifted by" in fit.note


@pytest.mark.parametrize("kind", ["pixels", "blobs", "flicker"])
def test_errors_of_an_estimator_make_no_shift(travels: tuple[Clip, DepthVideo, CameraPath], kind: str) -> None:
    rng = np.random.default_rng(3)
    z = travels[1].z
    error = {
        "pixels": rng.normal(0.0, 0.05, z.shape),
        "blobs": np.stack([cv2.resize(rng.normal(0.0, 0.08, (6, 8)), (WIDTH, HEIGHT)) for _ in z]),
        "flicker": rng.normal(0.0, 0.04, (len(z), 1, 1)),
    }[kind]
    _, fit = fit_of(travels, 2.0 * z * np.exp(error))
    assert (fit.scale, fit.shift) == (pytest.approx(2.0, rel=0.03), 0.0)


@pytest.mark.parametrize("factor", [1.0, 2.5])
def test_what_moves_by_itself_and_noisy_pictures_change_little(factor: float) -> None:
    clip, depth, camera = filmed("travels", walker=True, noise=6.0)
    _, fit = fit_of((clip, dataclasses.replace(depth, z=depth.z * np.float32(factor)), camera))
    assert (fit.scale, fit.shift) == (pytest.approx(factor, rel=0.01), 0.0)
    assert fit.agreeing > 0.7


@pytest.mark.parametrize("kind", ["turns", "stands"])
def test_a_camera_that_keeps_its_place_tells_no_scale(kind: str) -> None:
    made = filmed(kind, walker=True)
    z = made[1].z * np.float32(2.0)
    out, fit = fit_of(made, z)
    assert (fit.applied, fit.points) == (False, 0)
    np.testing.assert_array_equal(out.z, z)
    assert "tells no distances" in fit.note


def test_a_tracker_that_trembles_where_the_camera_turns_tells_no_scale() -> None:
    clip, depth, camera = filmed("turns", walker=True)
    poses = camera.world_from_camera.copy()
    poses[:, :3, 3] += np.random.default_rng(1).normal(0.0, 1e-3, (FRAMES, 3))
    _, fit = fit_of((clip, depth, dataclasses.replace(camera, world_from_camera=poses)))
    assert not fit.applied
    assert "hardly leaves its place" in fit.note


def test_a_path_that_runs_the_wrong_way_is_told(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    poses = camera.world_from_camera.copy()
    poses[:, :3, 3] *= -1.0
    _, fit = fit_of((clip, depth, dataclasses.replace(camera, world_from_camera=poses)))
    assert not fit.applied
    assert "behind the source camera" in fit.note


def test_a_path_of_another_shot_is_told(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    poses = np.stack([pose((0.0, 0.9 * t / FRAMES, 0.0), (0.0, -0.02 * t, 0.0)) for t in range(FRAMES)])
    _, fit = fit_of((clip, depth, dataclasses.replace(camera, world_from_camera=poses)))
    assert not fit.applied
    assert "move as the source camera's path has it" in fit.note


def test_depth_that_has_nothing_to_do_with_the_clip_is_told(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    out, fit = fit_of(travels, 1.0 / travels[1].z)  # near and far swapped
    assert fit.shift == 0.0
    assert "do not agree" in fit.note
    assert np.isfinite(out.z).all()
    assert (out.z > 0.0).all()


def test_a_clip_without_texture_keeps_its_depth(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    _, fit = fit_of((dataclasses.replace(clip, frames=np.full_like(clip.frames, 90)), depth, camera))
    assert not fit.applied
    assert "only 0 points could be followed" in fit.note


def test_a_clip_that_goes_black_at_once_keeps_its_depth(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    frames = clip.frames.copy()
    frames[1:] = 0
    _, fit = fit_of((dataclasses.replace(clip, frames=frames), depth, camera))
    assert not fit.applied
    assert "only 0 points could be followed" in fit.note


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 48), (3, 8, 6), (2, 1, 5)])
def test_clips_too_small_to_follow_anything_keep_their_depth(frames: int, width: int, height: int) -> None:
    clip = Clip(np.zeros((frames, height, width, 3), np.uint8), FPS, "tiny")
    depth = DepthVideo(np.ones((frames, height, width), np.float32), "file", False)
    lens = np.tile([60.0, 60.0, width / 2, height / 2], (frames, 1))
    camera = CameraPath(moving("travels", frames), lens, width, height, FPS)
    out, fit = scale_depth(depth, camera, clip)
    assert not fit.applied
    np.testing.assert_array_equal(out.z, depth.z)


def test_sizes_have_to_agree(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    with pytest.raises(Ex4dError, match="20 frames of 288x216, its depth 19 of 288x216") as caught:
        scale_depth(dataclasses.replace(depth, z=depth.z[1:]), camera, clip)
    assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match="its camera 20 of 200x216"):
        scale_depth(depth, dataclasses.replace(camera, width=200), clip)


def test_it_reports_and_can_be_stopped(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    clip, depth, camera = travels
    calls: list[tuple[int, int]] = []

    def progress(done: int, total: int) -> None:
        calls.append((done, total))
        if done == 3:
            raise Ex4dError(CANCELLED, "stopped")

    with pytest.raises(Ex4dError, match="stopped"):
        scale_depth(depth, camera, clip, progress)
    assert calls == [(k, 8) for k in range(4)]


def test_the_same_clip_gives_the_same_fit(travels: tuple[Clip, DepthVideo, CameraPath]) -> None:
    z = travels[1].z * np.float32(1.7)
    (first, fit), (second, again) = fit_of(travels, z), fit_of(travels, z)
    assert fit == again
    np.testing.assert_array_equal(first.z, second.z)


@given(st.integers(0, 2**31), st.integers(30, 200), st.floats(0.1, 1.0))
@settings(max_examples=40, deadline=None)
def test_whatever_the_points_say_depth_stays_depth(seed: int, count: int, before: float) -> None:
    rng = np.random.default_rng(seed)
    found = rng.lognormal(0.0, 1.0, count) * np.where(rng.random(count) < before, 1.0, -1.0)
    many = np.full(count, 3.0)
    tracks = Tracks(
        count, np.zeros(count, np.intp), np.zeros((count, 2)), found, rng.lognormal(-4.0, 2.0, count), many, many
    )
    fit = fitted(tracks, rng.lognormal(0.0, 1.0, count))
    assert np.isfinite([fit.scale, fit.shift, fit.residual]).all()
    assert fit.scale > 0.0
    assert 0.0 <= fit.agreeing <= 1.0


# --- the line ---


@pytest.mark.parametrize("wrong", [0.0, 0.3, 0.45])
def test_a_line_is_found_among_wrong_points(wrong: float) -> None:
    rng = np.random.default_rng(5)
    x = rng.uniform(0.1, 1.0, 800)
    y = 0.7 * x + 0.1
    noise = np.full(800, 0.005)
    y += rng.normal(0.0, 0.005, 800)
    bad = rng.random(800) < wrong
    y[bad] = rng.uniform(0.05, 1.5, int(bad.sum()))
    line = robust_line(x, y, noise, 0.05, offset=True)
    assert line.slope == pytest.approx(0.7, rel=0.03)
    assert line.offset == pytest.approx(0.1, rel=0.08)
    through_zero = robust_line(x, y - 0.1, noise, 0.05, offset=False)
    assert (through_zero.slope, through_zero.offset) == (pytest.approx(0.7, rel=0.03), 0.0)


def test_many_points_at_one_height_make_no_line() -> None:
    rng = np.random.default_rng(6)
    x = np.concatenate([np.full(900, 0.2) * np.exp(rng.normal(0.0, 0.1, 900)), rng.uniform(0.2, 1.0, 200)])
    y = np.concatenate([np.full(900, 0.1), 0.5 * x[900:]])
    line = robust_line(x, y, np.full(1100, 1e-3), 0.10, offset=True)
    assert line.slope == pytest.approx(0.5, rel=0.1)
