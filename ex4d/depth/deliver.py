# SPDX-License-Identifier: Apache-2.0
"""Depth as files for other programs: an EXR sequence or one npz, and a preview in colours.

Files are written beside where they belong, and take their places together when all of them are whole.
"""

from __future__ import annotations

import json
import os
import re
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np
from numpy.lib import format as npy

from ex4d.clip import write_video
from ex4d.depth.door import Progress
from ex4d.depth.preview import turbo
from ex4d.depth.stored import HOLDS, UNITS
from ex4d.files import disk_error, replacing
from ex4d.images import write_exr, write_png
from ex4d.in_order import CORES, InOrder
from ex4d.on_disk import streamed, workspace
from ex4d.values import F32, U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

MOVIES = (".mp4", ".mov", ".mkv")
_NUMBER = re.compile(r"#+|%0?(\d*)d")
_DIGITS = 4

Attributes = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Place:
    """Where frames go: files of a sequence, or one file of all of them."""

    folder: Path
    name: str  # with "{}" where the number stands, in a sequence
    digits: int = _DIGITS

    @property
    def numbered(self) -> bool:
        """Whether each frame has a file of its own."""
        return "{}" in self.name

    def files(self, first: int, count: int) -> list[Path]:
        """All of them. `first`: number of the first frame."""
        if not self.numbered:
            return [self.folder / self.name]
        return [self.folder / self.name.replace("{}", f"{first + t:0{self.digits}d}") for t in range(count)]

    def others(self, files: Sequence[Path]) -> list[Path]:
        """Files that lie there and whose names are of the same sequence, but for these."""
        if not self.numbered:
            return []
        name = re.compile(r"\d+".join(re.escape(part) for part in self.name.split("{}")))
        known = {path.name for path in files}
        return sorted(path for path in self.folder.iterdir() if name.fullmatch(path.name) and path.name not in known)


def depth_place(path: Path) -> Place:
    """Where `-o PATH` puts depth: "depth.exr" is depth.1001.exr …, "depth.####.exr" and "depth.%04d.exr" say where the
    number stands, a folder gets depth.1001.exr …, and "depth.npz" is one file.

    Raises:
        Ex4dError: BAD_INPUT for another kind of file, or more than one place for the number.
    """
    if path.suffix.lower() == ".npz":
        return Place(path.parent, path.name)
    if not path.suffix or path.is_dir():
        return Place(path, "depth.{}.exr")
    if path.suffix.lower() != ".exr":
        raise Ex4dError(
            BAD_INPUT,
            f"{path.name} is not a name for depth.",
            "Let it end in .exr (a sequence) or .npz, or be a folder.",
        )
    return _sequence(path)


def preview_place(path: Path) -> Place:
    """Where `--preview PATH` puts the coloured frames: one movie, or 1001.png … in a folder.

    Raises:
        Ex4dError: BAD_INPUT for another kind of file.
    """
    if path.suffix.lower() in MOVIES and not path.is_dir():
        return Place(path.parent, path.name)
    if not path.suffix or path.is_dir():
        return Place(path, "{}.png")
    if path.suffix.lower() != ".png":
        raise Ex4dError(
            BAD_INPUT, f"{path.name} is not a name for a preview.", "Let it end in .mp4 or .png, or be a folder."
        )
    return _sequence(path)


def _sequence(path: Path) -> Place:
    found = list(_NUMBER.finditer(path.name))
    if len(found) > 1 or "{}" in path.name:
        raise Ex4dError(BAD_INPUT, f"{path.name} has more than one place for the frame's number.", "Use one ####.")
    if not found:
        return Place(path.parent, f"{path.stem}.{{}}{path.suffix}")
    digits = len(found[0][0]) if found[0][0].startswith("#") else int(found[0][1] or 1)
    return Place(path.parent, path.name[: found[0].start()] + "{}" + path.name[found[0].end() :], digits)


@contextmanager
def folders_for(*places: Place) -> Iterator[None]:
    """Makes their folders. Those in which nothing lies at the end are removed again.

    Raises:
        Ex4dError: DISK when one cannot be made.
    """
    made: list[Path] = []
    try:
        for folder in (place.folder for place in places):
            try:
                made[:0] = [path for path in (folder, *folder.parents) if not path.exists()]
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise disk_error(folder, error) from error
        yield
    finally:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()


