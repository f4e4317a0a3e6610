# SPDX-License-Identifier: GPL-3.0-or-later
"""Points of Blender's own motion tracker, sent along with the camera that it solved."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import source_camera, tracker
from shared_protocol.errors import BAD_INPUT, UNSUPPORTED, Ex4dError

from .bench import Bench, tracked_film

SIZE, COUNT, FOCAL = (320, 180), 24, 300.0
START = 101  # of the film in the scene


def _walk() -> np.ndarray:
    poses = np.tile(np.eye(4), (COUNT, 1, 1))
    for t in range(COUNT):
        pan = 0.01 * (t - 12)
        turn = np.array([[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]])
        poses[t, :3, :3], poses[t, :3, 3] = turn, (0.08 * t - 1.0, 0.1 * np.sin(t / 4.0), 0.02 * t)
    return poses


@pytest.fixture
def film(tmp_path: Path) -> bpy.types.MovieClip:
    found = tracked_film(tmp_path, SIZE, _walk(), FOCAL)
    found.frame_start = START
    return found


@pytest.fixture
def solved(scene: bpy.types.Scene, film: bpy.types.MovieClip) -> bpy.types.Object:
    """A camera that the film's solve drives; turned, moved and scaled as an artist sets floor and scale."""
    camera = bpy.data.objects.new("solved", bpy.data.cameras.new("solved"))
    scene.collection.objects.link(camera)
    camera.data.sensor_width, camera.data.lens = 36.0, FOCAL / SIZE[0] * 36.0
    camera.location, camera.rotation_euler, camera.scale = (1.0, -2.0, 1.7), (1.4, 0.1, 0.4), (2.5, 2.5, 2.5)
    constraint = camera.constraints.new("CAMERA_SOLVER")
    constraint.use_active_clip, constraint.clip = False, film
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    return camera


def _points(scene: bpy.types.Scene, folder: Path, **changes: Any) -> list[dict[str, Any]]:
    given = {"start": START, "first": 0, "count": 0} | changes
    value = json.loads(tracker.take_down(scene, "solved", folder / "film_0001.png", **given))
    assert value["version"] == 1
    return value["bundles"]


def test_points_lie_where_the_camera_that_is_sent_sees_them(scene, solved, tmp_path):
    taken = source_camera.take_down(scene, "solved", tmp_path / "film_0001.png", start=START, first=0, count=0)
    path = json.loads(taken.path)["frames"]
    bundles = _points(scene, tmp_path)
    assert len(bundles) == 40
    worst = 0.0
    for bundle in bundles:
        assert [frame for frame, _, _ in bundle["track"]] == list(range(1, COUNT + 1))
        for frame, x, y in bundle["track"]:
            camera = path[frame - 1]
            local = np.linalg.inv(np.array(camera["world_from_camera"])) @ (*bundle["xyz"], 1.0)
            assert local[2] > 0.0
            seen = local[:2] / local[2] * camera["fx"] + (camera["cx"], camera["cy"])
            worst = max(worst, np.abs(seen - (x, y)).max())
    assert worst < 0.1, "pixels"


def test_muted_markers_and_frames_that_are_not_used_are_left_out(scene, solved, film, tmp_path):
    track = film.tracking.objects[0].tracks[0]
    for frame in (3, 4):
        track.markers.find_frame(frame).mute = True
    first = _points(scene, tmp_path)[0]["track"]
    assert [frame for frame, _, _ in first] == [1, 2, *range(5, COUNT + 1)]
    part = _points(scene, tmp_path, first=4, count=10)
    assert {frame for bundle in part for frame, _, _ in bundle["track"]} == set(range(5, 15))
    later = _points(scene, tmp_path, start=START - 10)
    assert [frame for frame, _, _ in later[1]["track"]] == list(range(11, COUNT + 11)), "as the camera is shifted"


def test_a_marker_stands_for_what_its_track_is_offset_to(scene, solved, film, tmp_path):
    before = np.array(_points(scene, tmp_path)[0]["track"])
    film.tracking.objects[0].tracks[0].offset = (0.1, 0.2)
    moved = np.array(_points(scene, tmp_path)[0]["track"]) - before
    assert np.allclose(moved, (0.0, 0.1 * SIZE[0], -0.2 * SIZE[1]), atol=2e-3)


