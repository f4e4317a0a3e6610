# SPDX-License-Identifier: Apache-2.0
"""Clips in and out: movies and image sequences to `Clip`, frames to a movie for looking at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

from ex4d.media.decode import Decoded, movie_size, name_of
from ex4d.media.encode import write_h264
from ex4d.media.lens_metadata import FileLens, lens_of_movie, lens_of_picture
from ex4d.media.probe import Movie, probe
from ex4d.media.rate import Rate, settle, spoken
from ex4d.media.sequence import expand, is_picture, read_picture
from ex4d.memory import check_memory
from ex4d.on_disk import FORGET_EVERY, disk_array, forget
from ex4d.values import U8, Clip
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, UNSUPPORTED, Ex4dError

GAPS = 20  # frames of an uneven clip may stand this many times longer than the usual, on average
RATE_PACKETS = 1000  # frames beyond those asked for that are looked at to settle the rate
_FILE = "frames"  # in a workspace

Progress = Callable[[int, int], None]  # progress(frames read, frames expected); may raise Ex4dError(CANCELLED)


def read_clip(
    paths: Sequence[Path],
    *,
    first: int = 0,
    count: int = 0,
    fps: Fraction | None = None,
    max_side: int = 0,
    workspace: Path | None = None,
    progress: Progress = lambda done, expected: None,
) -> Clip:
    """Reads a movie, or an image sequence given as its files in order or as their folder.

    What is done to the pictures on the way in (turned, made square, deinterlaced, resampled to an even rate, converted
    to 8-bit sRGB) stands in the clip's notes.

    Args:
        paths: one movie, one folder, or the files of a sequence (PNG 8/16 bit, EXR; JPEG and TIFF work too).
        first: index of the first frame to read, from 0.
        count: frames to read; 0 = to the end. When the clip ends before, what there is comes back, and a note.
        fps: rate of an image sequence (24 when not given). For a movie it replaces the movie's own rate, frame for
            frame, and a note says so.
        max_side: scale frames down (area average, aspect kept) whose longest side is larger; 0 = never.
        workspace: a folder of `ex4d.on_disk.workspace` for the frames, which then may be any number and end with it;
            None = they are held in main memory.
        progress: told of each frame.

    Raises:
        Ex4dError: NOT_FOUND, NOT_A_CLIP (no pictures, damaged), BAD_INPUT (range, mixed sizes), UNSUPPORTED, LIMIT
            when the frames would not fit into memory, DISK when they would not fit into the workspace.
    """
    if first < 0 or count < 0 or max_side < 0 or (fps is not None and fps <= 0):
        raise Ex4dError(BAD_INPUT, f"First frame {first}, {count} frames and {fps} fps make no sense together.")
    files, notes = expand(paths)
    room = _Room(workspace, progress)
    if is_picture(files[0]):
        return _read_sequence(files, notes, first, count, fps or None, max_side, room)
    if len(files) > 1:
        raise Ex4dError(
            BAD_INPUT, f"{len(files)} files were given, and {files[0].name} is not a picture.", "Choose one movie."
        )
    return _read_movie(files[0], first, count, fps, max_side, room)


def write_video(path: Path, frames: Iterable[U8], fps: Fraction) -> None:
    """Writes an H.264 movie for looking at: 8-bit 4:2:0, BT.709, crf 18, in one step. It is lossy.

    4:2:0 needs even sides, which is what players expect; an odd side gets one more row or column, a copy of the last.

    Args:
        path: file to make or replace; .mp4, .mov or .mkv.
        frames: [T, H, W, 3] or any iterable of [H, W, 3], uint8 sRGB.
        fps: exact rate.

    Raises:
        Ex4dError: BAD_INPUT for no frames or differing sizes, DISK when it cannot be written.
    """
    write_h264(path, frames, fps)


def _read_movie(path: Path, first: int, count: int, fps: Fraction | None, max_side: int, room: _Room) -> Clip:
    movie = probe(path, limit=first + count + RATE_PACKETS if count else 0)
    rate = settle(movie.times, movie.time_base, movie.printed_rates, movie.duration)
    square = movie_size(movie)
    size = scaled_size(*square, max_side)
    available = max(movie.packets - first, 0)
    if rate.variable:
        available = _resampled_length(movie, rate) - first
    room.check(min(count or available, available), size, path.name)
    decoded = Decoded(movie, rate, first, count)
    expected = max(min(count or available, available), 1)
    frames = room.gather((_resized(frame, size) for frame in decoded.frames()), expected, path.name)
    if decoded.damaged and (count == 0 or len(frames) < count):
        good = f"Frames {first + 1} to {first + len(frames)} can be read: ask for {len(frames)}." if len(frames) else ""
        raise Ex4dError(NOT_A_CLIP, f"{path.name} is damaged or cut off.", good)
    if not len(frames):
        raise _beyond(path.name, first, None if rate.variable else movie.packets)
    notes = [note for note in (rate.note, *decoded.notes) if note]
    notes += _movie_notes(movie, square, size)
    if decoded.damaged:
        notes.append("ffmpeg met damaged data; look at the frames before you trust them")
    if count and len(frames) < count:
        notes.append(f"{count} frames were asked for; the clip has {len(frames)} from frame {first + 1} on")
    if fps is not None and fps != rate.fps:
        notes.append(f"played at {spoken(fps)} fps instead of its own {spoken(rate.fps)}")
    lens = lens_of_movie(path, *square, square=movie.pixel_aspect == 1)
    return _clip(frames, fps or rate.fps, name_of(path), notes, max(size) / max(square), lens)


def _resampled_length(movie: Movie, rate: Rate) -> int:
    """About how many frames a clip of uneven times has at an even rate. Refuses times that cannot be meant."""
    span = float((movie.times[-1] - movie.times[0]) * movie.time_base)
    frames = int(span * float(rate.fps)) + 2
    if frames > GAPS * movie.packets + 1000:
        raise Ex4dError(
            UNSUPPORTED,
            f"The frame times of {movie.path.name} jump: {movie.packets} frames are spread over {span:.0f} s.",
            "Convert it to a constant frame rate.",
        )
    return frames


def _movie_notes(movie: Movie, square: tuple[int, int], size: tuple[int, int]) -> list[str]:
    notes = []
    upright = (movie.height, movie.width) if movie.turned else (movie.width, movie.height)
    if square != upright:
        sar = movie.pixel_aspect
        notes.append(f"pixels of {sar.numerator}:{sar.denominator} made square: {_by(upright)} became {_by(square)}")
    if size != square:
        notes.append(f"scaled down from {_by(square)} to {_by(size)}")
    if movie.streams > 1:
        notes.append(f"the first of {movie.streams} video streams")
    return notes


def _read_sequence(
    files: list[Path], notes: list[str], first: int, count: int, fps: Fraction | None, max_side: int, room: _Room
) -> Clip:
    wanted = files[first : first + count] if count else files[first:]
    if not wanted:
        raise _beyond(files[0].parent.name, first, len(files))
    head, said = read_picture(wanted[0])
    square = (head.shape[1], head.shape[0])
    size = scaled_size(*square, max_side)
    room.check(len(wanted), size, wanted[0].name)

    def pictures() -> Iterator[U8]:
        for path in wanted:
            picture = head if path is wanted[0] else read_picture(path)[0]
            if picture.shape != head.shape:
                found = (picture.shape[1], picture.shape[0])
                raise Ex4dError(
                    BAD_INPUT,
                    f"{path.name} is {_by(found)}, {wanted[0].name} is {_by(square)}.",
                    "All must be of one size.",
                )
            yield _resized(picture, size)

    frames = room.gather(pictures(), len(wanted), wanted[0].name)
    notes = [*notes, *said]
    if size != square:
        notes.append(f"scaled down from {_by(square)} to {_by(size)}")
    if count and len(frames) < count:
        notes.append(f"{count} frames were asked for; the sequence has {len(frames)} from frame {first + 1} on")
    if fps is None:
        notes.append("image files carry no frame rate; 24 fps is assumed")
    name = files[0].stem.rstrip("0123456789").rstrip("._- ") or files[0].parent.name or "sequence"
    lens = lens_of_picture(wanted[0], *square)
    return _clip(frames, fps or Fraction(24), name, notes, max(size) / max(square), lens)


def _clip(frames: U8, fps: Fraction, name: str, notes: list[str], scale: float, lens: FileLens | None) -> Clip:
    if lens is None:
        return Clip(frames, fps, name, tuple(notes), scale)
    return Clip(frames, fps, name, tuple(notes), scale, lens.focal * scale, lens.told)


def scaled_size(width: int, height: int, max_side: int) -> tuple[int, int]:
    """Width and height with the longest side at most `max_side` (0 = any), both at least 2, aspect kept."""
    longest = max(width, height)
    if not max_side or longest <= max_side:
        return width, height
    return max(2, round(width * max_side / longest)), max(2, round(height * max_side / longest))


def _resized(frame: U8, size: tuple[int, int]) -> U8:
    height, width = frame.shape[:2]
    if (width, height) == size:
        return frame
    smaller = size[0] <= width and size[1] <= height
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC), np.uint8)


class _Room:
    """Where a clip's frames go: into a workspace, or into main memory where there is none."""

    def __init__(self, workspace: Path | None, progress: Progress) -> None:
        self._workspace = workspace
        self._progress = progress

    def check(self, frames: int, size: tuple[int, int], name: str) -> None:
        """Refuses what main memory cannot hold; a workspace knows its own limits."""
        if self._workspace is None:
            check_memory(frames * size[0] * size[1] * 3, f"{frames} frames of {_by(size)} of {name}")

    def gather(self, frames: Iterable[U8], expected: int, name: str) -> U8:
        """Stacks frames without ever holding them twice when their number was known; [0, ...] for none."""
        whole: U8 | None = None
        used = 0
        for frame in frames:
            if whole is None:
                whole = self._of(expected, frame)
            elif used == len(whole):  # more than the container said, or an unknown number
                self.check(used * 2, (frame.shape[1], frame.shape[0]), name)
                whole = self._longer(whole, used // 2 + 1)
            whole[used] = frame
            used += 1
            self._progress(used, max(used, expected))
            if used % FORGET_EVERY == 0:
                forget(whole)
        return np.empty((0, 0, 0, 3), np.uint8) if whole is None else whole[:used]

    def _of(self, length: int, frame: U8) -> U8:
        if self._workspace is None:
            return np.empty((length, *frame.shape), np.uint8)
        return disk_array(self._workspace, _FILE, (length, *frame.shape), np.uint8)

    def _longer(self, whole: U8, more: int) -> U8:
        if self._workspace is None:
            return np.concatenate([whole, np.empty((more, *whole.shape[1:]), np.uint8)])
        length = len(whole) + more
        return disk_array(self._workspace, _FILE, (length, *whole.shape[1:]), np.uint8, extend=True)


def _beyond(name: str, first: int, total: int | None) -> Ex4dError:
    # For a person, the first frame is frame 1.
    has = "ends before" if total is None else f"has {total} frame{'s' if total != 1 else ''}"
    return Ex4dError(BAD_INPUT, f"Frame {first + 1} is beyond the end: {name} {has}.", "Choose an earlier first frame.")


def _by(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"