@contextmanager
def delivery(targets: Sequence[Path], overwrite: bool) -> Iterator[Mapping[Path, Path]]:
    """Gives a place to write each file of `targets` at; at the end of the block all of them are moved to theirs.

    When the block fails or is stopped nothing is left of it, and files that were there stay as they were. What a
    process that was killed left in these folders, which have to be there, is removed.

    Raises:
        Ex4dError: BAD_INPUT when a file is there and `overwrite` is not set, DISK when a folder cannot be written.
    """
    there = [path for path in targets if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise Ex4dError(
            BAD_INPUT, f"{there[0]}{more} would be written over.", "Name another -o, or allow it with --overwrite."
        )
    with ExitStack() as stack:
        staged = {folder: stack.enter_context(workspace(folder)) for folder in {path.parent for path in targets}}
        places = {path: staged[path.parent] / path.name for path in targets}
        yield places
        for target, place in places.items():
            try:
                os.replace(place, target)
            except OSError as error:
                raise disk_error(target, error) from error


def write_depth(
    z: F32,
    files: Sequence[Path],
    about: Sequence[Attributes],
    progress: Progress,
    *,
    disparity: bool = False,
) -> None:
    """Writes z-depth [T, H, W], or 1 / z: a file for each frame as EXR, or one npz of all.

    EXR files hold one channel, Z or disparity, 32-bit float, ZIP-compressed. An npz holds `depth` or `disparity`
    [T, H, W], and what the headers say as JSON text: `about`, a list with one object for each frame.

    Args:
        z: finite and > 0.
        files: where; one for each frame, or one with the suffix .npz.
        about: attributes of each frame's header; `HOLDS` and `UNITS` among them.
        progress: told at each frame; may raise.
        disparity: write 1 / z.

    Raises:
        Ex4dError: DISK when a file cannot be written; whatever `progress` raises.
    """
    phase, total = "Writing the depth", len(z)
    name = "disparity" if disparity else "Z"
    if files[0].suffix.lower() == ".npz":
        _write_npz(z, files[0], about, lambda done: progress(phase, done, total), disparity)
        return
    done = 0

    def finished(_: object) -> None:
        nonlocal done
        done += 1
        progress(phase, done, total)

    def work(frame: F32, path: Path, attributes: Attributes) -> None:
        write_exr(path, {name: _inverse(frame) if disparity else frame}, attributes=attributes)

    with InOrder(finished, CORES) as writing:
        for frame, path, attributes in zip(streamed(z), files, about, strict=True):
            writing.add(partial(work, frame, path, attributes))


def write_preview(z: F32, files: Sequence[Path], fps: Fraction, near: float, far: float, progress: Progress) -> None:
    """Writes depth in colours (`ex4d.depth.preview.turbo`): pictures, or one movie.

    Raises:
        Ex4dError: as `write_depth`.
    """
    phase, total = "Writing the preview", len(z)
    if len(files) == 1 and files[0].suffix.lower() in MOVIES:

        def frames() -> Iterator[U8]:
            for t, frame in enumerate(streamed(z)):
                progress(phase, t, total)
                yield turbo(frame, near, far)

        write_video(files[0], frames(), fps)
        progress(phase, total, total)
        return
    for t, (frame, path) in enumerate(zip(streamed(z), files, strict=True)):
        write_png(path, turbo(frame, near, far))
        progress(phase, t + 1, total)


def _inverse(z: F32) -> F32:
    return np.asarray(1.0 / z.astype(np.float64), np.float32)


def _write_npz(z: F32, path: Path, about: Sequence[Attributes], told: Callable[[int], None], disparity: bool) -> None:
    texts = {"holds": about[0][HOLDS], "units": about[0][UNITS], "about": json.dumps(list(about))}
    head = {"descr": "<f4", "fortran_order": False, "shape": z.shape}
    with replacing(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        name = "disparity" if disparity else "depth"
        with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
            npy.write_array_header_1_0(stream, head)
            for t, frame in enumerate(streamed(z)):
                stream.write((_inverse(frame) if disparity else frame).astype("<f4").tobytes())
                told(t + 1)
        for key, text in texts.items():
            with archive.open(f"{key}.npy", "w") as stream:
                npy.write_array(stream, np.array(text), allow_pickle=False)