def test_what_cannot_be_used_is_said(scene, solved, film, tmp_path):
    def refusal(**changes: Any) -> Ex4dError:
        with pytest.raises(Ex4dError) as caught:
            _points(scene, tmp_path, **changes)
        assert caught.value.hint
        return caught.value

    assert tracker.why_not(film) == ""
    few = refusal(first=COUNT + 5)
    assert "0 points in the frames that are used" in few.message
    assert few.code == BAD_INPUT
    solved.location.x = 9.0
    solved.keyframe_insert("location", frame=START + 20)
    solved.location.x = 0.0
    solved.keyframe_insert("location", frame=START)
    moving = refusal()
    assert moving.code == UNSUPPORTED
    assert "hangs on something that moves" in moving.message
    solved.animation_data_clear()
    solved.constraints[0].enabled = False
    assert "No solve drives the camera" in refusal().message
    assert tracker.film_of(scene, solved) is None


def test_a_film_that_is_not_solved_says_so(scene, tmp_path):
    image = bpy.data.images.new("film", 16, 9)
    image.filepath_raw, image.file_format = str(tmp_path / "film_0001.png"), "PNG"
    image.save()
    film = bpy.data.movieclips.load(str(tmp_path / "film_0001.png"))
    assert tracker.why_not(film) == "The movie clip 'film_0001.png' is not solved."


def _hill(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far a wavy, tilted wall is along z."""
    return np.asarray(8.0 + 1.5 * np.sin(0.9 * x) + 0.5 * y)


def test_depth_that_is_off_by_scale_and_shift_comes_back_in_the_units_of_the_solve(
    bench: Bench, tmp_path: Path
) -> None:
    """From Blender's tracker to the mesh, through a backend of its own."""
    from blender_addon import reconstruction

    size, focal, count = (96, 72), 90.0, 12
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3], poses[:, 1, 3] = np.linspace(-1.0, 1.0, count), 0.2 * np.sin(np.arange(count))
    x, y = np.random.default_rng(2).uniform((-2.0, -1.5), (2.0, 1.5), (60, 2)).T
    folder = tmp_path / "film"
    folder.mkdir()
    film = tracked_film(folder, size, poses, focal, np.stack([x, y, _hill(x, y)], axis=1))
    v, u = np.mgrid[: size[1], : size[0]] + 0.5
    z = np.full((count, *u.shape), 8.0)
    for t in range(count):
        for _ in range(40):  # of rays with the wall
            at = [(c - half) / focal * z[t] + poses[t, k, 3] for k, (c, half) in enumerate(((u, 48.0), (v, 36.0)))]
            z[t] = _hill(*at)
    np.savez(folder / "depth.npz", depth=(1.0 / ((1.0 / z - 0.02) / 0.4)).astype(np.float32))

    camera = bpy.data.objects.new("solved", bpy.data.cameras.new("solved"))
    bench.scene.collection.objects.link(camera)
    camera.data.lens, camera.scale = focal / size[0] * 36.0, (3.0, 3.0, 3.0)
    constraint = camera.constraints.new("CAMERA_SOLVER")
    constraint.use_active_clip, constraint.clip = False, film
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = size
    bench.settings.source_kind, bench.settings.source_camera = "CAMERA", camera
    bench.start()
    bench.reconstruct(folder / "film_0001.png", folder / "depth.npz")
    manifest = reconstruction.manifest_of(reconstruction.of_scene(bench.scene).collection)
    assert manifest.known is not None, bench.said
    assert manifest.known.source == "points"
    assert manifest.known.residual < 0.01
    walked = np.array([np.reshape(pose, (4, 4))[:3, 3] for pose in manifest.camera.world_from_camera])
    unit = np.linalg.norm(walked[-1] - walked[0]) / np.linalg.norm(poses[-1, :3, 3] - poses[0, :3, 3])
    true = unit * np.percentile(z, (1.0, 99.0))
    assert (manifest.near, manifest.far_depth) == pytest.approx(true, rel=0.01)
