# SPDX-License-Identifier: Apache-2.0
"""The worker's side: its pipes, and what an artist is told when something goes wrong inside."""

from __future__ import annotations

import errno
import io
import json
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from backend import pipe, work
from backend.doors import doors as installed
from backend.state_folder import Folders
from ex4d.cameras import save_path, standing_still
from ex4d.depth.choose import choose_estimator
from ex4d.depth.known.values import Measure, Pick
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.depth_step import DepthOptions
from ex4d.render import RenderOptions
from ex4d.values import CameraPath, Intrinsics
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, BAD_MESSAGE, CANCELLED, DISK, INTERNAL, LIMIT, NOT_A_CLIP, Ex4dError
from shared_protocol.limits import GIVES

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
    def fail(*_: object, **__: object) -> None:
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

    def look(_: Path, clip: list[Path], *__: object, **___: object) -> None:
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
    def busy(folder: Path, *args: object, **_: object) -> None:
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


def test_glimpses_are_small_and_few(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(*args: object, **_: object) -> None:
        for _ in range(100):
            args[-2].glimpse(np.full((40, 2000, 3), 9, np.uint8))  # type: ignore[attr-defined]

    monkeypatch.setattr(work.pipeline, "reconstruct", busy)
    sent: list[pipe.PipeMessage] = []
    work.perform(RUN, folders, sent.append, lambda: False)
    assert 1 <= len(sent) < 10
    assert sent[0] == pipe.Glimpse(RUN.artifact, 512, 10, bytes([9] * 512 * 10 * 3))


def test_a_cancel_is_noticed_at_the_next_step(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    def step(*args: object, **_: object) -> None:
        args[-2].progress("x", 1, 2)  # type: ignore[attr-defined]

    monkeypatch.setattr(work.pipeline, "reconstruct", step)
    with pytest.raises(Ex4dError) as caught:
        work.perform(RUN, folders, lambda _: None, lambda: True)
    assert caught.value.code == CANCELLED


def test_every_door_says_what_it_is() -> None:
    doors = installed()
    assert {d.kind for d in doors} == {"depth", "rasterizer", "generator"}
    assert {"draft", "file", "numba", "preview"} <= {d.name for d in doors}
    assert all(d.label and d.licence and (d.available or d.reason) for d in doors)
    wishes = {d.name: d.geometry for d in doors if d.kind == "generator"}
    assert wishes["preview"] == "bounded"
    assert not any(d.geometry for d in doors if d.kind != "generator")
    estimators = {d.name: d for d in doors if d.kind == "depth"}
    assert all(d.gives in GIVES for d in estimators.values())
    assert not any(d.gives or d.size or d.steady for d in doors if d.kind != "depth")
    assert (estimators["file"].gives, estimators["draft"].steady, estimators["draft"].size) == ("either", True, 0)
    stage = {setting.name for setting in STAGE_SETTINGS}
    for door in estimators.values():
        assert stage <= {setting.name for setting in door.settings}
    assert "depth_kind" in {setting.name for setting in estimators["file"].settings}


def test_the_source_cameras_path_reaches_the_engine(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    intrinsics = Intrinsics(64, 48, 50.0, 50.0, 32.0, 24.0)
    file = folders.assets / "made.json"
    save_path(file, standing_still(intrinsics, 3, Fraction(24)))
    file.rename(folders.assets / ("ee" * 32))
    seen: list[CameraPath | None] = []
    monkeypatch.setattr(work.pipeline, "reconstruct", lambda *args, **_: seen.append(args[2].source_camera))
    camera = m.Asset("ee" * 32, 10, "Kamera 1.JSON")
    work.perform(
        pipe.Run("cd" * 32, m.Reconstruct(ASSETS, source_camera=camera), "", ()), folders, lambda _: None, lambda: False
    )
    work.perform(RUN, folders, lambda _: None, lambda: False)
    assert seen[0] is not None
    assert seen[0].world_from_camera.shape == (3, 4, 4)
    assert seen[1] is None


def test_what_an_artist_knows_reaches_the_engine(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    points = [{"frame": frame, "x": 10.5, "y": 20.5, "z": 4.0} for frame in (3, 5)]
    (folders.assets / ("ee" * 32)).write_text(json.dumps({"version": 1, "points": points}))
    seen: list[DepthOptions] = []
    monkeypatch.setattr(work.pipeline, "reconstruct", lambda *args, **_: seen.append(args[2]))
    job = m.Reconstruct(
        ASSETS,
        first=2,
        lens=(35.0, 36.0),
        depth_options=(("steady", "off"),),
        points=m.Asset("ee" * 32, 10, "Mein Track.json"),
        measures=(m.Measure(1, 1.5, 2.5, 3.5, 4.5, 1.8),),
        camera_height=1.6,
        ground=(m.Pick(2, 5.5, 6.5),),
    )
    work.perform(pipe.Run("cd" * 32, job, "", ()), folders, lambda _: None, lambda: False)
    (wish,) = seen
    known = wish.known
    assert (wish.lens, wish.options) == ((35.0, 36.0), {"steady": "off"})
    assert known.points is not None
    assert known.points.frame.tolist() == [0, 2]
    assert known.measures == (Measure(1, (1.5, 2.5), (3.5, 4.5), 1.8),)
    assert (known.camera_height, known.ground) == (1.6, (Pick(2, 5.5, 6.5),))

    (folders.assets / ("ee" * 32)).write_text("no")
    with pytest.raises(Ex4dError, match=r"Mein Track\.json") as caught:
        work.perform(pipe.Run("cd" * 32, job, "", ()), folders, lambda _: None, lambda: False)
    assert caught.value.code == BAD_INPUT


def test_a_run_whose_estimator_is_another_one_by_now_makes_nothing(
    folders: Folders, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = m.Reconstruct(ASSETS, depth_options=(("sky", "off"),))
    taken = choose_estimator("draft", (), {"sky": "off"})
    monkeypatch.setattr(work.pipeline, "reconstruct", lambda *args, **_: args[2].chosen(taken))
    made = work.perform(pipe.Run("cd" * 32, job, "", ()), folders, lambda _: None, lambda: False)
    assert made == work.artifact_of(replace(job, estimator="draft"), folders)
    assert work.perform(pipe.Run(made, job, "", ()), folders, lambda _: None, lambda: False) == made
    assert not list((folders.artifacts / made).iterdir())


def test_options_that_are_the_defaults_make_the_same_reconstruction(folders: Folders) -> None:
    plain = work.artifact_of(m.Reconstruct(ASSETS, estimator="draft"), folders)
    told = (("steady", "auto"), ("commercial", True), ("edges", "auto"))
    assert work.artifact_of(m.Reconstruct(ASSETS, estimator="draft", depth_options=told), folders) == plain
    other = work.artifact_of(m.Reconstruct(ASSETS, estimator="draft", depth_options=(("edges", "on"),)), folders)
    assert other != plain
    with_depth = m.Reconstruct(ASSETS, depth=(replace(ASSETS[0], name="d.npz"),))
    assert work.artifact_of(with_depth, folders) == work.artifact_of(replace(with_depth, estimator="file"), folders)
    kind = work.artifact_of(replace(with_depth, depth_kind="disparity"), folders)
    assert kind == work.artifact_of(replace(with_depth, depth_options=(("depth_kind", "disparity"),)), folders)
    for wrong, text in ((("stedy", "on"), "stedy"), (("steady", "maybe"), "maybe")):
        with pytest.raises(Ex4dError, match=text) as caught:
            work.artifact_of(m.Reconstruct(ASSETS, depth_options=(wrong,)), folders)
        assert caught.value.code == BAD_INPUT


def test_a_source_camera_that_is_none_fails_with_the_artists_file_name(folders: Folders) -> None:
    camera = m.Asset("ab" * 32, 1, "Meine Kamera.json")
    run = pipe.Run("cd" * 32, m.Reconstruct(ASSETS, source_camera=camera), "", ())
    with pytest.raises(Ex4dError, match=r"Meine Kamera\.json is not a camera path") as caught:
        work.perform(run, folders, lambda _: None, lambda: False)
    assert caught.value.code == BAD_INPUT
    assert str(folders.temp) not in str(caught.value)


def test_what_a_rendering_is_asked_for_reaches_the_engine(folders: Folders, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[object, ...]] = []

    def look(*args: object, lead_in: int, seed: int) -> None:
        seen.append((args[-1], lead_in, seed))

    monkeypatch.setattr(work.pipeline, "render", look)
    camera = m.CameraSample(tuple(np.eye(4).ravel().tolist()), 5.0, 5.0, 2.0, 1.5, 0, 5.0, 2.0, 1.5, 1.0, 0.0)
    plain = m.Render("ef" * 32, 4, 3, (24, 1), (camera,))
    full = m.Render("ef" * 32, 4, 3, (24, 1), (camera,), geometry="bounded", persist=True, lead_in=2, seed=7)
    for job in (plain, full, replace(full, lead_in=0)):
        work.perform(pipe.Run("cd" * 32, job, "", ()), folders, lambda _: None, lambda: False)
    bounded = RenderOptions(geometry="bounded", persist=True)
    assert seen == [(RenderOptions(), 0, 0), (bounded, 2, 7), (bounded, 0, 0)]


def test_pipe_messages_come_out_as_they_went_in() -> None:
    file = m.FileInfo("a.png", 1, "ef" * 32)
    failure = m.Failure(LIMIT, "a", "b")
    messages: list[pipe.PipeMessage] = [
        RUN,
        pipe.Run("cd" * 32, m.Generate("ab" * 32), "ab" * 32, (file,)),
        pipe.Stop("cd" * 32),
        pipe.Ready(()),
        pipe.Progress("cd" * 32, "x", 1, 2),
        pipe.Name("1" * 32, m.Generate("ab" * 32, options=(("steps", 3), ("on", True)))),
        pipe.Named("1" * 32, "ab" * 32, None),
        pipe.Glimpse("cd" * 32, 2, 1, bytes(range(6))),
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
