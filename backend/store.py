# SPDX-License-Identifier: Apache-2.0
"""Files of the backend: uploaded assets (`assets/<sha256>`) and artifacts (`artifacts/<id>/...`).

No path that a client sends is ever used: clients name hashes and ids, and files that the journal lists.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from pathlib import Path
from typing import Final

from ex4d.files import UNFINISHED
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, DISK, NOT_FOUND, Ex4dError
from shared_protocol.limits import is_file_name, is_id

MAX_CHUNK: Final = 1 << 20  # bytes of a file in one answer
_SPARE: Final = 256 << 20  # bytes of the disk that uploads leave free


def disk_error(exc: OSError, what: str) -> Ex4dError:
    """The error for a file operation that failed."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return Ex4dError(DISK, f"The backend's disk is full: {what}.", "Free some space and try again.")
    return Ex4dError(DISK, f"The backend cannot write: {what}: {exc.strerror or exc}.", "Look into the backend's log.")


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder survive a power cut. Windows has no such call and needs none."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sha256_of(path: Path) -> str:
    """Hash of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _safe(name: str, allowed: bool) -> str:
    """A name that becomes part of a path. The codec lets nothing else through; this holds without it, too."""
    if not allowed:
        raise Ex4dError(BAD_INPUT, f"{name[:80]!r} is no name of a file in the store.")
    return name


class Assets:
    """Uploads, content-addressed, resumable: bytes gather in `<sha256>.part` until all are there and fit the hash."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, sha256: str) -> Path:
        """Where a whole asset lies."""
        return self._folder / _safe(sha256, is_id(sha256))

    def _part(self, asset: m.Asset) -> Path:
        return self.path(asset.sha256).with_suffix(".part")

    def whole(self, asset: m.Asset) -> bool:
        """Whether the asset is here."""
        try:
            return self.path(asset.sha256).stat().st_size == asset.size
        except FileNotFoundError:
            return False

    def received(self, asset: m.Asset) -> int:
        """How many bytes from the start are here. Equal to the size of one that is not `whole`: call `finish`.

        Raises:
            Ex4dError: DISK where the rest would not fit on the disk.
        """
        if self.whole(asset):
            return asset.size
        part = self._part(asset)
        try:
            size = part.stat().st_size if part.exists() else 0
            if size > asset.size:  # not begun by a client that told the same size
                part.unlink()
                size = 0
            free = shutil.disk_usage(self._folder).free
        except OSError as exc:
            raise disk_error(exc, f"'{asset.name}'") from exc
        if asset.size - size > max(free - _SPARE, 0):
            raise Ex4dError(
                DISK,
                f"'{asset.name}' has {asset.size / 1e6:,.0f} MB; the backend's disk has {free / 1e6:,.0f} MB free.",
                "Free some space and try again.",
            )
        return size

    def append(self, asset: m.Asset, offset: int, data: bytes) -> int:
        """Adds bytes. Returns how many are here now; bytes for another place than the end change nothing.

        Raises:
            Ex4dError: BAD_INPUT for bytes beyond the asset's size, DISK.
        """
        here = self.received(asset)
        if here == asset.size or offset != here:
            return here
        if not data or offset + len(data) > asset.size:
            raise Ex4dError(BAD_INPUT, f"'{asset.name}' came with a chunk of {len(data):,} bytes, which does not fit.")
        try:
            with open(self._part(asset), "ab") as file:
                file.write(data)
        except OSError as exc:
            self._cut(asset, here)
            raise disk_error(exc, f"'{asset.name}'") from exc
        return here + len(data)

    def _cut(self, asset: m.Asset, size: int) -> None:
        """Takes half-written bytes away."""
        try:
            os.truncate(self._part(asset), size)
        except OSError:
            self._part(asset).unlink(missing_ok=True)

    def finish(self, asset: m.Asset) -> None:
        """Checks the hash of an asset whose bytes are all here, and keeps it. Reads the whole file: slow.

        Raises:
            Ex4dError: BAD_INPUT where the hash differs (the bytes are thrown away), DISK.
        """
        part = self._part(asset)
        try:
            if sha256_of(part) != asset.sha256:
                part.unlink()
                raise Ex4dError(BAD_INPUT, f"'{asset.name}' arrived damaged or changed on the way.", "Upload it again.")
            with open(part, "rb+") as file:
                os.fsync(file.fileno())
            os.replace(part, self.path(asset.sha256))
            sync_folder(self._folder)
        except OSError as exc:
            raise disk_error(exc, f"'{asset.name}'") from exc


class Artifacts:
    """Folders of finished files."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def folder(self, artifact: str) -> Path:
        """Where an artifact's files lie."""
        return self._folder / _safe(artifact, is_id(artifact))

    def missing(self, artifact: str, files: list[m.FileInfo]) -> list[str]:
        """Names of recorded files that are gone from the disk, or have another size (someone tidied up)."""
        gone = []
        for file in files:
            try:
                if (self.folder(artifact) / file.name).stat().st_size != file.size:
                    gone.append(file.name)
            except OSError:
                gone.append(file.name)
        return gone

    def read(self, artifact: str, file: m.FileInfo, offset: int, length: int) -> bytes:
        """Bytes of a file that the journal lists, at most `MAX_CHUNK`.

        Raises:
            Ex4dError: NOT_FOUND when it is gone.
        """
        path = self.folder(artifact) / _safe(file.name, is_file_name(file.name))
        try:
            with open(path, "rb") as f:
                f.seek(offset)
                return f.read(min(length, MAX_CHUNK))
        except OSError as exc:
            raise Ex4dError(NOT_FOUND, f"{file.name} is gone from the backend's store.", "Run the job again.") from exc

    def sweep(self, artifact: str, recorded: frozenset[str]) -> None:
        """Removes what no journal entry names: halves of files, and files whose end was never recorded.

        A file that is there afterwards is whole and on the disk, so a job may skip it. What a generator keeps to go on
        from is its own, never a file of the artifact, and stays.

        Raises:
            Ex4dError: DISK.
        """
        folder = self.folder(artifact)
        try:
            for path in sorted(folder.rglob("*")):
                place = path.relative_to(folder)
                if place.parts[0] == UNFINISHED:
                    continue
                if (path.is_file() or path.is_symlink()) and place.as_posix() not in recorded:
                    path.unlink()
        except OSError as exc:
            raise disk_error(exc, f"{artifact[:12]} cannot be tidied up") from exc
