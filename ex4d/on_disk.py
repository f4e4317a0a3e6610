# SPDX-License-Identifier: Apache-2.0
"""Arrays of a whole clip that lie in files: as long as a clip may be, they take no main memory.

They are numpy arrays all the same. What was read or written of one stays in memory until `forget` or until the system
wants it back.
"""

from __future__ import annotations

import errno
import mmap
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ex4d import lock
from ex4d.files import disk_error
from shared_protocol.errors import DISK, Ex4dError

T = TypeVar("T", bound=np.generic)

FORGET_EVERY = 16  # frames

_PREFIX = ".arrays-"
_LOCK = "lock"
_ATTEMPTS = 3
_ZEROS = bytes(4 << 20)
_ADVICE = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows, which takes memory back by itself


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """A folder for such arrays that is gone at the end, whatever happens.

    What a process that was killed left in `parent` is removed first.

    Args:
        parent: where to make it, made if missing: a place on the disk that the result goes to. None = the system's
            folder for temporary files, which may be no disk at all but memory.

    Raises:
        Ex4dError: DISK when it cannot be made.
    """
    place = parent or Path(tempfile.gettempdir())
    sweep(place)
    try:
        place.mkdir(parents=True, exist_ok=True)
        folder, held = _locked_folder(place)
    except OSError as error:
        raise disk_error(place, error) from error
    try:
        yield folder
    finally:
        held.close()  # first: Windows removes no open file, and none that is mapped; those the next run sweeps away
        shutil.rmtree(folder, ignore_errors=True)


def sweep(parent: Path) -> None:
    """Removes the workspaces in a folder whose processes have ended without doing so."""
    for folder in parent.glob(f"{_PREFIX}*"):
        with suppress(OSError):
            with (folder / _LOCK).open("ab") as held:
                lock.take(held)
                shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)  # on Windows the lock is left until now


def disk_array(folder: Path, name: str, shape: tuple[int, ...], kind: type[T], *, extend: bool = False) -> NDArray[T]:
    """An array of zeros in a file. Its place on the disk is taken at once, so that it cannot run out later.

    Args:
        folder: a workspace.
        name: of the file. One that is there is replaced; arrays that lie in it keep what they have.
        shape: of the array.
        kind: of its numbers.
        extend: keep the file's content, and make it longer: the array begins with what was in it before.

    Raises:
        Ex4dError: DISK when there is no room for it.
    """
    path = folder / name
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    if not size:
        return np.zeros(shape, kind)
    try:
        if not extend:
            path.unlink(missing_ok=True)
        there = path.stat().st_size if path.exists() else 0
        free = shutil.disk_usage(folder).free
        if size - there > free:
            raise Ex4dError(
                DISK,
                f"{(size - there) / 2**30:.1f} GiB are needed in {folder.parent}, and {free / 2**30:.1f} GiB are free.",
                "Free some space, or use fewer or smaller frames.",
            )
        try:
            with path.open("ab") as file:
                _reserve(file, there, size)
            return np.memmap(path, kind, "r+", shape=shape)
        except OSError:
            if not there:
                path.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise disk_error(path, error) from error


class Arrays:
    """A maker of arrays in a workspace, or in main memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def new(self, name: str, shape: tuple[int, ...], kind: type[T]) -> NDArray[T]:
        """An array of zeros; see `disk_array`."""
        return np.zeros(shape, kind) if self._folder is None else disk_array(self._folder, name, shape, kind)


def streamed(array: NDArray[T]) -> Iterator[NDArray[T]]:
    """The frames of an array, one after the other. What was read or written of it until then is let go of."""
    for index in range(len(array)):
        yield array[index]
        if (index + 1) % FORGET_EVERY == 0:
            forget(array)
    forget(array)


def forget(*arrays: NDArray[Any] | None) -> None:
    """Lets go of the memory of what was read or written of such arrays; of others, nothing happens."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if isinstance(mapped, mmap.mmap) and _ADVICE is not None:
            mapped.madvise(_ADVICE)


def _locked_folder(parent: Path) -> tuple[Path, IO[bytes]]:
    """A new folder, and the lock in it that tells that it is in use."""
    attempts = _ATTEMPTS
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        try:
            held = (folder / _LOCK).open("ab")
            try:
                lock.take(held)
                (folder / _LOCK).stat()
                return folder, held
            except OSError:
                held.close()
                raise
        except OSError:  # another process swept it away in the moment before it was locked
            shutil.rmtree(folder, ignore_errors=True)
            attempts -= 1
            if not attempts:
                raise


def _reserve(file: IO[bytes], there: int, size: int) -> None:
    """Takes place on the disk: a mapped file that the disk has no room for would end the process."""
    if sys.platform == "win32":
        file.truncate(size)  # takes it, where files are not told to be sparse
        return
    if hasattr(os, "posix_fallocate"):
        try:
            os.posix_fallocate(file.fileno(), 0, size)
            return
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.EOPNOTSUPP):  # file systems that know no such thing
                raise
    while there < size:
        there += file.write(_ZEROS[: size - there])
