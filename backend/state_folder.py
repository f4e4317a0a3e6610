# SPDX-License-Identifier: Apache-2.0
"""The backend's folder: `journal.sqlite3`, `assets/`, `artifacts/`, `depth/`, `temp/`, `backend.log`; one server at a
time."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import IO, Final

from ex4d.lock import take
from shared_protocol.errors import BAD_INPUT, DISK, UNSUPPORTED, Ex4dError

# SQLite's write-ahead log needs shared memory and locks that these do not keep between machines.
_NETWORK: Final = frozenset(
    "nfs nfs4 cifs smb3 smbfs afs ncpfs ceph lustre gpfs beegfs glusterfs pvfs2 9p "
    "fuse.sshfs fuse.glusterfs fuse.ceph-fuse fuse.s3fs fuse.rclone fuse.gcsfuse davfs fuse.davfs2".split()
)


def default_state() -> Path:
    """Where the backend keeps its state when it is not told: the user's own data folder."""
    if sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Application Support"
    else:
        base = Path(os.environ.get("XDG_STATE_HOME") or Path.home() / ".local" / "state")
    return base / "ex4d"


class Folders:
    """Paths inside a state folder."""

    def __init__(self, root: Path) -> None:
        self.root = root.absolute()
        self.journal = self.root / "journal.sqlite3"
        self.assets = self.root / "assets"
        self.artifacts = self.root / "artifacts"
        self.depth = self.root / "depth"  # as networks gave it, for further runs
        self.temp = self.root / "temp"
        self.log = self.root / "backend.log"
        self.connection_file = self.root / "connection.json"


class StateFolder(Folders):
    """A state folder that this process alone uses.

    Args:
        root: made with mode 0700 when missing.

    Raises:
        Ex4dError: UNSUPPORTED on a network file system, BAD_INPUT when another server has it, DISK.
    """

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self._lock: IO[bytes] | None = None
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            kind = _file_system(self.root)
            if kind in _NETWORK:
                raise Ex4dError(
                    UNSUPPORTED,
                    f"The state folder {self.root} lies on a network file system ({kind}).",
                    "Choose a folder on a local disk with --state.",
                )
            if os.name == "posix":
                self.root.chmod(0o700)
            self._take_lock()
            # What a server that was killed left behind.
            shutil.rmtree(self.temp, ignore_errors=True)
            self.connection_file.unlink(missing_ok=True)
            for folder in (self.assets, self.artifacts, self.temp):
                folder.mkdir(exist_ok=True)
        except OSError as exc:
            raise Ex4dError(
                DISK,
                f"The state folder {self.root} cannot be used: {exc.strerror}.",
                "Choose another with --state.",
            ) from exc

    def _take_lock(self) -> None:
        lock = open(self.root / "lock", "ab")  # held until the process ends
        try:
            take(lock)
        except OSError as exc:
            lock.close()
            raise Ex4dError(
                BAD_INPUT,
                f"Another backend already uses the state folder {self.root}.",
                "Stop it with 'ex4d-backend stop', or choose another folder with --state.",
            ) from exc
        self._lock = lock

    def close(self) -> None:
        """Gives the folder up."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None


def _file_system(path: Path) -> str:
    """Type of the file system that `path` lies on, "" where that cannot be told."""
    try:
        mounts = Path("/proc/mounts").read_text("utf-8", "replace")
    except OSError:
        return ""
    return _mount_type(mounts, str(path.resolve()))


def _mount_type(mounts: str, path: str) -> str:
    """Type of the mount that holds `path`; the last of the longest mount points, since mounts cover each other."""
    best, kind = -1, ""
    for line in mounts.splitlines():
        words = line.split(" ")
        if len(words) < 3:
            continue
        point = words[1].replace("\\040", " ").replace("\\011", "\t").replace("\\134", "\\")
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and len(point) >= best:
            best, kind = len(point), words[2]
    return kind
