# SPDX-License-Identifier: GPL-3.0-or-later
"""What an artist can do to depth in Blender: near and far, colours, a strip, known sizes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import bpy
import numpy as np
import pytest

from .bench import Bench
from .conftest import mesh_arrays
from .test_operators import drawn


@pytest.fixture
def built(bench: Bench, landscape: Path) -> str:
    """The collection of a reconstruction."""
    from blender_addon import reconstruction

    folder = bench.folder / "shot_ex4d" / "scenes" / "clip_v001"
    shutil.copytree(landscape, folder)
    return reconstruction.build(bench.scene, folder, name="clip_v001", artifact="ab" * 32).collection


def inputs(bench: Bench) -> tuple[float, float]:
    """Scale and shift of the mesh."""
    from blender_addon import live_depth, mesh_nodes

    modifier = live_depth.modifier_of(bench.scene)
    return tuple(float(mesh_nodes.get_input(modifier, name)) for name in (live_depth.SCALE, live_depth.SHIFT))


def depths(bench: Bench) -> np.ndarray:
    """Of the mesh's points, as it stands."""
    from blender_addon import reconstruction

    return -mesh_arrays(reconstruction.of_scene(bench.scene).mesh)["position"][:, 2]


# ---- near and far


def test_near_and_far_move_the_mesh_and_go_with_the_job(bench: Bench, built: str) -> None:
    from blender_addon import jobs, reconstruction

    manifest = reconstruction.manifest_of(built)
    settings = bench.settings
    assert (settings.near, settings.far) == pytest.approx((manifest.near, manifest.far_depth), rel=1e-6)
    raw = depths(bench)
    settings.far = 30.0
    assert (settings.near, settings.far) == pytest.approx((manifest.near, 30.0), rel=1e-5)
    settings.near = 1.25
    assert (settings.near, settings.far) == pytest.approx((1.25, 30.0), rel=1e-5)
    scale, shift = inputs(bench)
    got = depths(bench)
    assert np.allclose(got, 1.0 / np.maximum(scale / raw + shift, 1e-6), rtol=1e-4)
    assert not np.allclose(got, raw, rtol=0.05)
    sample = jobs.sample(bench.scene).job.cameras[0]
    assert (sample.disparity_scale, sample.disparity_shift) == pytest.approx((scale, shift))
    assert bpy.ops.ex4d.reset_depth() == {"FINISHED"}
    assert inputs(bench) == (1.0, 0.0)
    assert settings.far == pytest.approx(manifest.far_depth, rel=1e-6)


def test_near_and_far_show_what_scale_and_shift_are_dragged_and_keyed_to(bench: Bench, built: str) -> None:
    from blender_addon import live_depth, mesh_nodes, reconstruction

    near = bench.settings.near
    modifier = live_depth.modifier_of(bench.scene)
    mesh_nodes.set_input(modifier, live_depth.SCALE, 2.0)
    assert bench.settings.near == pytest.approx(near / 2.0, rel=1e-6)
    mesh = bpy.data.objects[reconstruction.of_scene(bench.scene).mesh]
    path = mesh_nodes.input_path(modifier, live_depth.SCALE)
    for frame, value in ((1, 1.0), (5, 4.0)):
        mesh_nodes.set_input(modifier, live_depth.SCALE, value)
        mesh.keyframe_insert(path, frame=frame)
    bench.scene.frame_set(1)
    assert bench.settings.near == pytest.approx(near, rel=1e-6)
    bench.scene.frame_set(5)
    assert bench.settings.near == pytest.approx(near / 4.0, rel=1e-6)
    bpy.ops.ex4d.reset_depth()
    assert "keyframes" in bench.said


def test_what_a_driver_takes_back_is_said(bench: Bench, built: str) -> None:
    from blender_addon import live_depth, mesh_nodes

    modifier = live_depth.modifier_of(bench.scene)
    driver = modifier.id_data.driver_add(mesh_nodes.input_path(modifier, live_depth.SHIFT)).driver
    driver.expression = "0.01 * frame"
    near = bench.settings.near
    bench.scene.frame_set(5)
    assert bench.settings.near == pytest.approx(1.0 / (1.0 / near + 0.05), rel=1e-5)
    bpy.ops.ex4d.reset_depth()
    assert bench.status.level == "WARNING"
    assert "has a driver" in bench.said


