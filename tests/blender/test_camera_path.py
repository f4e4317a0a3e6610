# SPDX-License-Identifier: GPL-3.0-or-later
"""What is taken down of the shot camera is what Blender renders with."""

from __future__ import annotations

import math
import random
from dataclasses import astuple, replace

import bpy
import numpy as np
import pytest
from mathutils import Vector

from blender_addon import camera_moves, camera_path, mesh_nodes, reconstruction
from blender_addon.core import camera_math
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNSUPPORTED, Ex4dError

from .conftest import mesh_arrays

FITS = ("AUTO", "HORIZONTAL", "VERTICAL")


@pytest.fixture
def built(scene, landscape) -> reconstruction.Built:
    return reconstruction.build(scene, landscape, name="clip")


def _camera(built: reconstruction.Built) -> bpy.types.Object:
    return bpy.data.objects[built.shot_camera]


def _sample(scene, built, frame=1, camera=None):
    return camera_path.sample(scene, built.shot_camera if camera is None else camera, built.mesh, [frame])[0]


def _pose(sample) -> np.ndarray:
    return np.array(sample.world_from_camera).reshape(4, 4)


def _assert_close(a, b, tolerance=1e-5):
    assert np.allclose(astuple(a)[0], astuple(b)[0], atol=tolerance)
    assert np.allclose(astuple(a)[1:], astuple(b)[1:], rtol=1e-5)


def test_a_point_projects_where_blenders_own_matrices_put_it(scene, built):
    draw = random.Random(5)  # noqa: S311, not for secrets
    camera, root = _camera(built), bpy.data.objects[built.root]
    for _ in range(60):
        data, render = camera.data, scene.render
        data.lens, data.sensor_width, data.sensor_height = (draw.uniform(*r) for r in ((15, 90), (10, 50), (8, 40)))
        data.sensor_fit, data.shift_x, data.shift_y = (
            draw.choice(FITS),
            draw.uniform(-0.3, 0.3),
            draw.uniform(-0.3, 0.3),
        )
        render.resolution_x, render.resolution_y = draw.randint(50, 2000), draw.randint(50, 2000)
        render.resolution_percentage = draw.choice((100, 50, 33))
        render.pixel_aspect_x, render.pixel_aspect_y = draw.choice(((1.0, 1.0), (1.0, 1.5), (2.0, 1.0)))
        root.location = [draw.uniform(-5, 5) for _ in range(3)]
        root.rotation_euler = [draw.uniform(-3, 3) for _ in range(3)]
        root.scale = [draw.uniform(0.2, 5.0)] * 3
        camera.location = [draw.uniform(-1, 1) for _ in range(3)]
        camera.rotation_euler = [draw.uniform(-0.3, 0.3) for _ in range(3)]
        camera.scale = [draw.uniform(0.5, 2.0)] * 3
        sample = _sample(scene, built)
        width, height = camera_path.resolution(scene)

        point = Vector((draw.uniform(-2, 2), draw.uniform(-2, 2), draw.uniform(-9, -6)))  # in the mesh's axes
        graph = bpy.context.evaluated_depsgraph_get()
        view = camera.evaluated_get(graph).matrix_world.normalized().inverted()
        lens = camera.calc_matrix_camera(
            graph, x=width, y=height, scale_x=render.pixel_aspect_x, scale_y=render.pixel_aspect_y
        )
        clip = lens @ view @ bpy.data.objects[built.mesh].matrix_world @ point.to_4d()
        theirs = ((clip.x / clip.w + 1) / 2 * width, (1 - clip.y / clip.w) / 2 * height)
        x, y, z, _ = np.linalg.inv(_pose(sample)) @ (point.x, -point.y, -point.z, 1.0)
        ours = (sample.fx * x / z + sample.cx, sample.fy * y / z + sample.cy)
        assert ours == pytest.approx(theirs, abs=0.01)


def test_moving_turning_and_scaling_the_root_changes_nothing(scene, built):
    camera, root = _camera(built), bpy.data.objects[built.root]
    camera.location, camera.rotation_euler = (0.4, -0.1, -0.8), (0.1, -0.2, 0.05)
    before = _sample(scene, built)
    root.location, root.rotation_euler, root.scale = (3.0, 50.0, -2.0), (0.3, 1.0, 2.0), (2.5, 2.5, 2.5)
    _assert_close(_sample(scene, built), before)


def test_moving_the_mesh_alone_is_seen_by_the_camera(scene, built):
    bpy.data.objects[built.mesh].location = (0.0, 0.0, -1.0)  # one further from the source camera
    assert _pose(_sample(scene, built))[:3, 3] == pytest.approx([0.0, 0.0, -1.0], abs=1e-6)


