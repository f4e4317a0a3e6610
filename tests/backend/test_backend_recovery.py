# SPDX-License-Identifier: Apache-2.0
"""What is killed comes back and goes on where it was."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest
from conftest import Backend, is_alive, kill, named, until, wait

from backend.journal import Journal
from backend.state_folder import StateFolder
from backend.work import artifact_of
from shared_protocol import messages as m
from shared_protocol.client import Client
from shared_protocol.errors import NOT_FOUND, UNREACHABLE, WORKER_DIED, Ex4dError
from shared_protocol.messages import DONE, FAILED

Stamp = tuple[int, int, str]


def first_frames(client: Client, info: m.JobInfo, count: int = 3) -> list[m.FileInfo]:
    """Waits until some frames of a running job are finished."""
    client.watch(info.job_id)
    files: list[m.FileInfo] = []
    while len(files) < count:
        for news in client.poll(1.0):
            if isinstance(news, m.FileReady):
                files.append(news.file)
            else:
                assert news.state not in m.FINISHED, "too fast to be killed in the middle"
    return files


def stamps(backend: Backend, artifact: str, files: list[m.FileInfo]) -> dict[str, tuple[int, int]]:
    folder = backend.state / "artifacts" / artifact
    return {f.name: ((s := (folder / f.name).stat()).st_ino, s.st_mtime_ns) for f in files}


def frames_of(client: Client, artifact: str) -> dict[str, bytes]:
    return {
        f.name: client.fetch(artifact, f.name) for f in client.files(artifact).files if f.name.startswith("frames/")
    }


def test_a_killed_server_goes_on_with_the_same_job_and_redoes_no_finished_frame(
    backend: Backend, rendered: m.JobInfo, long_clip: list[Path]
) -> None:
    client = backend.start().client()
    info = named(client, client.submit(m.Generate(rendered.artifact)))
    files = first_frames(client, info)
    worker = backend.worker_pid()
    backend.kill()
    until(lambda: not is_alive(worker))
    kept = stamps(backend, info.artifact, files)
    with pytest.raises(Ex4dError) as caught:
        client.request(m.Ping())
    assert caught.value.code == UNREACHABLE

    client = backend.start().client()
    again, told = wait(client, info)
    assert (again.job_id, again.artifact, again.state) == (info.job_id, info.artifact, DONE)
    assert stamps(backend, info.artifact, files) == kept
    assert len([t for t in told if t.file.name.startswith("frames/")]) == len(long_clip)
    assert len({t.file.name for t in told}) == len(told), "a file was told twice"
    assert not [p for p in (backend.state / "artifacts").rglob(".*")], "halves of files are left"
    assert "interrupted jobs that go on: 1" in backend.log()

    # Nothing shows that it was interrupted: a run in one go gives the same pixels.
    once, _ = wait(client, client.submit(m.Generate(rendered.artifact, seed=0, options=())))
    assert once.artifact == info.artifact
    folder = backend.state / "artifacts" / info.artifact
    before = frames_of(client, info.artifact)
    for file in (folder / "frames").iterdir():
        file.unlink()
    fresh, _ = wait(client, client.submit(m.Generate(rendered.artifact)))
    assert frames_of(client, fresh.artifact) == before


@pytest.mark.parametrize("step", ["reconstruct", "render"])
def test_the_earlier_steps_resume_as_well(backend: Backend, long_clip: list[Path], step: str) -> None:
    client = backend.start().client()
    if step == "reconstruct":
        assets = tuple(client.upload(path) for path in long_clip)
        info = named(client, client.submit(m.Reconstruct(assets, fps=(24, 1))))
    else:
        from conftest import reconstruct, shot

        info = client.submit(shot(client, reconstruct(client, long_clip)))
    files = [f for f in first_frames(client, info, 6) if f.name.endswith((".png", ".exr"))]
    backend.kill()
    kept = stamps(backend, info.artifact, files)
    again, _ = wait(backend.start().client(), info)
    assert again.state == DONE
    assert stamps(backend, info.artifact, files) == kept
    for file in (client := backend.client()).files(info.artifact).files:
        client.fetch(info.artifact, file.name)


def test_a_killed_worker_is_replaced_and_its_job_goes_on(backend: Backend, rendered: m.JobInfo) -> None:
    client = backend.start().client()
    info = named(client, client.submit(m.Generate(rendered.artifact)))
    files = first_frames(client, info)
    old = backend.worker_pid()
    kill(old)
    kept = stamps(backend, info.artifact, files)
    again, _ = wait(client, info)
    assert again.state == DONE
    assert backend.worker_pid() != old
    assert stamps(backend, info.artifact, files) == kept


def test_a_job_that_kills_the_worker_three_times_fails_and_the_next_one_runs(
    backend: Backend, rendered: m.JobInfo
) -> None:
    client = backend.start().client()
    info = client.submit(m.Generate(rendered.artifact))
    for death in range(1, 4):
        until(lambda: client.job(info.job_id).state == m.RUNNING)
        worker = backend.worker_pid()
        kill(worker)
        until(lambda n=death: backend.log().count("the worker ended with status -9") == n)
    failed, _ = wait(client, info)
    assert failed.state == FAILED
    assert failed.error is not None
    assert failed.error.code == WORKER_DIED
    assert "3 times" in failed.error.message
    assert wait(client, client.submit(m.Generate(rendered.artifact, seed=5)))[0].state == DONE


def test_a_frozen_server_is_unreachable_and_answers_again_when_it_thaws(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared_protocol.client.PING_S", 0.3)
    monkeypatch.setattr("shared_protocol.client.LOST_S", 0.6)
    client = backend.start().client()
    assert backend.process is not None
    os.kill(backend.process.pid, signal.SIGSTOP)
    try:
        with pytest.raises(Ex4dError) as caught:
            client.poll(5.0)
        assert caught.value.code == UNREACHABLE
        with pytest.raises(Ex4dError) as caught:
            client.request(m.ListFiles("ab" * 32), timeout_s=0.2)
        assert caught.value.code == UNREACHABLE
    finally:
        os.kill(backend.process.pid, signal.SIGCONT)
    assert isinstance(backend.client().request(m.Ping())[0], m.Pong)


def test_the_worker_ends_with_the_server(backend: Backend) -> None:
    backend.start()
    worker = backend.worker_pid()
    assert is_alive(worker)
    assert backend.end() == (0, "")
    until(lambda: not is_alive(worker))
    assert not backend.connection_file.exists()


@pytest.mark.slow
def test_kills_at_random_moments_lose_nothing_and_redo_nothing(backend: Backend, rendered: m.JobInfo) -> None:
    dice = random.Random(3)  # noqa: S311  repeatable
    client = backend.start().client()
    for seed in range(6):
        info = named(client, client.submit(m.Generate(rendered.artifact, seed=seed)))
        folder = backend.state / "artifacts" / info.artifact
        for _ in range(2):
            until(lambda f=folder: list(f.glob("frames/*.png")))
            time.sleep(dice.random() * 0.3)
            before = {f.name: f for f in client.files(info.artifact).files}
            kept = stamps(backend, info.artifact, list(before.values()))
            if dice.random() < 0.5:
                kill(backend.worker_pid())
            else:
                backend.kill()
                client = backend.start().client()
            after = {f.name: f for f in client.files(info.artifact).files}
            assert before.items() <= after.items()
            assert stamps(backend, info.artifact, list(before.values())) == kept
        assert wait(client, info)[0].state == DONE
        assert len(frames_of(client, info.artifact)) == 40
        assert not list(folder.rglob(".*"))


def test_jobs_of_another_release_wait_for_their_turn_or_fail_and_the_server_starts(backend: Backend) -> None:
    """One job was recorded under an id that today's code does not give, another in words it does not know."""
    job = m.Reconstruct((m.Asset("ab" * 32, 10, "a.mp4"),))
    state = StateFolder(backend.state)
    journal = Journal(state.journal)
    journal.add("1" * 32, "01" * 32, "reconstruct", job, m.QUEUED)
    journal.add("2" * 32, "02" * 32, "reconstruct", job, m.RUNNING)
    journal.close()
    with sqlite3.connect(state.journal) as database:
        database.execute("UPDATE artifacts SET spec='{\"lens\": 50}' WHERE artifact=?", ("02" * 32,))
    state.close()
    client = backend.start().client()
    until(lambda: all(client.job(i * 32).state == FAILED for i in "12"))
    renewed, unknown = (client.job(i * 32) for i in "12")
    assert renewed.artifact == artifact_of(job, state)
    assert renewed.error is not None
    assert renewed.error.code == NOT_FOUND  # its clip was never uploaded: it did get its turn
    assert unknown.error is not None
    assert "another release" in unknown.error.message
