# SPDX-License-Identifier: Apache-2.0
"""The folder of a take on the command line: a run that was stopped goes on when the same command is given again.

`request.json` tells what the folder is for. It is written first, so that a run which was killed is known again; files
in the folder are whole or not there (`ex4d.files.replacing`), and the steps make only those that are missing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from ex4d import on_disk
from ex4d.console import emptied
from ex4d.files import UNFINISHED, disk_error, replacing, sweep
from ex4d.pipeline import MADE_WITH, Json, describe
from shared_protocol.errors import BAD_INPUT, DISK, NOT_FOUND, Ex4dError

REQUEST = "request.json"
GLIMPSE = f"{UNFINISHED}/glimpse.png"  # how the result looks so far
SCENE_FILES = ("scene.json", "source", "mesh")  # what a scene's folder holds
CONDITIONING_FILES = ("camera.json", "source_model.json", "coverage.json", "provenance.json", "colour", "mask")
_GOES_ON = "What is finished is kept in {folder}: the same command goes on from there."
_MOVIE_BYTES = 0.5  # for each pixel of a frame; more than H.264 takes at crf 18


def fingerprint(path: Path, parts: Sequence[str] = ("",)) -> str:
    """sha256 of what a file, or a folder's files, hold; hidden ones are left out.

    Args:
        path: file or folder.
        parts: of a folder, the files and folders in it that count; one that is missing counts as such.

    Raises:
        Ex4dError: NOT_FOUND.
    """
    if not path.exists():
        raise Ex4dError(NOT_FOUND, f"There is no file or folder {path}.", "Check the path.")
    try:
        if not path.is_dir():
            return str(describe(path)["sha256"])
        found = hashlib.sha256()
        for part in parts:
            root = path / part
            for file in sorted(root.rglob("*")) if root.is_dir() else [root]:
                if file.is_file() and not file.name.startswith("."):
                    found.update(f"{file.relative_to(path).as_posix()} {describe(file)['sha256']}\n".encode())
    except OSError as error:
        raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {error.strerror or error}.") from error
    return found.hexdigest()


def check_disk(folder: Path, frames: int, size: tuple[int, int], movies: int) -> None:
    """Refuses a take that would fill the disk.

    Args:
        folder: where it goes; need not exist yet. Frames in it are not written again.
        frames: of the take.
        size: width and height of a frame; as PNG it is taken to need three bytes a pixel.
        movies: how many are written beside.

    Raises:
        Ex4dError: DISK, with what it needs and what there is.
    """
    pixels = size[0] * size[1]
    missing = max(frames - len(list((folder / "frames").glob("[!.]*.png"))), 0)
    needed = missing * pixels * 3 + movies * frames * pixels * _MOVIE_BYTES
    there = next((path for path in (folder.absolute(), *folder.absolute().parents) if path.is_dir()), Path())
    free = shutil.disk_usage(there).free
    if needed > free:
        raise Ex4dError(
            DISK,
            f"{frames} frames of {size[0]}x{size[1]} take about {_size(needed)}; "
            f"there are {_size(free)} free where {folder} lies.",
            "Free some space, or choose a folder on another disk.",
        )


def resumes(folder: Path, request: Json) -> bool:
    """Whether a folder holds what an earlier run of the same request made; False where it is empty or missing.

    Raises:
        Ex4dError: BAD_INPUT where it holds anything else, so that nothing is written over.
    """
    try:
        if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
            return False
        text = (folder / REQUEST).read_text("utf-8") if (folder / REQUEST).is_file() else ""
    except OSError as error:
        raise disk_error(folder, error) from error
    if folder.is_file():
        raise Ex4dError(BAD_INPUT, f"{folder} is a file, not a folder.", "Name another --output_dir.")
    request = json.loads(json.dumps(request))  # as it comes back from a file
    another = "Name another --output_dir, or empty that one."
    try:
        value = json.loads(text)
        earlier, key = dict(value["request"]), value["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Ex4dError(BAD_INPUT, f"{folder} already has files in it.", another) from error
    if key != _key(request):
        raise Ex4dError(BAD_INPUT, f"{folder} has a take of another request: {_differs(earlier, request)}.", another)
    return True


@contextlib.contextmanager
def take_folder(folder: Path, request: Json) -> Iterator[Path]:
    """The folder for a take, new or one that an earlier run of the same request has begun.

    When the block fails or is stopped before anything is worth keeping, what it made is removed again, and so are
    folders that were made for it. Otherwise it is kept, and the error says so.

    Args:
        folder: made if missing.
        request: all that decides what is in the folder, as JSON values.

    Raises:
        Ex4dError: BAD_INPUT where the folder holds anything else, DISK.
    """
    resumed = resumes(folder, request)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        if resumed:
            sweep(folder)
            on_disk.sweep(folder)
        else:
            with replacing(folder / REQUEST, durable=True) as part:
                part.write_text(json.dumps({"request": request, "sha256": _key(request)}, indent=1), encoding="utf-8")
        yield folder
    except BaseException as error:
        if _worth_keeping(folder):
            kept = _GOES_ON.format(folder=folder)
            if isinstance(error, OSError):
                raise Ex4dError(DISK, disk_error(Path(error.filename or folder), error).message, kept) from error
            if isinstance(error, Ex4dError):
                raise Ex4dError(error.code, error.message, f"{error.hint} {kept}".lstrip()) from error
            if isinstance(error, KeyboardInterrupt):
                raise KeyboardInterrupt(kept) from error
        elif not resumed:  # what lay there before may be anybody's
            with contextlib.suppress(OSError):  # what went wrong first is what is told
                emptied(folder)
                for path in made:
                    path.rmdir()
        raise


def _worth_keeping(folder: Path) -> bool:
    """Whether there are finished frames, or what a generator goes on from."""
    if any((folder / "frames").glob("[!.]*.png")):
        return True
    told = {folder / GLIMPSE, folder / MADE_WITH}
    return any(path.is_file() and path not in told for path in (folder / UNFINISHED).rglob("[!.]*"))


def _key(request: Json) -> str:
    return hashlib.sha256(json.dumps(request, sort_keys=True).encode()).hexdigest()


def _differs(earlier: Json, request: Json) -> str:
    """Names what is not the same, for a person; of options, which ones."""
    names = []
    for key in sorted(earlier.keys() | request.keys()):
        old, new = earlier.get(key), request.get(key)
        if isinstance(old, dict) and isinstance(new, dict):
            names += sorted(f"{key} {name}" for name in old.keys() | new.keys() if old.get(name) != new.get(name))
        elif old != new:
            names.append(key)
    return f"{', '.join(names[:5])}{' and more' if len(names) > 5 else ''} differ{'s' if len(names) == 1 else ''}"


def _size(count: float) -> str:
    return f"{count / 2**30:.1f} GiB" if count >= 2**30 else f"{count / 2**20:.0f} MiB"
