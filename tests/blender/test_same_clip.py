# SPDX-License-Identifier: GPL-3.0-or-later
"""A clip that is reconstructed again keeps the artist's camera."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from .bench import Bench
from .test_operators import drawn

JOB, OTHER = "a" * 32, "b" * 32


@pytest.fixture
def events(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events put in here are what the background thread says, oldest first."""
    from blender_addon import runtime

    waiting: list[Any] = []
    monkeypatch.setattr(runtime, "next_event", lambda: waiting.pop(0) if waiting else None)
    return waiting


def scene_folder(bench: Bench, source: Path, name: str, **changes: Any) -> Path:
    """What the backend made of a clip, in the project's folder."""
    folder = bench.folder / "shot_ex4d" / "scenes" / name
    shutil.copytree(source, folder)
    manifest = folder / "scene.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | changes))
    return folder


def arrive(bench: Bench, events: list[Any], folder: Path, job: str = JOB, **settings: Any) -> str:
    """A reconstruct job of the scene ends. Returns the collection that it became."""
    from blender_addon import clip_record
    from blender_addon.core import events as ev

    keep = clip_record.before(bench.scene, bench.settings.clip_path) if bench.settings.keep_camera else ""
    bench.settings.reconstruct_job, bench.settings.reconstruct_clip = job, bench.settings.clip_path
    bench.settings.reconstruct_keeps = bpy.data.collections.get(keep)
    for name, value in ({"reconstruct_first": 1} | settings).items():
        setattr(bench.settings, name, value)
    events.append(ev.JobFinished(job, "reconstruct", job * 2, folder))
    bench.pump()
    assert not bench.settings.reconstruct_job
    return folder.name


def animated(bench: Bench) -> bpy.types.Object:
    """The shot camera as an artist leaves it: moved, zoomed, constrained, renamed; the root turned."""
    camera = bench.scene.camera
    camera.parent.rotation_euler.z += 0.3
    camera.name = "hero"
    target = bpy.data.objects.new("target", None)
    bench.scene.collection.objects.link(target)
    target.location = (0.3, 5.0, 0.1)
    for frame in (1, 4, 6):
        camera.location = (0.1 * frame, 0.02 * frame**2, -0.05 * frame)
        camera.keyframe_insert("location", frame=frame)
        camera.data.lens = 20.0 + frame
        camera.data.keyframe_insert("lens", frame=frame)
    constraint = camera.constraints.new("DAMPED_TRACK")
    constraint.target, constraint.track_axis, constraint.influence = target, "TRACK_NEGATIVE_Z", 0.5
    return camera


def stands(bench: Bench) -> list[np.ndarray]:
    """Where the scene's camera stands, and its lens, at every frame."""
    found = []
    for frame in range(1, 7):
        bench.scene.frame_set(frame)
        camera = bench.scene.camera.evaluated_get(bpy.context.evaluated_depsgraph_get())
        found.append(np.append(np.array(camera.matrix_world).ravel(), camera.data.lens))
    return found


def test_the_camera_is_kept_when_a_clip_is_reconstructed_again(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import camera_path, jobs, mesh_nodes, reconstruction

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    first = arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    camera = animated(bench)
    bench.scene.render.resolution_x, bench.scene.frame_end = 200, 40
    before, shot = stands(bench), jobs.sample(bench.scene)
    assert "Keep camera of clip_v001" in drawn()

    second = arrive(bench, events, scene_folder(bench, landscape, "clip_v002"), OTHER)
    assert bench.scene.camera is not None
    assert bench.scene.camera.name == "hero"
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True)), "to the last bit"
    assert (bench.scene.render.resolution_x, bench.scene.frame_end) == (200, 40)
    assert f"camera of '{first}' is kept" in bench.said
    built = reconstruction.of_scene(bench.scene)
    assert (built.collection, built.shot_camera) == (second, "hero")
    assert len([o for o in bpy.data.objects if o.get(reconstruction.ROLE) == reconstruction.SHOT_CAMERA]) == 1
    assert not reconstruction.is_shown(first)
    assert jobs.sample(bench.scene).job.cameras == shot.job.cameras
    assert jobs.sample(bench.scene).job.scene == OTHER * 2

    modifier = mesh_nodes.find_modifier(bpy.data.objects[built.mesh])
    assert mesh_nodes.get_input(modifier, "Disparity Scale") == 1.0
    bpy.ops.ex4d.use_reconstruction(collection=first)
    assert bench.scene.camera == camera
    assert camera_path.collection_of(bench.scene) == first
    assert jobs.sample(bench.scene).job.scene == JOB * 2
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))


