# SPDX-License-Identifier: Apache-2.0
"""Which job is where: those that are queued or running in memory, and every change of them in the journal."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from shared_protocol import messages as m
from shared_protocol.errors import CANCELLED, NOT_FOUND, Ex4dError

from .journal import Journal
from .names import Names

_log = logging.getLogger(__name__)


class Ledger:
    """Used from one thread.

    Args:
        journal: where jobs survive.
        changed: called with the id of each job that has news.

    Attributes:
        names: live jobs whose artifact the worker has still to tell.
    """

    def __init__(self, journal: Journal, changed: Callable[[str], None]) -> None:
        self.names = Names()
        self._journal, self._changed = journal, changed
        self._live: dict[str, m.JobInfo] = {}  # queued and running jobs, oldest first
        self._unsaved: dict[str, m.JobInfo] = {}  # ended while the journal could not be written

    def live(self) -> list[m.JobInfo]:
        """Jobs that are queued or running, oldest first; `artifact` is a placeholder for those in `names`."""
        return list(self._live.values())

    def first(self, ready: Callable[[m.JobInfo], bool]) -> m.JobInfo | None:
        """The oldest of them whose artifact is known and of which `ready` says that it can be worked on."""
        return next((info for info in self._live.values() if info.job_id not in self.names and ready(info)), None)

    def of(self, artifact: str) -> list[m.JobInfo]:
        """Those that make this artifact."""
        return [j for j in self._live.values() if j.artifact == artifact and j.job_id not in self.names]

    def known(self, job_id: str) -> bool:
        """Whether there is, or was, such a job."""
        return self._find(job_id) is not None

    def info(self, job_id: str) -> m.JobInfo:
        """Where a job stands.

        Raises:
            Ex4dError: NOT_FOUND.
        """
        info = self._find(job_id)
        if info is None:
            raise Ex4dError(NOT_FOUND, f"The backend knows no job {job_id}.")
        return replace(info, artifact="") if job_id in self.names else info

    def _find(self, job_id: str) -> m.JobInfo | None:
        return self._live.get(job_id) or self._unsaved.get(job_id) or self._journal.job(job_id)

    def take_in(self, info: m.JobInfo) -> None:
        """A job that the journal has already."""
        self._live[info.job_id] = info

    def change(self, job_id: str, **fields: Any) -> m.JobInfo:
        """Changes a live job, for good."""
        info = self.show(job_id, **fields)
        self._journal.update(info)
        return info

    def show(self, job_id: str, **fields: Any) -> m.JobInfo:
        """Changes what is told of a live job, but not what is recorded."""
        info = self._live[job_id] = replace(self._live[job_id], **fields)
        self._changed(job_id)
        return info

    def has_news(self, artifact: str) -> None:
        """Something about the jobs that make this artifact has changed, beside what is told here."""
        for info in self.of(artifact):
            self._changed(info.job_id)

    def queue(self, job_id: str, phase: str = "") -> None:
        """Puts a job that was running back into the queue."""
        self.change(job_id, state=m.QUEUED, phase=phase, done=0, total=0, seconds_left=None, glimpse=0)

    def finish(self, job_id: str, error: m.Failure | None) -> None:
        """A job is over: done, failed or, with the code CANCELLED, cancelled."""
        info = replace(self._live[job_id], phase="", seconds_left=None, glimpse=0, error=None)
        if error is None:
            info = replace(info, state=m.DONE)
        elif error.code == CANCELLED:
            info = replace(info, state=m.CANCELLED)
        else:
            info = replace(info, state=m.FAILED, error=error)
            _log.warning("job %s failed: %s: %s", job_id, error.code, error.message)
        try:
            self._journal.update(info)
        except Ex4dError as exc:
            _log.error("%s", exc)
            self._unsaved[job_id] = info
        del self._live[job_id]
        self.names.take(job_id)
        _log.info("job %s: %s", job_id, info.state)
        self._changed(job_id)

    def finish_all(self, artifact: str, error: m.Failure | None) -> None:
        """Every job that makes this artifact is over."""
        for info in self.of(artifact):
            self.finish(info.job_id, error)
