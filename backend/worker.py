# SPDX-License-Identifier: Apache-2.0
"""The worker process: `python -m backend.worker --state DIR`, started by the server, one job at a time.

Only its stdin and stdout connect it to the server. When stdin closes, the server is gone, and the process ends at
once, whatever it is doing: no worker is ever left behind.
"""

from __future__ import annotations

import argparse
import logging
import os
import queue
import shutil
import sys
import threading
from collections.abc import Callable, Container
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from shared_protocol import messages as m
from shared_protocol.errors import Ex4dError

from . import logs, pipe
from .state_folder import Folders

_log = logging.getLogger(__name__)


class _Inbox:
    """Reads the pipe in a thread of its own, so that a cancel arrives while the work goes on."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._runs: queue.SimpleQueue[pipe.Run] = queue.SimpleQueue()
        self._names: queue.SimpleQueue[pipe.Name] = queue.SimpleQueue()  # questions which artifact a job makes
        self._stopped = ""
        threading.Thread(target=self._read, daemon=True, name="inbox").start()

    def _read(self) -> None:
        try:
            while (message := pipe.receive(self._stream)) is not None:
                if isinstance(message, pipe.Run):
                    self._stopped = ""
                    self._runs.put(message)
                elif isinstance(message, pipe.Name):
                    self._names.put(message)
                elif isinstance(message, pipe.Stop):
                    self._stopped = message.artifact
        except (OSError, Ex4dError):
            _log.exception("the pipe to the server is broken")
        finally:
            os._exit(0)  # the main thread may be deep in a library; nothing half-written can be taken for whole

    def answer_names(self, answer: Callable[[pipe.Name], None], known: Container[str]) -> None:
        """Has `answer` called for each question, one at a time for each of the doors that are `known`, in threads of
        their own."""

        def hand_out() -> None:
            lanes: dict[str, ThreadPoolExecutor] = {}
            while True:
                question = self._names.get()
                job = question.job
                door = job.generator if isinstance(job, m.Generate) else job.estimator
                lane = f"{type(job).__name__} {door if door in known else ''}"
                lanes.setdefault(lane, ThreadPoolExecutor(1, f"names of {lane}")).submit(answer, question)

        threading.Thread(target=hand_out, daemon=True, name="names").start()

    def next(self) -> pipe.Run:
        """Waits for work."""
        return self._runs.get()

    def stopped(self, artifact: str) -> bool:
        """Whether this run was cancelled."""
        return self._stopped == artifact


def _take_pipes() -> tuple[BinaryIO, BinaryIO]:
    """Takes stdin and stdout away from everything else: a library that prints, or a child process, cannot disturb."""
    stdin, stdout = os.dup(0), os.dup(1)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    sys.stdout = sys.stderr
    return os.fdopen(stdin, "rb"), os.fdopen(stdout, "wb")


def main() -> None:
    """Runs until the server closes the pipe."""
    parser = argparse.ArgumentParser(prog="python -m backend.worker", description="Started by ex4d-backend.")
    parser.add_argument("--state", type=Path, required=True)
    folders = Folders(parser.parse_args().state)
    stdin, stdout = _take_pipes()
    logs.set_up_worker()
    inbox = _Inbox(stdin)
    for left in folders.temp.glob("*"):  # by a worker that was killed
        shutil.rmtree(left, ignore_errors=True)
    from . import doors, work  # they load the engine, when the pipe is already watched

    writing = threading.Lock()

    def send(message: pipe.PipeMessage) -> None:
        with writing:
            pipe.send(stdout, message)

    def answer_name(question: pipe.Name) -> None:
        artifact, failure = "", None
        try:
            artifact = work.artifact_of(question.job, folders)
        except Ex4dError as exc:
            failure = m.Failure(exc.code, exc.message, exc.hint)
        send(pipe.Named(question.job_id, artifact, failure))

    send(pipe.Ready(doors.doors()))
    # Weights are read once to know them: minutes, in which the work goes on, and in which jobs of other generators and
    # estimators, previews and drafts above all, are not kept waiting.
    inbox.answer_names(answer_name, doors.names_of_doors())
    while True:
        run = inbox.next()
        error: m.Failure | None = None
        made = run.artifact
        try:
            made = work.perform(run, folders, send, lambda a=run.artifact: inbox.stopped(a))  # type: ignore[misc]
        except Ex4dError as exc:
            error = m.Failure(exc.code, exc.message, exc.hint)
        send(pipe.Ended(run.artifact, error) if made == run.artifact else pipe.Moved(run.artifact, made))


if __name__ == "__main__":
    main()
