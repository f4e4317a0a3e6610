# SPDX-License-Identifier: Apache-2.0
"""Writing files so that nobody ever sees half of one."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from shared_protocol.errors import DISK, Ex4dError

TAKE = "take.json"  # in the folder of a take, written last
UNFINISHED = "unfinished"  # folder beside a take's files: what a generator that was interrupted goes on from

_TEMPORARY = re.compile(r"\..{0,40}-[a-z0-9_]{8}(\.\w+)?")  # names that `replacing` gives
_UMASK = os.umask(0o077)  # it can only be read by setting it: once, before there are threads that write files
os.umask(_UMASK)


@contextmanager
def replacing(path: Path, *, durable: bool = False) -> Iterator[Path]:
    """Gives the path of a temporary file to write; at the end it takes the place of `path` in one step.

    The temporary file lies in the same folder (a rename across file systems is a copy) and keeps the suffix (writers
    choose the format by it). When the block fails, it is removed and `path` stays as it was.

    Args:
        path: file to make or replace. Its folder is made when missing.
        durable: also flush the file and its folder entry to the disk, for what a journal records as finished.

    Raises:
        Ex4dError: DISK when the folder or file cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{path.stem[:40]}-", suffix=path.suffix, dir=path.parent)
        os.close(handle)
    except OSError as error:
        raise disk_error(path, error) from error
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o666 & ~_UMASK)  # mkstemp makes them private
        if durable:
            _flush(temporary, os.O_RDWR)
        os.replace(temporary, path)
        if durable and os.name == "posix":
            _flush(path.parent, os.O_RDONLY)
    except OSError as error:
        raise disk_error(path, error) from error
    finally:
        temporary.unlink(missing_ok=True)


def sweep(folder: Path) -> None:
    """Removes what is left of files that a process was writing when it was killed, from a folder that is ours alone."""
    for file in folder.rglob(".*"):
        if _TEMPORARY.fullmatch(file.name) and file.is_file():
            with suppress(OSError):
                file.unlink()


def disk_error(path: Path, error: OSError) -> Ex4dError:
    """The error to show when `path` could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Ex4dError(DISK, f"No space left on the disk to write {path}.", "Free some space and try again.")
    return Ex4dError(DISK, f"{path} could not be written: {error.strerror or error}.", "Choose another folder.")


def _flush(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
