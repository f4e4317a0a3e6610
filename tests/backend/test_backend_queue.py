# SPDX-License-Identifier: Apache-2.0
"""The queue, with a recorder in the worker's place: events in orders that real processes seldom give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import pipe
from backend.ids import artifact_id
from backend.jobs import Jobs
from backend.journal import Journal
from backend.shelf import Shelf
from backend.store import Artifacts, Assets
from shared_protocol import messages as m
from shared_protocol.errors import CANCELLED, DISK, LIMIT, WORKER_DIED, Ex4dError

DATA = b"0123456789"
CLIP = m.Asset("ab" * 32, len(DATA), "a.mp4")
JOB = m.Reconstruct((CLIP,))


def queue(folder: Path) -> tuple[Jobs, Journal]:
    """A queue over an empty journal, with the clip uploaded."""
    journal = Journal(folder / "j.sqlite3")
    (folder / CLIP.sha256).write_bytes(DATA)
    shelf = Shelf(journal, Assets(folder), Artifacts(folder))
    return Jobs(journal, shelf, folder, lambda *_: None, lambda _: None), journal


def test_a_full_queue_is_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.jobs.MAX_QUEUED", 2)
    jobs, journal = queue(tmp_path)
    monkeypatch.setattr(jobs, "work", lambda: None)
    for number in range(2):
        jobs.submit(m.Submit(f"{number:032x}", JOB))
    with pytest.raises(Ex4dError) as caught:
        jobs.submit(m.Submit("f" * 32, JOB))
    assert caught.value.code == LIMIT
    assert jobs.submit(m.Submit("0" * 32, JOB)).job_id == "0" * 32
    journal.close()


class Recorder:
    """Stands where the worker process is, to play events in a fixed order."""

    pid = 1

    def __init__(self) -> None:
        self.sent: list[pipe.PipeMessage] = []
        self.send = self.sent.append

    def kill(self) -> None:
        pass


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Jobs, Recorder, Journal]]:
    """A queue with a worker that is ready."""
    worker = Recorder()
    monkeypatch.setattr("backend.jobs.Worker", lambda *_: worker)
    jobs, journal = queue(tmp_path)
    jobs.work()
    jobs.on_worker(worker, pipe.Ready(()))  # type: ignore[arg-type]
    yield jobs, worker, journal
    journal.close()


def test_a_job_that_comes_while_its_cancelled_twin_still_stops_gets_a_run_of_its_own(
    desk: tuple[Jobs, Recorder, Journal],
) -> None:
    jobs, worker, _ = desk
    first = jobs.submit(m.Submit("1" * 32, JOB))
    assert jobs.cancel(first.job_id).state == m.CANCELLED
    second = jobs.submit(m.Submit("2" * 32, JOB))
    assert second.state == m.QUEUED
    jobs.on_worker(worker, pipe.Ended(first.artifact, m.Failure(CANCELLED, "", "")))  # type: ignore[arg-type]
    assert [type(s) for s in worker.sent] == [pipe.Run, pipe.Stop, pipe.Run]
    assert jobs.info(second.job_id).state == m.RUNNING
    assert jobs.info(first.job_id).state == m.CANCELLED
    jobs.on_worker(worker, pipe.Ended(first.artifact, None))  # type: ignore[arg-type]
    assert jobs.info(second.job_id).state == m.DONE


def test_a_worker_that_does_not_stop_is_ended(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, worker, _ = desk
    killed: list[bool] = []
    monkeypatch.setattr(worker, "kill", lambda: killed.append(True))
    monkeypatch.setattr("backend.jobs.CANCEL_S", -1.0)
    jobs.submit(m.Submit("1" * 32, JOB))
    jobs.cancel("1" * 32)
    jobs.work()
    jobs.work()
    assert killed == [True]


def test_a_journal_that_cannot_be_written_fails_the_job_and_not_the_server(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, worker, journal = desk
    info = jobs.submit(m.Submit("1" * 32, JOB))

    def full(*_: object) -> None:
        raise Ex4dError(DISK, "The job records cannot be used: disk is full.")

    monkeypatch.setattr(journal, "add_file", full)
    monkeypatch.setattr(journal, "update", full)
    file = m.FileInfo("a.png", 1, "ef" * 32)
    jobs.on_worker(worker, pipe.Made(info.artifact, file))  # type: ignore[arg-type]
    failed = jobs.info(info.job_id)
    assert failed.state == m.FAILED
    assert failed.error is not None
    assert failed.error.code == DISK
    assert isinstance(worker.sent[-1], pipe.Stop)


def test_a_journal_that_cannot_be_written_when_a_job_starts_fails_that_job_and_the_next_one_runs(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, worker, journal = desk

    def full(*_: object) -> None:
        raise Ex4dError(DISK, "The job records cannot be used: disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(journal, "update", full)
        failed = jobs.submit(m.Submit("1" * 32, JOB))
        assert failed.state == m.FAILED
        assert jobs.submit(m.Submit("1" * 32, JOB)) == failed  # what was told stays true, though it is not recorded
        assert worker.sent == []
    jobs.submit(m.Submit("2" * 32, JOB))
    assert [type(message) for message in worker.sent] == [pipe.Run]
    assert jobs.info("2" * 32).state == m.RUNNING


def test_a_folder_that_cannot_be_tidied_up_fails_its_job(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs, worker, _ = desk
    stray = tmp_path / artifact_id(JOB) / "half.png"
    stray.parent.mkdir()
    stray.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    failed = jobs.submit(m.Submit("1" * 32, JOB))
    assert failed.error is not None
    assert failed.error.code == DISK
    assert worker.sent == []


def test_a_worker_that_never_starts_fails_the_jobs_that_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr("backend.jobs.Worker", fail)
    monkeypatch.setattr("backend.jobs._RESTART_S", 0.0)
    jobs, journal = queue(tmp_path)
    jobs.submit(m.Submit("1" * 32, JOB))
    for _ in range(3):
        jobs.work()
    failed = jobs.info("1" * 32)
    assert failed.error is not None
    assert failed.error.code == WORKER_DIED
    assert jobs.settled
    journal.close()
