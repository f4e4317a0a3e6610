# SPDX-License-Identifier: GPL-3.0-or-later
"""Where things lie on the artist's disk, and what they are called.

Beside `shot.blend` stands `shot_ex4d/` with `scenes/<name>_v001/` (reconstructions), `renders/<hash>/` (what the
camera sees of them) and `takes/<name>_v001/`. A version that exists is never written over.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import uuid
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path

from shared_protocol.errors import BAD_INPUT, DISK, NOT_A_CLIP, NOT_FOUND, Ex4dError

from . import sidecar

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".exr", ".tif", ".tiff"})
_DIGITS = re.compile(r"^(.*?)(\d+)(\.[^.]+)$")
_TRIES = 5  # to write a file into a folder that vanishes
_VERSION = re.compile(r"_v(\d{3,})$")


def project_root(blend_file: Path | None, unsaved: Path) -> Path:
    """Folder of everything that belongs to one .blend file.

    Args:
        blend_file: the saved file, or None.
        unsaved: folder to use for a file that has not been saved.
    """
    return unsaved if blend_file is None else blend_file.parent / f"{blend_file.stem}_ex4d"


def clean_name(text: str, fallback: str = "shot") -> str:
    """A name that every file system takes: letters, digits, dot, dash and underscore."""
    name = re.sub(r"[^\w.\-]+", "_", text.strip()).strip("._")
    return name[:80] or fallback


def clip_name(clip: Path) -> str:
    """What a reconstruction of this clip is called: `plate.1001.png` and `plate.mov` are "plate", a bare number is
    called after its folder."""
    if clip.is_dir():
        return clean_name(clip.name, "clip")
    name = clip.stem
    if clip.suffix.lower() in PICTURES:
        name = re.sub(r"[_.\- ]*\d+$", "", name) or clip.absolute().parent.name
    return clean_name(name, "clip")


def new_version(parent: Path, name: str) -> Path:
    """Make and return the next free folder `<name>_v001`, `_v002`, ... in `parent`.

    Raises:
        Ex4dError: DISK when it cannot be made.
    """
    name = clean_name(_VERSION.sub("", name))
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [int(m.group(1)) for p in parent.iterdir() if (m := _version_of(p.name, name))]
        number = max(taken, default=0) + 1
        while True:
            folder = parent / f"{name}_v{number:03d}"
            try:
                folder.mkdir()
            except FileExistsError:  # another Blender was faster
                number += 1
            else:
                return folder
    except OSError as e:
        raise disk_error(e, parent) from e


def _version_of(folder: str, name: str) -> re.Match[str] | None:
    return _VERSION.search(folder) if folder.startswith(f"{name}_v") else None


def input_files(path: Path, what: str = "clip") -> tuple[Path, ...]:
    """The files behind one path that an artist chose: a movie, or all of the sequence a picture belongs to.

    Args:
        path: a movie or npz (comes back alone), one picture of a numbered sequence, or a folder that holds one.
        what: for the message.

    Raises:
        Ex4dError: NOT_FOUND, NOT_A_CLIP (a folder without pictures), BAD_INPUT (a folder with two sequences).
    """
    if path.is_dir():
        groups = _sequences(p for p in path.iterdir() if p.suffix.lower() in PICTURES)
        if not groups:
            raise Ex4dError(
                NOT_A_CLIP,
                f"There are no pictures in the folder '{path.name}'.",
                "Choose a movie, or a folder with a numbered PNG or EXR sequence.",
            )
        if len(groups) > 1:
            raise Ex4dError(
                BAD_INPUT,
                f"The folder '{path.name}' holds {len(groups)} sequences.",
                "Choose one picture of the sequence that you want.",
            )
        return next(iter(groups.values()))
    if not path.is_file():
        raise Ex4dError(NOT_FOUND, f"There is no {what} file '{path}'.", "Choose a file that exists.")
    match = _DIGITS.match(path.name)
    if path.suffix.lower() not in PICTURES or match is None:
        return (path,)
    siblings = (p for p in path.parent.iterdir() if p.suffix.lower() == path.suffix.lower())
    return _sequences(siblings).get((match.group(1), path.suffix.lower()), (path,))


def _sequences(files: Iterable[Path]) -> dict[tuple[str, str], tuple[Path, ...]]:
    """Numbered files by (text before the number, extension), in the order of their numbers."""
    groups: dict[tuple[str, str], list[tuple[int, Path]]] = {}
    for file in files:
        if file.name.startswith(".") or not file.is_file():
            continue
        match = _DIGITS.match(file.name)
        prefix, number = (match.group(1), int(match.group(2))) if match else (file.stem, 0)
        groups.setdefault((prefix, file.suffix.lower()), []).append((number, file))
    return {key: tuple(_without_gaps(sorted(found))) for key, found in groups.items()}


def _without_gaps(numbered: Sequence[tuple[int, Path]]) -> Iterable[Path]:
    """The files; a missing number would shift everything after it in time, so it is refused by name."""
    for (a, file), (b, _) in pairwise(numbered):
        if b != a + 1:
            what = (
                f"Picture {a + 1} of the sequence '{file.name}' is missing."
                if b > a
                else f"The number {a} comes twice in the sequence '{file.name}'."
            )
            raise Ex4dError(BAD_INPUT, what, "Complete the sequence, or choose another folder.")
    return [file for _, file in numbered]


def safe_target(folder: Path, name: str) -> Path:
    """Where a file that the backend calls `name` goes.

    Raises:
        Ex4dError: BAD_INPUT when the name would lead out of the folder.
    """
    parts = name.split("/")
    if not name or any(p in ("", ".", "..") or re.search(r'[\\:*?"<>|\x00-\x1f]', p) for p in parts):
        raise Ex4dError(BAD_INPUT, f"The backend sent a file with the name '{name!a}', which was not stored.")
    return folder.joinpath(*parts)


def write_file(path: Path, data: bytes) -> None:
    """Write a file so that it is either whole or not there.

    Raises:
        Ex4dError: DISK.
    """
    for left in reversed(range(_TRIES)):
        try:
            _write(path, data)
            return
        except FileNotFoundError as e:  # someone removes the folder at this very moment
            if left == 0:
                raise disk_error(e, path) from e
        except OSError as e:
            raise disk_error(e, path) from e


def _write(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise


def link_shot(source: Path, target: Path) -> None:
    """Put every file of a rendered shot into `target` too, without copying where the file system can do that.

    Pictures of its lead-in stay behind, and those of the shot's own frames count from 1 there, as the take's do. Files
    that are there already stay as they are.

    Raises:
        Ex4dError: DISK; NOT_FOUND for a `coverage.json` that cannot be read.
    """
    lead_in = sidecar.lead_in(source)
    try:
        for file in sorted(p for p in source.rglob("*") if p.is_file() and not p.name.startswith(".")):
            place = target / file.relative_to(source)
            if lead_in and place.parent != target and file.stem.isdigit():
                place = place.with_name(f"{int(file.stem) - lead_in:04d}{file.suffix}")
                if int(file.stem) <= lead_in:
                    continue
            if place.exists():
                continue
            place.parent.mkdir(parents=True, exist_ok=True)
            try:
                os.link(file, place)
            except OSError:  # another disk, or a file system without hard links
                copy_whole(file, place)
    except OSError as e:
        raise disk_error(e, target) from e


def export_take(
    take: Path,
    destination: Path,
    *,
    first: int = 1,
    folders: Sequence[str] = ("frames", "colour", "mask"),
) -> list[Path]:
    """Copy a take to where it is delivered, with the frame numbers that the artist wants.

    Args:
        take: folder of the take.
        destination: folder that gets frames/, colour/, mask/ and take.json.
        first: number of the first file (1 or 1001, say).
        folders: which sequences.

    Returns:
        The files that were written.

    Raises:
        Ex4dError: NOT_FOUND when the take has no frames, BAD_INPUT when a file is there already, DISK.
    """
    if not take.is_dir():
        raise Ex4dError(NOT_FOUND, f"The take's folder '{take}' is gone.", "Press Generate to make the take again.")
    copies: list[tuple[Path, Path]] = []
    for folder in folders:
        pictures = sorted(p for p in (take / folder).glob("*.png") if p.stem.isdigit())
        if folder == "frames" and not pictures:
            raise Ex4dError(NOT_FOUND, f"The take '{take.name}' has no frames yet.", "Wait until it is finished.")
        copies += [(p, destination / folder / f"{int(p.stem) - 1 + first:04d}.png") for p in pictures]
    copies += [(take / n, destination / n) for n in ("take.json",) if (take / n).is_file()]
    for _, place in copies:
        if place.exists():
            raise Ex4dError(BAD_INPUT, f"'{place}' exists already; nothing was written.", "Choose an empty folder.")
    try:
        for source, place in copies:
            place.parent.mkdir(parents=True, exist_ok=True)
            copy_whole(source, place)
    except OSError as e:
        raise disk_error(e, destination) from e
    return [place for _, place in copies]


def copy_whole(source: Path, target: Path) -> None:
    """Copy a file so that the copy is either whole or not there. Raises OSError."""
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}")
    try:
        shutil.copyfile(source, temporary)
        os.replace(temporary, target)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def disk_error(error: OSError, path: Path) -> Ex4dError:
    """One line for a disk that is full, read-only or gone."""
    reason = error.strerror or type(error).__name__
    return Ex4dError(
        DISK,
        f"'{error.filename or path}' could not be written: {reason}.",
        "Make room, or save the .blend where you may write.",
    )
