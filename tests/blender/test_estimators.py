# SPDX-License-Identifier: GPL-3.0-or-later
"""Estimators in Blender: what the menu tells of them, their options, and what a job is sent."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from shared_protocol.messages import PROTOCOL, Door, Measure, Reconstruct, SettingInfo, Welcome

from .bench import Bench, tracked_camera, tracked_film
from .test_operators import drawn

STAGE = (
    SettingInfo("commercial", "Commercial use", "Only such models.", True),
    SettingInfo("steady", "Steady over time", "Smooth.", "auto", ("auto", "on", "off"), group="Clean-up"),
)
MODEL = SettingInfo("model", "Model", "Which.", "auto")
DOORS = (
    Door("depth", "file", "Depth from files", "Apache-2.0", True, True, "", gives="either",
         settings=(SettingInfo("depth_kind", "Kind", "What.", "auto", ("auto", "depth")), *STAGE)),
    Door("depth", "vda", "Video Depth", "Apache-2.0", True, False, "no weights (ex4d models download vda)",
         gives="metric", steady=True, size=116_000_000, settings=(MODEL, *STAGE)),
    Door("depth", "crafter", "DepthCrafter", "NC-1.0", False, True, "", gives="disparity", steady=True,
         size=2_900_000_000, settings=(MODEL, SettingInfo("steps", "Steps", "How many.", 5), *STAGE)),
    Door("depth", "draft", "Draft", "Apache-2.0", True, True, "", gives="disparity", settings=STAGE),
    Door("depth", "gone", "Gone", "Apache-2.0", True, False, "not built in", settings=STAGE),
)  # fmt: skip


@pytest.fixture
def events(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """A backend with these estimators is connected."""
    from blender_addon import runtime
    from blender_addon.core import events as ev

    waiting: list[Any] = [ev.LinkChanged(ev.CONNECTED, "Connected.", welcome=Welcome("b", PROTOCOL, 1, DOORS))]
    monkeypatch.setattr(runtime, "next_event", lambda: waiting.pop(0) if waiting else None)
    bench.pump()
    bench.pump()
    return waiting


@pytest.fixture
def sent(events: list[Any], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Commands to the background thread."""
    from blender_addon import runtime

    commands: list[Any] = []
    monkeypatch.setattr(runtime, "send", commands.append)
    return commands


def job(bench: Bench, sent: list[Any], clip: Path) -> Reconstruct:
    """What Reconstruct sends now."""
    bench.settings.clip_path = str(clip)
    bench.settings.reconstruct_job = ""
    assert bpy.ops.ex4d.reconstruct() == {"FINISHED"}
    return sent[-1].job


def choices() -> dict[str, bool]:
    """What stands in the menu, and whether it can be chosen."""
    from .test_operators import Layout

    found: dict[str, bool] = {}

    class Row(Layout):
        enabled = True

        def operator(self, name: str, text: str = "", **_: Any) -> Any:
            found[text] = bool(self.enabled)
            return type("Settings", (), {})()

    class Menu(Layout):
        def row(self, **_: Any) -> Row:
            return Row(self.drawn)

    cls = bpy.types.EX4D_MT_estimators
    lines: list[str] = []
    cls.draw(type("Self", (), {"layout": Menu(lines), "kind": "depth", "_choice": cls._choice})(), bpy.context)
    return found


def test_the_menu_tells_licence_nature_and_reason(bench: Bench, events: list[Any]) -> None:
    text = " ".join(drawn("EX4D_MT_estimators"))
    assert "Metric depth, steady over time, 116 MB, Apache-2.0 no weights (ex4d models download vda)" in text
    assert "Relative depth, steady over time, 2.9 GB, NC-1.0: not for commercial use" in text
    assert "Only where Non-commercial work is ticked." in text
    assert "Depth from files" not in text
    open_ones = {"Automatic": True, "Video Depth": True, "DepthCrafter": False, "Draft": True, "Gone": False}
    assert choices() == open_ones
    bench.settings.non_commercial = True
    assert choices() == open_ones | {"DepthCrafter": True}
    assert "Only where" not in " ".join(drawn("EX4D_MT_estimators"))


