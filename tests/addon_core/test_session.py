# SPDX-License-Identifier: GPL-3.0-or-later
"""The background session against a real backend: jobs, files, lost connections, and every way not to connect."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from blender_addon.core import events as ev
from blender_addon.core.launch import start_program
from blender_addon.core.link import Link
from blender_addon.core.session import Session
from shared_protocol.client import new_job_id
from shared_protocol.errors import CANCELLED, NOT_A_BACKEND, NOT_FOUND, UNREACHABLE, VERSION, Ex4dError
from shared_protocol.messages import CameraSample, Generate, Reconstruct, Render, Welcome

from .conftest import FRAMES, SIZE, Bench, backend_pid

CAMERA = CameraSample(
    tuple(float(r == c) for r in range(4) for c in range(4)), 31.25, 31.25, 16.0, 12.0, 0, 31.25, 16.0, 12.0, 1.0, 0.0
)


def reconstruct(bench: Bench, clip: Path, folder: Path) -> ev.JobFinished | ev.JobFailed:
    job_id = new_job_id()
    depth = clip.with_name("depth.npz")
    bench.session.send(ev.StartJob(job_id, Reconstruct(clip=(), fps=(24, 1)), folder, clip, depth))
    return bench.end_of(job_id)


def test_a_clip_goes_in_and_every_file_of_the_scene_comes_back(bench: Bench, clip: Path, tmp_path: Path) -> None:
    welcome = bench.launch().welcome
    assert welcome is not None
    assert welcome.pid not in (0, os.getpid())
    assert {"depth", "generator"} <= {door.kind for door in welcome.doors}

    done = reconstruct(bench, clip, tmp_path / "scene")

    assert isinstance(done, ev.JobFinished), done
    assert json.loads((tmp_path / "scene" / "scene.json").read_text())["frames"] == FRAMES
    assert len(list((tmp_path / "scene" / "mesh").glob("*.exr"))) == FRAMES
    assert not [p for p in (tmp_path / "scene").rglob(".*")], "no half-written file stays"
    uploads = [e for e in bench.seen if isinstance(e, ev.Uploading)]
    assert {e.name for e in uploads} >= {"clip_0001.png", f"clip_{FRAMES:04d}.png", "depth.npz"}
    assert any(isinstance(e, ev.JobChanged) for e in bench.seen)


def test_a_take_gets_its_frames_and_the_files_of_its_render(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.launch()
    scene = reconstruct(bench, clip, tmp_path / "scene")
    render = Render(scene.artifact, *SIZE, (24, 1), tuple(replace(CAMERA, source_frame=t) for t in range(FRAMES)))
    job_id = new_job_id()
    bench.session.send(ev.StartJob(job_id, render, tmp_path / "render"))
    rendered = bench.end_of(job_id)
    assert isinstance(rendered, ev.JobFinished), rendered

    job_id = new_job_id()
    bench.session.send(
        ev.StartJob(job_id, Generate(rendered.artifact), tmp_path / "take", link_from=tmp_path / "render")
    )
    take = bench.end_of(job_id)

    assert isinstance(take, ev.JobFinished), take
    for folder in ("frames", "colour", "mask"):
        assert len(list((tmp_path / "take" / folder).glob("*.png"))) == FRAMES, folder
    frames = [e.name for e in bench.seen if isinstance(e, ev.FileArrived) and e.name.startswith("frames/")]
    assert sorted(frames) == [f"frames/{t:04d}.png" for t in range(1, FRAMES + 1)]


def test_a_job_of_an_earlier_session_is_followed_and_only_missing_files_are_fetched(
    bench: Bench, clip: Path, tmp_path: Path
) -> None:
    bench.launch()
    done = reconstruct(bench, clip, tmp_path / "scene")
    missing, damaged = tmp_path / "scene/mesh/0002.exr", tmp_path / "scene/source/0003.png"
    missing.unlink()
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "scene").rglob("*") if p.is_file() and p != damaged}

    later = Session()
    later.start()
    try:
        later.send(ev.Connect(bench.connection_file))
        later.send(ev.FollowJob(done.job_id, tmp_path / "scene"))
        other = replace_session(bench, later)
        assert isinstance(other.end_of(done.job_id), ev.JobFinished)
    finally:
        assert later.close()

    assert missing.is_file()
    assert damaged.read_bytes() == whole
    assert all(p.stat().st_mtime_ns == t for p, t in before.items()), "files that were right were written again"


def replace_session(bench: Bench, session: Session) -> Bench:
    other = object.__new__(Bench)
    other.__dict__.update(bench.__dict__, session=session, seen=[])
    return other


def test_jobs_go_on_when_the_backend_is_killed_and_started_again(bench: Bench, clip: Path, tmp_path: Path) -> None:
    pid = bench.launch().welcome.pid
    done = reconstruct(bench, clip, tmp_path / "scene")
    os.kill(pid, signal.SIGKILL)
    lost = bench.state_becomes(ev.RECONNECTING)
    assert "Start Backend" in lost.hint

    job_id = new_job_id()  # asked for while nobody is there
    render = Render(done.artifact, *SIZE, (24, 1), (CAMERA,))
    bench.session.send(ev.StartJob(job_id, render, tmp_path / "render"))
    assert bench.launch().welcome.pid != pid
    assert isinstance(bench.end_of(job_id), ev.JobFinished)


def test_a_backend_that_hangs_is_noticed_and_found_again(bench: Bench) -> None:
    pid = bench.launch().welcome.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        bench.state_becomes(ev.RECONNECTING, 20.0)
    finally:
        os.kill(pid, signal.SIGCONT)
    assert bench.state_becomes(ev.CONNECTED, 20.0).welcome.pid == pid


def test_a_second_launch_connects_to_the_backend_that_runs(bench: Bench) -> None:
    pid = bench.launch().welcome.pid
    assert bench.session.close()  # Blender was closed; its backend goes on
    bench.session = Session()
    bench.session.start()
    assert bench.launch().welcome.pid == pid


def test_stop_ends_the_backend(bench: Bench) -> None:
    pid = bench.launch().welcome.pid
    bench.session.send(ev.StopBackend())
    bench.state_becomes(ev.OFF)
    end = time.monotonic() + 10.0
    while backend_pid(bench.connection_file) == pid and time.monotonic() < end:
        time.sleep(0.05)
    assert backend_pid(bench.connection_file) != pid


def test_cancel_ends_a_job(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.launch()
    job_id = new_job_id()
    bench.session.send(ev.StartJob(job_id, Reconstruct(clip=(), fps=(24, 1)), tmp_path / "scene", clip))
    bench.session.send(ev.CancelJob(job_id))
    end = bench.end_of(job_id)
    assert isinstance(end, ev.JobFailed)
    assert end.code == CANCELLED


def test_cancel_of_a_job_that_waits_for_the_backend_is_answered_at_once(bench: Bench, tmp_path: Path) -> None:
    job_id = new_job_id()
    bench.session.send(ev.StartJob(job_id, Generate("0" * 32), tmp_path))
    bench.session.send(ev.CancelJob(job_id))
    assert bench.end_of(job_id).code == CANCELLED


def test_a_missing_clip_fails_its_job_alone_and_by_name(bench: Bench, clip: Path, tmp_path: Path) -> None:
    bench.launch()
    end = reconstruct(bench, tmp_path / "gone.mp4", tmp_path / "scene")
    assert isinstance(end, ev.JobFailed)
    assert end.code == NOT_FOUND
    assert "gone.mp4" in end.message
    assert isinstance(reconstruct(bench, clip, tmp_path / "scene2"), ev.JobFinished)


def test_an_unknown_job_fails_with_one_line(bench: Bench, tmp_path: Path) -> None:
    bench.launch()
    job_id = new_job_id()
    bench.session.send(ev.FollowJob(job_id, tmp_path))
    end = bench.end_of(job_id)
    assert end.code == NOT_FOUND
    assert end.message


# ---- not connecting


def test_no_backend_running_is_said(bench: Bench) -> None:
    bench.session.send(ev.Connect(bench.connection_file, patience_s=0.3))
    event = bench.state_becomes(ev.FAILED)
    assert event.code == UNREACHABLE
    assert event.message == "No backend is running."


def test_a_program_that_is_not_there_is_named(bench: Bench, tmp_path: Path) -> None:
    program = str(tmp_path / "no-such-backend")
    bench.session.send(ev.Launch((program, "serve"), bench.connection_file, tmp_path / "log"))
    event = bench.state_becomes(ev.FAILED)
    assert event.code == NOT_FOUND
    assert program in event.message


def test_a_program_that_ends_at_once_is_quoted(bench: Bench, tmp_path: Path) -> None:
    command = (sys.executable, "-c", "import sys; sys.exit('the disk is full')")
    bench.session.send(ev.Launch(command, bench.connection_file, tmp_path / "log"))
    assert "the disk is full" in bench.state_becomes(ev.FAILED).message


def test_the_end_of_a_program_that_had_answered_is_no_failed_start(tmp_path: Path) -> None:
    """Killed in the very moment in which the artist presses Start Backend."""
    file, said, answers = tmp_path / "connection.json", [], [Client()]
    file.write_text(json.dumps({"pid": os.getpid(), "address": "tcp://127.0.0.1:1"}))

    def connect(*_: object) -> Client:
        if not answers:
            raise Ex4dError(UNREACHABLE, "No answer.")
        return answers.pop()

    link = Link(said.append, connect)
    launch = ev.Launch((sys.executable, "-c", "import time; time.sleep(30)"), file, tmp_path / "log")
    first = start_program(launch.command, launch.log_file)
    link._process = first
    link.want(launch)
    assert link.tick()
    link.lost(Ex4dError(UNREACHABLE, "Gone."))
    link.want(launch)
    first.kill()
    first.wait()
    link.tick()
    second = link._process
    assert second is not None
    assert second is not first
    second.kill()
    second.wait()
    assert ev.FAILED not in [event.state for event in said]


class Client:
    """Answers, and nothing more."""

    welcome = Welcome("ex4d-backend", (1, 0), 1, ())

    def close(self) -> None:
        """Nothing to close."""


def test_another_program_on_the_port_is_said(bench: Bench, other_program: int) -> None:
    bench.launch()
    record = json.loads(bench.connection_file.read_text())
    bench.session.send(ev.StopBackend())
    bench.state_becomes(ev.OFF)
    record.update(address=f"tcp://127.0.0.1:{other_program}", pid=os.getpid())
    bench.connection_file.unlink(missing_ok=True)
    descriptor = os.open(bench.connection_file, os.O_WRONLY | os.O_CREAT, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(record, file)
    bench.session.send(ev.Connect(bench.connection_file))
    event = bench.state_becomes(ev.FAILED)
    bench.connection_file.unlink()
    assert event.code == NOT_A_BACKEND
    assert str(other_program) in event.message


def test_another_version_is_said_and_not_asked_again(tmp_path: Path) -> None:
    asked = []

    def connect(_file: Path, _timeout_s: float) -> None:
        asked.append(1)
        raise Ex4dError(VERSION, "The backend speaks protocol 2, this program 1.", "Update the older one.")

    session = Session(connect)
    session.start()
    try:
        file = tmp_path / "connection.json"
        file.write_text("{}")
        session.send(ev.Connect(file))
        end = time.monotonic() + 5.0
        event = None
        while not (isinstance(event, ev.LinkChanged) and event.state == ev.FAILED) and time.monotonic() < end:
            event = session.next_event() or event
        assert event.code == VERSION
        time.sleep(0.3)
        assert len(asked) == 1
    finally:
        assert session.close()


def test_a_bug_in_the_thread_reaches_the_artist_and_the_thread_lives_on(tmp_path: Path) -> None:
    def connect(_file: Path, _timeout_s: float) -> None:
        raise ZeroDivisionError

    session = Session(connect)
    session.start()
    try:
        (tmp_path / "connection.json").write_text("{}")
        session.send(ev.Connect(tmp_path / "connection.json"))
        end = time.monotonic() + 5.0
        events = []
        while not any(isinstance(e, ev.Problem) for e in events) and time.monotonic() < end:
            events.append(session.next_event())
        assert any(isinstance(e, ev.Problem) and e.message for e in events)
        session.send(ev.StopBackend())  # the thread still takes commands
        while not any(isinstance(e, ev.LinkChanged) and e.state == ev.OFF for e in events) and time.monotonic() < end:
            events.append(session.next_event())
        assert any(isinstance(e, ev.LinkChanged) and e.state == ev.OFF for e in events)
    finally:
        assert session.close()


@pytest.mark.parametrize("round_", range(3))
def test_closing_leaves_no_thread(round_: int) -> None:
    session = Session()
    session.start()
    assert session.close()
    assert "ex4d-session" not in {t.name for t in threading.enumerate()}
