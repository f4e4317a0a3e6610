# SPDX-License-Identifier: GPL-3.0-or-later
"""The background thread that owns the connection, and the two queues between it and Blender's main thread.

All sockets and all waiting for files or the network happen here: `send` and `events` never block.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from pathlib import Path

from shared_protocol.client import Client
from shared_protocol.errors import CANCELLED, INTERNAL, NOT_FOUND, Ex4dError
from shared_protocol.messages import FileReady, JobInfo

from . import events as ev
from .downloads import Job
from .link import LOST, Link
from .project import export_take

_log = logging.getLogger(__name__)

_IDLE_S = 0.1  # how long one wait for the backend's messages lasts: the longest a command waits
_TICK_S = 0.05  # the same, while it looks for a backend
_AFTER_A_BUG_S = 0.5
_FILES_PER_ROUND = 4  # between two looks at commands and news


def connect_client(connection_file: Path, timeout_s: float) -> Client:
    """A client that the backend's log knows by name."""
    return Client.connect(connection_file, timeout_s, name="EX-4D for Blender")


class Session:
    """What the main thread holds: send commands, take events.

    Args:
        connect: makes a client from a connection file and a timeout in seconds.
    """

    def __init__(self, connect: Callable[[Path, float], Client] = connect_client) -> None:
        self._commands: queue.SimpleQueue[ev.Command] = queue.SimpleQueue()
        self._events: queue.SimpleQueue[ev.Event] = queue.SimpleQueue()
        self._thread = _Thread(self._commands, self._events, connect)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def send(self, command: ev.Command) -> None:
        """Hand over a command; it is done as soon as the thread gets to it."""
        if isinstance(command, ev.CancelJob):
            self._thread.cancelled.add(command.job_id)  # seen in the middle of an upload, too
        self._commands.put(command)

    def next_event(self) -> ev.Event | None:
        """The oldest event, or None. Does not wait."""
        try:
            return self._events.get_nowait()
        except queue.Empty:
            return None

    def close(self, timeout_s: float = 5.0) -> bool:
        """End the thread; True when it has ended. The backend and its jobs go on."""
        self._thread.stopping = True
        self._commands.put(ev.Stop())
        if self._thread.ident is not None:
            self._thread.join(timeout_s)
        return not self._thread.is_alive()