@pytest.mark.parametrize(("name", "value"), [("near", 1e4), ("far", 0.01), ("near", 1e-4)])
def test_a_near_and_a_far_that_cannot_be_are_refused_and_change_nothing(
    bench: Bench, built: str, name: str, value: float
) -> None:
    before = inputs(bench)
    setattr(bench.settings, name, value)
    assert inputs(bench) == before
    assert bench.status.level == "ERROR"
    assert bench.status.hint
    bench.settings.far = 1.01 * bench.settings.far
    assert bench.status.level == "INFO", "back where it can be"


# ---- how depth is shown


def test_the_mesh_is_coloured_by_its_depth_as_the_preview_is(bench: Bench, built: str) -> None:
    from blender_addon import depth_colours, live_depth, materials, mesh_nodes, reconstruction

    scene = bench.scene
    manifest = reconstruction.manifest_of(built)
    scene.render.engine, scene.cycles.samples, scene.cycles.use_denoising = "CYCLES", 1, False
    scene.view_settings.view_transform = "Standard"
    scene.render.dither_intensity = 0.0
    scene.camera = bpy.data.objects[reconstruction.of_scene(scene).source_camera]
    scene.render.filepath = str(bench.folder / "seen.png")

    def rendered() -> np.ndarray:
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(scene.render.filepath, check_existing=False)
        image.colorspace_settings.name = "Non-Color"
        pixels = np.empty((image.size[1], image.size[0], 4), np.float32)
        image.pixels.foreach_get(pixels.ravel())
        bpy.data.images.remove(image)
        return pixels[::-1, :, :3] * 255.0

    picture = rendered()
    assert bpy.ops.ex4d.depth_colours() == {"FINISHED"}
    near = rendered()
    assert np.abs(near - picture).max() > 50.0
    box = near[14:22, 18:30].reshape(-1, 3)  # at depth 2, before a wall from 4 on
    wall = near[30:44, 2:12].reshape(-1, 3)
    assert (box[:, 0] > box[:, 2] + 60.0).all(), "near is red"
    assert (wall[:, 2] > wall[:, 0]).all(), "far is blue"
    assert manifest.near < 2.5
    bench.settings.near, bench.settings.far = 3.5, 5.0
    assert np.abs(rendered()[14:22, 18:30] - near[14:22, 18:30]).max() > 30.0, "it goes with the mesh"
    bpy.ops.ex4d.depth_colours()
    bpy.ops.ex4d.reset_depth()
    assert np.abs(rendered() - picture).max() < 1.0
    material = mesh_nodes.get_input(live_depth.modifier_of(scene), "Material")
    material.node_tree.nodes.remove(material.node_tree.nodes[depth_colours.SWITCH])
    assert material.node_tree.nodes[materials.PICTURE] is not None
    with pytest.raises(RuntimeError, match="no colours for its depth"):
        bpy.ops.ex4d.depth_colours()
    assert "ex4d.depth_colours" not in drawn()


def test_the_depths_pictures_become_a_strip_that_runs_with_the_clip(bench: Bench, built: str) -> None:
    from blender_addon import compat, live_depth, mesh_nodes, reconstruction, strips

    folder = reconstruction.folder_of(built)
    shutil.rmtree(folder / "depth_preview", ignore_errors=True)
    with pytest.raises(RuntimeError, match="no pictures of its depth"):
        bpy.ops.ex4d.depth_strip()
    shutil.copytree(folder / "source", folder / "depth_preview")
    mesh_nodes.set_input(live_depth.modifier_of(bench.scene), "Frame Start", 11)
    assert bpy.ops.ex4d.depth_strip() == {"FINISHED"}
    bpy.ops.ex4d.depth_strip()
    first, second = bench.scene.sequence_editor.strips
    assert compat.strip_range(first) == compat.strip_range(second) == (11, 17)
    assert first.channel != second.channel
    assert [element.filename for element in first.elements] == [f"{n:04d}.png" for n in range(1, 7)]
    assert Path(bpy.path.abspath(first.directory)) == folder / "depth_preview"
    assert not list(strips.every()), "it is no take"


# ---- known sizes


def to(obj: bpy.types.Object, place: np.ndarray) -> None:
    """Drags a point somewhere."""
    obj.matrix_world.translation = place.tolist()
    bpy.context.view_layer.update()