def test_what_is_not_for_commercial_work_takes_the_artists_word(bench: Bench, sent: list[Any], clip: Path) -> None:
    bench.settings.estimator = "crafter"
    bench.settings.clip_path = str(clip)
    with pytest.raises(RuntimeError, match="may not be used for commercial work"):
        bpy.ops.ex4d.reconstruct()
    assert not sent
    assert not list(bench.folder.glob("shot_ex4d/scenes/*"))
    assert "Non-commercial work" in bench.said
    bench.settings.non_commercial = True
    asked = job(bench, sent, clip)
    assert (asked.estimator, asked.depth_options) == ("crafter", (("commercial", False),))
    bench.settings.non_commercial, bench.settings.estimator = False, "auto"
    assert job(bench, sent, clip).depth_options == ()


def test_options_are_kept_for_each_estimator_and_sent_where_they_differ(
    bench: Bench, sent: list[Any], clip: Path
) -> None:
    from blender_addon import options

    lines = drawn()
    assert lines[lines.index("Estimator options") + 1 : lines.index("ex4d.reset_options")] == [
        "Clean-up",
        "Steady over time",
    ], "automatic: what all of them have, without what has a field of its own"
    bench.settings.estimator = "vda"
    assert {"Model", "Steady over time"} <= set(drawn())
    record = bench.settings.estimators["vda"]
    record["option_model"], record["option_steady"] = "/weights/mine", options._number("off")
    assert "Estimator options (2 set)" in drawn()
    asked = job(bench, sent, clip)
    assert (asked.estimator, asked.depth_options) == ("vda", (("model", "/weights/mine"), ("steady", "off")))
    bench.settings.estimator = "auto"
    assert job(bench, sent, clip).depth_options == ()
    bench.settings.estimator = "vda"
    bpy.ops.ex4d.reset_options(kind="depth")
    assert job(bench, sent, clip).depth_options == ()
    bench.settings.depth_path = str(clip.with_name("depth.npz"))
    bench.settings.estimators["file"]["option_steady"] = options._number("on")
    asked = job(bench, sent, clip)
    assert (asked.estimator, asked.depth_options) == ("auto", (("steady", "on"),)), "depth was brought along"


def test_a_sky_mask_goes_along_and_one_that_is_gone_is_told(bench: Bench, sent: list[Any], clip: Path) -> None:
    job(bench, sent, clip)
    assert sent[-1].sky is None
    bench.settings.sky_path = bpy.path.relpath(str(clip))
    job(bench, sent, clip)
    assert sent[-1].sky == clip
    bench.settings.reconstruct_job, bench.settings.sky_path = "", "//gone.png"
    with pytest.raises(RuntimeError, match=r"There is no sky mask file .*gone\.png"):
        bpy.ops.ex4d.reconstruct()


def test_a_clip_whose_mesh_was_deleted_can_be_reconstructed_again(
    bench: Bench, sent: list[Any], clip: Path, landscape: Path
) -> None:
    from blender_addon import clip_record, reconstruction

    built = reconstruction.build(bench.scene, landscape, name="clip_v001", artifact="ab" * 32)
    clip_record.mark(built.collection, str(clip), 1)
    bpy.ops.ex4d.add_distance()
    bpy.data.objects.remove(bpy.data.objects[built.mesh])
    bench.settings.clip_path = str(clip)
    with pytest.raises(RuntimeError, match="The mesh of 'clip_v001' is gone"):  # and with it what was picked on it
        bpy.ops.ex4d.reconstruct()
    for obj in [obj for obj in bpy.data.objects if "distance" in obj.name]:
        bpy.data.objects.remove(obj)
    assert job(bench, sent, clip).measures == ()


