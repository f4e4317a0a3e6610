# SPDX-License-Identifier: Apache-2.0
"""The queue, with a recorder in the worker's place: events in orders that real processes seldom give."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from backend import pipe
from backend.jobs import MAX_DEATHS, Jobs
from backend.journal import Journal
from backend.shelf import Shelf
from backend.store import Artifacts, Assets
from backend.supervisor import Died
from ex4d.pace import Pace
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, CANCELLED, DISK, LIMIT, NOT_FOUND, WORKER_DIED, Ex4dError

GENERATE = m.Generate("cd" * 32, "wan", 3)
DATA = b"0123456789"
CLIP = m.Asset("ab" * 32, len(DATA), "a.mp4")
JOB = m.Reconstruct((CLIP,))
MADE = "9a" * 32  # what that job makes, as the worker says


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


def name(jobs: Jobs, worker: Recorder, number: str, artifact: str, error: m.Failure | None = None) -> None:
    """The worker says which artifact a job makes."""
    jobs.on_worker(worker, pipe.Named(number * 32, artifact, error))  # type: ignore[arg-type]


def submitted(jobs: Jobs, worker: Recorder, number: str) -> m.JobInfo:
    """A reconstruction whose artifact is known."""
    jobs.submit(m.Submit(number * 32, JOB))
    name(jobs, worker, number, MADE)
    return jobs.info(number * 32)


def runs(worker: Recorder) -> list[type]:
    """What the worker was told of runs."""
    return [type(message) for message in worker.sent if not isinstance(message, pipe.Name)]


def test_a_job_that_comes_while_its_cancelled_twin_still_stops_gets_a_run_of_its_own(
    desk: tuple[Jobs, Recorder, Journal],
) -> None:
    jobs, worker, _ = desk
    first = submitted(jobs, worker, "1")
    assert jobs.cancel(first.job_id).state == m.CANCELLED
    second = submitted(jobs, worker, "2")
    assert second.state == m.QUEUED
    jobs.on_worker(worker, pipe.Ended(first.artifact, m.Failure(CANCELLED, "", "")))  # type: ignore[arg-type]
    assert runs(worker) == [pipe.Run, pipe.Stop, pipe.Run]
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
    submitted(jobs, worker, "1")
    jobs.cancel("1" * 32)
    jobs.work()
    jobs.work()
    assert killed == [True]


def test_a_journal_that_cannot_be_written_fails_the_job_and_not_the_server(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, worker, journal = desk
    info = submitted(jobs, worker, "1")

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
        failed = submitted(jobs, worker, "1")
        assert failed.state == m.FAILED
        assert jobs.submit(m.Submit("1" * 32, JOB)) == failed  # what was told stays true, though it is not recorded
        assert runs(worker) == []
    submitted(jobs, worker, "2")
    assert runs(worker) == [pipe.Run]
    assert jobs.info("2" * 32).state == m.RUNNING


def test_a_folder_that_cannot_be_tidied_up_fails_its_job(
    desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    jobs, worker, _ = desk
    stray = tmp_path / MADE / "half.png"
    stray.parent.mkdir()
    stray.write_bytes(b"x")

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "unlink", refuse)
    failed = submitted(jobs, worker, "1")
    assert failed.error is not None
    assert failed.error.code == DISK
    assert runs(worker) == []


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


# ---- jobs whose artifact the worker has to tell


@pytest.fixture
def generating(desk: tuple[Jobs, Recorder, Journal], monkeypatch: pytest.MonkeyPatch) -> tuple[Jobs, Recorder, Journal]:
    """The same, where everything that a generate job needs is there."""
    monkeypatch.setattr(Shelf, "check_inputs", lambda *_: None)
    monkeypatch.setattr(Shelf, "scene_behind", lambda *_: "ef" * 32)
    return desk


def test_a_generate_job_runs_when_the_worker_has_told_what_it_makes(
    generating: tuple[Jobs, Recorder, Journal],
) -> None:
    jobs, worker, journal = generating
    info = jobs.submit(m.Submit("1" * 32, GENERATE))
    assert (info.state, info.artifact) == (m.QUEUED, "")
    assert worker.sent == [pipe.Name("1" * 32, GENERATE)]
    later = submitted(jobs, worker, "2")
    assert jobs.info(later.job_id).state == m.RUNNING, "nobody waits for weights that another job needs"
    name(jobs, worker, "1", "ab" * 32)
    jobs.on_worker(worker, pipe.Ended(later.artifact, None))  # type: ignore[arg-type]
    info = jobs.info(info.job_id)
    assert (info.state, info.artifact) == (m.RUNNING, "ab" * 32)
    assert worker.sent[-1] == pipe.Run("ab" * 32, GENERATE, "ef" * 32, ())
    assert journal.job(info.job_id) == info
    jobs.submit(m.Submit("3" * 32, GENERATE))
    name(jobs, worker, "3", "ab" * 32)
    assert jobs.info("3" * 32).state == m.RUNNING, "it shares the run"


def test_what_the_worker_cannot_name_fails_and_what_was_cancelled_is_not_brought_back(
    generating: tuple[Jobs, Recorder, Journal],
) -> None:
    jobs, worker, _ = generating
    for number in "12":
        jobs.submit(m.Submit(number * 32, GENERATE))
    jobs.cancel("2" * 32)
    name(jobs, worker, "1", "", m.Failure(BAD_INPUT, "no such option", ""))
    name(jobs, worker, "2", "ab" * 32)
    failed, cancelled = (jobs.info(number * 32) for number in "12")
    assert (failed.state, cancelled.state) == (m.FAILED, m.CANCELLED)
    assert failed.error == m.Failure(BAD_INPUT, "no such option", "")
    assert not jobs.active()


def test_a_worker_that_dies_over_the_weights_is_asked_again_and_not_for_ever(
    generating: tuple[Jobs, Recorder, Journal],
) -> None:
    jobs, worker, _ = generating
    jobs.submit(m.Submit("1" * 32, GENERATE))
    for death in range(1, MAX_DEATHS + 1):
        assert worker.sent.count(pipe.Name("1" * 32, GENERATE)) == death
        jobs.on_worker(worker, Died(-9))  # type: ignore[arg-type]
        jobs.work()
        jobs.on_worker(worker, pipe.Ready(()))  # type: ignore[arg-type]
    info = jobs.info("1" * 32)
    assert info.error is not None
    assert (info.state, info.error.code) == (m.FAILED, WORKER_DIED)


def test_jobs_of_an_earlier_server_are_named_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, journal = queue(tmp_path)
    journal.add("1" * 32, "ab" * 32, "generate", GENERATE, m.RUNNING)
    journal.close()
    monkeypatch.setattr(Shelf, "scene_behind", lambda *_: "ef" * 32)
    worker = Recorder()
    monkeypatch.setattr("backend.jobs.Worker", lambda *_: worker)
    jobs, journal = queue(tmp_path)
    jobs.work()
    jobs.on_worker(worker, pipe.Ready(()))  # type: ignore[arg-type]
    assert jobs.info("1" * 32).artifact == ""
    name(jobs, worker, "1", "12" * 32)
    assert jobs.info("1" * 32).artifact == "12" * 32, "the weights changed while no server ran"
    journal.close()


def test_a_job_that_makes_another_artifact_than_was_thought_goes_on_with_that_one(
    desk: tuple[Jobs, Recorder, Journal],
) -> None:
    """Its estimator needs more memory than is free, and another one takes its place."""
    jobs, worker, journal = desk
    submitted(jobs, worker, "1")
    submitted(jobs, worker, "2")
    jobs.on_worker(worker, pipe.Moved(MADE, "ef" * 32))  # type: ignore[arg-type]
    for number in "12":
        info = jobs.info(number * 32)
        assert (info.state, info.artifact) == (m.RUNNING, "ef" * 32)
        assert journal.job(info.job_id) == info
    assert worker.sent[-1] == pipe.Run("ef" * 32, JOB, "", ())
    jobs.on_worker(worker, pipe.Ended("ef" * 32, None))  # type: ignore[arg-type]
    third = submitted(jobs, worker, "3")
    assert third.artifact == MADE
    jobs.on_worker(worker, pipe.Moved(MADE, "ef" * 32))  # type: ignore[arg-type]
    assert jobs.info(third.job_id).state == m.DONE, "what is in the store already is not made again"


def test_a_rendering_waits_for_its_reconstruction_to_be_named_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else it would find nothing to render."""
    _, journal = queue(tmp_path)
    journal.add("1" * 32, MADE, "reconstruct", JOB, m.RUNNING)
    pose = (1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0)
    camera = m.CameraSample(pose, 30.0, 30.0, 16.0, 12.0, 0, 30.0, 16.0, 12.0, 1.0, 0.0)
    render = m.Render(MADE, 32, 24, (24, 1), (camera,))
    journal.add("2" * 32, "ab" * 32, "render", render, m.QUEUED)
    journal.close()
    monkeypatch.setattr("backend.jobs.artifact_id", lambda job: "ab" * 32)
    worker = Recorder()
    monkeypatch.setattr("backend.jobs.Worker", lambda *_: worker)
    jobs, journal = queue(tmp_path)
    jobs.work()
    jobs.on_worker(worker, pipe.Ready(()))  # type: ignore[arg-type]
    assert runs(worker) == []
    assert jobs.info("2" * 32).state == m.QUEUED
    name(jobs, worker, "1", MADE)
    assert worker.sent[-1] == pipe.Run(MADE, JOB, "", ())
    journal.close()