def test_a_known_distance_scales_the_mesh_live_whatever_it_was_set_to(bench: Bench, built: str) -> None:
    from blender_addon import live_depth, mesh_nodes, picked, reconstruction

    bench.settings.far = 20.0
    root = bpy.data.objects[reconstruction.of_scene(bench.scene).root]
    root.scale = (2.0, 2.0, 2.0)
    root.rotation_euler.z += 0.4
    bpy.context.view_layer.update()
    assert bpy.ops.ex4d.add_distance() == {"FINISHED"}
    (pair,) = picked.distances(reconstruction.find(built))
    selected = {obj.name for obj in bpy.context.view_layer.objects if obj.select_get()}
    assert selected == {pair.a.name, pair.b.name}
    with pytest.raises(RuntimeError, match="Nothing is known"):
        bpy.ops.ex4d.apply_known()
    before, raw = depths(bench), inputs(bench)
    camera = np.array(bpy.data.objects[reconstruction.of_scene(bench.scene).mesh].matrix_world)[:3, 3]
    on_mesh = [np.array(end.matrix_world.translation) for end in (pair.a, pair.b)]
    to(pair.a, camera + 0.5 * (on_mesh[0] - camera))  # off the mesh, and seen at the same place
    pair.a[picked.DISTANCE] = 3.0 * float(np.linalg.norm(on_mesh[1] - on_mesh[0]))
    assert bpy.ops.ex4d.apply_known() == {"FINISHED"}
    front = before < 1e3  # the back lies as far as can be
    assert front.mean() > 0.8
    assert np.allclose(depths(bench)[front], 3.0 * before[front], rtol=1e-4)
    assert inputs(bench) == pytest.approx((raw[0] / 3.0, raw[1] / 3.0), rel=1e-4)
    ends = [np.array(end.matrix_world.translation) for end in (pair.a, pair.b)]
    assert np.linalg.norm(ends[1] - ends[0]) == pytest.approx(pair.length, rel=1e-4)
    assert np.allclose(ends[0], camera + 3.0 * (on_mesh[0] - camera), atol=1e-3), "the points are on the mesh"
    assert "3 times as far" in bench.said
    mesh_nodes.set_input(live_depth.modifier_of(bench.scene), "Unseen", "Hide")
    bpy.ops.ex4d.apply_known()
    assert inputs(bench) == pytest.approx((raw[0] / 3.0, raw[1] / 3.0), rel=1e-4), "applied twice is applied once"


def test_the_cameras_height_above_ground_points_scales_the_mesh(bench: Bench, built: str) -> None:
    from blender_addon import picked, reconstruction

    bpy.ops.ex4d.add_ground()
    (point,) = picked.ground(reconstruction.find(built))
    above = -point.matrix_world.translation.z
    assert above > 0.0, "low in the picture, below a camera that looks straight on"
    bench.settings.camera_height = 2.5 * above
    bpy.ops.ex4d.apply_known()
    assert inputs(bench)[0] == pytest.approx(1.0 / 2.5, rel=1e-4)
    assert -point.matrix_world.translation.z == pytest.approx(2.5 * above, rel=1e-4)


def test_things_known_that_contradict_each_other_are_told(bench: Bench, built: str) -> None:
    from blender_addon import picked, reconstruction

    for factor in (2.0, 3.0):
        bpy.ops.ex4d.add_distance()
        pair = picked.distances(reconstruction.find(built))[-1]
        ends = [np.array(end.matrix_world.translation) for end in (pair.a, pair.b)]
        pair.a[picked.DISTANCE] = factor * float(np.linalg.norm(ends[1] - ends[0]))
    bpy.ops.ex4d.apply_known()
    assert bench.status.level == "WARNING"
    assert "What you know differs by up to 22" in bench.said
    assert 1.0 / inputs(bench)[0] == pytest.approx(6.0**0.5, rel=1e-3)


def test_a_size_that_the_inputs_cannot_hold_is_refused(bench: Bench, built: str) -> None:
    from blender_addon import picked, reconstruction

    bpy.ops.ex4d.add_distance()
    (pair,) = picked.distances(reconstruction.find(built))
    pair.a[picked.DISTANCE] = 1e5
    with pytest.raises(RuntimeError, match=r"takes a Disparity Scale of .* 0\.001 to 1000 is possible"):
        bpy.ops.ex4d.apply_known()
    assert inputs(bench) == (1.0, 0.0)


def test_a_distance_that_was_duplicated_is_a_second_one(bench: Bench, built: str) -> None:
    from blender_addon import picked, reconstruction

    bpy.ops.ex4d.add_distance()
    bpy.ops.object.duplicate()
    pairs = picked.distances(reconstruction.find(built))
    assert [{pair.a.name, pair.b.name} for pair in pairs] == [
        {f"{built} distance {end}{copy}" for end in "AB"} for copy in ("", ".001")
    ]


