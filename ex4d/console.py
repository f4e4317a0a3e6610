# SPDX-License-Identifier: Apache-2.0
"""What a long command shows on the terminal, and the folder that it writes to."""

from __future__ import annotations

import contextlib
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from ex4d.files import disk_error
from ex4d.values import U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

PARTS = ("scene", "conditioning")  # folders that every kind of shot is made from


class Console:
    """Progress on stderr: one line a phase, kept up to date where a person watches. For `with`."""

    def __init__(self) -> None:
        self._phase = ""
        self._watched = sys.stderr.isatty()

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()  # what went wrong stands on a line of its own

    def progress(self, phase: str, done: int, total: int) -> None:
        """Rewrites the line of this phase; in a log, tells each phase once."""
        if phase != self._phase:
            self.end()
            self._phase = phase
            if not self._watched:
                sys.stderr.write(f"{phase}\n")
        if self._watched:
            sys.stderr.write(f"\r{phase}: {done}/{total}")
            sys.stderr.flush()

    def file(self, name: str) -> None:
        """Files are not listed one by one."""

    def glimpse(self, picture: U8) -> None:
        """A terminal shows no pictures."""

    def end(self) -> None:
        """Leaves the last line as it is."""
        if self._watched and self._phase:
            sys.stderr.write("\n")
        self._phase = ""


@contextlib.contextmanager
def output_folder(folder: Path) -> Iterator[Path]:
    """An output folder with nothing in it, so that nothing is written over.

    When the block fails or is stopped, what it made is removed again, and so are folders that were made for it: the
    same command can then be repeated.
    """
    try:
        if folder.is_dir() and any(folder.iterdir()):
            raise Ex4dError(
                BAD_INPUT, f"{folder} already has files in it.", "Name another --output_dir, or empty that one."
            )
        made = [path for path in (folder, *folder.parents) if not path.exists()]
    except OSError as error:
        raise disk_error(folder, error) from error
    try:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise disk_error(folder, error) from error
        yield folder
    except BaseException:
        with contextlib.suppress(OSError):  # what went wrong first is what is told
            _emptied(folder)
            for path in made:
                path.rmdir()
        raise


def _emptied(folder: Path) -> None:
    """Removes all that is in a folder, if there is one; it was empty before the command."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