def test_undo_takes_the_second_reconstruction_away_and_leaves_the_camera(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import reconstruction

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    animated(bench)
    before = stands(bench)
    bpy.ops.ed.undo_push(message="animated")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002"), OTHER)
    bpy.ops.ed.undo()
    assert reconstruction.names_in(bench.scene) == ("clip_v001",)
    assert reconstruction.is_shown("clip_v001")
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))
    bpy.ops.ed.redo()
    assert reconstruction.of_scene(bench.scene).collection == "clip_v002"
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))


def test_depth_in_another_unit_is_shown_in_the_size_of_the_one_before(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import live_depth, mesh_nodes, reconstruction, same_clip

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    mesh_nodes.set_input(live_depth.modifier_of(bench.scene), "Disparity Scale", 0.5)
    mesh_nodes.set_input(live_depth.modifier_of(bench.scene), "Unseen", "Hide")
    pivot = same_clip.pivot_of(reconstruction.of_scene(bench.scene))
    other = json.loads((landscape / "scene.json").read_text())["pivot"] * 3.0
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002", pivot=other), OTHER)
    built = reconstruction.of_scene(bench.scene)
    assert same_clip.pivot_of(built) == pytest.approx(pivot, rel=1e-5)
    modifier = live_depth.modifier_of(bench.scene)
    assert mesh_nodes.get_input(modifier, "Disparity Scale") == pytest.approx(1.5, rel=1e-5)
    assert mesh_nodes.get_input(modifier, "Unseen") == "Hide"
    assert "Disparity Scale is 1.5" in bench.said
    bpy.ops.ex4d.reset_depth()
    assert mesh_nodes.get_input(modifier, "Disparity Scale") == 1.0

    known = {"source": "measures", "count": 1, "agreeing": 1.0, "residual": 0.0}
    folder = scene_folder(bench, landscape, "clip_v003", pivot=other, provenance={"known": known})
    arrive(bench, events, folder, "c" * 32)
    assert mesh_nodes.get_input(live_depth.modifier_of(bench.scene), "Disparity Scale") == 1.0, "it is in real units"


def test_depth_of_very_other_units_stands_in_its_own_size(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import live_depth, mesh_nodes

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002", pivot=1e4), OTHER)
    assert mesh_nodes.get_input(live_depth.modifier_of(bench.scene), "Disparity Scale") == 1.0
    assert "stands in a size of its own" in bench.said


def test_depth_colours_stay_on_and_span_the_new_depth(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import depth_colours, live_depth, mesh_nodes

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    bpy.ops.ex4d.depth_colours()
    other = json.loads((landscape / "scene.json").read_text())["pivot"] * 3.0
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002", pivot=other), OTHER)
    material = mesh_nodes.get_input(live_depth.modifier_of(bench.scene), "Material")
    assert material.name == "clip_v002"
    assert depth_colours.find(material).default_value == 1.0
    ends = [material.node_tree.nodes[f"Depth Colours {name}"].outputs[0].default_value for name in ("Near", "Far")]
    assert ends == pytest.approx([bench.settings.near, bench.settings.far], rel=1e-6)


def delete(collection: str) -> None:
    """Deletes a collection with what is in it alone, as the outliner's Delete Hierarchy does."""
    found = bpy.data.collections[collection]
    for obj in list(found.objects):
        found.objects.unlink(obj)
        if obj.users == 0:
            bpy.data.objects.remove(obj)
    bpy.data.collections.remove(found)


def test_where_the_newer_is_deleted_the_one_before_can_be_shown_again(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import reconstruction

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    animated(bench)
    before = stands(bench)
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002"), OTHER)
    delete("clip_v002")
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))
    assert not reconstruction.is_shown("clip_v001")
    assert "EX4D_MT_reconstructions:clip_v001" in drawn()
    bpy.ops.ex4d.use_reconstruction(collection="clip_v001")
    assert reconstruction.is_shown("clip_v001")
    assert "EX4D_MT_reconstructions:clip_v001" not in drawn()


def test_picks_go_along_into_a_scene_that_no_window_shows(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import picked, reconstruction

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    bpy.ops.ex4d.add_ground()
    (point,) = picked.ground(reconstruction.find("clip_v001"))
    local, first = point.location.copy(), bench.scene
    other = json.loads((landscape / "scene.json").read_text())["pivot"] * 2.0
    folder = scene_folder(bench, landscape, "clip_v002", pivot=other)
    from blender_addon.core import events as ev

    settings = first.ex4d
    settings.reconstruct_job, settings.reconstruct_clip, settings.reconstruct_first = OTHER, settings.clip_path, 1
    settings.reconstruct_keeps = bpy.data.collections["clip_v001"]
    bpy.context.window.scene = bpy.data.scenes.new("other")
    events.append(ev.JobFinished(OTHER, "reconstruct", OTHER * 2, folder))
    bench.pump()
    bpy.context.window.scene = first
    assert picked.ground(reconstruction.find("clip_v002")) == [point]
    assert np.allclose(point.location, local / 2.0, rtol=1e-3)


def test_frames_of_the_clip_stay_where_they_are_in_the_scene(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import live_depth, mesh_nodes

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"), reconstruct_first=11)
    mesh_nodes.set_input(live_depth.modifier_of(bench.scene), "Frame Start", 1001)
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002"), OTHER, reconstruct_first=14)
    assert mesh_nodes.get_input(live_depth.modifier_of(bench.scene), "Frame Start") == 1004


def test_a_tracked_camera_that_stands_elsewhere_now_has_a_root_of_its_own(
    bench: Bench, events: list[Any], handheld: Path
) -> None:
    from blender_addon import reconstruction, source_camera

    place = np.array([[1, 0, 0, 2], [0, 0, -1, -3], [0, 1, 0, 4], [0, 0, 0, 1]], float)
    told = source_camera.place_to_text(reconstruction.Place(1, place))
    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, handheld, "clip_v001"), reconstruct_place=told)
    first = reconstruction.of_scene(bench.scene)
    before = stands(bench)
    arrive(bench, events, scene_folder(bench, handheld, "clip_v002"), OTHER, reconstruct_place=told)
    assert reconstruction.of_scene(bench.scene).root == first.root
    moved = place.copy()
    moved[0, 3] += 1.0
    told = source_camera.place_to_text(reconstruction.Place(1, moved))
    arrive(bench, events, scene_folder(bench, handheld, "clip_v003"), "c" * 32, reconstruct_place=told)
    built = reconstruction.of_scene(bench.scene)
    assert (built.collection, built.shot_camera) == ("clip_v003", first.shot_camera)
    assert built.root != first.root
    assert np.allclose(np.array(bpy.data.objects[built.root].matrix_world), moved, atol=1e-6)
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))
    for collection in ("clip_v001", "clip_v002"):
        delete(collection)
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True)), "what it hangs on is held"
    assert reconstruction.of_scene(bench.scene) == built


