# SPDX-License-Identifier: Apache-2.0
"""The connection file: where a backend listens and the keys that it accepts, readable by its owner alone.

Whoever can read it can use the backend; there is no other secret. It is new at each start of the backend and goes
when the backend ends.
"""

from __future__ import annotations

import json
import os
import re
import stat
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from .errors import BAD_INPUT, DISK, NOT_A_BACKEND, UNREACHABLE, Ex4dError
from .plain import from_plain

MAX_BYTES: Final = 16 << 10
_POSIX: Final = os.name == "posix"
_ADDRESS = re.compile(r"tcp://127(?:\.\d{1,3}){3}:(\d{1,5})")


@dataclass(frozen=True)
class Connection:
    """Everything a client needs. The keys are Z85 text (40 characters)."""

    address: str  # "tcp://127.0.0.1:49152"
    server_public: str
    client_public: str
    client_secret: str = field(repr=False)  # so that no log line can show it
    pid: int
    protocol: tuple[int, int]


def write(path: Path, connection: Connection) -> None:
    """Writes the file in one step with mode 0600. A missing folder is made with mode 0700.

    Raises:
        Ex4dError: DISK.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=".connection-", dir=path.parent)  # made with 0600
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                json.dump(asdict(connection), file, indent=1)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            os.unlink(name)
            raise
    except OSError as exc:
        raise Ex4dError(DISK, f"The connection file {path} cannot be written: {exc.strerror}.") from exc


def read(path: Path) -> Connection:
    """Reads the file.

    Raises:
        Ex4dError: UNREACHABLE where there is none; BAD_INPUT where others may read it, or it belongs to another user;
            NOT_A_BACKEND where it holds something else.
    """
    try:
        with open(path, "rb") as file:
            if _POSIX:
                _private(path, os.fstat(file.fileno()))
            data = file.read(MAX_BYTES + 1)
    except FileNotFoundError as exc:
        raise Ex4dError(UNREACHABLE, f"No backend is running: there is no connection file {path}.") from exc
    except OSError as exc:
        raise Ex4dError(UNREACHABLE, f"The connection file {path} cannot be read: {exc.strerror}.") from exc
    connection = _parse(data)
    if connection is None:
        raise Ex4dError(
            NOT_A_BACKEND,
            f"{path} is not a backend's connection file.",
            "Start the backend again to renew it.",
        )
    return connection


def remove(path: Path, connection: Connection) -> None:
    """Removes the file if it is still the one of this connection: a newer backend may have written its own."""
    try:
        if read(path).server_public == connection.server_public:
            path.unlink()
    except (Ex4dError, OSError):
        return  # gone, or someone else's


def _private(path: Path, status: os.stat_result) -> None:
    if status.st_uid != os.getuid():
        raise Ex4dError(BAD_INPUT, f"The connection file {path} belongs to another user.")
    if stat.S_IMODE(status.st_mode) & 0o077:
        raise Ex4dError(
            BAD_INPUT,
            f"Other users may open the connection file {path}, which holds a key.",
            "Stop the backend and start it again; it writes the file with mode 600.",
        )


def _parse(data: bytes) -> Connection | None:
    try:
        connection = from_plain(Connection, json.loads(data) if len(data) <= MAX_BYTES else None)
    except (ValueError, RecursionError, Ex4dError):
        return None
    keys = (connection.server_public, connection.client_public, connection.client_secret)
    found = _ADDRESS.fullmatch(connection.address)
    if found is None or int(found[1]) > 65535 or any(len(key) != 40 for key in keys):
        return None
    return connection
