# SPDX-License-Identifier: GPL-3.0-or-later
"""The whole way in a real Blender with a real backend process beside it: clip, mesh, camera, frames on a strip."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import bpy
import numpy as np
import pytest

from blender_addon import compat

from .bench import PROGRAM, Bench, Relay, backend_pid, tracked_camera

SLOW = (960, 720)  # pixels of a shot whose frames take a while each
LONG = 20  # frames of a job that is still at work when the backend is killed


def strip_changes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, str]]:
    """Grows while the pump is turned: frames on the strip after each change, and the job's state at that time."""
    from blender_addon import pump, results

    states: dict[str, str] = {}
    changes: list[tuple[int, str]] = []
    file_arrived, dispatch = results.file_arrived, pump._dispatch

    def noting_the_strip(event: Any) -> None:
        before = bench.frames_there()
        file_arrived(event)
        if bench.frames_there() != before:
            changes.append((bench.frames_there(), states.get(event.job_id, "")))

    def noting_the_state(event: Any) -> None:
        info = getattr(event, "info", None)
        if info is not None:
            states[info.job_id] = info.state
        dispatch(event)

    monkeypatch.setattr(results, "file_arrived", noting_the_strip)
    monkeypatch.setattr(pump, "_dispatch", noting_the_state)
    return changes