def test_constraints_count(scene, built):
    target = bpy.data.objects.new("target", None)
    scene.collection.objects.link(target)
    target.parent = bpy.data.objects[built.root]
    target.location = (5.0, 0.0, -5.0)
    camera = _camera(built)
    camera.constraints.new("TRACK_TO").target = target
    forward = _pose(_sample(scene, built))[:3, 2]
    assert forward == pytest.approx([math.sqrt(0.5), 0.0, math.sqrt(0.5)], abs=1e-5)


def test_a_camera_that_stands_on_the_mesh_is_sampled_there(scene, built):
    camera = _camera(built)
    camera.location = (0.0, 0.0, 1.0)
    constraint = camera.constraints.new("SHRINKWRAP")
    constraint.target, constraint.shrinkwrap_type = bpy.data.objects[built.mesh], "NEAREST_VERTEX"
    depth = _pose(_sample(scene, built))[2, 3]
    assert depth == pytest.approx(2.0, abs=0.5)  # the box, the nearest there is
    assert mesh_nodes.find_modifier(bpy.data.objects[built.mesh]).show_viewport


def test_sampling_leaves_the_mesh_as_it_was(scene, built):
    before = mesh_arrays(built.mesh)["position"]
    camera_path.sample(scene, built.shot_camera, built.mesh, range(2, 6))
    assert mesh_nodes.find_modifier(bpy.data.objects[built.mesh]).show_viewport
    assert np.array_equal(mesh_arrays(built.mesh)["position"], before)


def test_animated_lens_and_fractions_of_frames(scene, built):
    data = _camera(built).data
    for frame, lens in ((1, 30.0), (6, 60.0)):
        data.lens = lens
        data.keyframe_insert("lens", frame=frame)
    camera_moves.apply(scene, built.shot_camera, "30", 1, 6, 2.0)
    samples = camera_path.sample(scene, built.shot_camera, built.mesh, [1, 3, 3.5, 4, 6])
    lenses = [s.fx * 36.0 / 64.0 for s in samples]
    assert (lenses[0], lenses[-1]) == pytest.approx((30.0, 60.0), rel=1e-5)
    assert lenses == sorted(set(lenses))
    places = [s.world_from_camera[3] for s in samples]
    assert places == sorted(set(places))
    assert [s.source_frame for s in samples] == [0, 2, 2, 3, 5]


def test_the_current_frame_is_as_before_also_after_a_failure(scene, built):
    scene.frame_set(2, subframe=0.25)
    camera_path.sample(scene, built.shot_camera, built.mesh, range(1, 7))
    assert (scene.frame_current, scene.frame_subframe) == (2, 0.25)
    _camera(built).data.type = "ORTHO"
    with pytest.raises(Ex4dError):
        camera_path.sample(scene, built.shot_camera, built.mesh, [5])
    assert (scene.frame_current, scene.frame_subframe) == (2, 0.25)


def test_camera_markers_are_followed_or_named(scene, built):
    other_data = bpy.data.cameras.new("other")
    other = bpy.data.objects.new("other", other_data)
    scene.collection.objects.link(other)
    other_data.lens = 85.0
    other.parent = bpy.data.objects[built.root]
    for name, frame, camera in (("a", 1, _camera(built)), ("b", 4, other)):
        scene.timeline_markers.new(name, frame=frame).camera = camera
    scene.frame_set(2)
    named = camera_path.sample(scene, built.shot_camera, built.mesh, [2, 5])
    assert named[0].fx == named[1].fx
    followed = camera_path.sample(scene, camera_path.FOLLOW_SCENE, built.mesh, [2, 5])
    assert followed[0].fx == named[0].fx
    assert followed[1].fx == pytest.approx(85.0 / 36.0 * 64.0)
    assert scene.camera.name == built.shot_camera
    shot = camera_path.render_job(scene)
    assert [c.fx for c in shot.cameras[:3]] == [named[0].fx] * 3
    assert [c.fx for c in shot.cameras[3:]] == [followed[1].fx] * 3


def test_the_whole_shot_has_the_scenes_size_rate_and_range(scene, built):
    bpy.data.objects[built.mesh][reconstruction.ARTIFACT] = "f00d"
    scene.render.resolution_x, scene.render.resolution_y, scene.render.resolution_percentage = 101, 201, 50
    scene.frame_start, scene.frame_end = 0, 9
    shot = camera_path.render_job(scene)
    assert (shot.scene, shot.width, shot.height, shot.fps) == ("f00d", 50, 100, (24, 1))
    assert [c.source_frame for c in shot.cameras] == [0, 0, 1, 2, 3, 4, 5, 5, 5, 5]


