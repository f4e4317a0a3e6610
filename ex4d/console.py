# SPDX-License-Identifier: Apache-2.0
"""What a long command shows on the terminal, and the folder that it writes to."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from ex4d.files import disk_error
from ex4d.pace import Pace
from ex4d.values import U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

_TELL_S = 5.0  # in a log: between two lines of a phase, beside a tenth of it
PARTS = ("scene", "conditioning")  # folders that every kind of shot is made from


class Console:
    """Progress on stderr, with the time that is left. For `with`.

    Where a person watches, one line a phase is kept up to date. In a log, each phase is told when it begins, and a
    long one now and then.
    """

    def __init__(self, glimpses: Path | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        """`glimpses`: the PNG that shows how the unfinished result looks; None = it is not kept. `clock`: seconds."""
        self._glimpses, self._clock = glimpses, clock
        self._phase = ""
        self._watched = sys.stderr.isatty()
        self._pace = Pace()
        self._told = (0.0, 0)  # in a log: when, and how many tenths of the phase were done

    def __enter__(self) -> Console:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()  # what went wrong stands on a line of its own

    def progress(self, phase: str, done: int, total: int) -> None:
        """Tells how far a phase is, and about how long it will take from here on."""
        now, tenth = self._clock(), 10 * done // max(total, 1)
        if phase != self._phase:
            self.end()
            self._phase = phase
            self._told = (now, tenth)
            if not self._watched:
                sys.stderr.write(f"{phase}\n")
        left = self._pace.seconds_left(phase, done, total, now)
        line = f"{phase}: {done}/{total}" + (f", {_spoken(left)} left" if left else "")
        if self._watched:
            sys.stderr.write(f"\r{line}\x1b[K")  # and clear what a longer line left
            sys.stderr.flush()
        elif tenth > self._told[1] and now - self._told[0] >= _TELL_S:
            self._told = now, tenth
            sys.stderr.write(f"{line}\n")
            sys.stderr.flush()

    def file(self, name: str) -> None:
        """Files are not listed one by one."""

    def glimpse(self, picture: U8) -> None:
        """Keeps the latest one, where a place was named for it."""
        if self._glimpses is not None:
            from ex4d.images import write_png  # loads OpenCV, and most commands show no glimpses

            write_png(self._glimpses, picture)

    def end(self) -> None:
        """Leaves the last line as it is."""
        if self._watched and self._phase:
            sys.stderr.write("\n")
        self._phase = ""


def _spoken(seconds: int) -> str:
    minutes = round(seconds / 60)
    if seconds < 60:
        return f"{seconds} s"
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


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
            emptied(folder)
            for path in made:
                path.rmdir()
        raise


def emptied(folder: Path) -> None:
    """Removes all that is in a folder, if there is one."""
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
