# SPDX-License-Identifier: GPL-3.0-or-later
"""What artists do while jobs run, and after: undo, Save As, switching off, deleting, folders that are in the way."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import bpy
import pytest

from blender_addon import versions

from .bench import Bench, write_clip


def brought_in(bench: Bench, clip: Path) -> Bench:
    """A backend, and the clip as a mesh."""
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    return bench


def states(bench: Bench) -> set[str]:
    return {strip["ex4d_state"] for strip in bench.strips()}


def all_done(bench: Bench) -> None:
    bench.until(lambda: states(bench) <= {"done", "failed"})
    assert states(bench) == {"done"}, bench.said


def for_a_while(bench: Bench, seconds: float = 0.6) -> None:
    end = time.monotonic() + seconds
    bench.until(lambda: time.monotonic() > end)


# ---- undo


def test_an_undo_in_the_middle_of_a_job_loses_no_frame_and_one_after_it_goes_all_the_way(
    bench: Bench, clip: Path
) -> None:
    brought_in(bench, clip)
    bpy.ops.ed.undo_push(message="start")
    bpy.ops.ex4d.generate()
    bpy.ops.ed.undo_push(message="take")
    for way in (1.0, 2.0):
        bench.scene.camera.location.x = way
        bpy.ops.ed.undo_push(message="camera")
    bench.until(lambda: bench.frames_there() >= 2)
    there = bench.frames_there()
    bpy.ops.ed.undo()
    assert bench.scene.camera.location.x == 1.0
    assert bench.frames_there() >= there, "what has come is put back at once"
    all_done(bench)
    assert bench.frames_there() == 8

    bpy.ops.ex4d.stop_backend()  # from here on no backend helps
    bench.until(lambda: bench.status.link == "OFF")
    bpy.ops.ed.undo()
    assert bench.scene.camera.location.x == 0.0
    assert (bench.frames_there(), states(bench)) == (8, {"done"})
    for_a_while(bench)
    bpy.ops.ed.undo()
    assert not bench.strips()
    bpy.ops.ed.redo()
    assert (bench.frames_there(), states(bench)) == (8, {"done"})
    assert bench.strips()[0]["ex4d_take"]["made_in"]["blender"] == bpy.app.version_string


def test_a_reconstruction_that_is_undone_stays_undone_until_redo(bench: Bench, clip: Path) -> None:
    bench.start()
    bpy.ops.ed.undo_push(message="start")
    bench.settings.clip_path = str(clip)
    bpy.ops.ex4d.reconstruct()
    bpy.ops.ed.undo_push(message="the artist goes on meanwhile")
    bench.until(lambda: not bench.settings.reconstruct_job)
    assert len(bench.scene.objects) == 4
    bpy.ops.ed.undo()
    assert bench.said == "The reconstruction was undone. Redo brings it back."
    for_a_while(bench)
    assert not bench.scene.objects
    assert not bench.settings.reconstruct_job, "another can be asked for"
    bpy.ops.ed.redo()
    assert len(bench.scene.objects) == 4


# ---- saving, opening, switching off


def test_save_as_in_the_middle_keeps_the_take_and_every_path(bench: Bench, clip: Path, tmp_path: Path) -> None:
    brought_in(bench, clip)
    bench.settings.clip_path = bpy.path.relpath(str(clip))
    bpy.ops.ex4d.generate()
    assert states(bench) == {"waiting"}
    (tmp_path / "else" / "where").mkdir(parents=True)
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "else" / "where" / "other.blend"))
    all_done(bench)
    (strip,) = bench.strips()
    take = tmp_path / "shot_ex4d" / "takes" / strip.name
    assert Path(bpy.path.abspath(strip.directory)).resolve() == take / "frames"
    for folder in ("frames", "colour", "mask"):
        assert len(list((take / folder).glob("[0-9]*.png"))) == 8

    copy = tmp_path / "else" / "copy.blend"
    bpy.ops.wm.save_as_mainfile(filepath=str(copy), copy=True)
    for file in (bpy.data.filepath, str(copy)):
        if file != bpy.data.filepath:
            bpy.ops.wm.open_mainfile(filepath=file)
        kept = bench.settings
        assert Path(bpy.path.abspath(kept.clip_path)).resolve() == clip, file
        assert Path(bpy.path.abspath(kept.take_folder)).resolve() == take, file
        assert (Path(bpy.path.abspath(kept.render_folder)) / "coverage.json").is_file(), file
        assert all(Path(bpy.path.abspath(image.filepath)).is_file() for image in bpy.data.images)


def test_a_file_that_is_saved_for_the_first_time_in_the_middle_keeps_its_take(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    bpy.ops.wm.read_homefile(use_empty=True)
    brought_in(bench, clip)
    bpy.ops.ex4d.generate()
    assert "Save the .blend" in bench.said
    bpy.ops.wm.save_as_mainfile(filepath=str(tmp_path / "late.blend"))
    all_done(bench)
    (strip,) = bench.strips()
    folder = Path(bpy.path.abspath(strip.directory))
    assert all((folder / element.filename).is_file() for element in strip.elements)


def test_switched_off_and_on_again_it_takes_its_jobs_up(bench: Bench, clip: Path) -> None:
    import addon_utils

    brought_in(bench, clip)
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.frames_there() >= 1)
    addon_utils.disable("blender_addon", default_set=False)
    for _ in range(2):
        addon_utils.enable("blender_addon", default_set=False)
    all_done(bench)  # the backend still runs, and is found again
    assert bench.frames_there() == 8


def test_how_a_take_was_made_names_both_sides(bench: Bench, clip: Path, tmp_path: Path) -> None:
    brought_in(bench, clip)
    bpy.ops.ex4d.generate()
    all_done(bench)
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    (strip,) = bench.strips()
    made_in = versions.of_this_side()
    assert set(made_in) == {"blender", "extension", "protocol"}
    assert strip["ex4d_take"]["made_in"].to_dict() == made_in
    file = tmp_path / "shot_ex4d" / "takes" / strip.name / "take.json"
    assert json.loads(file.read_text())["made_in"] == made_in


# ---- things that are gone or in the way


def test_a_part_that_was_deleted_is_missed_only_where_it_is_needed(bench: Bench, clip: Path) -> None:
    brought_in(bench, clip)
    name = bench.scene.collection.children[0].name
    own = bpy.data.objects.new("mine", bpy.data.cameras.new("mine"))
    bench.scene.collection.objects.link(own)
    bench.scene.camera = own
    for part in ("shot", "source", "root"):
        bpy.data.objects.remove(bpy.data.objects[f"{name} {part}"])
    bpy.context.view_layer.update()
    own.matrix_world = bpy.data.objects[f"{name} mesh"].matrix_world
    bpy.ops.ex4d.generate()
    all_done(bench)
    with pytest.raises(RuntimeError, match=r"shot camera of .* is gone. Undo its deletion"):
        bpy.ops.ex4d.apply_move()
    bpy.data.objects.remove(bpy.data.objects[f"{name} mesh"])
    with pytest.raises(RuntimeError, match=r"mesh of .* is gone"):
        bpy.ops.ex4d.generate()
    assert len(bench.strips()) == 1


def test_folders_that_cannot_be_made_start_nothing(bench: Bench, clip: Path, tmp_path: Path) -> None:
    brought_in(bench, clip)
    in_the_way = tmp_path / "shot_ex4d" / "takes"
    in_the_way.write_text("a file")
    with pytest.raises(RuntimeError, match="could not be written"):
        bpy.ops.ex4d.generate()
    assert not bench.settings.render_job
    assert not bench.strips()
    in_the_way.unlink()

    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.frames_there() >= 1)
    folder = Path(bpy.path.abspath(bench.strips()[0].directory)).parent
    shutil.rmtree(folder)
    folder.write_text("a file")
    bench.until(lambda: states(bench) == {"failed"})
    assert "could not be written" in bench.said
    folder.unlink()
    bpy.ops.ex4d.export_take(directory=str(tmp_path / "out"))
    bench.until(lambda: "is gone" in bench.said)
    assert not (tmp_path / "out").exists()


def test_a_take_folder_that_is_deleted_while_frames_come_is_made_again(bench: Bench, clip: Path) -> None:
    brought_in(bench, clip)
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.frames_there() >= 2)
    folder = Path(bpy.path.abspath(bench.strips()[0].directory))
    shutil.rmtree(folder.parent)
    all_done(bench)
    assert all((folder / element.filename).is_file() for element in bench.strips()[0].elements)


# ---- scenes that are not empty


def test_two_clips_in_a_scene_of_the_artists_own(
    bench: Bench, clip: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    scene = bench.scene
    scene.frame_start, scene.frame_end, scene.render.resolution_percentage = 1001, 1100, 50
    cube = bpy.data.objects.new("cube", None)
    scene.collection.objects.link(cube)
    brought_in(bench, clip)
    first = scene.camera
    portrait = write_clip(tmp_path_factory.mktemp("zweite \u00e4ufnahme (2)"), 37, 53, 1)
    bench.reconstruct(portrait, portrait.with_name("depth.npz"))
    assert "1 frame of 37 x 53" in bench.said
    assert scene.objects["cube"] == cube
    bpy.ops.ex4d.apply_move(move="90")
    bpy.ops.ex4d.generate()
    all_done(bench)
    meshes = {o.name: (o.hide_viewport, o.hide_render) for o in scene.objects if o.type == "MESH"}
    assert meshes == {"clip_v001 mesh": (True, True), "clip_v002 mesh": (False, False)}, "they lie in each other's way"
    assert scene.camera != first
    bpy.ops.ex4d.use_reconstruction(collection="clip_v001")
    assert "8 frames of 64 x 48 at 24 fps" in bench.said
    assert scene.camera == first
    assert not scene.objects["clip_v001 mesh"].hide_render
    assert scene.objects["clip_v002 mesh"].hide_render
    scene.frame_start, scene.frame_end, scene.render.resolution_percentage = 0, 14, 50
    scene.render.resolution_x, scene.render.resolution_y = 64, 48
    bpy.ops.ex4d.generate()
    all_done(bench)
    sizes = {len(s.elements): list(s["ex4d_take"]["size"]) for s in bench.strips()}
    assert sizes == {1: [37, 53], 15: [32, 24]}