def test_a_clip_is_shot_anew_and_the_strip_fills_up_while_the_job_runs(
    bench: Bench, clip: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pid = bench.start()
    assert pid not in (0, os.getpid())
    assert not {"ex4d", "backend", "numba", "cv2"} & set(__import__("sys").modules), "the engine is not in this process"

    bench.reconstruct(clip, clip.with_name("depth.npz"))
    assert "8 frames of 64 x 48" in bench.said
    assert (bench.scene.frame_start, bench.scene.frame_end) == (1, 8)
    bench.longest_tick = 0.0  # the mesh's nodes are built once for a file, whole

    bpy.ops.ex4d.apply_move(move="60")
    camera = bench.scene.camera
    bench.scene.frame_set(4)
    camera.location.y += 0.1
    camera.keyframe_insert("location", frame=4)
    bench.scene.frame_set(1)
    # Frames that take far longer to make than to bring here, however busy the machine is.
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = SLOW

    bpy.ops.ex4d.render_conditioning()
    bench.until(lambda: bench.settings.render_artifact)
    assert 0.0 < bench.settings.coverage_min < bench.settings.coverage_mean < 1.0
    rendered = bench.settings.render_job

    changes = strip_changes(bench, monkeypatch)
    bpy.ops.ex4d.generate()
    (strip,) = bench.strips()
    assert len(strip.elements) == 8
    assert compat.strip_range(strip) == (1, 9)
    assert bench.frames_there() == 0, "the strip is there before its first frame"
    assert bench.settings.render_job == rendered, "a camera that did not change is not rendered again"
    bench.until(lambda: bench.strips()[0]["ex4d_state"] != "working")

    running = [count for count, state in changes if state == "running"]
    assert len(running) >= 3, f"the strip changed {len(running)} times while the job was running"
    (strip,) = bench.strips()
    assert strip["ex4d_state"] == "done"
    take = json.loads((tmp_path / "shot_ex4d" / "takes" / strip.name / "take.json").read_text())
    assert strip["ex4d_take"]["generator"]["name"] == take["generator"]["name"] == "preview"
    names = [element.filename for element in strip.elements]
    assert names == [f"{n:04d}.png" for n in range(1, 9)]
    assert Path(bpy.path.abspath(strip.directory)) == tmp_path / "shot_ex4d" / "takes" / strip.name / "frames"
    for folder in ("frames", "colour", "mask"):
        assert len(list((tmp_path / "shot_ex4d" / "takes" / strip.name / folder).glob("[0-9]*.png"))) == 8
    assert bench.longest_tick < 0.5


def test_all_of_it_crosses_the_socket_to_another_process(bench: Bench, clip: Path, tmp_path: Path) -> None:
    pid = bench.start()
    bpy.ops.ex4d.stop_backend()
    bench.until(lambda: bench.status.link == "OFF")
    bench.until(lambda: backend_pid(bench.connection_file) == 0)
    program = [str(PROGRAM), "serve", "--state", str(bench.state), "--connection-file", str(bench.connection_file)]
    with subprocess.Popen(program, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as backend:
        bench.until(lambda: backend_pid(bench.connection_file) != 0)
        assert backend_pid(bench.connection_file) == backend.pid != pid
        record = json.loads(bench.connection_file.read_text())
        with Relay(int(record["address"].rpartition(":")[2])) as relay:
            record["address"] = f"tcp://127.0.0.1:{relay.port}"
            beside = bench.folder / "relay.json"
            with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
                json.dump(record, file)
            bpy.context.preferences.addons["blender_addon"].preferences.connection_file = str(beside)
            bpy.ops.ex4d.connect()
            bench.until(lambda: bench.status.link == "CONNECTED")
            bench.reconstruct(clip, clip.with_name("depth.npz"))
            bpy.ops.ex4d.generate()
            bench.until(lambda: bench.strips()[0]["ex4d_state"] == "done")
            sent, received, heard = relay.sent, relay.received, bytes(relay.heard)
            bpy.ops.ex4d.stop_backend()
            bench.until(lambda: bench.status.link == "OFF")
    assert sent > sum(p.stat().st_size for p in (*clip.parent.glob("*.png"), clip.with_name("depth.npz")))
    assert received > sum(p.stat().st_size for p in tmp_path.glob("shot_ex4d/*/*/*/*") if p.stat().st_nlink == 1)
    assert b"Reconstruct" not in heard, "what crosses is encrypted"


def test_the_strip_renders_the_frames_that_came(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bpy.ops.ex4d.apply_move(move="30")
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.strips()[0]["ex4d_state"] != "waiting")
    bench.until(lambda: bench.strips()[0]["ex4d_state"] != "working")
    bpy.ops.ex4d.match_source_colours()
    scene = bench.scene
    scene.render.image_settings.file_format, scene.render.dither_intensity = "PNG", 0.0
    for frame in (1, 5, 8):
        scene.frame_set(frame)
        scene.render.filepath = str(tmp_path / f"edit{frame}.png")
        bpy.ops.render.render(write_still=True)
        shown = pixels(tmp_path / f"edit{frame}.png")
        made = pixels(Path(bpy.path.abspath(bench.strips()[0].directory)) / f"{frame:04d}.png")
        assert np.abs(shown - made).max() <= 1 / 255 + 1e-6


def test_a_tracked_camera_is_the_source_camera_and_the_lead_in_stays_off_the_timeline(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    from blender_addon import reconstruction

    camera = tracked_camera(bench.scene, 1001, 8)
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = 640, 480
    bench.scene.frame_start, bench.scene.frame_end = 1001, 1008
    bench.start()
    bench.settings.source_kind, bench.settings.source_camera = "CAMERA", camera
    bench.settings.first_frame = 2
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    assert bench.status.level == "INFO", bench.said
    assert "7 frames of 64 x 48" in bench.said
    assert (bench.scene.frame_start, bench.scene.frame_end) == (1002, 1008)
    built = reconstruction.of_scene(bench.scene)
    for frame in (1002, 1005, 1008):
        bench.scene.frame_set(frame)
        graph = bpy.context.evaluated_depsgraph_get()
        theirs, ours = (
            np.array(bpy.data.objects[name].evaluated_get(graph).matrix_world.normalized())
            for name in ("tracked", built.source_camera)
        )
        assert np.allclose(ours, theirs, atol=1e-4), "the reconstruction's source camera is the tracked one"
        lenses = [bpy.data.objects[name].evaluated_get(graph).data.lens for name in ("tracked", built.source_camera)]
        assert lenses[1] == pytest.approx(lenses[0], rel=1e-4)

    shot = bpy.data.objects[built.shot_camera]
    shot.location = (0.3, 0.0, -0.1)
    bench.settings.lead_in_auto, bench.settings.lead_in = False, 3
    bench.settings.persist, bench.settings.geometry = True, "bounded"
    bpy.ops.ex4d.generate()
    bench.until(lambda: not bench.strips() or bench.strips()[0]["ex4d_state"] not in ("waiting", "working"))
    (strip,) = bench.strips()
    assert strip["ex4d_state"] == "done", bench.said
    assert len(strip.elements) == bench.frames_there() == 7
    assert compat.strip_range(strip) == (1002, 1009)
    take = tmp_path / "shot_ex4d" / "takes" / strip.name
    for folder in ("frames", "colour", "mask"):
        assert [p.name for p in sorted((take / folder).glob("[0-9]*.png"))] == [f"{n:04d}.png" for n in range(1, 8)]
    told = json.loads((take / "take.json").read_text())
    parameters = told["conditioning"]["parameters"]
    assert (told["lead_in"], parameters["lead_in"], parameters["persist"]) == (3, 3, True)
    assert parameters["geometry"] == strip["ex4d_settings"]["geometry"] == "bounded"
    assert strip["ex4d_take"]["lead_in"] == strip["ex4d_settings"]["lead_in"] == 3
    coverage = json.loads((take / "coverage.json").read_text())
    assert (len(coverage["coverage"]), len(coverage["lead_in_coverage"])) == (7, 3)
    assert bench.settings.coverage_mean == pytest.approx(np.mean(coverage["coverage"]), abs=1e-6)


def test_wrong_source_cameras_give_one_clear_line(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.start()
    bench.settings.clip_path, bench.settings.source_kind = str(clip), "CAMERA"
    assert "No source camera is chosen" in refused(bpy.ops.ex4d.reconstruct)
    bench.settings.source_camera = tracked_camera(bench.scene, 1, 8)
    bench.settings.source_camera.data.type = "ORTHO"
    assert "'tracked' is orthographic" in refused(bpy.ops.ex4d.reconstruct)
    bench.settings.source_camera.data.type = "PERSP"
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = 1920, 800
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    assert bench.status.level == "ERROR"
    assert "1920x800" in bench.said
    bench.settings.source_kind = "FILE"
    assert "No camera path is chosen" in refused(bpy.ops.ex4d.reconstruct)
    wrong = tmp_path / "Meine Kamera.json"
    wrong.write_text("{}")
    bench.settings.source_camera_path = str(wrong)
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    assert bench.said.startswith("Meine Kamera.json is not a camera path"), bench.said
    bench.settings.source_camera_path = str(clip)
    assert "is not a camera path" in refused(bpy.ops.ex4d.reconstruct)


def pixels(path: Path) -> np.ndarray:
    image = bpy.data.images.load(str(path))
    image.colorspace_settings.name = "Non-Color"
    values = np.empty(len(image.pixels), np.float32)
    image.pixels.foreach_get(values)
    bpy.data.images.remove(image)
    return values.reshape(-1, 4)[:, :3]


def test_a_killed_backend_is_started_again_and_the_take_goes_on_where_it_was(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    pid = bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bench.scene.frame_end = LONG
    bench.scene.render.resolution_x, bench.scene.render.resolution_y = SLOW
    bpy.ops.ex4d.apply_move(move="60")
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.strips()[0]["ex4d_state"] == "working")
    bench.until(lambda: bench.frames_there() >= 3)
    os.kill(pid, signal.SIGKILL)
    bench.until(lambda: bench.status.link == "RECONNECTING")
    there = bench.frames_there()
    assert there < LONG, "the job was over before the backend was killed"
    (strip,) = bench.strips()
    assert strip["ex4d_state"] == "working"
    # Of the frames in the store the last one may have been written, and not yet been told of, when all ended.
    arrived = {element.filename for element in strip.elements}
    done = {name: stamp for name, stamp in stamps(bench.state).items() if Path(name).name in arrived}
    assert len(done) == there >= 3

    assert bench.start() != pid
    bench.until(lambda: bench.strips()[0]["ex4d_state"] != "working", 120.0)

    assert bench.strips()[0]["ex4d_state"] == "done", bench.said
    assert bench.frames_there() == LONG
    after = stamps(bench.state)
    assert len(after) == LONG
    assert {name: after[name] for name in done} == done, "finished frames were made again"
    assert len(list((tmp_path / "shot_ex4d" / "takes").glob("*/frames/[0-9]*.png"))) == LONG


def stamps(state: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every finished frame of generate jobs in the backend's store."""
    return {
        str(p.relative_to(state)): (p.stat().st_ino, p.stat().st_mtime_ns)
        for p in state.glob("artifacts/*/frames/*.png")
    }


def test_a_file_that_is_opened_again_takes_its_jobs_up(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bpy.ops.ex4d.apply_move(move="60")
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.strips()[0]["ex4d_state"] == "working")
    bpy.ops.wm.save_mainfile()  # in the middle of the job
    bpy.ops.wm.read_homefile(use_empty=True)
    assert not bench.strips()
    bpy.ops.wm.open_mainfile(filepath=str(tmp_path / "shot.blend"))
    bench.until(lambda: bench.strips()[0]["ex4d_state"] != "working")
    assert bench.strips()[0]["ex4d_state"] == "done"
    assert bench.frames_there() == 8


def test_takes_never_overwrite_each_other(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    for seed in (0, 1):
        bench.settings.seed = seed
        bpy.ops.ex4d.generate()
        bench.until(lambda: all(s["ex4d_state"] == "done" for s in bench.strips()))
    first, second = sorted(bench.strips(), key=lambda s: s.name)
    assert (first.name[-5:], second.name[-5:]) == ("_v001", "_v002")
    assert first.channel != second.channel
    assert (first["ex4d_take"]["parameters"]["seed"], second["ex4d_take"]["parameters"]["seed"]) == (0, 1)
    bpy.ops.ex4d.export_take(directory=str(tmp_path / "out"), first=1001)
    bench.until(lambda: "Exported" in bench.said)
    assert sorted(p.name for p in (tmp_path / "out" / "frames").iterdir())[0] == "1001.png"
    bpy.ops.ex4d.export_take(directory=str(tmp_path / "out"), first=1001)
    bench.until(lambda: "exists already" in bench.said)


def test_two_takes_asked_for_at_once_both_come(bench: Bench, clip: Path) -> None:
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bpy.ops.ex4d.generate()
    bench.scene.camera.location.x += 0.2  # while the first still waits for its render
    bpy.ops.ex4d.generate()
    assert [s["ex4d_state"] for s in bench.strips()] == ["waiting", "waiting"]
    bench.until(lambda: all(s["ex4d_state"] == "done" for s in bench.strips()))
    hashes = {s["ex4d_take"]["conditioning"]["camera_sha256"] for s in bench.strips()}
    assert len(hashes) == 2, "each take is of the camera as it was when it was asked for"


def test_cancel_takes_back_what_has_no_frame(bench: Bench, clip: Path) -> None:
    bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bpy.ops.ex4d.generate()
    bpy.ops.ex4d.cancel()
    bench.until(lambda: not bench.strips() and not bench.settings.render_job)  # each is told of by itself
    assert bench.said == "Cancelled."
    assert not list(bench.folder.glob("shot_ex4d/takes/*"))
    bpy.ops.ex4d.cancel()
    assert bench.said == "Nothing is running."


# ---- wrong input: one clear line each


def refused(operator: Any, **values: Any) -> str:
    """What an operator says that does not do it."""
    with pytest.raises(RuntimeError) as error:
        operator(**values)
    text = str(error.value).removeprefix("Error: ").strip()
    assert "\n" not in text
    assert "Traceback" not in text
    return text


def fails(bench: Bench, clip: Path, depth: Path | None = None) -> str:
    """What the status line says when a clip cannot be reconstructed."""
    bench.reconstruct(clip, depth)
    assert bench.status.level == "ERROR"
    assert not bench.scene.objects
    assert not list(bench.folder.glob("shot_ex4d/scenes/*")), "a folder of nothing stays"
    return bench.said


def test_wrong_clips_give_one_clear_line(bench: Bench, clip: Path, tmp_path: Path, engine: Any) -> None:
    assert "Choose a clip" in refused(bpy.ops.ex4d.reconstruct)
    bench.settings.clip_path = str(tmp_path / "gone.mp4")
    assert "gone.mp4" in refused(bpy.ops.ex4d.reconstruct)
    assert "gone.mp4" in bench.said

    bench.settings.clip_path = str(clip)
    assert "Start Backend" in refused(bpy.ops.ex4d.reconstruct)

    bench.start()
    sound = tmp_path / "sound.mp4"
    engine("sound", tmp_path, {"file": str(sound)})
    assert "sound.mp4" in fails(bench, sound)
    text = tmp_path / "text.mp4"
    text.write_text("this is no film")
    assert "text.mp4" in fails(bench, text)
    other = tmp_path / "depth.npz"
    np.savez(other, depth=np.ones((8, 20, 30), np.float32))
    assert "30" in fails(bench, clip, other)
    bench.settings.first_frame = 100
    assert "frame" in fails(bench, clip)
    bench.settings.first_frame = 1
    bench.reconstruct(clip)  # and after all that it works
    assert bench.status.level == "INFO"


def test_a_camera_that_sees_nothing_gives_one_clear_line(bench: Bench, clip: Path) -> None:
    bench.start()
    assert "Reconstruct a clip first" in refused(bpy.ops.ex4d.generate)
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    camera = bench.scene.camera
    camera.rotation_euler = (0.0, np.pi, 0.0)  # away from the mesh
    camera.location = (0.0, 0.0, 50.0)
    bpy.ops.ex4d.generate()
    bench.until(lambda: bench.status.level == "ERROR")
    assert "camera" in bench.said
    assert not bench.strips(), "a take of nothing stays on the timeline"
    assert not list(bench.folder.glob("shot_ex4d/takes/*"))
    camera.data.type = "ORTHO"
    assert "erspective" in refused(bpy.ops.ex4d.generate)


def test_no_backend_gives_one_clear_line_each(bench: Bench, tmp_path: Path) -> None:
    bpy.ops.ex4d.connect()
    bench.until(lambda: bench.status.link == "FAILED")
    assert bench.said == "No backend is running. Press Start Backend."

    preferences = bpy.context.preferences.addons["blender_addon"].preferences
    preferences.backend_program = str(tmp_path / "nothing")
    bpy.ops.ex4d.start_backend()
    bench.until(lambda: str(tmp_path / "nothing") in bench.said)
    assert bench.status.link == "FAILED"
    assert backend_pid(bench.connection_file) == 0


def test_another_program_on_the_port_gives_one_clear_line(bench: Bench) -> None:
    import socket

    pid = bench.start()
    record = json.loads(bench.connection_file.read_text())
    bpy.ops.ex4d.stop_backend()
    bench.until(lambda: bench.status.link == "OFF")
    bench.until(lambda: backend_pid(bench.connection_file) != pid)
    with socket.create_server(("127.0.0.1", 0)) as server:
        record.update(address=f"tcp://127.0.0.1:{server.getsockname()[1]}", pid=os.getpid())
        with os.fdopen(os.open(bench.connection_file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(record, file)
        bpy.ops.ex4d.connect()
        bench.until(lambda: bench.status.link == "FAILED")
    bench.connection_file.unlink()
    assert "nother program" in bench.said
    assert str(record["address"].rpartition(":")[2]) in bench.said


# ---- Blender's window never waits


def test_blender_never_waits_for_a_backend_that_hangs_or_died(bench: Bench, clip: Path) -> None:
    pid = bench.start()
    bench.reconstruct(clip, clip.with_name("depth.npz"))
    bench.longest_tick = 0.0
    os.kill(pid, signal.SIGSTOP)
    bpy.ops.ex4d.render_conditioning()
    try:
        end = time.monotonic() + 3.0
        bench.until(lambda: time.monotonic() > end)
        start = time.perf_counter()
        bpy.ops.ex4d.cancel()
        assert time.perf_counter() - start < 0.2
        bench.until(lambda: bench.status.link == "RECONNECTING", 25.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    os.kill(pid, signal.SIGKILL)
    end = time.monotonic() + 3.0
    bench.until(lambda: time.monotonic() > end)
    # Anything that waits for the backend on this thread would wait for seconds; a busy machine stays well below this.
    assert bench.longest_tick < 0.25