@pytest.mark.parametrize(("kind", "word"), [("ORTHO", "orthographic"), ("PANO", "panoramic")])
def test_other_kinds_of_lenses_are_refused(scene, built, kind, word):
    _camera(built).data.type = kind
    with pytest.raises(Ex4dError, match=word) as caught:
        _sample(scene, built)
    assert caught.value.code == UNSUPPORTED


def test_what_cannot_be_sampled_says_so_in_a_line(scene, built):
    cases = []

    def refused(code: str, words: str) -> None:
        cases.append(words)
        with pytest.raises(Ex4dError, match=words) as caught:
            _sample(scene, built, camera=cases_camera)
        assert caught.value.code == code
        assert "\n" not in str(caught.value)

    cases_camera = "gone"
    refused(NOT_FOUND, "camera 'gone' is not in the scene")
    cases_camera = built.root
    refused(BAD_INPUT, "is not a camera")
    cases_camera = built.shot_camera
    root = bpy.data.objects[built.root]
    root.scale = (1.0, 1.0, 1.5)
    refused(BAD_INPUT, "scaled by 1 x 1 x 1.5")
    root.scale = (1.0, 1.0, 1.0)
    layer = bpy.context.view_layer.layer_collection.children[built.collection]
    layer.exclude = True
    refused(NOT_FOUND, "switched off with its collection")
    layer.exclude = False
    mesh = bpy.data.objects[built.mesh]
    mesh.modifiers.clear()
    refused(NOT_FOUND, "lacks the modifier")
    with pytest.raises(Ex4dError, match="no frames"):
        camera_path.sample(scene, built.shot_camera, built.mesh, [])


def test_names_are_looked_up_anew_after_undo(scene, built):
    bpy.ops.ed.undo_push(message="built")
    _camera(built).location.x = 1.0
    bpy.ops.ed.undo_push(message="moved")
    moved = _sample(bpy.context.scene, built)
    assert moved.world_from_camera[3] == pytest.approx(1.0)
    bpy.ops.ed.undo()
    again = _sample(bpy.context.scene, reconstruction.find(built.collection))
    assert np.allclose(_pose(again), np.eye(4), atol=1e-6)
    assert replace(again, world_from_camera=moved.world_from_camera) == moved
    assert reconstruction.of_scene(bpy.context.scene) == built
    assert mesh_nodes.find_modifier(bpy.data.objects[built.mesh]) is not None


def test_pose_matrices_are_rigid(scene, built):
    bpy.data.objects[built.root].scale = (0.01, 0.01, 0.01)
    _camera(built).rotation_euler = (0.2, 0.9, -0.4)
    pose = _pose(_sample(scene, built))
    assert np.abs(pose[:3, :3].T @ pose[:3, :3] - np.eye(3)).max() < 1e-6
    assert np.allclose(camera_math.world_from_camera(np.eye(4), camera_math.FLIP @ pose @ camera_math.FLIP), pose)


@pytest.mark.parametrize("how", ["eye", "viewport", "collection"])
def test_hidden_cameras_and_meshes_are_sampled_as_they_move(scene, built, how):
    camera_moves.apply(scene, built.shot_camera, "60", 1, 6, 2.0)
    root, modifier = bpy.data.objects[built.root], mesh_nodes.find_modifier(bpy.data.objects[built.mesh])
    for frame, x, focal in ((1, 0.0, 50.0), (6, 4.0, 70.0)):
        root.location.x = x
        root.keyframe_insert("location", frame=frame)
        mesh_nodes.set_input(modifier, "Focal", focal)
        bpy.data.objects[built.mesh].keyframe_insert(mesh_nodes.input_path(modifier, "Focal"), frame=frame)
    expected = camera_path.sample(scene, built.shot_camera, built.mesh, [1, 4, 6])
    scene.frame_set(1)
    layer = bpy.context.view_layer.layer_collection.children[built.collection]
    if how == "collection":
        layer.hide_viewport = True
    for name in (built.root, built.source_camera, built.mesh, built.shot_camera):
        if how == "eye":
            bpy.data.objects[name].hide_set(True)
        elif how == "viewport":
            bpy.data.objects[name].hide_viewport = True
    for got, wanted in zip(camera_path.sample(scene, built.shot_camera, built.mesh, [1, 4, 6]), expected, strict=True):
        _assert_close(got, wanted)
