# SPDX-License-Identifier: Apache-2.0
"""Jobs whose artifact is not known yet: it depends on weights that only the worker can read."""

from __future__ import annotations

from typing import TypeGuard

from shared_protocol import messages as m

from .journal import Job
from .pipe import Name
from .supervisor import Worker


def of_weights(job: Job) -> TypeGuard[m.Reconstruct | m.Generate]:
    """Whether what a job makes depends on weights."""
    return not isinstance(job, m.Render)


class Names:
    """Who waits for a name, and who was asked about. A worker that ends leaves its questions for the next one."""

    def __init__(self) -> None:
        self._waiting: dict[str, m.Reconstruct | m.Generate] = {}
        self._asked: set[str] = set()

    def __contains__(self, job_id: str) -> bool:
        """Whether a job waits for its artifact's id."""
        return job_id in self._waiting

    def __bool__(self) -> bool:
        """Whether any job waits."""
        return bool(self._waiting)

    def add(self, job_id: str, job: m.Reconstruct | m.Generate) -> None:
        """A job that waits."""
        self._waiting[job_id] = job

    def ask(self, worker: Worker) -> list[str]:
        """Asks about those that nobody was asked about. Returns which these are."""
        asked = [job_id for job_id in self._waiting if job_id not in self._asked]
        for job_id in asked:
            self._asked.add(job_id)
            worker.send(Name(job_id, self._waiting[job_id]))
        return asked

    def take(self, job_id: str) -> m.Reconstruct | m.Generate | None:
        """A job that waits no more; None where it did not."""
        self._asked.discard(job_id)
        return self._waiting.pop(job_id, None)

    def worker_ended(self) -> list[str]:
        """The jobs that it was asked about and had not answered for."""
        asked = [job_id for job_id in self._waiting if job_id in self._asked]
        self._asked.clear()
        return asked