def test_what_is_brought_far_away_is_not_cut_off(bench: Bench, built: str) -> None:
    from blender_addon import reconstruction

    bench.settings.far = 1.5 * bench.settings.far
    furthest = depths(bench).max()
    assert furthest > 1e5, "the back: its disparity falls below nothing"
    part = reconstruction.of_scene(bench.scene)
    for name in (part.source_camera, part.shot_camera):
        assert bpy.data.objects[name].data.clip_end > furthest


def test_a_point_outside_the_picture_is_refused_by_name(bench: Bench, built: str) -> None:
    from blender_addon import picked, reconstruction

    bpy.ops.ex4d.add_distance()
    (pair,) = picked.distances(reconstruction.find(built))
    pair.a[picked.DISTANCE] = 1.0
    to(pair.b, np.array((0.0, -5.0, 0.0)))
    with pytest.raises(RuntimeError, match=f"'{pair.b.name}' lies behind"):
        bpy.ops.ex4d.apply_known()
    assert inputs(bench) == (1.0, 0.0)


def test_a_source_camera_that_moves_says_the_size_itself(bench: Bench, handheld: Path) -> None:
    from blender_addon import reconstruction

    reconstruction.build(bench.scene, handheld, name="walk")
    assert "The source camera's path says how large" in " ".join(drawn())
    with pytest.raises(RuntimeError, match="its path says how large everything is"):
        bpy.ops.ex4d.apply_known()


def test_points_are_told_in_pixels_of_the_clip_and_units_of_the_reconstruction(
    bench: Bench, built: str, clip: Path
) -> None:
    """The clip has 64 x 48 pixels, as the reconstruction has; a clip of twice the size has its pixels twice as far."""
    from blender_addon import clip_record, measuring, picked, reconstruction

    clip_record.mark(built, str(clip), 3)
    part = reconstruction.find(built)
    root = bpy.data.objects[part.root]
    root.scale = (2.0, 2.0, 2.0)
    bench.scene.frame_set(4)  # picture 6 of the clip's file: its third is the first that is used
    bpy.ops.ex4d.add_distance()
    bpy.ops.ex4d.add_ground()
    bpy.ops.ex4d.add_ground()
    (pair,) = picked.distances(part)
    pair.a[picked.DISTANCE] = 3.0
    assert measuring.told(bench.scene, part, clip, first=2, count=0).ground == (), "two points tell no plane"
    bpy.ops.ex4d.add_ground()
    bench.scene.frame_set(1)
    told = measuring.told(bench.scene, part, clip, first=2, count=0)
    (measure,) = told.measures
    assert (measure.frame, measure.distance) == (4, 1.5)
    got = (measure.ax, measure.ay, measure.bx, measure.by)
    assert got == pytest.approx((21.76, 24.96, 42.24, 24.96), abs=1e-3)
    assert [p.frame for p in told.ground] == [4, 4, 4]
    assert [p.x for p in told.ground] == pytest.approx([32.0, 19.2, 44.8], abs=1e-3)
    assert [p.y for p in told.ground] == pytest.approx([43.2, 38.4, 38.4], abs=1e-3)
    assert told.unit == pytest.approx(2.0)
    image = bpy.data.images.new("large", 128, 96)
    image.filepath_raw, image.file_format = str(bench.folder / "large_0001.png"), "PNG"
    image.save()
    (large,) = measuring.told(bench.scene, part, bench.folder / "large_0001.png", first=2, count=0).measures
    assert (large.ax, large.by) == pytest.approx((43.52, 49.92), abs=1e-3)
    assert measuring.told(bench.scene, part, clip, first=2, count=4).measures == ()
    assert measuring.told(bench.scene, part, clip, first=7, count=0).ground == ()


# ---- what the panel tells


def test_the_panel_tells_where_the_depth_comes_from(bench: Bench, landscape: Path) -> None:
    from blender_addon import reconstruction

    folder = bench.folder / "told"
    shutil.copytree(landscape, folder)
    manifest = json.loads((folder / "scene.json").read_text())
    manifest["notes"] = ["depth by vda, the best that can be used here"]
    manifest["provenance"] = {
        "depth": {"model": "crafter", "licence": "NC-1.0", "commercial_use": False},
        "known": {"source": "points", "count": 41, "agreeing": 0.95, "residual": 0.0124},
    }
    (folder / "scene.json").write_text(json.dumps(manifest))
    reconstruction.build(bench.scene, folder, name="told")
    text = " ".join(drawn())
    assert "Depth: crafter" in text
    assert "Depth by crafter (NC-1.0): not for commercial use" in text
    assert "Fitted to tracked points (41): 95% agree, to 1.2%" in text
    assert "Depth by vda, the best that can be used here" in text
