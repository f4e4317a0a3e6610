# SPDX-License-Identifier: Apache-2.0
"""Arrays of a whole clip that lie in files: as long as a clip may be, they take no main memory.

They are numpy arrays all the same. What was read or written of one stays in memory until `forget` or until the system
wants it back.
"""

from __future__ import annotations

import mmap
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ex4d.files import disk_error
from shared_protocol.errors import DISK, Ex4dError

T = TypeVar("T", bound=np.generic)

_ADVICE = getattr(mmap, "MADV_DONTNEED", None)  # not on Windows, which takes memory back by itself


@contextmanager
def workspace(parent: Path | None = None) -> Iterator[Path]:
    """A folder for such arrays that is gone at the end, whatever happens.

    Args:
        parent: where to make it; None = the system's folder for temporary files.

    Raises:
        Ex4dError: DISK when it cannot be made.
    """
    try:
        folder = Path(tempfile.mkdtemp(prefix=".arrays-", dir=parent))
    except OSError as error:
        raise disk_error(parent or Path(tempfile.gettempdir()), error) from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def disk_array(folder: Path, name: str, shape: tuple[int, ...], kind: type[T]) -> NDArray[T]:
    """An array of zeros in a new file. Its place on the disk is taken at once, so that it cannot run out later.

    Raises:
        Ex4dError: DISK when there is no room for it.
    """
    path = folder / name
    size = int(np.prod(shape, dtype=np.int64)) * np.dtype(kind).itemsize
    free = shutil.disk_usage(folder).free
    if size > free:
        raise Ex4dError(
            DISK,
            f"{size / 2**30:.1f} GiB are needed in {folder}, and {free / 2**30:.1f} GiB are free.",
            "Free some space, or use fewer or smaller frames.",
        )
    if not size:
        return np.zeros(shape, kind)
    try:
        with path.open("wb") as file:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(file.fileno(), 0, size)  # a mapped file that the disk has no room for ends us
            else:
                file.truncate(size)
        return np.memmap(path, kind, "r+", shape=shape)
    except OSError as error:
        raise disk_error(path, error) from error


def forget(*arrays: NDArray[Any]) -> None:
    """Lets go of the memory of what was read or written of such arrays; of others, nothing happens."""
    for array in arrays:
        mapped = getattr(array, "_mmap", None)
        if isinstance(mapped, mmap.mmap) and _ADVICE is not None:
            mapped.madvise(_ADVICE)
