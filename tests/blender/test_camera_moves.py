# SPDX-License-Identifier: GPL-3.0-or-later
"""Preset moves are keyframes that an artist can edit, close to the exact move."""

from __future__ import annotations

import math

import bpy
import numpy as np
import pytest

from blender_addon import camera_moves, camera_path, compat, reconstruction
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError
from shared_protocol.moves import MOVES, eye_at, look_at


@pytest.fixture
def built(scene, landscape) -> reconstruction.Built:
    return reconstruction.build(scene, landscape, name="clip")


def _off(scene, built, move, first, last, pivot) -> tuple[float, float]:
    """Largest error of place, as a share of the pivot's distance, and of direction, in degrees."""
    frames = range(first, last + 1)
    place = turn = 0.0
    for k, sample in enumerate(camera_path.sample(scene, built.shot_camera, built.mesh, frames)):
        pose = np.array(sample.world_from_camera).reshape(4, 4)
        eye = eye_at(move, k / max(last - first, 1), pivot)
        exact = np.array(look_at(eye, (0.0, 0.0, pivot))).T
        place = max(place, math.dist(pose[:3, 3], eye) / pivot)
        cosine = (np.trace(exact.T @ pose[:3, :3]) - 1.0) / 2.0
        turn = max(turn, math.degrees(math.acos(min(1.0, max(-1.0, cosine)))))
    return place, turn


@pytest.mark.parametrize("move", MOVES)
def test_a_move_is_followed_between_its_keys(scene, built, move):
    scene.frame_end = 49
    keys = camera_moves.apply(scene, built.shot_camera, move, 1, 49, 2.5)
    assert 5 <= len(keys) <= 10
    place, turn = _off(scene, built, move, 1, 49, 2.5)
    assert place < 0.006
    assert turn < 0.4


@pytest.mark.parametrize("frames", [1, 2, 4, 5, 6])
def test_short_moves_are_exact(scene, built, frames):
    keys = camera_moves.apply(scene, built.shot_camera, "90", 1001, 1000 + frames, 1.5)
    assert len(keys) == min(frames, 5) if frames < 6 else len(keys) >= 5
    place, turn = _off(scene, built, "90", 1001, 1000 + frames, 1.5)
    assert place < 0.006
    assert turn < 0.4


def test_the_first_frame_is_the_source_camera(scene, built):
    camera_moves.apply(scene, built.shot_camera, "60", 1, 6, 2.0)
    shot = camera_path.sample(scene, built.shot_camera, built.mesh, [1])[0]
    source = camera_path.sample(scene, built.source_camera, built.mesh, [1])[0]
    assert np.allclose(shot.world_from_camera, source.world_from_camera, atol=1e-6)
    assert (shot.fx, shot.cx, shot.cy) == pytest.approx((source.fx, source.cx, source.cy))


def test_keys_are_few_smooth_and_only_on_place_and_rotation(scene, built):
    camera = bpy.data.objects[built.shot_camera]
    camera.data.keyframe_insert("lens", frame=3)
    keys = camera_moves.apply(scene, built.shot_camera, "180", 1, 49, 2.0)
    curves = list(compat.fcurves(camera))
    assert sorted((c.data_path, c.array_index) for c in curves) == [
        (path, index) for path in ("location", "rotation_euler") for index in range(3)
    ]
    for curve in curves:
        assert tuple(round(p.co.x) for p in curve.keyframe_points) == keys
        assert {p.interpolation for p in curve.keyframe_points} == {"BEZIER"}
    assert [c.data_path for c in compat.fcurves(camera.data)] == ["lens"]


def test_a_second_move_takes_the_firsts_place(scene, built):
    camera_moves.apply(scene, built.shot_camera, "180", 1, 49, 2.0)
    camera = bpy.data.objects[built.shot_camera]
    camera.rotation_mode = "QUATERNION"
    camera.keyframe_insert("rotation_quaternion", frame=4)
    keys = camera_moves.apply(scene, built.shot_camera, "zoom_in", 1, 20, 2.0)
    for curve in compat.fcurves(camera):
        assert tuple(round(p.co.x) for p in curve.keyframe_points) == keys
        assert curve.data_path in ("location", "rotation_euler")
    assert _off(scene, built, "zoom_in", 1, 20, 2.0)[0] < 0.006


def test_a_key_edited_by_hand_is_what_is_sampled(scene, built):
    keys = camera_moves.apply(scene, built.shot_camera, "60", 1, 49, 2.0)
    before = camera_path.sample(scene, built.shot_camera, built.mesh, range(1, 50))
    camera = bpy.data.objects[built.shot_camera]
    scene.frame_set(keys[3])
    camera.location.y += 0.5
    camera.keyframe_insert("location", frame=keys[3])
    after = camera_path.sample(scene, built.shot_camera, built.mesh, range(1, 50))
    moved = [abs(a.world_from_camera[7] - b.world_from_camera[7]) for a, b in zip(before, after, strict=True)]
    assert moved[keys[3] - 1] == pytest.approx(0.5, abs=1e-5)
    assert moved[0] == pytest.approx(0.0, abs=1e-6)
    assert moved[-1] == pytest.approx(0.0, abs=1e-6)


def test_the_camera_shows_the_move_at_the_frame_where_one_stands(scene, built):
    scene.frame_set(6)
    camera_moves.apply(scene, built.shot_camera, "60", 1, 6, 2.0)
    assert scene.frame_current == 6
    assert bpy.data.objects[built.shot_camera].location.x == pytest.approx(2.0 * math.sin(math.radians(60.0)), rel=1e-5)


@pytest.mark.parametrize(
    ("camera", "move", "last", "pivot", "code", "words"),
    [
        ("gone", "60", 6, 2.0, NOT_FOUND, "'gone' is not in the scene"),
        ("clip mesh", "60", 6, 2.0, NOT_FOUND, "'clip mesh' is not in the scene"),
        ("clip shot", "61", 6, 2.0, BAD_INPUT, "no camera move '61'"),
        ("clip shot", "60", 0, 2.0, BAD_INPUT, "is empty"),
        ("clip shot", "60", 6, 0.0, BAD_INPUT, "pivot"),
        ("clip shot", "60", 6, math.nan, BAD_INPUT, "pivot"),
    ],
)
def test_wrong_wishes_are_refused_in_a_line(scene, built, camera, move, last, pivot, code, words):
    with pytest.raises(Ex4dError, match=words) as caught:
        camera_moves.apply(scene, camera, move, 1, last, pivot)
    assert caught.value.code == code
    assert bpy.data.objects[built.shot_camera].animation_data is None


def test_a_linked_camera_is_refused_since_its_keys_would_be_lost(scene, landscape, tmp_path):
    built = reconstruction.build(scene, landscape, name="clip")
    blend = str(tmp_path / "clip.blend")
    bpy.ops.wm.save_as_mainfile(filepath=blend)
    bpy.ops.wm.read_homefile(use_empty=True)
    with bpy.data.libraries.load(blend, link=True) as (_, wanted):
        wanted.collections = ["clip"]
    scene = bpy.context.scene
    scene.collection.children.link(bpy.data.collections["clip"])
    with pytest.raises(Ex4dError, match="linked from another file"):
        camera_moves.apply(scene, built.shot_camera, "60", 1, 6, 2.0)
    assert bpy.data.objects[built.shot_camera].animation_data is None
