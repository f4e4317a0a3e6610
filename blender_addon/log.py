# SPDX-License-Identifier: GPL-3.0-or-later
"""The extension's log file, in the user's own folder of the extension."""

from __future__ import annotations

import logging
import logging.handlers
from pathlib import Path

from . import places

_MAX_BYTES, _KEPT = 1_000_000, 2

_handlers: list[logging.Handler] = []


def file() -> Path:
    """Where the log is."""
    return places.user_folder() / "ex4d.log"


def register() -> None:
    """Write what this package and the protocol say into the file."""
    target = file()
    target.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.handlers.RotatingFileHandler(
        target, maxBytes=_MAX_BYTES, backupCount=_KEPT, encoding="utf-8", delay=True
    )
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    for name in (__package__, "shared_protocol"):
        logger = logging.getLogger(name)
        logger.setLevel(logging.INFO)
        logger.addHandler(handler)
    _handlers.append(handler)


def unregister() -> None:
    """Close the file."""
    while _handlers:
        handler = _handlers.pop()
        for name in (__package__, "shared_protocol"):
            logging.getLogger(name).removeHandler(handler)
        handler.close()
