# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators, panel and pump in Blender, without a backend: what they change, what they say, what they leave alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import bpy
import pytest

from shared_protocol.messages import PROTOCOL, Door, JobInfo, SettingInfo, Welcome

from .bench import Bench

OPTIONS = (
    SettingInfo("prompt", "Prompt", "What is seen.", "4K ultra HD"),
    SettingInfo("steps", "Steps", "How many.", 25, (), 1.0, 100.0, "Sampling"),
    SettingInfo("cfg", "Guidance", "How much.", 5.0, (), 0.0, None, "Sampling"),
    SettingInfo("quality", "Quality", "Size of the frames.", "480p", ("512", "480p", "720p")),
    SettingInfo("compile", "Compile", "Quicker.", False, group="Speed"),
)
DOORS = (
    Door("depth", "draft", "Draft", "Apache-2.0", True, True, ""),
    Door("generator", "preview", "Preview", "Apache-2.0", True, True, "", "bounded"),
    Door(
        "generator",
        "wan",
        "Wan 2.1 + EX-4D",
        "Apache-2.0",
        True,
        False,
        "needs a GPU with 24 GB",
        "closed",
        24,
        OPTIONS,
    ),
)


@pytest.fixture
def events(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Events put in here are what the background thread says, oldest first."""
    from blender_addon import runtime

    waiting: list[Any] = []
    monkeypatch.setattr(runtime, "next_event", lambda: waiting.pop(0) if waiting else None)
    return waiting


class Layout:
    """Takes down what a panel draws; checks that what it shows exists."""

    def __init__(self, drawn: list[str]) -> None:
        self.drawn = drawn

    def _part(self, **_: Any) -> Layout:
        return Layout(self.drawn)

    row = column = box = split = _part

    def label(self, text: str = "", icon: str = "NONE") -> None:
        assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        self.drawn.append(text)

    def prop(self, data: Any, name: str, text: str = "", **_: Any) -> None:
        data.path_resolve(name)  # a property, or an input of a modifier: ["Socket_3"]
        self.drawn.append(text or name)

    def operator(self, name: str, text: str = "", icon: str = "NONE", depress: bool = False) -> Any:
        assert icon in bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items
        module, _, function = name.partition(".")
        assert getattr(getattr(bpy.ops, module), function).get_rna_type()
        self.drawn.append(name if not text else f"{name}:{text}")
        return type("Settings", (), {})()

    def panel(self, name: str, default_closed: bool = False) -> tuple[Layout, Layout]:
        self.drawn.append(f"panel:{name}:{'closed' if default_closed else 'open'}")
        return Layout(self.drawn), Layout(self.drawn)

    def menu(self, name: str, text: str = "") -> None:
        assert hasattr(bpy.types, name)
        self.drawn.append(f"{name}:{text}")

    def progress(self, factor: float, text: str) -> None:
        assert 0.0 <= factor <= 1.0
        self.drawn.append(f"bar:{text}")


def drawn(kind: str = "EX4D_PT_view3d") -> list[str]:
    lines: list[str] = []
    cls = getattr(bpy.types, kind)
    choice = getattr(cls, "_choice", None)
    cls.draw(type("Self", (), {"layout": Layout(lines), "kind": cls.__dict__.get("kind", ""), "_choice": choice}
                  if "_MT_" in kind else {"layout": Layout(lines)})(), bpy.context)  # fmt: skip
    return lines


def connected(events: list[Any], protocol: tuple[int, int] = PROTOCOL) -> None:
    from blender_addon.core import events as ev

    events.append(ev.LinkChanged(ev.CONNECTED, "Connected.", welcome=Welcome("ex4d-backend", protocol, 1, DOORS)))


# ---- the panel


@pytest.mark.parametrize("kind", ["EX4D_PT_view3d", "EX4D_PT_sequencer"])
def test_the_panel_shows_six_steps_in_order(bench: Bench, kind: str) -> None:
    lines = drawn(kind)
    steps = [x for x in lines if x[:1].isdigit()]
    assert [x.split()[0] for x in steps] == ["1", "2", "3", "4", "5", "6"]
    assert "ex4d.start_backend" in lines
    assert "ex4d.stop_backend" not in lines


def test_the_panel_offers_the_button_that_helps(bench: Bench, events: list[Any]) -> None:
    from blender_addon.core import events as ev

    connected(events)
    bench.pump()
    assert "ex4d.stop_backend" in drawn()
    assert "ex4d.start_backend" not in drawn()
    events.append(ev.LinkChanged(ev.RECONNECTING, "The backend does not answer any more.", "Press Start Backend."))
    bench.pump()
    assert "ex4d.start_backend" in drawn()
    assert bench.status.level == "WARNING"


def test_the_panel_has_what_can_be_dragged_on_the_mesh(bench: Bench, landscape: Path) -> None:
    from blender_addon import reconstruction

    inputs = ["Focal", "Disparity Scale", "Disparity Shift", "Unseen"]
    assert not set(inputs) & set(drawn())
    built = reconstruction.build(bench.scene, landscape, name="clip")
    assert [x for x in drawn() if x in inputs] == inputs
    assert not [x for x in drawn() if "reconstructions" in x]
    other = reconstruction.build(bench.scene, landscape, name="other")
    assert f"EX4D_MT_reconstructions:{other.collection}" in drawn()
    assert drawn("EX4D_MT_reconstructions") == [f"ex4d.use_reconstruction:{n}" for n in ("clip", "other")]
    bpy.ops.ex4d.use_reconstruction(collection="clip")
    assert f"EX4D_MT_reconstructions:{built.collection}" in drawn()
    bpy.data.objects.remove(bpy.data.objects[built.mesh])
    assert any("mesh" in x and "gone" in x for x in drawn())


def test_menus_name_the_doors_and_why_one_is_shut(bench: Bench, events: list[Any]) -> None:
    assert any("Connect a backend" in x for x in drawn("EX4D_MT_generators"))
    connected(events)
    bench.pump()
    lines = drawn("EX4D_MT_generators")
    assert "ex4d.choose_door:Preview" in lines
    assert "needs a GPU with 24 GB" in lines
    assert "ex4d.choose_door:Automatic" in drawn("EX4D_MT_estimators")
    bpy.ops.ex4d.choose_door(kind="generator", name="wan")
    assert bench.settings.generator == "wan"
    assert "EX4D_MT_generators:Wan 2.1 + EX-4D" in drawn()


def test_the_geometry_is_the_generators_unless_the_artist_says(bench: Bench, events: list[Any]) -> None:
    from blender_addon import jobs
    from blender_addon.core import events as ev

    assert jobs.geometry(bench.scene) == "closed", "no backend says what its generators like"
    assert not [line for line in drawn() if "for this generator" in line]
    connected(events)
    bench.pump()
    assert jobs.geometry(bench.scene) == "bounded"
    bench.settings.generator = "wan"
    assert jobs.geometry(bench.scene) == "closed"
    bench.settings.generator, bench.settings.geometry = "preview", "closed"
    assert jobs.geometry(bench.scene) == "closed"
    bench.settings.geometry = "auto"
    assert "Bounded, for this generator" in drawn()
    events.append(ev.LinkChanged(ev.RECONNECTING, "The backend does not answer any more.", "Press Start Backend."))
    bench.pump()
    assert jobs.geometry(bench.scene) == "bounded", "a backend that is away for a moment is the same one"


def test_the_lead_in_is_the_generators_unless_the_artist_says(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import jobs, reconstruction

    reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32)
    bench.settings.generator, bench.settings.seed = "wan", 5
    assert jobs.lead_in(bench.scene) == 0, "no backend says what its generators want"
    connected(events)
    bench.pump()
    asked = jobs.sample(bench.scene).job
    assert (asked.lead_in, asked.seed) == (24, 5)
    assert "24 frames, for this generator" in drawn()
    assert "lead_in" not in drawn()
    bench.settings.generator = "preview"
    assert jobs.lead_in(bench.scene) == 0
    assert not [line for line in drawn() if "frames, for this generator" in line]
    bench.settings.lead_in_auto, bench.settings.lead_in = False, 7
    assert jobs.sample(bench.scene).job.lead_in == 7
    assert "lead_in" in drawn()


def test_the_meshes_stand_as_they_are_rendered(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import jobs, mesh_nodes, reconstruction

    names = [reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32).mesh for _ in range(2)]

    def shown() -> set[str]:
        return {mesh_nodes.get_input(mesh_nodes.find_modifier(bpy.data.objects[n]), "Walls") for n in names}

    assert shown() == {mesh_nodes.CLOSED}
    bench.settings.geometry = "bounded"
    assert shown() == {mesh_nodes.BOUNDED}
    bench.settings.geometry = "auto"
    assert shown() == {mesh_nodes.CLOSED}
    connected(events)
    bench.pump()
    assert jobs.sample(bench.scene).job.geometry == "bounded"
    assert shown() == {mesh_nodes.BOUNDED}
    bpy.ops.ex4d.choose_door(kind="generator", name="wan")
    assert shown() == {mesh_nodes.CLOSED}


def test_what_is_set_for_a_rendering_names_the_shot(bench: Bench, landscape: Path) -> None:
    from blender_addon import jobs, reconstruction

    reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32)
    plain = jobs.sample(bench.scene)
    assert (plain.job.geometry, plain.job.persist, plain.job.lead_in, plain.job.seed) == ("closed", False, 0, 0)
    bench.settings.seed = 5
    assert jobs.sample(bench.scene).hash == plain.hash, "with no lead-in nothing is drawn in a rendering"
    bench.settings.lead_in_auto, bench.settings.lead_in = False, 4
    with_lead_in = jobs.sample(bench.scene)
    assert (with_lead_in.job.lead_in, with_lead_in.job.seed) == (4, 5)
    bench.settings.seed = 6
    bench.settings.persist, bench.settings.geometry = True, "bounded"
    changed = jobs.sample(bench.scene)
    assert (changed.job.geometry, changed.job.persist, changed.job.seed) == ("bounded", True, 6)
    assert len({plain.hash, with_lead_in.hash, changed.hash}) == 3


def test_an_older_backend_is_not_asked_for_what_it_would_skip(bench: Bench, events: list[Any], landscape: Path) -> None:
    from blender_addon import reconstruction

    reconstruction.build(bench.scene, landscape, name="clip", artifact="ab" * 32)
    connected(events, (1, 0))
    bench.pump()
    with pytest.raises(RuntimeError, match="older than this extension"):
        bpy.ops.ex4d.generate()
    assert "Update the backend" in bench.said


def test_the_panel_asks_how_the_source_camera_moved(bench: Bench) -> None:
    assert "focal" in drawn()
    bench.settings.source_kind = "CAMERA"
    assert not {"focal", "source_camera_path"} & set(drawn())
    assert {"source_camera", "clip_start"} <= set(drawn())
    camera = bpy.data.objects.new("tracked", bpy.data.cameras.new("tracked"))
    bench.scene.collection.objects.link(camera)
    bench.scene.frame_start = 1001
    bench.settings.source_camera = camera
    assert bench.settings.clip_start == 1001
    bench.settings.source_kind = "FILE"
    assert "source_camera_path" in drawn()
    assert not {"focal", "source_camera"} & set(drawn())


def test_a_job_moves_the_bar_and_its_end_takes_it_away(bench: Bench, events: list[Any]) -> None:
    from blender_addon.core import events as ev

    news = ev.JobChanged(JobInfo("a" * 32, "render", "running", "Rendering the new view", 3, 4, "b" * 32))
    events.append(news)
    bench.pump()
    assert not bench.status.job_id, "the job is of a file that was open before"
    bench.settings.render_job = "a" * 32
    events.append(news)
    bench.pump()
    assert bench.status.progress == pytest.approx(0.75)
    assert "bar:3/4  Rendering the new view" in drawn()
    for seconds, text in ((40, "40 s"), (100, "2 min"), (5400, "1 h 30 min")):
        events.append(ev.JobChanged(replace(news.info, seconds_left=seconds)))
        bench.pump()
        lines = drawn()
        assert lines[lines.index("bar:3/4  Rendering the new view") + 2] == f"About {text} left"
    events.append(ev.LinkChanged(ev.RECONNECTING, "The backend does not answer any more.", "Press Start Backend."))
    bench.pump()
    assert "bar:3/4  Rendering the new view" in drawn()
    assert not [x for x in drawn() if x.startswith("About")], "nobody works on it now"
    events.append(ev.JobFailed("a" * 32, "EMPTY_VIEW", "The camera sees nothing.", "Move it."))
    bench.pump()
    assert not [x for x in drawn() if x.startswith("bar:")]
    assert bench.said == "The camera sees nothing. Move it."
    assert bench.status.level == "ERROR"


def test_colours_are_matched_only_when_asked(bench: Bench) -> None:
    view = bench.scene.view_settings
    view.view_transform, view.exposure = "AgX", 1.5
    assert "ex4d.match_source_colours" in drawn()
    assert (view.view_transform, view.exposure) == ("AgX", 1.5)
    bpy.ops.ex4d.match_source_colours()
    assert (view.view_transform, view.look, view.exposure, view.gamma) == ("Standard", "None", 0.0, 1.0)
    assert "ex4d.match_source_colours" not in drawn()


# ---- moves and export work with no backend


def test_a_move_is_keyframes_with_no_backend(bench: Bench, landscape: Path) -> None:
    from blender_addon import reconstruction

    built = reconstruction.build(bench.scene, landscape, name="tiny", artifact="ab" * 16)
    for move in ("30", "zoom_in"):
        assert bpy.ops.ex4d.apply_move(move=move) == {"FINISHED"}
    camera = bpy.data.objects[built.shot_camera]
    assert camera.animation_data.action is not None
    assert bench.scene.camera == camera
    assert bench.said.startswith(f"The move lies on '{built.shot_camera}'")


def test_the_selected_take_is_exported_with_no_backend(bench: Bench, tmp_path: Path) -> None:
    from blender_addon import strips

    with pytest.raises(RuntimeError, match="no take yet"):
        bpy.ops.ex4d.export_take(directory=str(tmp_path / "out"))
    for number in (1, 2):
        take = tmp_path / "takes" / f"clip_v{number:03d}"
        (take / "frames").mkdir(parents=True)
        (take / "frames" / "0001.png").write_bytes(bytes([number]))
        strips.add(bpy.context, bench.scene, take, size=(8, 8), frames=1, job_id=str(number) * 32, after="",
                   settings={})  # fmt: skip
    editor = bench.scene.sequence_editor
    editor.active_strip = editor.strips["clip_v001"]
    editor.strips["clip_v001"].select = True
    bench.settings.export_first = "1001"
    bpy.ops.ex4d.export_take(directory=str(tmp_path / "out"))
    bench.until(lambda: "Exported" in bench.said)
    assert (tmp_path / "out" / "frames" / "1001.png").read_bytes() == bytes([1])


# ---- the pump


def test_the_pump_keeps_to_its_time_and_loses_nothing(bench: Bench, events: list[Any], monkeypatch: Any) -> None:
    from blender_addon import pump, results
    from blender_addon.core import events as ev

    seen: list[str] = []

    class Clock:
        now = 100.0

        def monotonic(self) -> float:
            return self.now

    clock = Clock()

    def takes_a_millisecond(event: Any) -> None:
        clock.now += 0.001
        seen.append(event.name)

    monkeypatch.setattr(pump, "time", clock)
    monkeypatch.setattr(results, "file_arrived", takes_a_millisecond)
    events.extend(ev.FileArrived("a" * 32, f"frames/{n:04d}.png", Path("x")) for n in range(50))
    assert pump.pump(budget_s=0.0035) == 4, "no event is begun after the time is up"
    while pump.pump():
        pass
    assert seen == [f"frames/{n:04d}.png" for n in range(50)]


def test_nothing_changes_while_blender_renders(bench: Bench, events: list[Any], monkeypatch: Any) -> None:
    from blender_addon import pump, results
    from blender_addon.core import events as ev

    @dataclass
    class App:
        rendering: bool = True

        def is_job_running(self, kind: str) -> bool:
            return kind == "RENDER" and self.rendering

    app = App()
    monkeypatch.setattr(pump.bpy, "app", app)
    seen: list[str] = []
    monkeypatch.setattr(results, "file_arrived", lambda event: seen.append(event.name))
    events.extend(ev.FileArrived("a" * 32, f"frames/{n:04d}.png", Path("x")) for n in (1, 2))
    events.append(ev.Problem("DISK", "The disk is full.", ""))
    bench.pump()
    assert bench.said == "The disk is full.", "news are shown"
    assert seen == []
    app.rendering = False
    bench.pump()
    assert seen == ["frames/0001.png", "frames/0002.png"]


def test_a_bug_while_an_event_is_handled_is_a_line_and_the_pump_goes_on(bench: Bench, events: list[Any]) -> None:
    from blender_addon.core import events as ev

    events.append(ev.JobFinished("a" * 32, "generate", "b" * 32, Path("/nowhere")))  # no take.json there
    connected(events)
    bench.pump()
    assert bench.status.link == "CONNECTED"
    events.append(ev.JobChanged(None))  # type: ignore[arg-type]
    bench.pump()
    assert bench.said == "Something went wrong in the extension. The log says more."


# ---- places


def test_a_file_that_was_never_saved_keeps_its_work_and_says_where(bench: Bench) -> None:
    from blender_addon import places

    beside = places.project_folder()
    assert beside == bench.folder / "shot_ex4d"
    bpy.ops.wm.read_homefile(use_empty=True)
    folder = places.project_folder()
    assert folder.is_relative_to(places.user_folder())
    assert folder == places.project_folder()
    assert "wm.save_as_mainfile:Save the .blend" in drawn()


def test_no_backend_program_is_said(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    bpy.context.preferences.addons["blender_addon"].preferences.backend_program = ""
    with pytest.raises(RuntimeError, match="No backend program is set"):
        bpy.ops.ex4d.start_backend()
    assert bench.said.startswith("No backend program is set.")