def test_a_lens_is_told_in_pixels_or_in_millimetres(bench: Bench, sent: list[Any], clip: Path) -> None:
    assert (job(bench, sent, clip).focal, job(bench, sent, clip).lens) == (None, None)
    bench.settings.focal, bench.settings.lens, bench.settings.sensor = 900.0, 35.0, 24.5
    asked = job(bench, sent, clip)
    assert (asked.focal, asked.lens) == (900.0, None)
    assert {"focal"} == {"focal", "lens", "sensor"} & set(drawn())
    bench.settings.lens_unit = "MM"
    asked = job(bench, sent, clip)
    assert (asked.focal, asked.lens) == (None, (35.0, 24.5))
    assert {"lens", "sensor"} == {"focal", "lens", "sensor"} & set(drawn())
    bench.settings.lens, bench.settings.camera_height = 0.0, 1.6
    asked = job(bench, sent, clip)
    assert (asked.focal, asked.lens, asked.camera_height) == (None, None, pytest.approx(1.6))


def test_what_was_measured_goes_with_the_next_reconstruction(
    bench: Bench, sent: list[Any], clip: Path, landscape: Path
) -> None:
    from blender_addon import clip_record, picked, reconstruction

    built = reconstruction.build(bench.scene, landscape, name="clip_v001")
    clip_record.mark("clip_v001", str(clip), 1)
    bpy.data.objects[built.root].scale = (2.0, 2.0, 2.0)
    bpy.ops.ex4d.add_distance()
    (pair,) = picked.distances(built)
    assert job(bench, sent, clip).measures == (), "nobody said how long it is"
    pair.a[picked.DISTANCE] = 3.0
    for _ in range(3):
        bpy.ops.ex4d.add_ground()
    assert job(bench, sent, clip).ground == (), "nobody said how high the camera stands"
    bench.settings.camera_height = 1.6
    asked = job(bench, sent, clip)
    (measure,) = asked.measures
    assert measure == Measure(0, *(pytest.approx(v, abs=1e-3) for v in (21.76, 24.96, 42.24, 24.96)), 1.5)
    assert len(asked.ground) == 3
    assert asked.camera_height == pytest.approx(0.8), "in the units of the reconstruction"
    assert bench.settings.reconstruct_keeps.name == "clip_v001"
    bench.settings.keep_camera = False
    asked = job(bench, sent, clip)
    assert (asked.measures, asked.ground, asked.camera_height) == ((), (), pytest.approx(1.6))
    bench.settings.keep_camera, bench.settings.source_kind = True, "CAMERA"
    bench.settings.source_camera = tracked_camera(bench.scene, 1, 8)
    asked = job(bench, sent, clip)
    assert (asked.measures, asked.camera_height, asked.lens, asked.focal) == ((), None, None, None)


def test_tracked_points_go_with_a_solved_camera(bench: Bench, sent: list[Any], tmp_path: Path) -> None:
    size, focal, count = (64, 48), 60.0, 12
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, 0, 3] = np.linspace(-0.6, 0.6, count)
    poses[:, 1, 3] = 0.1 * np.sin(np.arange(count))
    (tmp_path / "film").mkdir()
    film = tracked_film(tmp_path / "film", size, poses, focal)
    camera = bpy.data.objects.new("solved", bpy.data.cameras.new("solved"))
    bench.scene.collection.objects.link(camera)
    constraint = camera.constraints.new("CAMERA_SOLVER")
    constraint.use_active_clip, constraint.clip = False, film
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = size
    clip = tmp_path / "film" / "film_0001.png"
    bench.settings.source_kind, bench.settings.source_camera = "CAMERA", camera
    assert "use_points" in drawn()
    job(bench, sent, clip)
    value = json.loads(sent[-1].points.read_text())
    assert sent[-1].points.parent == sent[-1].folder
    assert len(value["bundles"]) == 40
    bench.settings.use_points = False
    job(bench, sent, clip)
    assert sent[-1].points is None
    bench.settings.use_points = True
    for track in list(film.tracking.objects[0].tracks):
        track.markers.find_frame(1).mute = True
    before = len(sent)
    bench.settings.frame_count = 1
    bench.settings.reconstruct_job = ""
    with pytest.raises(RuntimeError, match="0 points in the frames that are used"):
        bpy.ops.ex4d.reconstruct()
    assert len(sent) == before
    camera.constraints.clear()
    assert "use_points" not in drawn()
    job(bench, sent, clip)
    assert sent[-1].points is None
