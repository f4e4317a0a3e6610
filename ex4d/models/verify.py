# SPDX-License-Identifier: Apache-2.0
"""sha256 of model files: what goes into side-cars, and whether files are still what the hub says they are.

Large files take a minute to read, so the sums are kept, with size and time of the file, in a small file beside it
(`.ex4d-sha256.json`), or among the user's caches where that folder cannot be written.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ex4d.files import replacing
from ex4d.models.places import is_converted
from ex4d.models.record import Record
from ex4d.models.spec import ModelSpec
from shared_protocol.errors import DISK, NOT_FOUND, Ex4dError

_BESIDE: Final = ".ex4d-sha256.json"
_CHUNK: Final = 4 << 20  # bytes
_LOCK = threading.Lock()  # of the small files: files of one folder are summed by several threads

Progress = Callable[[int], None]  # is told how many bytes more were read


def fingerprint(path: Path) -> str:
    """sha256 of a file, in hex. It is read once; from then on size and time of change tell that it is the same.

    Raises:
        Ex4dError: NOT_FOUND when there is no such file, DISK when it cannot be read.
    """
    kept = _kept(path)
    return kept if kept is not None else measure(path)


def fingerprints(files: Mapping[str, Path], progress: Progress = lambda percent: None) -> dict[str, str]:
    """`fingerprint` of several files, by the same names.

    Args:
        files: by name.
        progress: told, while files are read, how many percent of those that have to be read are behind us; may raise.

    Raises:
        Ex4dError: as `fingerprint`.
    """
    known = {name: _kept(path) for name, path in files.items()}
    unread = {name: path for name, path in files.items() if known[name] is None}
    total = sum(path.stat().st_size for path in unread.values() if path.is_file())
    done, told = 0, -1

    def read(more: int) -> None:
        nonlocal done, told
        done += more
        percent = 100 * done // total if total else 100
        if percent != told:
            progress(percent)
            told = percent

    return {name: known[name] or measure(path, read) for name, path in files.items()}


def measure(path: Path, progress: Progress = lambda more: None) -> str:
    """sha256 of a file as it is on the disk now, whatever was kept of it; this is kept from then on.

    Raises:
        Ex4dError: as `fingerprint`.
    """
    try:
        before = _state(path)
        sha256 = read_sha256(path, progress)
        if _state(path) == before:
            keep(path, sha256)
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        raise Ex4dError(DISK, f"{path} cannot be read: {error.strerror or error}.", "Is the disk there?") from error
    return sha256


def read_sha256(path: Path, progress: Progress = lambda more: None) -> str:
    """sha256 of a file's bytes, in hex. Raises OSError when they cannot be read."""
    total = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            total.update(chunk)
            progress(len(chunk))
    return total.hexdigest()


def keep(path: Path, sha256: str) -> None:
    """Keeps the sum of a file, as it is now, for `fingerprint`."""
    size, time = _state(path)
    for store, name in _stores(path):
        with contextlib.suppress(Ex4dError), _LOCK:  # where neither can be written, the sum is made again next time
            items = {**_read(store), name: {"size": size, "mtime_ns": time, "sha256": sha256}}
            with replacing(store) as temporary:
                temporary.write_text(json.dumps(items, indent=1) + "\n", encoding="utf-8")
            return


@dataclass(frozen=True)
class Finding:
    """What is wrong with one file of a model."""

    path: str  # below the model's folder
    what: str  # a sentence's end: "is missing", ...


def check(spec: ModelSpec, folder: Path, record: Record, progress: Progress = lambda more: None) -> list[Finding]:
    """Reads every file of a model and compares it with its record.

    Returns:
        What is wrong, empty where all is well. A pickle that was converted may be gone.

    Raises:
        Ex4dError: DISK when a file cannot be read.
    """
    wrong = []
    for name, known in record.files.items():
        path = folder / name
        if not path.is_file():
            if not is_converted(spec, folder, name):
                wrong.append(Finding(name, "is missing"))
            continue
        size = path.stat().st_size
        if size != known.size:
            wrong.append(Finding(name, f"has {size} bytes instead of {known.size}"))
            continue
        found = measure(path, progress)
        if found != known.sha256:
            wrong.append(Finding(name, f"is damaged: sha256 {found[:12]}… instead of {known.sha256[:12]}…"))
    return wrong


def _state(path: Path) -> tuple[int, int]:
    about = path.stat()
    return about.st_size, about.st_mtime_ns


def _stores(path: Path) -> tuple[tuple[Path, str], ...]:
    """Where a file's sum may be kept, and under which name there."""
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache").expanduser()
    return (path.parent / _BESIDE, path.name), (caches / "ex4d" / "sha256.json", str(path.absolute()))


def _read(store: Path) -> dict[str, dict[str, object]]:
    try:
        told = json.loads(store.read_text(encoding="utf-8"))
    except (OSError, ValueError):  # missing or broken: the sums are made again
        return {}
    return {name: item for name, item in told.items() if isinstance(item, dict)} if isinstance(told, dict) else {}


def _kept(path: Path) -> str | None:
    try:
        size, time = _state(path)
    except OSError:
        return None
    for store, name in _stores(path):
        item = _read(store).get(name, {})
        if (item.get("size"), item.get("mtime_ns")) == (size, time) and isinstance(item.get("sha256"), str):
            return str(item["sha256"])
    return None