def test_the_newest_glimpse_alone_is_kept(generating: tuple[Jobs, Recorder, Journal]) -> None:
    jobs, worker, _ = generating
    jobs.submit(m.Submit("1" * 32, GENERATE))
    name(jobs, worker, "1", "ab" * 32)
    for shade in range(3):
        jobs.on_worker(worker, pipe.Glimpse("ab" * 32, 2, 1, bytes([shade] * 6)))  # type: ignore[arg-type]
    assert jobs.info("1" * 32).glimpse == 3
    assert jobs.glimpse("1" * 32) == (m.Glimpse("1" * 32, 3, 2, 1), bytes([2] * 6))
    jobs.on_worker(worker, pipe.Glimpse("cd" * 32, 2, 1, bytes(6)))  # type: ignore[arg-type]
    assert jobs.info("1" * 32).glimpse == 3, "of a run that is over"
    jobs.on_worker(worker, Died(-9))  # type: ignore[arg-type]
    assert jobs.info("1" * 32).glimpse == 0
    with pytest.raises(Ex4dError) as caught:
        jobs.glimpse("1" * 32)
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize(
    ("told", "left"),
    [
        ([(0, 25, 0.0), (1, 25, 0.5)], None),
        ([(0, 25, 0.0), (1, 25, 4.0)], 96),
        ([(0, 25, 0.0), (1, 25, 4.0), (10, 25, 20.0)], 30),
        ([(20, 25, 0.0), (21, 25, 4.0)], 16),
        ([(5, 25, 0.0), (0, 25, 9.0), (1, 25, 11.0)], 48),
        ([(0, 0, 0.0), (3, 0, 9.0)], None),
        ([(0, 4, 0.0), (4, 4, 8.0)], 0),
        ([(0, 25, 0.0), (1, 25, 4.0), (1, 25, 6.5)], 94),
        ([(0, 25, 0.0), (1, 25, 4.0), (1, 25, 60.0)], 690),
    ],
    ids=["too early", "one step", "mean", "goes on", "anew", "no total", "done", "in a step", "in a slow step"],
)
def test_the_time_left_follows_the_pace_of_the_phase(told: list[tuple[int, int, float]], left: int | None) -> None:
    pace = Pace()
    pace.seconds_left("before", 7, 8, -5.0)
    *_, last = [pace.seconds_left("Denoising", *news) for news in told]
    assert last == left
