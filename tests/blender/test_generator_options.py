# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of generators in Blender: fields as the backend describes them, kept in the file, sent where they differ."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from shared_protocol.messages import PROTOCOL, Door, Generate, JobInfo, OptionValue, SettingInfo, Welcome

from .bench import Bench
from .test_operators import OPTIONS, drawn

WAN = Door("generator", "wan", "Wan 2.1 + EX-4D", "Apache-2.0", True, True, "", "closed", 24, OPTIONS)
PREVIEW = Door("generator", "preview", "Preview", "Apache-2.0", True, True, "", "bounded")
JOB = "a" * 32


@pytest.fixture
def events(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events put in here are what the background thread says; the first is a backend with both generators."""
    from blender_addon import runtime

    waiting: list[Any] = []
    monkeypatch.setattr(runtime, "next_event", lambda: waiting.pop(0) if waiting else None)
    connect(bench, waiting, WAN, PREVIEW)
    bench.settings.generator = "wan"
    return waiting


def connect(bench: Bench, waiting: list[Any], *doors: Door) -> None:
    from blender_addon.core import events as ev

    waiting.append(ev.LinkChanged(ev.CONNECTED, "Connected.", welcome=Welcome("b", PROTOCOL, 1, doors)))
    bench.pump()
    bench.pump()


def put(bench: Bench, **values: OptionValue) -> None:
    """What an artist does in the panel."""
    from blender_addon import options

    record = bench.settings.generators[bench.settings.generator]
    for name, value in values.items():
        key = f"option_{name}"
        record[key] = options._number(value) if "items" in record.id_properties_ui(key).as_dict() else value


def changed(bench: Bench) -> dict[str, OptionValue]:
    from blender_addon import options

    return options.changed(bench.scene, "generator")


def test_the_panel_has_a_field_for_each_option_under_its_heading(bench: Bench, events: list[Any]) -> None:
    lines = drawn()
    assert "panel:ex4d_generator_options:closed" in lines
    start = lines.index("Generator options")
    shown = lines[start + 1 : lines.index("ex4d.reset_options")]
    assert shown == ["Prompt", "Quality", "Sampling", "Steps", "Guidance", "Speed", "Compile"]
    bench.settings.generator = "preview"
    assert "Generator options" not in drawn()


def test_fields_have_range_default_tooltip_and_choices(bench: Bench, events: list[Any]) -> None:
    record = bench.settings.generators["wan"]

    def about(name: str) -> dict[str, Any]:
        return record.id_properties_ui(f"option_{name}").as_dict()

    assert (about("steps")["min"], about("steps")["max"], about("steps")["default"]) == (1, 100, 25)
    assert about("steps")["description"] == "How many."
    assert (about("cfg")["min"], about("cfg")["default"]) == (0.0, 5.0)
    assert about("cfg")["max"] > 1e6
    assert [item[0] for item in about("quality")["items"]] == ["512", "480p", "720p"]
    assert about("prompt")["default"] == record["option_prompt"] == "4K ultra HD"
    assert record["option_compile"] is False


def test_only_what_differs_from_its_default_is_sent_and_reset_takes_it_back(bench: Bench, events: list[Any]) -> None:
    assert changed(bench) == {}
    put(bench, prompt="at night", steps=4, quality="720p", compile=True)
    got = changed(bench)
    assert got == {"prompt": "at night", "steps": 4, "quality": "720p", "compile": True}
    assert [type(v) for v in got.values()] == [str, int, str, bool]
    assert "Generator options (4 set)" in drawn()
    bench.settings.generator = "preview"
    assert changed(bench) == {}
    bench.settings.generator = "wan"
    bpy.ops.ex4d.reset_options()
    assert changed(bench) == {}
    assert "Generator options" in drawn()


def test_what_was_set_is_in_the_file_and_outlives_other_backends(bench: Bench, events: list[Any]) -> None:
    put(bench, steps=4, quality="720p")
    connect(bench, events, PREVIEW)  # a backend that lacks the generator
    assert changed(bench) == {}
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.read_homefile(use_empty=True)
    bpy.ops.wm.open_mainfile(filepath=str(bench.folder / "shot.blend"))
    assert bench.settings.generators["wan"]["option_steps"] == 4
    connect(bench, events, WAN)
    assert changed(bench) == {"steps": 4, "quality": "720p"}


def test_a_backend_of_another_release_finds_what_it_can_use(bench: Bench, events: list[Any]) -> None:
    put(bench, steps=4, quality="720p", compile=True)
    by_name = {setting.name: setting for setting in OPTIONS}
    newer = (
        replace(by_name["steps"], default=30, most=50.0),
        replace(by_name["quality"], choices=("480p", "1080p"), default="480p"),
        SettingInfo("compile", "Compile", "How.", "off", ("off", "blocks")),
        SettingInfo("shift", "Shift", "Of the schedule.", 5.0),
    )
    connect(bench, events, replace(WAN, settings=newer))
    assert changed(bench) == {"steps": 4}, "a choice that is gone, and another type, give way to the default"
    record = bench.settings.generators["wan"]
    assert record.id_properties_ui("option_steps").as_dict()["max"] == 50
    put(bench, compile="blocks", shift=2.0)
    assert changed(bench) == {"steps": 4, "compile": "blocks", "shift": 2.0}


def test_a_value_that_another_release_would_refuse_gives_way_to_the_default(bench: Bench, events: list[Any]) -> None:
    def speaks(*settings: SettingInfo) -> None:
        connect(bench, events, replace(WAN, settings=settings))

    speaks(
        SettingInfo("steps", "Steps", "How many.", 25, (), 1.0, 200.0),
        SettingInfo("mode", "Mode", "Which.", "a", ("a", "b")),
        SettingInfo("level", "Level", "How much.", 3),
        SettingInfo("shift", "Shift", "Of it.", 5.0, (), 0.0, 9.0),
    )
    put(bench, steps=150, mode="b", level=9, shift=3.5)
    speaks(
        SettingInfo("steps", "Steps", "How many.", 25, (), 1.0, 50.0),
        SettingInfo("mode", "Mode", "Which.", 7, (), 0.0, 1e9),  # a choice is a number to Blender as well
        SettingInfo("level", "Level", "How much.", "low", ("low", "high")),
        SettingInfo("shift", "Shift", "Of it.", 5, (), 0.0, 9.0),  # as good as 5.0 to Python
    )
    assert changed(bench) == {}
    record = bench.settings.generators["wan"]
    assert [record[f"option_{name}"] for name in ("steps", "mode", "shift")] == [25, 7, 5]
    assert type(record["option_shift"]) is int
    assert "items" not in record.id_properties_ui("option_mode").as_dict()


def test_an_option_that_blender_cannot_hold_has_no_field_and_harms_no_other(
    bench: Bench, events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    large = SettingInfo("large", "Large", "A whole number of more than 32 bits.", 1 << 40)
    connect(bench, events, replace(WAN, settings=(large, *OPTIONS)))
    for _ in range(3):
        bench.pump()
    assert "Connected" in bench.said
    assert sum("'large'" in record.getMessage() for record in caplog.records) == 1
    assert "Large" not in drawn()
    assert "Steps" in drawn()
    put(bench, steps=4)
    assert changed(bench) == {"steps": 4}
    bpy.ops.ex4d.reset_options()
    assert changed(bench) == {}


def test_a_prompt_that_is_too_long_to_be_sent_is_told_before_anything_is_made(
    bench: Bench, events: list[Any], landscape: Path
) -> None:
    from blender_addon import reconstruction, strips

    reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32)
    put(bench, prompt="火" * 2000)
    with pytest.raises(RuntimeError):
        bpy.ops.ex4d.generate()
    assert "'Prompt' has 6,000 bytes of text; 4,096 can be sent." in bench.said
    assert not list(strips.every())
    assert not list(bench.folder.glob("shot_ex4d/takes/*"))


def test_a_new_scene_has_options_of_its_own_and_undo_brings_old_ones_back(bench: Bench, events: list[Any]) -> None:
    put(bench, steps=4)
    bpy.ops.ed.undo_push(message="four steps")
    put(bench, steps=9)
    bpy.ops.ed.undo_push(message="nine steps")
    bpy.ops.ed.undo()
    assert changed(bench) == {"steps": 4}
    other = bpy.data.scenes.new("other")
    bench.pump()
    other.ex4d.generator = "wan"
    from blender_addon import options

    assert options.changed(other, "generator") == {}
    assert "option_steps" in other.ex4d.generators["wan"]


def test_options_are_on_the_strip_and_sent_again_as_they_were(
    bench: Bench, events: list[Any], landscape: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from blender_addon import jobs, reconstruction, runtime, strips
    from blender_addon.core import events as ev

    reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32)
    put(bench, prompt="Straße bei Nacht", steps=4, cfg=1.0, quality="720p", compile=True)
    sent: list[Any] = []
    monkeypatch.setattr(runtime, "send", sent.append)
    bpy.ops.ex4d.generate()
    ((_, strip),) = strips.every()
    assert strip[strips.SETTINGS]["options"].to_dict() == changed(bench)
    bpy.ops.ex4d.reset_options()  # the take is what it was asked to be
    bpy.ops.wm.save_mainfile()
    bpy.ops.wm.open_mainfile(filepath=bpy.data.filepath)
    ((_, strip),) = strips.every()
    jobs.send_generate(strip, "cd" * 32)
    jobs_sent = [c.job for c in sent if isinstance(c, ev.StartJob) and isinstance(c.job, Generate)]
    options = (("cfg", 1.0), ("compile", True), ("prompt", "Straße bei Nacht"), ("quality", "720p"), ("steps", 4))
    assert jobs_sent[-1] == Generate("cd" * 32, "wan", 0, options)
    assert [type(v) for _, v in jobs_sent[-1].options] == [float, bool, str, str, int]


def test_a_shut_generator_that_is_chosen_says_why_in_the_panel(bench: Bench, events: list[Any]) -> None:
    assert not [x for x in drawn() if "ex4d models" in x]
    connect(bench, events, replace(WAN, available=False, reason="missing (ex4d models download wan)."))
    assert "missing (ex4d models download wan)." in " ".join(drawn())


# ---- glimpses


def glimpse_of(job_id: str, shade: int) -> Any:
    from blender_addon.core import events as ev

    rgb = np.zeros((3, 4, 3), np.uint8)
    rgb[0] = shade  # the top row
    return ev.GlimpseArrived(job_id, 4, 3, rgb.tobytes())


def test_the_newest_glimpse_is_shown_while_its_job_runs_and_leaves_nothing(bench: Bench, events: list[Any]) -> None:
    from blender_addon import glimpse
    from blender_addon.core import events as ev

    images = set(bpy.data.images)
    bench.settings.render_job = JOB
    events.append(glimpse_of("b" * 32, 255))
    bench.pump()
    assert glimpse.icon() is None, "of a file that was open before"
    events.extend([glimpse_of(JOB, 10), glimpse_of(JOB, 255)])
    bench.pump()
    icon = glimpse.icon()
    assert tuple(icon.image_size) == (4, 3)
    pixels = np.array(icon.image_pixels_float[:]).reshape(3, 4, 4)
    assert pixels[2].min() == 1.0, "Blender's last row is the top"
    assert pixels[:2, :, :3].max() == 0.0
    assert set(bpy.data.images) == images
    events.append(ev.JobChanged(JobInfo(JOB, "generate", "running", "Denoising", 3, 25, "b" * 32)))
    bench.pump()
    assert glimpse.icon() is not None
    events.append(ev.JobFailed(JOB, "CANCELLED", "Cancelled.", ""))
    bench.pump()
    assert glimpse.icon() is None


def test_a_file_that_is_opened_takes_the_glimpse_of_the_one_before_away(bench: Bench, events: list[Any]) -> None:
    from blender_addon import glimpse

    bench.settings.render_job = JOB
    events.append(glimpse_of(JOB, 10))
    bench.pump()
    assert glimpse.icon() is not None
    bpy.ops.wm.read_homefile(use_empty=True)
    assert glimpse.icon() is None
