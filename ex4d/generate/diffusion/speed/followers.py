# SPDX-License-Identifier: Apache-2.0
"""The processes of further GPUs, as the process that leads them sees them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import torch
import torch.distributed as dist

from shared_protocol.errors import WORKER_DIED, Ex4dError

_MODULE: Final = "ex4d.generate.diffusion.speed.rank"
_LOOK_S: Final = 1.0  # between two looks while others load
_END_S: Final = 10.0  # for a follower to end in order
_NEWS_S: Final = 3.0  # for news of a follower's end to arrive, after an exchange with it broke


class Followers:
    """Starts them, talks to them, notices when one ends, and ends them."""

    def __init__(self, job: Mapping[str, Any], devices: Sequence[str]) -> None:
        """Starts one process for each device.

        Args:
            job: what all are told, see `rank.serve`; rank and device are added.
            devices: one for each.
        """
        self._world = len(devices) + 1
        self._fault: Ex4dError | None = None
        self._ready = 0
        self._ending = False
        self._changed = threading.Condition()
        self._uses_nccl = job["backend"] == "nccl"
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
        self._processes: list[subprocess.Popen[str]] = []
        for rank, device in enumerate(devices, 1):
            process = subprocess.Popen(
                [sys.executable, "-m", _MODULE],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=environment,
                text=True,
                encoding="utf-8",
                start_new_session=True,  # Ctrl-C is the leader's, which then ends them
            )
            self._processes.append(process)
            threading.Thread(target=self._listen, args=(rank, process), daemon=True).start()
            self._write(process, {**job, "rank": rank, "device": device})

    def wait_ready(self, waiting: Callable[[], None]) -> None:
        """Until all have loaded the transformer.

        Raises:
            Ex4dError: when one ended instead.
        """
        while True:
            with self._changed:
                if self._ready == len(self._processes) or self._fault is not None:
                    break
                self._changed.wait(_LOOK_S)
            waiting()
        self.check()

    def tell(self, line: Mapping[str, Any]) -> None:
        """Says a line to all of them.

        Raises:
            Ex4dError: when one has ended.
        """
        self.check()
        for process in self._processes:
            self._write(process, line)

    def check(self) -> None:
        """Raises:
        Ex4dError: when one has ended.
        """
        if self._fault is not None:
            raise self._fault

    def fault(self, error: Exception) -> Ex4dError | None:
        """The follower's end that an error comes from, if it does."""
        if isinstance(error, (RuntimeError, OSError)) and not isinstance(error, torch.OutOfMemoryError):
            with self._changed:
                self._changed.wait_for(lambda: self._fault is not None, _NEWS_S)
            return self._fault
        return None

    def stop(self, orderly: bool) -> None:
        """Ends them all.

        Args:
            orderly: they listen, and are given the time to leave in order. Else they may wait in an exchange.
        """
        self._ending = True
        patience = time.monotonic() + (_END_S if orderly else 0.0)
        for process in self._processes:
            self._write(process, {"do": "end"})
        for process in self._processes:
            try:
                process.wait(max(0.0, patience - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with suppress(OSError):
                if process.stdin is not None:
                    process.stdin.close()

    def _write(self, process: subprocess.Popen[str], line: Mapping[str, Any]) -> None:
        with suppress(OSError):  # it has ended, which its listener tells
            if process.stdin is not None:
                process.stdin.write(json.dumps(line) + "\n")
                process.stdin.flush()

    def _listen(self, rank: int, process: subprocess.Popen[str]) -> None:
        told: Ex4dError | None = None
        for text in process.stdout or ():
            line = json.loads(text)
            if "ready" in line:
                with self._changed:
                    self._ready += 1
                    self._changed.notify_all()
            else:
                code, message, hint = line["error"]
                told = Ex4dError(code, f"GPU {rank + 1} of {self._world}: {message}", hint)
        status = process.wait()
        if self._ending:
            return
        fault = told or Ex4dError(
            WORKER_DIED,
            f"The process of GPU {rank + 1} of {self._world} ended (exit status {status}).",
            "Start it again: it goes on where it was. If it happens again, set gpus to 1.",
        )
        with self._changed:
            self._fault = self._fault or fault
            self._changed.notify_all()
        if self._uses_nccl:  # the leader may wait on its GPU for an answer that never comes
            with suppress(Exception):
                dist.distributed_c10d._abort_process_group()
