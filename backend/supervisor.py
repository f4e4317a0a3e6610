# SPDX-License-Identifier: Apache-2.0
"""The worker process as the server sees it: started, fed, listened to, started again."""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from shared_protocol.errors import Ex4dError

from . import pipe

_log = logging.getLogger(__name__)
_worker_log = logging.getLogger("backend.worker")

_END_S: Final = 5.0  # that the worker may take to end when its pipe is closed


@dataclass(frozen=True)
class Died:
    """The worker has ended by itself."""

    status: int  # exit status; negative: the signal that killed it


Event = pipe.PipeMessage | Died


class Worker:
    """One worker process. Three threads serve its pipes, so that no call here waits for it.

    Args:
        state: the state folder.
        deliver: called with each event, from another thread.
    """

    def __init__(self, state: Path, deliver: Callable[[Worker, Event], None]) -> None:
        self._deliver = deliver
        self._outbox: queue.SimpleQueue[pipe.PipeMessage | None] = queue.SimpleQueue()
        # The package is found where this one was, and nothing is imported from whatever the current folder holds.
        home = str(Path(__file__).resolve().parent.parent)
        env = dict(os.environ)
        env["PYTHONPATH"] = os.pathsep.join([home, *filter(None, [env.get("PYTHONPATH")])])
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "backend.worker", "--state", str(state)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=env,
            start_new_session=True,  # Ctrl-C in a terminal is for the server alone
            creationflags=getattr(subprocess, "CREATE_NO_WINDOW", 0),
        )
        self.pid = self._process.pid
        _log.info("worker %d started", self.pid)
        p = self._process
        if p.stdin is None or p.stdout is None or p.stderr is None:
            raise RuntimeError("the worker was started without pipes")
        for target, args in (
            (self._write, (p.stdin,)),
            (self._read, (p.stdout,)),
            (self._copy_log, (p.stderr,)),
        ):
            threading.Thread(target=target, args=args, daemon=True, name=target.__name__).start()

    def send(self, message: pipe.PipeMessage) -> None:
        """Hands a message over; it is written by another thread."""
        self._outbox.put(message)

    def kill(self) -> None:
        """Ends the worker at once; `Died` follows."""
        self._process.kill()

    def close(self) -> None:
        """Closes the worker's pipe, which ends it, and waits for that. No event follows that matters."""
        self._outbox.put(None)
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _write(self, stream: BinaryIO) -> None:
        try:
            with stream:
                while (message := self._outbox.get()) is not None:
                    pipe.send(stream, message)
        except OSError:
            return  # the worker is gone; its reader tells

    def _read(self, stream: BinaryIO) -> None:
        try:
            with stream:
                while (message := pipe.receive(stream)) is not None:
                    self._deliver(self, message)
        except Ex4dError as exc:
            _log.error("worker %d: %s", self.pid, exc)
            self._process.kill()
        self._outbox.put(None)
        status = self._process.wait()
        self._deliver(self, Died(status))

    def _copy_log(self, stream: BinaryIO) -> None:
        with stream:
            for line in stream:
                _worker_log.info("%s", line[:2000].decode("utf-8", "replace").rstrip())
