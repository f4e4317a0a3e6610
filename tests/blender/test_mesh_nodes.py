# SPDX-License-Identifier: GPL-3.0-or-later
"""The node group's mesh is the engine's mesh, and it lives without the extension."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon import camera_path, mesh_nodes, mesh_parts, reconstruction
from shared_protocol.errors import Ex4dError

from .conftest import assert_same_triangles, mesh_arrays


def _modifier(built: reconstruction.Built) -> bpy.types.Modifier:
    return mesh_nodes.find_modifier(bpy.data.objects[built.mesh])


def _assert_same_mesh(
    built: reconstruction.Built, scene: bpy.types.Scene, engine, folder: Path, frames, geometry: str = "closed"
) -> None:
    reconstruction.show_geometry(scene, geometry)
    samples = camera_path.sample(scene, built.shot_camera, built.mesh, frames)
    expected = engine("mesh", folder, {"samples": [asdict(s) for s in samples], "geometry": geometry})
    for t, frame in enumerate(frames):
        scene.frame_set(frame)
        shift = samples[t].disparity_shift
        # 32 bits hold each term of the disparity to 1e-7 of itself: where the shift takes it away, less is left.
        assert_same_triangles(
            mesh_arrays(built.mesh),
            expected,
            t,
            lambda z, shift=shift: 5e-7 * np.maximum(1.0, 2.0 * np.abs(1.0 - shift * z)),
        )


@pytest.mark.parametrize("geometry", ["closed", "bounded"])
@pytest.mark.parametrize("which", ["landscape", "portrait"])
def test_positions_faces_and_validity_are_the_engines(which, geometry, request, scene, engine):
    folder = request.getfixturevalue(which)
    built = reconstruction.build(scene, folder, name="clip")
    last = scene.frame_end
    _assert_same_mesh(built, scene, engine, folder, [1, (1 + last) // 2, last], geometry)


def test_a_gap_is_what_the_engine_calls_one(engine, tmp_path):
    assert engine("rules", tmp_path, {})["rules"].tolist() == [mesh_parts.EDGE_RATIO]


@pytest.mark.parametrize("geometry", ["closed", "bounded"])
def test_dragged_inputs_give_the_engines_mesh(scene, engine, portrait, geometry):
    built = reconstruction.build(scene, portrait, name="clip")
    modifier = _modifier(built)
    for name, value in {
        "Focal": 63.7,
        "Principal X": 11.25,
        "Principal Y": 30.5,
        "Disparity Scale": 1.7,
        "Disparity Shift": -0.02,
        "Frame Start": 2,
    }.items():
        mesh_nodes.set_input(modifier, name, value)
    _assert_same_mesh(built, scene, engine, portrait, [1, 2, 4], geometry)


def test_a_shift_beyond_infinity_stays_finite_as_in_the_engine(scene, engine, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    mesh_nodes.set_input(_modifier(built), "Disparity Shift", -0.2)
    _assert_same_mesh(built, scene, engine, landscape, [1])


def test_keyed_inputs_are_sampled_as_they_stand_at_each_frame(scene, engine, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    mesh, modifier = bpy.data.objects[built.mesh], _modifier(built)
    path = mesh_nodes.input_path(modifier, "Disparity Scale")
    for frame, value in ((1, 1.0), (6, 2.0)):
        mesh_nodes.set_input(modifier, "Disparity Scale", value)
        mesh.keyframe_insert(path, frame=frame)
    scales = [s.disparity_scale for s in camera_path.sample(scene, built.shot_camera, built.mesh, [1, 3, 6])]
    assert scales[0] == pytest.approx(1.0)
    assert 1.0 < scales[1] < 2.0
    assert scales[2] == pytest.approx(2.0)
    _assert_same_mesh(built, scene, engine, landscape, [1, 3, 6])


def test_frames_outside_of_the_clip_hold_its_first_and_last(scene, landscape):
    built = reconstruction.build(scene, landscape, name="clip")

    def at(frame: int, subframe: float = 0.0) -> np.ndarray:
        scene.frame_set(frame, subframe=subframe)
        return mesh_arrays(built.mesh)["position"]

    first, last = at(1), at(6)
    assert not np.array_equal(first, last)
    assert np.array_equal(at(-7), first)
    assert np.array_equal(at(0), first)
    assert np.array_equal(at(60), last)
    assert np.array_equal(at(1, 0.7), first)


def test_the_clip_can_start_at_another_frame(scene, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    scene.frame_set(3)
    third = mesh_arrays(built.mesh)["position"]
    mesh_nodes.set_input(_modifier(built), "Frame Start", 1001)
    scene.frame_set(1003)
    assert np.array_equal(mesh_arrays(built.mesh)["position"], third)
    sample = camera_path.sample(scene, built.shot_camera, built.mesh, [1003])[0]
    assert sample.source_frame == 2


def test_the_switch_tints_shows_or_hides_unseen_faces(scene, landscape):
    built = reconstruction.build(scene, landscape, name="clip")
    modifier = _modifier(built)

    def tint() -> np.ndarray:
        bpy.context.view_layer.update()
        mesh = bpy.data.objects[built.mesh].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        values = np.empty(len(mesh.polygons), np.float32)
        mesh.attributes[mesh_nodes.TINT].data.foreach_get("value", values)
        return values

    seen = mesh_arrays(built.mesh)["seen"]
    assert 0 < seen.sum() < len(seen)
    assert mesh_nodes.get_input(modifier, "Unseen") == mesh_nodes.UNSEEN_TINT
    assert np.array_equal(tint() == 1.0, ~seen)
    mesh_nodes.set_input(modifier, "Unseen", mesh_nodes.UNSEEN_SHOW)
    assert not tint().any()
    assert np.array_equal(mesh_arrays(built.mesh)["seen"], seen)
    mesh_nodes.set_input(modifier, "Unseen", mesh_nodes.UNSEEN_HIDE)
    hidden = mesh_arrays(built.mesh)
    assert hidden["seen"].all()
    assert len(hidden["faces"]) == seen.sum()


def test_build_sets_the_scene_from_the_clip(scene, portrait):
    built = reconstruction.build(scene, portrait, name="clip", artifact="ab12")
    render = scene.render
    assert (render.resolution_x, render.resolution_y, render.resolution_percentage) == (37, 53, 100)
    assert camera_path.frame_rate(scene) == (60000, 1001)
    assert (scene.frame_start, scene.frame_end, scene.frame_current) == (1, 3, 1)
    assert scene.camera.name == built.shot_camera
    assert bpy.data.collections[built.collection][reconstruction.ARTIFACT] == "ab12"
    assert reconstruction.find(built.collection) == built
    assert reconstruction.of_scene(scene) == built
    assert reconstruction.manifest_of(built.collection).focal == 41.5
    forward = bpy.data.objects[built.source_camera].matrix_world.to_3x3() @ bpy.data.cameras[0].view_frame()[0]
    assert forward.y > 0.0


def test_the_source_camera_follows_the_meshs_focal_length_and_centre(scene, portrait):
    built = reconstruction.build(scene, portrait, name="clip")
    modifier = _modifier(built)
    mesh_nodes.set_input(modifier, "Focal", 80.0)
    mesh_nodes.set_input(modifier, "Principal X", 10.0)
    mesh_nodes.set_input(modifier, "Principal Y", 33.0)
    sample = camera_path.sample(scene, built.source_camera, built.mesh, [1])[0]
    assert (sample.fx, sample.fy, sample.cx, sample.cy) == pytest.approx((80.0, 80.0, 10.0, 33.0), abs=1e-4)


def test_a_second_reconstruction_leaves_the_first_alone(scene, landscape, portrait):
    first = reconstruction.build(scene, landscape, name="clip")
    before = mesh_arrays(first.mesh)["position"]
    second = reconstruction.build(scene, portrait, name="clip")
    assert not set(vars(first).values()) & set(vars(second).values())
    assert np.array_equal(mesh_arrays(first.mesh)["position"], before)
    assert reconstruction.of_scene(scene) == second
    groups = [g for g in bpy.data.node_groups if mesh_nodes.VERSION_KEY in g]
    assert len(groups) == 1


def test_what_is_built_in_a_saved_file_has_relative_paths(scene, landscape, tmp_path):
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "shot.blend"))
    reconstruction.build(scene, landscape, name="clip")
    paths = [image.filepath for image in bpy.data.images]
    assert len(paths) == 2
    assert all(path.startswith("//") for path in paths)


def test_an_incomplete_folder_is_refused_and_builds_nothing(scene, landscape, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(landscape, broken)
    (broken / "mesh" / "0004.exr").unlink()
    with pytest.raises(Ex4dError, match=r"0004\.exr is missing"):
        reconstruction.build(scene, broken, name="clip")
    with pytest.raises(Ex4dError, match="holds no reconstruction"):
        reconstruction.build(scene, tmp_path, name="clip")
    assert not bpy.data.collections
    assert not bpy.data.objects


_REOPEN = """
import sys
import bpy, numpy as np
blend, out = sys.argv[1:]
bpy.ops.wm.open_mainfile(filepath=blend)
scene = bpy.context.scene
found = {}
for frame in (1, 3, 6):
    scene.frame_set(frame)
    mesh = bpy.data.objects["clip mesh"].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    position = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", position.ravel())
    found[str(frame)] = position
    scene.render.filepath = f"{out}.{frame}.png"
    bpy.ops.render.render(write_still=True)
