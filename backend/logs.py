# SPDX-License-Identifier: Apache-2.0
"""Where log lines go: everything into `backend.log` (bounded), warnings as single lines to stderr. Never a key."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path
from typing import Final

from shared_protocol.errors import DISK, Ex4dError

_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
_MAX_BYTES: Final = 2 << 20
_KEPT: Final = 3


class _OneLine(logging.Formatter):
    """The message alone: a traceback is for the file."""

    def format(self, record: logging.LogRecord) -> str:
        text = f"{record.levelname.lower()}: {record.getMessage()}"
        return text.splitlines()[0]


def set_up(file: Path) -> None:
    """Sets up logging for the server process.

    Raises:
        Ex4dError: DISK.
    """
    try:
        to_file = logging.handlers.RotatingFileHandler(file, "a", _MAX_BYTES, _KEPT, encoding="utf-8")
    except OSError as exc:
        raise Ex4dError(DISK, f"The log {file} cannot be written: {exc.strerror}.") from exc
    to_file.setFormatter(logging.Formatter(_FORMAT))
    to_stderr = logging.StreamHandler()
    to_stderr.setFormatter(_OneLine())
    to_stderr.setLevel(logging.WARNING)
    logging.basicConfig(level=logging.INFO, handlers=[to_file, to_stderr], force=True)


def set_up_worker() -> None:
    """Sets up logging for the worker: its stderr is a pipe that the server copies into the file."""
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(name)s: %(message)s", force=True)
