# SPDX-License-Identifier: GPL-3.0-or-later
"""Starting the backend program and reading what it leaves behind."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from shared_protocol.errors import NOT_FOUND, UNAVAILABLE, UNREACHABLE, Ex4dError

from .project import disk_error

_LAST_BYTES = 4096  # of the log that are looked at for the reason of an early end


def start_program(command: tuple[str, ...], log_file: Path) -> subprocess.Popen[bytes]:
    """Start the backend so that it outlives Blender; its output goes to `log_file`.

    Raises:
        Ex4dError: NOT_FOUND or UNAVAILABLE when the program cannot be started, DISK for the log.
    """
    program = command[0]
    try:
        log_file.parent.mkdir(parents=True, exist_ok=True)
        log = log_file.open("ab")
    except OSError as e:
        raise disk_error(e, log_file) from e
    # A backend that is in Blender's process group would get its Ctrl+C, and on Windows its console window.
    detached: dict[str, object] = (
        {"creationflags": 0x00000008 | 0x00000200}  # DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP
        if os.name == "nt"
        else {"start_new_session": True}
    )
    try:
        with log:
            return subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                close_fds=True,
                env=_environment(),
                **detached,  # type: ignore[call-overload]
            )
    except FileNotFoundError as e:
        raise Ex4dError(
            NOT_FOUND, f"The backend program '{program}' is not there.", "Set 'Backend program' in the preferences."
        ) from e
    except OSError as e:
        raise Ex4dError(
            UNAVAILABLE,
            f"The backend program '{program}' does not start: {e.strerror or e}.",
            "Set 'Backend program' in the preferences.",
        ) from e


def _environment() -> dict[str, str]:
    """Ours, without what points another Python at Blender's own libraries."""
    return {k: v for k, v in os.environ.items() if k not in ("PYTHONHOME", "PYTHONPATH", "PYTHONSTARTUP")}


def ended_early(process: subprocess.Popen[bytes], log_file: Path) -> Ex4dError | None:
    """Why the program ended before it answered, or None while it runs."""
    code = process.poll()
    if code is None:
        return None
    reason = _last_line(log_file)
    text = f"The backend program ended with status {code}" + (f": {reason}" if reason else ".")
    return Ex4dError(UNREACHABLE, text, f"Its log is '{log_file}'.")


def _last_line(log_file: Path) -> str:
    try:
        with log_file.open("rb") as f:
            f.seek(0, os.SEEK_END)
            f.seek(max(0, f.tell() - _LAST_BYTES))
            lines = [x.strip() for x in f.read().decode("utf-8", "replace").splitlines() if x.strip()]
    except OSError:
        return ""
    return lines[-1][:200] if lines else ""


def connection_stamp(connection_file: Path) -> bytes:
    """The file's bytes, to see whether a backend wrote a new one; empty when it is not there."""
    try:
        return connection_file.read_bytes()
    except OSError:
        return b""


def backend_is_gone(stamp: bytes) -> bool:
    """True when the process that wrote this connection file on this machine has surely ended."""
    try:
        record = json.loads(stamp)
        pid = int(record["pid"]) if "//127." in record["address"] else 0
    except (ValueError, KeyError, TypeError):
        return False
    if os.name == "nt" or pid <= 0:
        return False  # asking for a process by its number ends it on Windows
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        return False
    return False
