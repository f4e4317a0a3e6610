# SPDX-License-Identifier: Apache-2.0
"""The worker's side: its pipes, and what an artist is told when something goes wrong inside."""

from __future__ import annotations

import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest

from backend import pipe, work
from backend.state_folder import Folders
from shared_protocol import messages as m
from shared_protocol.errors import BAD_MESSAGE, CANCELLED, DISK, INTERNAL, LIMIT, NOT_A_CLIP, Ex4dError

ASSETS = (m.Asset("ab" * 32, 1, "Mein Film.MP4"),)
RUN = pipe.Run("cd" * 32, m.Reconstruct(ASSETS), "", ())


@pytest.fixture
def folders(tmp_path: Path) -> Folders:
    made = Folders(tmp_path)
    for folder in (made.assets, made.artifacts, made.temp):
        folder.mkdir()
    (made.assets / ("ab" * 32)).write_bytes(b"x")
    return made


def test_a_folder_that_cannot_be_made_is_told_and_does_not_end_the_worker(folders: Folders) -> None:
    (folders.artifacts / RUN.artifact).write_text("in the way")
    with pytest.raises(Ex4dError) as caught:
        work.perform(RUN, folders, lambda _: None, lambda: False)
    assert caught.value.code == DISK


@pytest.mark.parametrize(
    ("raised", "code", "text"),
    [
        (MemoryError(), LIMIT, "memory"),
        (OSError(errno.ENOSPC, "No space left on device"), DISK, "disk is full"),
        (PermissionError(errno.EACCES, "Permission denied", "x"), DISK, "Permission denied"),
        (ZeroDivisionError("division by zero"), INTERNAL, "bug"),
        (
            Ex4dError(NOT_A_CLIP, "Mein_Film.mp4 is\nno clip.", "See Mein_Film.mp4"),
            NOT_A_CLIP,
            "Mein Film.MP4 is no",
        ),
    ],
)
def test_every_failure_becomes_one_line_for_a_person(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, raised: Exception, code: str, text: str
) -> None:
    def fail(*_: object) -> None:
        raise raised

    monkeypatch.setattr(work.pipeline, "reconstruct", fail)
    with pytest.raises(Ex4dError) as caught:
        work.perform(RUN, folders, lambda _: None, lambda: False)
    assert caught.value.code == code
    assert text in caught.value.message
    assert "\n" not in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not list(folders.temp.iterdir())


@pytest.mark.parametrize(
    ("names", "paths"),
    [
        (["a.mp4"], ["a.mp4"]),
        (["../../etc/x.mp4"], ["x.mp4"]),
        (["..\\..\\x y.MOV"], ["x_y.mov"]),
        (["-i evil.mp4"], ["i_evil.mp4"]),
        (["con.mp4"], ["clip.mp4"]),
        (["日本.mp4"], ["clip.mp4"]),
        (["%04d.png"], ["04d.png"]),
        (["s.7.png", "s.8.png"], ["s_0001.png", "s_0002.png"]),
        (["7.png", "8.png"], ["clip_0001.png", "clip_0002.png"]),
    ],
)
def test_inputs_get_names_of_our_own_making(
    folders: Folders, monkeypatch: pytest.MonkeyPatch, names: list[str], paths: list[str]
) -> None:
    seen: list[Path] = []

    def look(_: Path, clip: list[Path], *__: object) -> None:
        assert all(path.read_bytes() == b"x" for path in clip)
        seen.extend(clip)

    monkeypatch.setattr(work.pipeline, "reconstruct", look)
    run = pipe.Run("cd" * 32, m.Reconstruct(tuple(m.Asset("ab" * 32, 1, n) for n in names)), "", ())
    work.perform(run, folders, lambda _: None, lambda: False)
    assert [p.name for p in seen] == paths
    assert all(p.parent.parent.parent == folders.temp for p in seen)


def test_progress_is_told_some_ten_times_a_second_and_files_always(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    def busy(folder: Path, *args: object) -> None:
        report = args[-2]
        for step in range(1000):
            report.progress("Counting", step, 1000)  # type: ignore[attr-defined]
        (folder / "a.json").write_text("{}")
        report.file("a.json")  # type: ignore[attr-defined]
        report.file("a.json")  # type: ignore[attr-defined]

    monkeypatch.setattr(work.pipeline, "reconstruct", busy)
    sent: list[pipe.PipeMessage] = []
    work.perform(RUN, folders, sent.append, lambda: False)
    assert sum(isinstance(s, pipe.Progress) for s in sent) < 20
    assert [s.file.name for s in sent if isinstance(s, pipe.Made)] == ["a.json"]


def test_a_cancel_is_noticed_at_the_next_step(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*args: object) -> None:
        args[-2].progress("x", 1, 2)  # type: ignore[attr-defined]

    monkeypatch.setattr(work.pipeline, "reconstruct", step)
    with pytest.raises(Ex4dError) as caught:
        work.perform(RUN, folders, lambda _: None, lambda: True)
    assert caught.value.code == CANCELLED


def test_every_door_says_what_it_is() -> None:
    doors = work.doors()
    assert {d.kind for d in doors} == {"depth", "rasterizer", "generator"}
    assert {"draft", "file", "numba", "preview"} <= {d.name for d in doors}
    assert all(d.label and d.licence and (d.available or d.reason) for d in doors)


def test_pipe_messages_come_out_as_they_went_in() -> None:
    file = m.FileInfo("a.png", 1, "ef" * 32)
    failure = m.Failure(LIMIT, "a", "b")
    messages: list[pipe.PipeMessage] = [
        RUN,
        pipe.Run("cd" * 32, m.Generate("ab" * 32), "ab" * 32, (file,)),
        pipe.Stop("cd" * 32),
        pipe.Ready(()),
        pipe.Progress("cd" * 32, "x", 1, 2),
        pipe.Made("cd" * 32, file),
        pipe.Ended("cd" * 32, failure),
        pipe.Ended("cd" * 32, None),
    ]
    stream = io.BytesIO()
    for message in messages:
        pipe.send(stream, message)
    stream.seek(0)
    assert [pipe.receive(stream) for _ in messages] == messages
    assert pipe.receive(stream) is None


@pytest.mark.parametrize("data", [b"\xff\xff\xff\xff", b"\0\0\0\1\xc1", b"\0\0\0\3\x92\xa1x"])
def test_noise_on_the_pipe_is_noticed(data: bytes) -> None:
    stream = io.BytesIO(data)
    try:
        assert pipe.receive(stream) is None
    except Ex4dError as exc:
        assert exc.code == BAD_MESSAGE  # noqa: PT017  either is right


def test_prints_and_child_processes_cannot_disturb_the_pipe() -> None:
    code = (
        "import os, subprocess, sys\n"
        "from backend import pipe, worker\n"
        "stdin, stdout = worker._take_pipes()\n"
        "print('noise'); sys.stdout.write('noise'); os.write(1, b'noise')\n"
        "subprocess.run(['sh', '-c', 'echo noise; cat'])\n"
        "pipe.send(stdout, pipe.Ready(()))\n"
        "assert isinstance(pipe.receive(stdin), pipe.Stop)\n"
    )
    given = io.BytesIO()
    pipe.send(given, pipe.Stop("ab" * 32))
    done = subprocess.run([sys.executable, "-c", code], input=given.getvalue(), capture_output=True, timeout=20)
    assert done.returncode == 0, done.stderr
    answer = io.BytesIO(done.stdout)
    assert pipe.receive(answer) == pipe.Ready(())
    assert answer.read() == b""