@pytest.mark.parametrize("change", ["another clip", "not wanted", "camera deleted"])
def test_where_nothing_is_to_be_kept_there_is_a_camera_of_its_own(
    bench: Bench, events: list[Any], landscape: Path, change: str
) -> None:
    from blender_addon import reconstruction

    bench.settings.clip_path = str(bench.folder / "clip.mp4")
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    first = reconstruction.of_scene(bench.scene)
    if change == "another clip":
        bench.settings.clip_path = str(bench.folder / "other" / "clip.mp4")
    elif change == "not wanted":
        bench.settings.keep_camera = False
    else:
        bpy.data.objects.remove(bpy.data.objects[first.shot_camera])
    arrive(bench, events, scene_folder(bench, landscape, "clip_v002"), OTHER)
    built = reconstruction.of_scene(bench.scene)
    assert built.collection == "clip_v002"
    assert built.shot_camera not in ("", first.shot_camera)
    assert built.root != first.root
    assert bench.scene.camera.name == built.shot_camera
    assert ("was not kept" in bench.said) == (change == "camera deleted")


def test_a_reconstruction_knows_its_clip_when_the_file_is_saved_elsewhere(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import clip_record

    bench.settings.clip_path = bpy.path.relpath(str(bench.folder / "clip.mp4"))
    arrive(bench, events, scene_folder(bench, landscape, "clip_v001"))
    assert clip_record.before(bench.scene, str(bench.folder / "clip.mp4")) == "clip_v001"
    (bench.folder / "deep").mkdir()
    bpy.ops.wm.save_as_mainfile(filepath=str(bench.folder / "deep" / "shot.blend"))
    assert clip_record.before(bench.scene, str(bench.folder / "clip.mp4")) == "clip_v001"
    assert clip_record.before(bench.scene, bench.settings.clip_path) == "clip_v001"
    del bpy.data.collections["clip_v001"][clip_record.CLIP]  # as an earlier release leaves it
    assert clip_record.before(bench.scene, "/anywhere/clip.mov") == "clip_v001"
    assert clip_record.before(bench.scene, "/anywhere/plate.mov") == ""


def sky_mask(folder: Path) -> Path:
    """The upper quarter of the clip's picture, as Blender writes it."""
    white = np.ones((48, 64, 4), np.float32)
    white[:36, :, :3] = 0.0  # rows go up
    image = bpy.data.images.new("sky", 64, 48)
    image.pixels.foreach_set(white.ravel())
    image.filepath_raw, image.file_format = str(folder / "sky.png"), "PNG"
    image.save()
    return folder / "sky.png"


def test_another_estimator_through_a_backend_keeps_the_camera_and_shows_its_depth(bench: Bench, clip: Path) -> None:
    from blender_addon import reconstruction

    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bpy.ops.ex4d.apply_move(move="30")
    bench.scene.camera.data.lens = 31.0
    before = stands(bench)
    bench.settings.camera_height = 0.0
    bpy.ops.ex4d.add_distance()
    bench.settings.estimator = "draft"
    bench.settings.sky_path = str(sky_mask(bench.folder))
    bench.reconstruct(clip)
    built = reconstruction.of_scene(bench.scene)
    assert built.collection == "clip_v002", bench.said
    assert bench.said.endswith("Depth by draft. It is a guess, for blocking out a move.")
    assert reconstruction.manifest_of("clip_v002").estimator == "draft"
    assert all(np.array_equal(a, b) for a, b in zip(stands(bench), before, strict=True))
    assert any(note.startswith("sky (told: 25% of the clip)") for note in reconstruction.manifest_of("clip_v002").notes)
    near, far = bench.settings.near, bench.settings.far
    assert 0.0 < near < far
    assert "Draft depth: for blocking out a move" in drawn()
    bpy.ops.ex4d.depth_strip()
    (strip,) = bench.scene.sequence_editor.strips
    assert len(strip.elements) == 8
    bench.settings.far = 2.0 * far
    bpy.ops.ex4d.render_conditioning()
    bench.until(lambda: bench.settings.render_artifact)
    assert 0.0 < bench.settings.coverage_mean <= 1.0
