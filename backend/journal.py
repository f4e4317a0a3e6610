# SPDX-License-Identifier: Apache-2.0
"""What must survive a `kill -9`: jobs, and the files that are finished. SQLite with a write-ahead log.

A call that returns has reached the disk. Every table is small: one row a job, one a file.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from shared_protocol import messages as m
from shared_protocol.errors import DISK, UNSUPPORTED, Ex4dError
from shared_protocol.plain import from_plain, to_plain

Job = m.Reconstruct | m.Render | m.Generate
KINDS: Final[dict[str, type[Job]]] = {
    "reconstruct": m.Reconstruct,
    "render": m.Render,
    "generate": m.Generate,
}

_VERSION: Final = 1
_TABLES: Final = """
CREATE TABLE artifacts(
    artifact TEXT PRIMARY KEY, kind TEXT NOT NULL, spec TEXT NOT NULL, complete INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE jobs(
    job_id TEXT PRIMARY KEY, artifact TEXT NOT NULL REFERENCES artifacts, kind TEXT NOT NULL, state TEXT NOT NULL,
    phase TEXT NOT NULL, done INTEGER NOT NULL, total INTEGER NOT NULL,
    code TEXT, message TEXT, hint TEXT,
    deaths INTEGER NOT NULL DEFAULT 0, created REAL NOT NULL, updated REAL NOT NULL
) STRICT;
CREATE INDEX jobs_by_state ON jobs(state);
CREATE TABLE files(
    position INTEGER PRIMARY KEY AUTOINCREMENT, artifact TEXT NOT NULL REFERENCES artifacts, name TEXT NOT NULL,
    size INTEGER NOT NULL, sha256 TEXT NOT NULL, UNIQUE(artifact, name) ON CONFLICT REPLACE
) STRICT;
"""
_JOB = "job_id, kind, state, phase, done, total, artifact, code, message, hint"


class Journal:
    """Used from one thread.

    Args:
        path: the file; made when missing.
        read_only: to look into the journal of a server that may be running.

    Raises:
        Ex4dError: DISK when it cannot be read or written; UNSUPPORTED for one of a newer release.
    """

    def __init__(self, path: Path, read_only: bool = False) -> None:
        self._path = path
        with self._errors():
            mode = "ro" if read_only else "rwc"
            self._db = sqlite3.connect(f"{path.absolute().as_uri()}?mode={mode}", uri=True, isolation_level=None)
            try:
                self._check_version() if read_only else self._open()
            except BaseException:
                self._db.close()
                raise

    def _open(self) -> None:
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA foreign_keys=ON")
        damage = self._db.execute("PRAGMA quick_check(1)").fetchone()[0]
        if damage != "ok":
            raise sqlite3.DatabaseError(damage)
        if self._db.execute("PRAGMA user_version").fetchone()[0] == 0:
            self._db.executescript(f"BEGIN; {_TABLES} PRAGMA user_version={_VERSION}; COMMIT;")
        self._check_version()

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version != _VERSION:
            raise Ex4dError(
                UNSUPPORTED,
                f"The job records {self._path} have version {version}, and this release uses {_VERSION}.",
                "Update the backend, or choose another folder with --state.",
            )

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as exc:
            raise Ex4dError(
                DISK,
                f"The job records {self._path} cannot be used: {exc}.",
                "Free some space, or move the file away.",
            ) from exc

    @contextmanager
    def _write(self) -> Iterator[sqlite3.Connection]:
        """One transaction."""
        with self._errors():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    # ---- jobs

    def add(self, job_id: str, artifact: str, kind: str, job: Job, state: str) -> None:
        """Records a new job (and its artifact, if that is new)."""
        now = time.time()
        with self._write() as db:
            spec = json.dumps(to_plain(job))
            db.execute(
                "INSERT OR IGNORE INTO artifacts(artifact, kind, spec) VALUES(?, ?, ?)",
                (artifact, kind, spec),
            )
            db.execute(
                "INSERT INTO jobs(job_id, artifact, kind, state, phase, done, total, created, updated) "
                "VALUES(?, ?, ?, ?, '', 0, 0, ?, ?)",
                (job_id, artifact, kind, state, now, now),
            )

    def update(self, info: m.JobInfo) -> None:
        """Records where a job stands."""
        e = info.error
        with self._write() as db:
            db.execute(
                "UPDATE jobs SET state=?, phase=?, done=?, total=?, artifact=?, code=?, message=?, hint=?, updated=? "
                "WHERE job_id=?",
                (info.state, info.phase, info.done, info.total, info.artifact)
                + ((e.code, e.message, e.hint) if e else (None, None, None))
                + (time.time(), info.job_id),
            )

    def job(self, job_id: str) -> m.JobInfo | None:
        """Where a job stands, as recorded."""
        with self._errors():
            row = self._db.execute(f"SELECT {_JOB} FROM jobs WHERE job_id=?", (job_id,)).fetchone()  # noqa: S608
        return _info(row) if row else None

    def unfinished(self) -> list[m.JobInfo]:
        """Queued and running jobs, oldest first."""
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_JOB} FROM jobs WHERE state IN ('queued', 'running') ORDER BY created, rowid"  # noqa: S608
            ).fetchall()
        return [_info(row) for row in rows]

    def latest(self, limit: int) -> list[tuple[m.JobInfo, float]]:
        """The newest jobs and when each was last changed (seconds since 1970), newest first."""
        with self._errors():
            rows = self._db.execute(
                f"SELECT {_JOB}, updated FROM jobs ORDER BY created DESC, rowid DESC LIMIT ?",  # noqa: S608
                (limit,),
            ).fetchall()
        return [(_info(row[:-1]), row[-1]) for row in rows]

    def interrupt_running(self) -> int:
        """Puts running jobs back into the queue. Returns how many."""
        with self._write() as db:
            return db.execute(
                "UPDATE jobs SET state='queued', updated=? WHERE state='running'",
                (time.time(),),
            ).rowcount

    def count_death(self, job_id: str) -> int:
        """Counts that the worker died while it had the job. Returns how often that was."""
        with self._write() as db:
            row = db.execute(
                "UPDATE jobs SET deaths=deaths+1, updated=? WHERE job_id=? RETURNING deaths", (time.time(), job_id)
            ).fetchone()
        return int(row[0]) if row else 0

    # ---- artifacts

    def add_artifact(self, artifact: str, kind: str, job: Job) -> None:
        """Records what an artifact is made of, unless that is recorded."""
        with self._write() as db:
            _add_artifact(db, artifact, kind, job)

    def artifact(self, artifact: str) -> tuple[str, Job, bool] | None:
        """Kind, job that makes it, and whether it is complete."""
        with self._errors():
            row = self._db.execute(
                "SELECT kind, spec, complete FROM artifacts WHERE artifact=?", (artifact,)
            ).fetchone()
        return (row[0], from_plain(KINDS[row[0]], json.loads(row[1])), bool(row[2])) if row else None

    def set_complete(self, artifact: str, complete: bool) -> None:
        """Records whether an artifact has all of its files."""
        with self._write() as db:
            db.execute("UPDATE artifacts SET complete=? WHERE artifact=?", (complete, artifact))

    def add_file(self, artifact: str, file: m.FileInfo) -> None:
        """Records a finished file: it must be on the disk by now."""
        with self._write() as db:
            db.execute(
                "INSERT INTO files(artifact, name, size, sha256) VALUES(?, ?, ?, ?)",
                (artifact, file.name, file.size, file.sha256),
            )

    def forget_file(self, artifact: str, name: str) -> None:
        """Forgets a file that is gone from the disk."""
        with self._write() as db:
            db.execute("DELETE FROM files WHERE artifact=? AND name=?", (artifact, name))

    def file(self, artifact: str, name: str) -> m.FileInfo | None:
        """A finished file."""
        with self._errors():
            row = self._db.execute(
                "SELECT name, size, sha256 FROM files WHERE artifact=? AND name=?", (artifact, name)
            ).fetchone()
        return m.FileInfo(*row) if row else None

    def files(self, artifact: str, after: int = 0, limit: int = -1) -> list[tuple[int, m.FileInfo]]:
        """Finished files with their positions, in the order in which they were finished.

        Args:
            artifact: its id.
            after: only files with a higher position.
            limit: at most so many; -1 = all.
        """
        with self._errors():
            rows = self._db.execute(
                "SELECT position, name, size, sha256 FROM files WHERE artifact=? AND position>? "
                "ORDER BY position LIMIT ?",
                (artifact, after, limit),
            ).fetchall()
        return [(row[0], m.FileInfo(*row[1:])) for row in rows]


def _add_artifact(db: sqlite3.Connection, artifact: str, kind: str, job: Job) -> None:
    spec = json.dumps(to_plain(job))
    db.execute("INSERT OR IGNORE INTO artifacts(artifact, kind, spec) VALUES(?, ?, ?)", (artifact, kind, spec))


def _info(row: tuple[str, str, str, str, int, int, str, str | None, str, str]) -> m.JobInfo:
    job_id, kind, state, phase, done, total, artifact, code, message, hint = row
    error = None if code is None else m.Failure(code, message, hint)
    return m.JobInfo(job_id, kind, state, phase, done, total, artifact, error)
