# SPDX-License-Identifier: Apache-2.0
"""How a run in the worker tells the server how far it is."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from ex4d.values import U8
from shared_protocol import messages as m
from shared_protocol.errors import CANCELLED, Ex4dError
from shared_protocol.limits import MAX_GLIMPSE

from .pipe import Glimpse, Made, PipeMessage, Progress, Run
from .store import sha256_of, sync_folder

_NEWS_S: Final = 0.1  # least time between two messages about the same phase
_GLIMPSE_S: Final = 0.5  # least time between two glimpses


class Report:
    """`ex4d.pipeline.Report`: tells the server, makes files durable, and stops the work when that is asked for."""

    def __init__(
        self, run: Run, folder: Path, send: Callable[[PipeMessage], None], stopped: Callable[[], bool]
    ) -> None:
        self.folder = folder
        self._artifact = run.artifact
        self._send, self._stopped = send, stopped
        self._phase, self._told, self._shown = "", 0.0, 0.0
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)
        self._kept = {f.name: _stamp(folder / f.name) for f in run.done}

    def progress(self, phase: str, done: int, total: int) -> None:
        """See `ex4d.pipeline.Report`. Coalesced: a client needs no more than some ten a second."""
        self._stop_here()
        now = time.monotonic()
        if phase != self._phase or done == total or now - self._told >= _NEWS_S:
            self._phase, self._told = phase, now
            self._send(Progress(self._artifact, phase, done, total))

    def file(self, name: str) -> None:
        """See `ex4d.pipeline.Report`. The server records the file, so it must have reached the disk before."""
        self._stop_here()
        path = self.folder / name
        stamp = _stamp(path)
        if self._kept.get(name) == stamp:
            return
        with open(path, "rb+") as file:
            os.fsync(file.fileno())
        for folder in {path.parent, self.folder}:
            sync_folder(folder)
        self._kept[name] = stamp
        self._send(Made(self._artifact, m.FileInfo(name, path.stat().st_size, sha256_of(path))))

    def glimpse(self, picture: U8) -> None:
        """See `ex4d.pipeline.Report`. Large ones are scaled down; of many in a short time only some are told."""
        now = time.monotonic()
        if now - self._shown < _GLIMPSE_S:
            return
        self._shown = now
        height, width = picture.shape[:2]
        scale = MAX_GLIMPSE / max(width, height)
        if scale < 1.0:
            size = max(round(width * scale), 1), max(round(height * scale), 1)
            picture = np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)
        height, width = picture.shape[:2]
        self._send(Glimpse(self._artifact, width, height, picture.tobytes()))

    def _stop_here(self) -> None:
        if self._stopped():
            raise Ex4dError(CANCELLED, "Cancelled.")


def _stamp(path: Path) -> tuple[int, int, int]:
    """Differs as soon as a file was written anew."""
    status = path.stat()
    return status.st_ino, status.st_mtime_ns, status.st_size
