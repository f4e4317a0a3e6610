# SPDX-License-Identifier: GPL-3.0-or-later
"""Export Camera: what is written is the camera as Blender evaluates it."""

from __future__ import annotations

import json
from pathlib import Path

import bpy
import numpy as np
import pytest

from blender_addon.core import camera_math

from .bench import Bench, tracked_camera


def _stands(name: str, frames: range) -> list[np.ndarray]:
    found = []
    for frame in frames:
        bpy.context.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        found.append(camera_math.unscaled(np.array(bpy.data.objects[name].evaluated_get(graph).matrix_world)))
    return found


def test_a_camera_is_exported_frame_by_frame_in_the_scenes_world(bench: Bench, engine, tmp_path: Path) -> None:
    tracked_camera(bench.scene, 11, 4)
    bench.scene.camera = bpy.data.objects["tracked"]
    bench.scene.frame_start, bench.scene.frame_end, bench.scene.frame_current = 11, 14, 12
    bpy.ops.ex4d.export_camera(filepath=str(tmp_path / "camera.v001"))
    assert bench.said.startswith("Exported 4 frames of the camera")
    assert [file.name for file in tmp_path.glob("camera*")] == ["camera.v001.json"]
    found = engine("path", tmp_path, {"file": str(tmp_path / "camera.v001.json")})
    for pose, theirs in zip(found["poses"], _stands("tracked", range(11, 15)), strict=True):
        assert np.allclose(camera_math.UPRIGHT @ camera_math.blender_pose(pose), theirs, atol=1e-5)
    bpy.ops.ex4d.export_camera(filepath=str(tmp_path / "part.json"), camera="tracked", frame_start=12, frame_end=13)
    part = engine("path", tmp_path, {"file": str(tmp_path / "part.json")})
    assert np.array_equal(part["poses"], found["poses"][1:3])
    assert np.array_equal(part["lens"], found["lens"][1:3])


def test_a_shot_camera_is_exported_as_it_is_rendered(bench: Bench, engine, handheld: Path, tmp_path: Path) -> None:
    from blender_addon import camera_path, reconstruction

    built = reconstruction.build(bench.scene, handheld, name="clip")
    bpy.ops.ex4d.apply_move(move="30")
    bpy.data.objects[built.root].location = (3.0, 2.0, 1.0)
    bpy.ops.ex4d.export_camera(filepath=str(tmp_path / "shot.json"))
    found = engine("path", tmp_path, {"file": str(tmp_path / "shot.json")})
    job = camera_path.render_job(bench.scene)
    assert found["poses"].reshape(-1, 16).tolist() == [list(c.world_from_camera) for c in job.cameras]
    assert found["lens"].tolist() == [[c.fx, c.fy, c.cx, c.cy] for c in job.cameras]
    assert found["size_and_rate"].tolist() == [job.width, job.height, *job.fps]
    bpy.ops.ex4d.export_camera(filepath=str(tmp_path / "world.json"), relative_to="WORLD")
    world = engine("path", tmp_path, {"file": str(tmp_path / "world.json")})
    assert np.abs(world["poses"][0] - found["poses"][0]).max() > 1.0


def test_what_cannot_be_exported_is_said_in_a_line(bench: Bench, tmp_path: Path) -> None:
    cases = (
        ({}, "No file is chosen"),
        ({"filepath": str(tmp_path / "a.json")}, "has no camera"),
        ({"filepath": str(tmp_path / "a.json"), "camera": "gone"}, "'gone' is not in the scene"),
        ({"filepath": str(tmp_path / "a.json"), "frame_start": 3, "frame_end": 2}, "no frames"),
    )
    for arguments, words in cases:
        with pytest.raises(RuntimeError, match=words):
            bpy.ops.ex4d.export_camera(**arguments)
        assert words in bench.said
    assert not list(tmp_path.glob("*.json"))


@pytest.mark.skipif(not bpy.app.usd.supported, reason="this Blender was built without USD")
def test_the_usd_beside_it_comes_back_as_the_same_camera(bench: Bench, tmp_path: Path) -> None:
    tracked_camera(bench.scene, 11, 4)
    wanted = _stands("tracked", range(11, 15))
    before = {kind: len(getattr(bpy.data, kind)) for kind in ("scenes", "objects", "cameras")}
    bpy.ops.ex4d.export_camera(
        filepath=str(tmp_path / "c.json"), camera="tracked", frame_start=11, frame_end=14, with_usd=True
    )
    assert {kind: len(getattr(bpy.data, kind)) for kind in before} == before
    assert len(json.loads((tmp_path / "c.json").read_text())["frames"]) == 4
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.usd_import(filepath=str(tmp_path / "c.usda"))
    (camera,) = (obj for obj in bpy.data.objects if obj.type == "CAMERA")
    for k, (found, theirs) in enumerate(zip(_stands(camera.name, range(11, 15)), wanted, strict=True)):
        assert np.allclose(found, theirs, atol=1e-4)
        bpy.context.scene.frame_set(11 + k)
        data = camera.evaluated_get(bpy.context.evaluated_depsgraph_get()).data
        assert data.lens / data.sensor_width == pytest.approx((35.0 + 2.0 * k) / 36.0, rel=1e-4)