found["paths"] = np.array([image.filepath for image in bpy.data.images if image.source == "SEQUENCE"])
assert not [name for name in sys.modules if name.startswith(("blender_addon", "shared_protocol", "ex4d"))]
np.savez(out, **found)
"""


def test_a_saved_and_moved_file_reopens_without_the_extension(scene, engine, landscape, tmp_path):
    home = tmp_path / "home"
    shutil.copytree(landscape, home / "clip_files")
    built = reconstruction.build(scene, home / "clip_files", name="clip")
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.view_settings.view_transform, scene.render.dither_intensity = "Standard", 0.0
    mesh_nodes.set_input(_modifier(built), "Unseen", mesh_nodes.UNSEEN_SHOW)
    expected = {}
    for frame in (1, 3, 6):
        scene.frame_set(frame)
        expected[str(frame)] = mesh_arrays(built.mesh)["position"]
    blend = home / "shot.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(blend))
    assert blend.stat().st_size < 2_000_000
    bpy.ops.wm.read_homefile(use_empty=True)
    moved = tmp_path / "elsewhere"
    home.rename(moved)

    out = tmp_path / "found.npz"
    script = tmp_path / "reopen.py"
    script.write_text(_REOPEN)
    done = subprocess.run(
        [sys.executable, "-I", script, moved / "shot.blend", out],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    with np.load(out) as found:
        assert all(str(path).startswith("//") for path in found["paths"])
        for frame, position in expected.items():
            assert np.array_equal(found[frame], position)
    # Through the source camera's own eyes the reopened file shows the clip's pictures.
    files = [f"{out}.{frame}.png" for frame in (1, 3, 6)]
    sources = [str(moved / "clip_files" / "source" / f"{frame:04d}.png") for frame in (1, 3, 6)]
    pictures = engine("read", tmp_path, {"files": files + sources})
    for k in range(3):
        off = np.abs(pictures[f"picture{k}"][..., :3].astype(int) - pictures[f"picture{k + 3}"])
        assert np.median(off) <= 2
        assert off.mean() < 8.0
