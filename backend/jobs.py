# SPDX-License-Identifier: Apache-2.0
"""The queue: what the worker does next, and what that means for the jobs.

The unit of work is the artifact. Jobs that make the same artifact share one run of it: they all see its progress, and
it is cancelled when the last of them is. Which artifact a reconstruct or generate job makes depends on the weights of
its estimator or generator, which the worker knows: until it has told, the job has no artifact for anybody outside, and
waits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from ex4d.pace import Pace
from shared_protocol import messages as m
from shared_protocol.errors import CANCELLED, LIMIT, NOT_FOUND, WORKER_DIED, Ex4dError

from . import pipe
from .ids import artifact_id, kind_of
from .journal import Journal
from .ledger import Ledger
from .names import of_weights
from .shelf import Shelf, needed
from .supervisor import Died, Event, Worker

_log = logging.getLogger(__name__)

MAX_DEATHS: Final = 3  # of the worker, with the same job
MAX_QUEUED: Final = 1000
CANCEL_S: Final = 60.0  # that a cancelled step may take to stop before the worker is ended
_RESTART_S: Final = 2.0  # pause after a worker that did not even start
_WHERE: Final = ("state", "phase", "done", "total", "seconds_left", "glimpse")  # of a JobInfo, that its run decides
_OF_A_RUN: Final = (pipe.Progress, pipe.Glimpse, pipe.Made, pipe.Ended, pipe.Moved)


class Jobs:
    """All jobs of a server. Used from the server's thread.

    Args:
        journal: where jobs survive.
        shelf: what is finished.
        state: the state folder, for the worker.
        deliver: brings a worker's event from its thread to `on_worker` in the server's.
        changed: called with the id of each job that has news.
    """

    def __init__(
        self,
        journal: Journal,
        shelf: Shelf,
        state: Path,
        deliver: Callable[[Worker, Event], None],
        changed: Callable[[str], None],
    ) -> None:
        self._journal, self._shelf = journal, shelf
        self._state, self._deliver = state, deliver
        self.doors: tuple[m.Door, ...] = ()
        self.settled = False  # whether the worker has told its doors, or failed to start
        self._ledger = Ledger(journal, changed)
        self._worker: Worker | None = None
        self._ready = False
        self._failed_starts = 0
        self._start_at = 0.0
        self._running = ""  # artifact that the worker has in hand
        self._pace = Pace()  # of its run
        self._glimpse: pipe.Glimpse | None = None  # the newest of it; older ones are of no use to anybody
        self._glimpses = 0  # of its run until now
        self._kill_at: float | None = None
        interrupted = journal.interrupt_running()
        if interrupted:
            _log.info("interrupted jobs that go on: %d", interrupted)
        for info in journal.unfinished():
            self._ledger.take_in(info)
            self._renew_artifact(info)

    def _renew_artifact(self, info: m.JobInfo) -> None:
        """A job that waited through an update makes what today's code makes."""
        try:
            known = self._journal.artifact(info.artifact)
        except Ex4dError as exc:  # one job must not keep the server from starting
            _log.warning("job %s cannot be read: %s", info.job_id, exc)
            failure = m.Failure(
                exc.code, "The job was recorded by another release and cannot be read.", "Submit it again."
            )
            self._ledger.finish(info.job_id, failure)
            return
        if known is not None and of_weights(known[1]):
            self._ledger.names.add(info.job_id, known[1])
            return
        if known is None or artifact_id(known[1]) == info.artifact:
            return
        self._journal.add_artifact(artifact_id(known[1]), known[0], known[1])
        self._ledger.change(info.job_id, artifact=artifact_id(known[1]))

    # ---- what clients ask

    def active(self) -> bool:
        """Whether anything is queued or running."""
        return bool(self._ledger.live()) or bool(self._running)

    def info(self, job_id: str) -> m.JobInfo:
        """Where a job stands.

        Raises:
            Ex4dError: NOT_FOUND.
        """
        return self._ledger.info(job_id)

    def glimpse(self, job_id: str) -> tuple[m.Glimpse, bytes]:
        """The newest picture of a running job's unfinished result, and its bytes.

        Raises:
            Ex4dError: NOT_FOUND.
        """
        info, seen = self.info(job_id), self._glimpse
        if seen is None or not info.artifact or info.artifact != self._running:
            raise Ex4dError(NOT_FOUND, f"There is no glimpse of the job {job_id}.")
        return m.Glimpse(job_id, self._glimpses, seen.width, seen.height), seen.rgb

    def submit(self, message: m.Submit) -> m.JobInfo:
        """Takes a job in. A job id that is known already is that job, whatever else the message says.

        Raises:
            Ex4dError: NOT_FOUND for inputs that are not here, NOT_A_CLIP, LIMIT for a full queue, DISK.
        """
        if self._ledger.known(message.job_id):
            return self.info(message.job_id)
        live = self._ledger.live()
        if len(live) >= MAX_QUEUED:
            raise Ex4dError(LIMIT, f"{len(live):,} jobs wait already.", "Cancel some, or try again later.")
        job = message.job
        artifact = artifact_id(job)
        self._shelf.check_inputs(job, lambda a: any(j.artifact == a for j in live))
        self._journal.add(message.job_id, artifact, kind_of(job), job, m.QUEUED)
        info = self.info(message.job_id)
        self._ledger.take_in(info)
        _log.info("job %s: %s", info.job_id, info.kind)
        if of_weights(job):
            self._ledger.names.add(info.job_id, job)
        else:
            self._line_up(info)
        self._failed_starts = 0
        self.work()
        return self.info(message.job_id)

    def _line_up(self, info: m.JobInfo) -> None:
        """A job whose artifact is known: it is done already, joins the run of it, or waits for its turn."""
        twin = next((j for j in self._ledger.of(info.artifact) if j.state == m.RUNNING), None)
        if self._shelf.whole(info.artifact):
            self._ledger.finish(info.job_id, None)
        elif twin is not None:
            self._ledger.change(info.job_id, **{name: getattr(twin, name) for name in _WHERE})

    def cancel(self, job_id: str) -> m.JobInfo:
        """Cancels a job; the worker stops at the next step unless another job wants the same. Finished jobs stay.

        Raises:
            Ex4dError: NOT_FOUND.
        """
        info = self.info(job_id)
        if info.state in m.FINISHED:
            return info
        self._ledger.finish(job_id, m.Failure(CANCELLED, "Cancelled.", ""))
        if info.artifact == self._running and not self._ledger.of(info.artifact) and self._worker is not None:
            self._stop(self._worker)
        return self.info(job_id)

    # ---- work

    def work(self) -> None:
        """Starts what can be started. Called whenever something changed, and about once a second."""
        now = time.monotonic()
        if self._worker is None:
            if (self.settled and not self._ledger.live()) or now < self._start_at:
                return  # a fresh worker is only needed for a job
            try:
                self._worker, self._ready = Worker(self._state, self._deliver), False
            except OSError as exc:
                _log.error("the worker cannot be started: %s", exc)
                self._not_started()
                return
        if self._ready:
            for job_id in self._ledger.names.ask(self._worker):
                self._ledger.show(job_id, phase="Looking at the model's files")
        if self._running:
            if self._kill_at is not None and now > self._kill_at:
                _log.warning("worker %d does not stop; it is ended", self._worker.pid)
                self._kill_at = None
                self._worker.kill()
            return
        while self._ready and not self._running:
            first = self._ledger.first(self._may_run)
            if first is None:
                return
            self._next(self._worker, first)

    def _may_run(self, info: m.JobInfo) -> bool:
        """False for a job that builds upon one whose artifact is being asked for: that one comes first."""
        if not self._ledger.names:
            return True
        known = self._journal.artifact(info.artifact)
        if known is None or isinstance(known[1], m.Reconstruct):
            return True
        before, _ = needed(known[1])
        return not any(job.artifact == before and job.job_id in self._ledger.names for job in self._ledger.live())

    def _next(self, worker: Worker, info: m.JobInfo) -> None:
        artifact = info.artifact
        try:
            known = self._journal.artifact(artifact)
            assert known is not None  # noqa: S101  a job is only recorded with its artifact
            if self._shelf.whole(artifact):
                self._ledger.finish_all(artifact, None)
                return
            run = pipe.Run(artifact, known[1], self._shelf.scene_behind(known[1]), self._shelf.kept(artifact))
            for job in self._ledger.of(artifact):
                self._ledger.change(job.job_id, state=m.RUNNING, phase="Starting", done=0, total=0)
        except Ex4dError as exc:
            self._ledger.finish_all(artifact, m.Failure(exc.code, exc.message, exc.hint))
            return
        self._running, self._pace = artifact, Pace()
        worker.send(run)

    # ---- what the worker tells

    def on_worker(self, worker: Worker, event: Event) -> None:
        """Takes an event in."""
        if worker is not self._worker:
            return  # an older one, already replaced
        if isinstance(event, pipe.Ready):
            self.doors, self._ready, self.settled, self._failed_starts = event.doors, True, True, 0
        elif isinstance(event, Died):
            self._died(event)
        elif isinstance(event, pipe.Named):
            self._named(event)
        elif isinstance(event, _OF_A_RUN) and event.artifact == self._running:
            try:
                self._on_run(event)
            except Ex4dError as exc:  # the journal could not be written
                self._ledger.finish_all(event.artifact, m.Failure(exc.code, exc.message, exc.hint))
                self._stop(worker)
        self.work()

    def _named(self, event: pipe.Named) -> None:
        """The worker says what a job makes."""
        job = self._ledger.names.take(event.job_id)
        if job is None:
            return  # cancelled since
        if event.error is not None:
            self._ledger.finish(event.job_id, event.error)
            return
        try:
            self._journal.add_artifact(event.artifact, kind_of(job), job)
            self._line_up(self._ledger.change(event.job_id, artifact=event.artifact, phase=""))
        except Ex4dError as exc:  # the journal could not be written
            self._ledger.finish(event.job_id, m.Failure(exc.code, exc.message, exc.hint))

    def _on_run(self, event: pipe.Progress | pipe.Glimpse | pipe.Made | pipe.Ended | pipe.Moved) -> None:
        artifact = event.artifact
        if isinstance(event, pipe.Progress):
            left = self._pace.seconds_left(event.phase, event.done, event.total, time.monotonic())
            for job in self._ledger.of(artifact):
                self._ledger.show(job.job_id, phase=event.phase, done=event.done, total=event.total, seconds_left=left)
        elif isinstance(event, pipe.Glimpse):
            self._glimpse, self._glimpses = event, self._glimpses + 1
            for job in self._ledger.of(artifact):
                self._ledger.show(job.job_id, glimpse=self._glimpses)
        elif isinstance(event, pipe.Made):
            self._journal.add_file(artifact, event.file)
            self._ledger.has_news(artifact)
        elif isinstance(event, pipe.Moved):
            self._move(artifact, event.to)
        else:
            self._let_go()
            if event.error is None:
                self._journal.set_complete(artifact, True)
                self._ledger.finish_all(artifact, None)
            elif event.error.code == CANCELLED:  # a job that came since then waits for its own run
                for job in self._ledger.of(artifact):
                    self._ledger.queue(job.job_id)
            else:
                self._ledger.finish_all(artifact, event.error)

    def _move(self, artifact: str, to: str) -> None:
        """The jobs of an artifact make another one: weights are other than they were, or need more memory than is
        free."""
        self._let_go()
        known = self._journal.artifact(artifact)
        if known is not None:
            self._journal.add_artifact(to, known[0], known[1])
        for job in self._ledger.of(artifact):
            self._ledger.queue(job.job_id)
            self._line_up(self._ledger.change(job.job_id, artifact=to))

    def _stop(self, worker: Worker) -> None:
        """Stops what the worker has in hand."""
        if self._running:
            worker.send(pipe.Stop(self._running))
            self._kill_at = time.monotonic() + CANCEL_S

    def _let_go(self) -> None:
        """The worker has nothing in hand any more."""
        self._running, self._kill_at, self._glimpse, self._glimpses = "", None, None, 0

    def _died(self, event: Died) -> None:
        self._worker, self._ready = None, False
        _log.warning("the worker ended with status %d", event.status)
        artifact, asked = self._running, self._ledger.names.worker_ended()
        self._let_go()
        # With nothing in hand it may have been reading the weights for a job that has no name yet.
        had = self._ledger.of(artifact) if artifact else [self.info(job_id) for job_id in asked]
        if not artifact and not had:
            self._not_started()
        for job in had:
            deaths = self._journal.count_death(job.job_id) if job.state == m.RUNNING or not artifact else 0
            if deaths >= MAX_DEATHS:
                self._ledger.finish(job.job_id, _death(f"The worker process died {deaths} times while it did this."))
            else:
                self._ledger.queue(job.job_id, "Interrupted, goes on")

    def _not_started(self) -> None:
        """The worker ended with nothing in hand: it is tried again after a pause, and not for ever."""
        self._failed_starts += 1
        self._start_at = time.monotonic() + _RESTART_S
        if self._failed_starts >= MAX_DEATHS:
            self.settled = True
            for job in self._ledger.live():
                self._ledger.finish(job.job_id, _death("The worker process does not start."))

    def close(self) -> None:
        """Ends the worker. Running jobs are queued again, for the next start."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
        self._journal.interrupt_running()


def _death(message: str) -> m.Failure:
    return m.Failure(WORKER_DIED, message, "It may have run out of memory: try fewer or smaller frames.")
