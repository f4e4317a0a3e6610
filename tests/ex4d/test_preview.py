# SPDX-License-Identifier: Apache-2.0
"""The preview generator on small scenes whose truth is known."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from fractions import Fraction

import cv2
import numpy as np
import pytest
from mesh_cases import pose
from persist_cases import LENS, Box, filmed, trace

from ex4d.cameras import intrinsics_at, preset_path, static_source
from ex4d.doors import choose
from ex4d.generate import GENERATORS, GenerateRequest
from ex4d.generate.preview.plate import plate_of
from ex4d.mesh import lift
from ex4d.persist import build_background
from ex4d.render import render_conditioning, render_frame
from ex4d.scene import build_scene
from ex4d.values import CameraPath, Clip, DepthVideo, DWMesh, Shot, ShotConditioning
from shared_protocol.errors import BAD_INPUT, CANCELLED, Ex4dError

PREVIEW = GENERATORS["preview"]
WALL, BLOCK = 6.0, 3.0


def wall_picture(height: int, width: int) -> np.ndarray:
    """Soft waves: fine enough to see a misplaced fill, coarse enough to survive resampling."""
    y, x = np.mgrid[:height, :width] / 6.0
    return np.stack([128 + 90 * np.sin(x), 128 + 90 * np.sin(y + 1), 128 + 60 * np.sin(x + y)], axis=-1).astype(
        np.uint8
    )


def moving_block(frames: int = 6, height: int = 48, width: int = 64) -> tuple[Clip, DepthVideo]:
    """A red block that moves across a wall; every part of the wall is seen in some frame."""
    pictures = np.repeat(wall_picture(height, width)[None], frames, axis=0)
    z = np.full((frames, height, width), WALL, np.float32)
    for t in range(frames):
        left = 4 + t * (width - 20) // max(frames - 1, 1)
        pictures[t, 16:32, left : left + 12] = (220, 20, 20)
        z[t, 16:32, left : left + 12] = BLOCK
    return Clip(pictures, Fraction(24), "block"), DepthVideo(z, "file", draft=False)


def conditioning(clip: Clip, depth: DepthVideo, move: str = "30") -> ShotConditioning:
    scene = build_scene(clip, depth)
    path = preset_path(move, len(clip.frames), scene.pivot, scene.intrinsics, clip.fps)
    return render_conditioning(Shot(scene, path, static_source(scene, len(clip.frames))))


def paint(given: ShotConditioning, wanted: Sequence[int] | None = None) -> dict[int, np.ndarray]:
    wanted = range(len(given.mask)) if wanted is None else wanted
    return dict(PREVIEW.frames(GenerateRequest(given, 0, {}, wanted, lambda *_: None)))


@pytest.fixture(scope="module")
def block() -> ShotConditioning:
    return conditioning(*moving_block())


@pytest.fixture(scope="module")
def painted(block: ShotConditioning) -> dict[int, np.ndarray]:
    return paint(block)


def test_the_door_says_that_it_is_a_preview_under_a_free_licence() -> None:
    door = choose(GENERATORS, "preview", "generator")
    assert door.label.startswith("Preview")
    assert (door.licence, door.commercial_use) == ("Apache-2.0", True)
    assert door.available() == (True, "")


def test_listing_the_generators_loads_nothing_heavy() -> None:
    code = "import sys, ex4d.generate; assert not {'cv2', 'numba', 'torch'} & set(sys.modules), 'heavy'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_every_wanted_frame_comes_once_and_in_order(block: ShotConditioning, painted: dict[int, np.ndarray]) -> None:
    assert list(painted) == list(range(len(block.mask)))
    for frame in painted.values():
        assert (frame.shape, frame.dtype) == (block.colour.shape[1:], np.uint8)


def test_what_was_seen_is_not_touched(block: ShotConditioning, painted: dict[int, np.ndarray]) -> None:
    for index, frame in painted.items():
        inside = cv2.erode(block.mask[index].astype(np.uint8), np.ones((5, 5), np.uint8), borderValue=1) > 0
        assert np.array_equal(frame[inside], block.colour[index][inside])
    assert np.array_equal(painted[0], block.shot.scene.clip.frames[0])  # the source camera itself: all is seen


def test_a_missing_frame_made_alone_has_the_same_pixels(
    block: ShotConditioning, painted: dict[int, np.ndarray]
) -> None:
    for index, frame in paint(block, [4, 2]).items():
        assert np.array_equal(frame, painted[index])


def test_holes_show_the_wall_that_other_frames_saw(block: ShotConditioning, painted: dict[int, np.ndarray]) -> None:
    scene, path = block.shot.scene, block.shot.path
    height, width = scene.intrinsics.height, scene.intrinsics.width
    wall = DWMesh(*lift(np.full((height, width), WALL, np.float32), scene.far), scene.intrinsics)
    for index in (1, 3, 5):
        truth, known, _ = render_frame(
            wall, wall_picture(height, width), path.world_from_camera[index], intrinsics_at(path, index)
        )
        hole = known & ~block.mask[index]
        assert hole.sum() > 20
        error = np.abs(painted[index][hole].astype(float) - truth[hole]).mean()
        assert error < 8.0, f"frame {index}: the holes are {error:.1f} off the wall behind"


@pytest.mark.parametrize("move", ["90", "180", "zoom_out"])
def test_a_scene_of_one_colour_stays_of_one_colour_everywhere(move: str) -> None:
    clip, depth = moving_block(frames=5)
    clip.frames[:] = (200, 100, 50)
    for frame in paint(conditioning(clip, depth, move)).values():
        assert np.abs(frame.astype(int) - (200, 100, 50)).max() <= 1


def test_the_plate_of_a_moving_camera_has_nothing_that_moves() -> None:
    total = 7
    poses = np.stack([pose((0.15 * (k - 3), 0.0, 0.0)) for k in range(total)])
    box = Box((0.0, 0.6, 3.0), (0.5, 0.5, 0.3), 1.0)
    film = filmed([[box.at(1.0 * (k - 3), 0.6, 3.0)] for k in range(total)], poses)
    colour, z, frame = plate_of(film, build_background(film))
    assert frame == 3
    room, room_z = trace([], poses[frame], LENS)
    _, own_z = trace([box], poses[frame], LENS)
    moving = own_z < 0.9 * room_z
    assert moving.sum() > 300
    np.testing.assert_allclose(z[moving], room_z[moving], rtol=0.02)
    assert np.abs(colour[moving] - room[moving]).mean() < 3.0


def test_a_thing_that_never_moves_hides_what_surrounds_it() -> None:
    clip, depth = moving_block(frames=3)
    clip.frames[:], depth.z[:] = (40, 90, 160), WALL
    clip.frames[:, 18:30, 26:36], depth.z[:, 18:30, 26:36] = (220, 20, 20), BLOCK
    given = conditioning(clip, depth, "60")
    frame, mask = paint(given, [1])[1], given.mask[1]
    hole = cv2.erode((~mask).astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
    assert hole.sum() > 50
    assert np.abs(frame[hole].astype(int) - (40, 90, 160)).max() <= 12


@pytest.mark.parametrize("size", [(48, 27), (27, 48), (17, 15), (8, 8)])
@pytest.mark.parametrize("frames", [1, 2])
def test_odd_portrait_and_tiny_clips_of_one_or_two_frames_work(size: tuple[int, int], frames: int) -> None:
    rng = np.random.default_rng(3)
    width, height = size
    clip = Clip(rng.integers(0, 255, (frames, height, width, 3), np.uint8), Fraction(24), "noise")
    z = rng.uniform(1.0, 9.0, (frames, height, width)).astype(np.float32)
    given = conditioning(clip, DepthVideo(z, "file", draft=False), "180")
    assert len(paint(given)) == frames


def test_a_camera_of_another_shape_far_outside_still_gets_a_full_picture() -> None:
    clip, depth = moving_block(frames=2)
    scene = build_scene(clip, depth)
    away = np.tile(np.eye(4), (2, 1, 1))
    away[1, :3, 3] = (0.0, 0.0, -20.0 * scene.far)
    path = CameraPath(away, np.tile([60.0, 60.0, 20.0, 40.0], (2, 1)), 40, 80, clip.fps)
    frame = paint(render_conditioning(Shot(scene, path, static_source(scene, 2))), [1])[1]
    assert frame.shape == (80, 40, 3)
    assert frame.max(axis=-1).min() > 20, "part of the picture is black"


def test_the_background_follows_the_depth_scale_that_the_artist_sets() -> None:
    clip, depth = moving_block(frames=4)
    plain = conditioning(clip, depth)
    scene = build_scene(clip, DepthVideo(depth.z * np.float32(2.0), "file", draft=False))
    model = static_source(scene, 4)
    model.disparity_scale[:] = 2.0  # halves the depth again
    shot = Shot(scene, plain.shot.path, model)
    assert np.abs(paint(render_conditioning(shot), [3])[3].astype(int) - paint(plain, [3])[3]).mean() < 0.5


def test_stopping_is_heard_and_unknown_options_are_named(block: ShotConditioning) -> None:
    def stop(_phase: str, done: int, _total: int) -> None:
        if done == 2:
            raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError) as stopped:
        list(PREVIEW.frames(GenerateRequest(block, 0, {}, [1], stop)))
    assert stopped.value.code == CANCELLED
    with pytest.raises(Ex4dError, match="steps") as refused:
        list(PREVIEW.frames(GenerateRequest(block, 0, {"steps": 3}, [1], lambda *_: None)))
    assert refused.value.code == BAD_INPUT


def test_progress_counts_up_to_its_total(block: ShotConditioning) -> None:
    told: list[tuple[int, int]] = []
    next(PREVIEW.frames(GenerateRequest(block, 0, {}, [0], lambda _, done, total: told.append((done, total)))))
    assert told == [(k, told[0][1]) for k in range(told[0][1] + 1)]


def test_nothing_wanted_is_nothing_done(block: ShotConditioning) -> None:
    def never(*_: object) -> None:
        pytest.fail("work was done")

    assert not list(PREVIEW.frames(GenerateRequest(block, 0, {}, [], never)))
