# SPDX-License-Identifier: Apache-2.0
"""Running ffmpeg: argument lists only, local files only, containers of a list only, never without a time limit."""

from __future__ import annotations

import functools
import logging
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from shared_protocol.errors import NOT_A_CLIP, UNAVAILABLE, Ex4dError

_log = logging.getLogger(__name__)

STALL_S = 60.0  # ffmpeg that gives nothing for so long is stuck: one frame takes far less

# Containers that ffmpeg may open. Playlists (hls, concat, ...) are left out on purpose: they are text that makes it
# read further files of its writer's choice.
CONTAINERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpegts,mpeg,mpegvideo,ogg,gif,apng,mxf,mxf_opatom,flv,asf,nut,dv,y4m,"
    "yuv4mpegpipe,ivf,obu,h264,hevc,m4v,av1,rm,mp3,wav,aac,flac,aiff,ac3,caf"
)


@functools.cache
def program() -> str:
    """Path of ffmpeg.

    Raises:
        Ex4dError: UNAVAILABLE when there is none.
    """
    import imageio_ffmpeg

    try:
        return str(imageio_ffmpeg.get_ffmpeg_exe())
    except RuntimeError as error:
        raise Ex4dError(
            UNAVAILABLE, "There is no ffmpeg to read and write movies with.", "Install imageio-ffmpeg again."
        ) from error


def source(path: Path) -> list[str]:
    """Arguments that open a file for reading and nothing else."""
    return [
        *("-protocol_whitelist", "file,pipe", "-format_whitelist", CONTAINERS),
        *("-i", f"file:{path.absolute()}"),  # with the protocol in front no file name can be taken for another
    ]


def command(*arguments: str) -> list[str]:
    """A whole command line."""
    return [program(), "-hide_banner", "-nostdin", "-nostats", *arguments]


def run(arguments: list[str], timeout_s: float) -> tuple[str, str]:
    """Runs ffmpeg to its end, whatever its exit status: what it printed is what counts.

    Returns:
        What it wrote to its output and to its log.

    Raises:
        Ex4dError: NOT_A_CLIP when it did not end in time.
    """
    line = command(*arguments)
    _log.debug("%s", line)
    try:
        done = subprocess.run(line, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout_s)
    except subprocess.TimeoutExpired as error:
        raise Ex4dError(NOT_A_CLIP, f"ffmpeg did not finish within {timeout_s:.0f} s.") from error
    return done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")


def version() -> tuple[str, str]:
    """Version of ffmpeg, and the licence that it was built under, as it says itself.

    Raises:
        Ex4dError: UNAVAILABLE when there is none.
    """
    said, _ = run(["-version"], 20.0)
    words = said.split()
    licence = "LGPL-2.1-or-later"
    if "--enable-gpl" in words:
        licence = "GPL-3.0-or-later" if "--enable-version3" in words else "GPL-2.0-or-later"
    elif "--enable-version3" in words:
        licence = "LGPL-3.0-or-later"
    if "--enable-nonfree" in words:
        licence = "not to be passed on (built with --enable-nonfree)"
    return words[2] if len(words) > 2 else "?", licence


class Stream:
    """A running ffmpeg: its pipe, and its log once it has ended."""

    def __init__(self, process: subprocess.Popen[bytes], log: IO[bytes]) -> None:
        self.process = process
        self._log = log
        self.last_sign = time.monotonic()
        self.stuck = False

    def alive(self) -> None:
        """To be called after each frame, so that the watch knows that things move."""
        self.last_sign = time.monotonic()

    def end(self) -> tuple[int, str]:
        """Waits for the end. Returns the exit status and the log."""
        code = self.process.wait()
        self._log.seek(0)
        return code, self._log.read().decode("utf-8", "replace")


@contextmanager
def stream(arguments: list[str], *, feed: bool = False, stall_s: float = STALL_S) -> Iterator[Stream]:
    """Starts ffmpeg with a pipe from its output (or, with `feed`, to its input); it is gone when the block ends.

    The log goes to a file, so that it can never fill a pipe and stop both sides. A watch ends a process that gives no
    sign of life for `stall_s` seconds.
    """
    line = command(*arguments)
    if feed:
        line.remove("-nostdin")
    _log.debug("%s", line)
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            line,
            stdin=subprocess.PIPE if feed else subprocess.DEVNULL,
            stdout=subprocess.DEVNULL if feed else subprocess.PIPE,
            stderr=log,
            bufsize=1 << 20,
        )
        running = Stream(process, log)
        over = threading.Event()

        def watch() -> None:
            while not over.wait(1.0):
                if time.monotonic() - running.last_sign > stall_s:
                    running.stuck = True
                    process.kill()
                    return

        watcher = threading.Thread(target=watch, name="ffmpeg-watch", daemon=True)
        watcher.start()
        try:
            yield running
        finally:
            over.set()
            if process.poll() is None:
                process.kill()
            for pipe in (process.stdin, process.stdout):
                if pipe is not None:
                    try:
                        pipe.close()
                    except BrokenPipeError:
                        pass  # it ended before it took everything: its exit status says why
            process.wait()
            watcher.join()
