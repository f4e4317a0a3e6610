# SPDX-License-Identifier: Apache-2.0
"""Locks that end with the process that holds them, however it ends."""

from __future__ import annotations

import sys
from typing import IO


def take(file: IO[bytes]) -> None:
    """Locks an open file for this process alone, until it is closed.

    Raises:
        OSError: another process has it.
    """
    if sys.platform == "win32":
        import msvcrt

        file.seek(0)
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
    else:
        import fcntl

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
