# SPDX-License-Identifier: GPL-3.0-or-later
"""A source camera that moves: taken down from Blender, brought back into it, and heeded when a shot is sampled."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon import camera_moves, camera_path, keys, reconstruction, source_camera
from blender_addon.core import camera_math
from shared_protocol.errors import BAD_INPUT, LIMIT, UNSUPPORTED, Ex4dError

from .bench import tracked_camera, tracked_film
from .conftest import assert_same_triangles, mesh_arrays

FRAMES = 6


def _evaluated(name: str) -> np.ndarray:
    graph = bpy.context.evaluated_depsgraph_get()
    return np.array(bpy.data.objects[name].evaluated_get(graph).matrix_world, np.float64)


def _sample(scene, built, camera, frames):
    return camera_path.sample(scene, camera, built.mesh, frames)


def _poses(samples) -> np.ndarray:
    return np.array([s.world_from_camera for s in samples]).reshape(-1, 4, 4)


def _manifest_poses(built) -> np.ndarray:
    camera = reconstruction.manifest_of(built.collection).camera
    return np.array(camera.world_from_camera).reshape(-1, 4, 4)


# ---- brought into Blender


def test_the_source_camera_stands_where_the_scene_says_at_every_frame(scene, handheld):
    built = reconstruction.build(scene, handheld, name="clip")
    wanted = _manifest_poses(built)
    assert np.abs(wanted[-1] - np.eye(4)).max() > 1.0
    root = _evaluated(built.root)
    assert np.allclose(root, camera_math.UPRIGHT, atol=1e-6)
    for frame in range(-1, FRAMES + 3):
        scene.frame_set(frame)
        shown = min(max(frame - 1, 0), FRAMES - 1)
        expected = root @ camera_math.blender_pose(wanted[shown])
        assert np.allclose(_evaluated(built.source_camera), expected, atol=1e-5)
        assert np.allclose(_evaluated(built.mesh), expected, atol=1e-5)


def test_between_two_frames_the_source_camera_goes_straight(scene, handheld):
    built = reconstruction.build(scene, handheld, name="clip")
    wanted = _manifest_poses(built)
    scene.frame_set(5, subframe=0.5)
    pose = np.linalg.inv(_evaluated(built.root)) @ _evaluated(built.source_camera)
    assert np.allclose(pose[:3, 3] * (1, -1, -1), (wanted[4] + wanted[5])[:3, 3] / 2, atol=1e-5)
    turned = [np.degrees(np.arccos((np.trace(wanted[t][:3, :3].T @ _ours(pose)[:3, :3]) - 1) / 2)) for t in (4, 5)]
    assert turned[0] == pytest.approx(turned[1], abs=0.01)
    assert turned[0] < 30.0, "the short way round"


def _ours(matrix: np.ndarray) -> np.ndarray:
    return camera_math.blender_pose(matrix)  # its own inverse


def test_lens_inputs_and_the_source_cameras_lens_follow_the_zoom(scene, engine, handheld):
    built = reconstruction.build(scene, handheld, name="clip")
    camera = reconstruction.manifest_of(built.collection).camera
    frames = range(1, FRAMES + 1)
    samples = _sample(scene, built, built.source_camera, frames)
    for sample, lens in zip(samples, camera.lens, strict=True):
        assert (sample.source_focal, sample.source_focal, sample.source_cx, sample.source_cy) == pytest.approx(lens)
        assert (sample.fx, sample.fy, sample.cx, sample.cy) == pytest.approx(lens, rel=1e-5)
    expected = engine("mesh", handheld, {"samples": [asdict(s) for s in samples]})
    for t in (0, 3, 5):
        scene.frame_set(t + 1)
        assert_same_triangles(mesh_arrays(built.mesh), expected, t)


def test_a_camera_that_stands_still_is_not_keyed(scene, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    assert bpy.data.objects[built.source_camera].animation_data is None
    assert bpy.data.objects[built.mesh].animation_data is None


def test_a_reconstruction_is_put_where_and_when_it_is_asked_for(scene, handheld):
    root = np.array([[0, -1, 0, 2], [1, 0, 0, -3], [0, 0, 1, 4], [0, 0, 0, 1]], float)
    built = reconstruction.build(scene, handheld, name="clip", place=reconstruction.Place(101, root))
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (101, 106, 101)
    assert np.allclose(_evaluated(built.root), root, atol=1e-6)
    scene.frame_set(104)
    expected = root @ camera_math.blender_pose(_manifest_poses(built)[3])
    assert np.allclose(_evaluated(built.source_camera), expected, atol=1e-5)
    shown = [s.source_frame for s in _sample(scene, built, built.shot_camera, [100, 101, 104, 106, 107])]
    assert shown == [0, 0, 3, 5, 5]


# ---- what is shipped for a render


def test_the_source_cameras_own_poses_come_back_wherever_the_root_is(scene, handheld):
    built = reconstruction.build(scene, handheld, name="clip")
    frames = range(1, FRAMES + 1)
    wanted = _manifest_poses(built)
    assert np.allclose(_poses(_sample(scene, built, built.source_camera, frames)), wanted, atol=2e-6)
    root = bpy.data.objects[built.root]
    root.location, root.scale, root.rotation_euler = (5.0, -3.0, 2.0), (2.5, 2.5, 2.5), (0.3, 0.8, -1.0)
    assert np.allclose(_poses(_sample(scene, built, built.source_camera, frames)), wanted, atol=5e-6)


def test_a_shot_camera_that_stands_still_stands_still_in_the_world(scene, handheld):
    built = reconstruction.build(scene, handheld, name="clip")
    assert np.allclose(_poses(_sample(scene, built, built.shot_camera, range(1, FRAMES + 1))), np.eye(4), atol=2e-6)


def test_a_preset_move_is_one_in_the_world_of_the_first_frame(scene, handheld, landscape):
    paths = []
    for folder in (handheld, landscape):
        built = reconstruction.build(scene, folder, name="clip")
        camera_moves.apply(scene, built.shot_camera, "60", 1, FRAMES, 2.0)
        paths.append(_poses(_sample(scene, built, built.shot_camera, range(1, FRAMES + 1))))
    assert np.allclose(*paths, atol=5e-6)
    assert np.abs(paths[0][-1] - np.eye(4)).max() > 0.5


def test_a_mesh_of_another_release_is_refused_in_a_line(scene, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    mesh = bpy.data.objects[built.mesh]
    mesh[reconstruction.MANIFEST] = json.dumps(json.loads(mesh[reconstruction.MANIFEST]) | {"version": 1})
    with pytest.raises(Ex4dError, match="Reconstruct the clip again"):
        _sample(scene, built, built.shot_camera, [1])
    del mesh[reconstruction.MANIFEST]
    with pytest.raises(Ex4dError, match="Reconstruct the clip again"):
        _sample(scene, built, built.shot_camera, [1])


# ---- taken down from Blender


def test_a_blender_camera_becomes_a_camera_path_that_the_engine_reads(scene, engine, clip, tmp_path):
    tracked_camera(scene, 1001, 8)
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 640, 480, 50
    taken = source_camera.take_down(scene, "tracked", clip, start=1001, first=2, count=0)
    file = tmp_path / "camera.json"
    file.write_bytes(taken.path)
    found = engine("path", tmp_path, {"file": str(file)})
    assert found["size_and_rate"].tolist() == [320, 240, 24, 1]
    assert found["poses"].shape == (8, 4, 4)
    for k, pose in enumerate(found["poses"]):
        scene.frame_set(1001 + k)
        theirs = camera_math.unscaled(_evaluated("tracked"))
        assert np.allclose(camera_math.UPRIGHT @ camera_math.blender_pose(pose), theirs, atol=1e-5)
        focal = (35.0 + 2.0 * k) / 36.0 * 320
        assert found["lens"][k] == pytest.approx([focal, focal, 160 - 0.02 * 320, 120], rel=1e-5)
    assert taken.place.frame == 1003
    scene.frame_set(1003)
    assert np.allclose(taken.place.root, camera_math.unscaled(_evaluated("tracked")), atol=1e-6)
    kept = source_camera.place_from_text(source_camera.place_to_text(taken.place))
    assert kept.frame == taken.place.frame
    assert np.array_equal(kept.root, taken.place.root)


def test_as_many_frames_are_taken_as_the_clip_needs(scene, clip, tmp_path):
    tracked_camera(scene, 1, 3)

    def count(path: Path, first: int, count: int) -> int:
        taken = source_camera.take_down(scene, "tracked", path, start=1, first=first, count=count)
        return len(json.loads(taken.path)["frames"])

    assert count(clip, 0, 0) == 8
    assert count(clip.parent, 3, 0) == 8
    assert count(clip, 3, 2) == 5
    assert count(tmp_path / "whatever.mp4", 3, 2) == 5
    assert 8 <= count(_movie(scene, clip, tmp_path), 0, 0) <= 50
    (tmp_path / "none.mp4").write_text("this is no film")
    for path, frames, code in ((tmp_path / "none.mp4", 0, UNSUPPORTED), (clip, 10_001, LIMIT)):
        with pytest.raises(Ex4dError, match="how many frames to use") as caught:
            count(path, 0, frames)
        assert caught.value.code == code
    assert not bpy.data.movieclips


def _movie(scene: bpy.types.Scene, clip: Path, folder: Path) -> Path:
    strip = scene.sequence_editor_create().strips.new_image("clip", str(clip), 1, 1)
    for number in range(2, 9):
        strip.elements.append(f"clip_{number:04d}.png")
    render, settings = scene.render, scene.render.image_settings
    if hasattr(settings, "media_type"):  # from 5.0 on
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec = "MPEG4", "H264"
    render.resolution_x, render.resolution_y, render.filepath = 64, 48, str(folder / "clip.mp4")
    scene.frame_start, scene.frame_end = 1, 8
    bpy.ops.render.render(animation=True)
    return folder / "clip.mp4"


def test_cameras_that_cannot_be_a_source_are_refused_by_name(scene, clip):
    camera = tracked_camera(scene, 1, 2)

    def refusal() -> Ex4dError:
        with pytest.raises(Ex4dError) as caught:
            source_camera.take_down(scene, "tracked", clip, start=1, first=0, count=0)
        return caught.value

    camera.data.type = "ORTHO"
    assert "'tracked' is orthographic" in str(refusal())
    camera.data.type = "PERSP"
    camera.constraints.clear()
    camera.parent.scale = (1.0, 1.0, -1.0)
    assert "'tracked' is mirrored" in str(refusal())
    assert refusal().code == BAD_INPUT
    assert scene.frame_current == 1


def test_blenders_own_motion_tracking_gives_the_path_that_was_walked(scene, tmp_path):
    """Markers of known points are solved by Blender; what the extension takes down is the walk, up to its scale."""
    size, count, focal = (320, 180), 24, 300.0
    walked = np.tile(np.eye(4), (count, 1, 1))
    for t in range(count):
        pan = 0.01 * (t - 12)
        turn = np.array([[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]])
        walked[t, :3, :3], walked[t, :3, 3] = turn, (0.08 * t - 1.0, 0.1 * np.sin(t / 4.0), 0.02 * t)
    film = tracked_film(tmp_path, size, walked, focal)
    film.frame_start = 101
    camera = bpy.data.objects.new("solved", bpy.data.cameras.new("solved"))
    scene.collection.objects.link(camera)
    camera.data.sensor_width, camera.data.lens = 36.0, focal / size[0] * 36.0
    constraint = camera.constraints.new("CAMERA_SOLVER")
    constraint.use_active_clip, constraint.clip = False, film
    scene.render.resolution_x, scene.render.resolution_y = size
    film.frame_offset = 4  # the first picture that is shown is the file's fifth
    assert source_camera.clip_start(scene, camera) == 97
    film.frame_offset = 0
    later = bpy.data.movieclips.load(str(tmp_path / "film_0003.png"))
    constraint.clip, later.frame_start = later, 101
    assert source_camera.clip_start(scene, camera) == 99
    constraint.clip = film
    start = source_camera.clip_start(scene, camera)
    assert start == 101
    first_picture = tmp_path / "film_0001.png"
    taken = source_camera.take_down(scene, "solved", first_picture, start=start, first=0, count=0)
    frames = json.loads(taken.path)["frames"]
    poses = np.array([frame["world_from_camera"] for frame in frames])
    poses, walked = (np.linalg.inv(path[0]) @ path for path in (poses, walked))
    assert np.allclose(poses[:, :3, :3], walked[:, :3, :3], atol=1e-5)
    steps, wanted = poses[:, :3, 3], walked[:, :3, 3]
    scale = (steps * wanted).sum() / (steps**2).sum()
    assert scale > 0.0
    assert np.allclose(scale * steps, wanted, atol=1e-4)
    assert all(frame["fx"] == pytest.approx(focal, rel=1e-5) for frame in frames)


def test_keys_are_straight_lines_whatever_the_preferences_say(scene):
    obj = bpy.data.objects.new("x", None)
    scene.collection.objects.link(obj)
    edit = bpy.context.preferences.edit
    before, edit.keyframe_new_interpolation_type = edit.keyframe_new_interpolation_type, "CONSTANT"
    try:
        keys.lay(obj, "location", {1: (0, 0, 0), 11: (10, 0, 0)}, lambda value: setattr(obj, "location", value))
    finally:
        edit.keyframe_new_interpolation_type = before
    assert obj.location.x == 0.0
    scene.frame_set(4)
    assert obj.location.x == pytest.approx(3.0)