class _Thread(threading.Thread):
    def __init__(
        self,
        commands: queue.SimpleQueue[ev.Command],
        events: queue.SimpleQueue[ev.Event],
        connect: Callable[[Path, float], Client],
    ) -> None:
        super().__init__(name="ex4d-session", daemon=True)
        self.cancelled: set[str] = set()  # job ids; grows only, written by the main thread
        self.stopping = False
        self._commands = commands
        self._emit = events.put
        self._link = Link(events.put, connect)
        self._jobs: dict[str, Job] = {}

    def run(self) -> None:
        """Until told to stop: commands, connection, news, files."""
        try:
            while not self.stopping:
                try:
                    self._round()
                except Exception:  # a bug: the log gets the traceback, the artist a line, and the thread lives on
                    _log.exception("error in the background thread")
                    self._emit(ev.Problem(INTERNAL, "Something went wrong in the extension.", "The log says more."))
                    self._drop_jobs()
                    time.sleep(_AFTER_A_BUG_S)
        finally:
            self._link.close()

    def _round(self) -> None:
        self._take_commands()
        if self.stopping:
            return
        if self._link.tick():
            for job in self._jobs.values():
                job.attached = False
        client = self._link.client
        if client is None:
            return
        try:
            self._attach_jobs(client)
            working = self._bring_files(client)
            for news in client.poll(0.0 if working else _IDLE_S):
                self._on_news(news)
        except Ex4dError as e:  # errors of a single job do not come this far
            self._lost(e)

    # ---- commands

    def _take_commands(self) -> None:
        """All that wait; with no connection there is nothing else to wait for, so this is where the thread sleeps."""
        wait: float | None = None if not self._link.wants else _TICK_S
        block = self._link.client is None
        while not self.stopping:
            try:
                command = self._commands.get(block, wait) if block else self._commands.get_nowait()
            except queue.Empty:
                return
            block = False
            try:
                self._do(command)
            except Ex4dError as e:
                self._emit(ev.Problem(e.code, e.message, e.hint))

    def _do(self, command: ev.Command) -> None:
        match command:
            case ev.Connect() | ev.Launch():
                self._link.want(command)
            case ev.StopBackend():
                self._link.stop_backend()
            case ev.StartJob() | ev.FollowJob():
                known = self._jobs.get(command.job_id)
                self._jobs[command.job_id] = known.taken_up(command) if known else Job.of(command)
            case ev.CancelJob():
                self._cancel(command.job_id)
            case ev.ExportTake():
                files = export_take(command.take, command.destination, first=command.first)
                self._emit(ev.Exported(command.destination, len(files)))
            case ev.ForgetJobs():
                for job in self._jobs.values():
                    job.forgotten = True
            case ev.Stop():
                self.stopping = True

    def _cancel(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        client = self._link.client
        if job is None or client is None or not job.attached:
            # It is over for the artist at once. The job stays here until the backend has heard of it.
            self._emit(ev.JobFailed(job_id, CANCELLED, "Cancelled.", ""))
            return
        try:
            job.on_info(client.cancel(job_id), self._emit)
        except Ex4dError as e:
            if e.code not in LOST:
                raise
            self._lost(e)

    # ---- jobs

    def _attach_jobs(self, client: Client) -> None:
        for job in list(self._jobs.values()):
            if job.attached and job.forgotten:
                del self._jobs[job.job_id]
            if job.attached:
                continue
            if job.job_id in self.cancelled:
                self._guard(job, lambda j=job: _cancel_quietly(client, j.job_id))
                self._jobs.pop(job.job_id, None)
                self._emit(ev.JobFailed(job.job_id, CANCELLED, "Cancelled.", ""))
                continue
            self._guard(job, lambda j=job: j.attach(client, self._emit, lambda: self._given_up(j)))

    def _given_up(self, job: Job) -> bool:
        return self.stopping or job.job_id in self.cancelled

    def _bring_files(self, client: Client) -> bool:
        """A few files of each job. True: there is more to do at once."""
        for job in [j for j in self._jobs.values() if j.busy]:
            for _ in range(_FILES_PER_ROUND):
                if not job.busy or self.stopping:
                    break
                self._guard(job, lambda j=job: j.step(client, self._emit))
            if job.over:
                self._jobs.pop(job.job_id, None)
        return any(j.busy for j in self._jobs.values())

    def _guard(self, job: Job, work: Callable[[], None]) -> None:
        """Do it; an error that is not the connection's ends this job and no other."""
        try:
            work()
        except Ex4dError as e:
            if e.code in LOST:
                raise
            job.over = True
            self._jobs.pop(job.job_id, None)
            self._emit(ev.failed(job.job_id, e))

    def _on_news(self, news: JobInfo | FileReady) -> None:
        job = self._jobs.get(news.job_id)
        if job is None:
            return
        if isinstance(news, JobInfo):
            job.on_info(news, self._emit)
        else:
            job.on_file(news.file)

    def _lost(self, error: Ex4dError) -> None:
        for job in self._jobs.values():
            job.attached = False
        self._link.lost(error)

    def _drop_jobs(self) -> None:
        for job_id in list(self._jobs):
            del self._jobs[job_id]
            self._emit(ev.JobFailed(job_id, INTERNAL, "Something went wrong in the extension.", "The log says more."))


def _cancel_quietly(client: Client, job_id: str) -> None:
    """Cancel a job that the backend may never have heard of."""
    try:
        client.cancel(job_id)
    except Ex4dError as e:
        if e.code != NOT_FOUND:
            raise
