# SPDX-License-Identifier: Apache-2.0
"""A whole shot: frame by frame, to be stopped, and refused where there is nothing to see."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import pose, small_scene

from ex4d import memory
from ex4d.cameras import preset_path, static_source
from ex4d.render import RenderOptions, render_conditioning, render_frame
from ex4d.scene import build_scene, scene_mesh
from ex4d.values import CameraPath, DepthVideo, Intrinsics, Shot
from shared_protocol.errors import BAD_INPUT, CANCELLED, EMPTY_VIEW, LIMIT, SIZE_MISMATCH, Ex4dError


def shot_of(frames: int = 3, move: str = "60") -> Shot:
    scene = small_scene(frames)
    path = preset_path(move, frames, scene.pivot, scene.intrinsics, Fraction(25))
    return Shot(scene, path, static_source(scene, frames))


def moved(shot: Shot, world: np.ndarray) -> Shot:
    poses = np.tile(world, (len(shot.path.world_from_camera), 1, 1))
    return dataclasses.replace(shot, path=dataclasses.replace(shot.path, world_from_camera=poses))


def test_every_frame_is_rendered_and_told_in_order() -> None:
    shot = shot_of()
    told = []
    result = render_conditioning(shot, lambda *frame: told.append(frame))
    assert [frame[0] for frame in told] == [0, 1, 2]
    for index, colour, mask, z, coverage in told:
        np.testing.assert_array_equal(colour, result.colour[index])
        np.testing.assert_array_equal(mask, result.mask[index])
        assert coverage == result.coverage[index] == mask.mean()
        assert (z[mask] > 0.0).all()
    np.testing.assert_array_equal(result.colour[0], shot.scene.clip.frames[0])  # a move starts at the source camera
    assert result.coverage[0] == 1.0
    assert 0.0 < result.coverage[2] < 1.0
    assert result.shot is shot


def test_each_frame_uses_its_own_source_frame_settings_and_lens() -> None:
    shot = shot_of(3)
    source = dataclasses.replace(
        shot.source,
        frame=np.array([2, 0, 1], np.int32),
        focal=np.array([31.0, 40.0, 25.0]),
        disparity_scale=np.array([1.0, 1.5, 0.8]),
        disparity_shift=np.array([0.0, 0.02, -0.01]),
    )
    lens = shot.path.intrinsics * np.array([[1.0], [0.8], [1.3]])
    path = dataclasses.replace(shot.path, intrinsics=lens, width=41, height=19)
    changed = dataclasses.replace(shot, source=source, path=path)
    result = render_conditioning(changed)
    assert result.colour.shape == (3, 19, 41, 3)
    for t in range(3):
        camera = dataclasses.replace(
            shot.scene.intrinsics,
            **dict(zip(("fx", "fy", "cx", "cy"), lens[t].tolist(), strict=True)),
            width=41,
            height=19,
        )
        picture = shot.scene.clip.frames[source.frame[t]]
        colour, mask, _ = render_frame(scene_mesh(shot.scene, source, t), picture, path.world_from_camera[t], camera)
        np.testing.assert_array_equal(result.colour[t], colour)
        np.testing.assert_array_equal(result.mask[t], mask)


def test_one_frame_and_a_portrait_output_work() -> None:
    scene = small_scene(1, 17, 31)
    lens = Intrinsics(36, 64, 114.0, 114.0, 18.0, 32.0)
    path = preset_path("30", 1, scene.pivot, lens, Fraction(24))
    result = render_conditioning(Shot(scene, path, static_source(scene, 1)))
    assert result.mask.shape == (1, 64, 36)
    assert result.coverage[0] > 0.8


@pytest.mark.parametrize(
    "world",
    [pose((0.0, 0.0, 60.0), (0.0, np.pi, 0.0)), pose((0.0, 0.0, -1.0), (0.0, np.pi, 0.0))],
    ids=["behind the mesh", "looking away"],
)
def test_a_camera_that_never_sees_the_surface_is_refused_with_what_to_do(world: np.ndarray) -> None:
    told: list[int] = []
    with pytest.raises(Ex4dError, match=r"sees none.*in front of the mesh") as caught:
        render_conditioning(moved(shot_of(2), world), lambda index, *_: told.append(index))
    assert caught.value.code == EMPTY_VIEW
    assert told == [0, 1]


def test_a_camera_that_sees_the_surface_in_one_frame_is_accepted() -> None:
    shot = moved(shot_of(3), pose((0.0, 0.0, -1.0), (0.0, np.pi, 0.0)))
    shot.path.world_from_camera[1] = np.eye(4)
    result = render_conditioning(shot)
    assert result.coverage.tolist() == [0.0, 1.0, 0.0]


def test_a_shot_that_would_not_fit_into_memory_is_refused_before_rendering(monkeypatch: pytest.MonkeyPatch) -> None:
    shot = shot_of(3)
    size = 3 * shot.path.height * shot.path.width * 4
    monkeypatch.setattr(memory, "MAX_BYTES", size - 1)
    told: list[int] = []
    with pytest.raises(Ex4dError, match=f"3 frames of {shot.path.width}x{shot.path.height}") as caught:
        render_conditioning(shot, lambda index, *_: told.append(index))
    assert caught.value.code == LIMIT
    assert told == []
    monkeypatch.setattr(memory, "MAX_BYTES", size)
    assert len(render_conditioning(shot).colour) == 3


def test_it_stops_where_whoever_is_told_of_a_frame_says_so() -> None:
    told: list[int] = []

    def on_frame(index: int, *_: object) -> None:
        told.append(index)
        if index == 1:
            raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError) as caught:
        render_conditioning(shot_of(3), on_frame)
    assert caught.value.code == CANCELLED
    assert told == [0, 1]


def test_camera_and_source_of_differing_length_are_refused() -> None:
    shot = shot_of(3)
    with pytest.raises(Ex4dError, match=r"3 frames.*2") as caught:
        render_conditioning(dataclasses.replace(shot, source=static_source(shot.scene, 2)))
    assert caught.value.code == SIZE_MISMATCH


def test_a_camera_that_cannot_be_used_is_refused_before_anything_is_rendered() -> None:
    shot = moved(shot_of(2), np.diag([1.0, 1.0, 3.0, 1.0]))
    told: list[int] = []
    with pytest.raises(Ex4dError, match="frame 1") as caught:
        render_conditioning(shot, lambda index, *_: told.append(index))
    assert caught.value.code == BAD_INPUT
    assert not told


def test_with_bounded_skirts_more_is_seen() -> None:
    shot = shot_of(3, "60")
    depth = np.full((1, 24, 32), 6.0, np.float32)
    depth[0, 4:20, 15:17] = 2.0
    depth_video = DepthVideo(np.repeat(depth, 3, axis=0), "file", False)
    shot = dataclasses.replace(shot, scene=build_scene(shot.scene.clip, depth_video))
    closed = render_conditioning(shot)
    bounded = render_conditioning(shot, options=RenderOptions("bounded"))
    assert bounded.coverage[-1] > closed.coverage[-1]
    np.testing.assert_array_equal(bounded.colour[0], closed.colour[0])  # from the source camera both are the source


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (RenderOptions("open"), "closed, bounded, upstream"),
        (RenderOptions(filter_type="boundary"), "--geometry upstream"),
        (RenderOptions("bounded", use_dwmesh=False), "--geometry upstream"),
        (RenderOptions("upstream", persist=True), "closed or bounded"),
    ],
)
def test_options_that_do_not_go_together_are_refused_with_what_to_do(options: RenderOptions, said: str) -> None:
    with pytest.raises(Ex4dError, match=said) as caught:
        render_conditioning(shot_of(1), options=options)
    assert caught.value.code == BAD_INPUT


def test_a_source_camera_that_moves_puts_each_frame_where_it_was_seen_from() -> None:
    shot = shot_of(3)
    poses = np.stack([pose((0.1 * t, 0.02, 0.0), (0.0, 0.05 * t, 0.0)) for t in range(3)])
    scene = dataclasses.replace(shot.scene, camera=dataclasses.replace(shot.scene.camera, world_from_camera=poses))
    along = dataclasses.replace(shot.path, world_from_camera=poses)  # the new camera goes with the source camera
    result = render_conditioning(Shot(scene, along, shot.source))
    assert result.coverage.min() > 0.999
    assert np.abs(result.colour.astype(int) - scene.clip.frames)[result.mask].mean() < 0.5
    still = render_conditioning(shot)
    follow = dataclasses.replace(shot.path, world_from_camera=poses @ shot.path.world_from_camera)
    moved_along = render_conditioning(Shot(scene, follow, shot.source))
    assert (moved_along.mask == still.mask).mean() > 0.999


def test_asking_for_the_rasterizers_loads_no_compiler(root: Path) -> None:
    code = "import sys, ex4d.render; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=root, check=False).returncode == 0


def test_a_path_is_left_as_it_was() -> None:
    shot = shot_of(2)
    before: CameraPath = dataclasses.replace(shot.path, world_from_camera=shot.path.world_from_camera.copy())
    render_conditioning(shot)
    np.testing.assert_array_equal(before.world_from_camera, shot.path.world_from_camera)


def test_frames_that_were_rendered_earlier_are_taken_as_they_are() -> None:
    shot = shot_of(3)
    whole = render_conditioning(shot)
    earlier = (np.full_like(whole.colour[1], 77), np.ones_like(whole.mask[1]), np.ones(whole.mask[1].shape, np.float32))
    told: list[int] = []
    result = render_conditioning(
        shot, lambda index, *_: told.append(index), known=lambda index: earlier if index == 1 else None
    )
    assert told == [0, 1, 2]
    np.testing.assert_array_equal(result.colour[1], earlier[0])
    assert result.coverage[1] == 1.0
    for t in (0, 2):
        np.testing.assert_array_equal(result.colour[t], whole.colour[t])
