# SPDX-License-Identifier: Apache-2.0
"""Depth files of any kind, opened: EXR and PNG sequences, arrays, movies."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ex4d.depth.read_arrays import open_arrays, open_npz
from ex4d.depth.read_movie import open_movie
from ex4d.depth.read_pictures import open_exrs, open_pngs
from ex4d.depth.stored import Stored
from ex4d.media.sequence import PICTURES, expand
from shared_protocol.errors import BAD_INPUT, UNSUPPORTED, Ex4dError

MOVIES = (".mkv", ".mp4", ".mov", ".avi", ".webm", ".m4v", ".mxf", ".nut")
ARRAYS = (".npz", ".npy")
READ = "an EXR or 16-bit PNG sequence, an npz or npy array, or a grey movie"


def open_depth(paths: Sequence[Path], channel: str = "") -> Stored:
    """Opens depth: one file of all frames, the files of a sequence in order, or their folder.

    EXR files, `depth` of an npz (or its only array) and npy files hold z-depth; `disparity` of an npz, an EXR channel
    of that name, PNG files and movies hold disparity.

    Args:
        paths: the files.
        channel: of EXR files, or the name of an array in npz files; "" = the one that is depth by its name.

    Raises:
        Ex4dError: NOT_FOUND, NOT_A_CLIP for a file that cannot be read, BAD_INPUT for a channel that is not there and
            for an array or a picture that is no depth, UNSUPPORTED for another format.
    """
    files, notes = expand(paths, (*PICTURES, *ARRAYS))
    kinds = {path.suffix.lower() for path in files}
    kind = next(iter(kinds)) if len(kinds) == 1 else ""
    one = len(files) == 1
    sequences: Mapping[str, Callable[[list[Path], str], Stored]] = {
        ".exr": open_exrs,
        ".png": lambda files, _: open_pngs(files),
        ".npy": lambda files, _: open_arrays(files),
        ".npz": open_npz,
    }
    if channel and kind not in (".exr", ".npz"):
        raise Ex4dError(
            BAD_INPUT,
            f"{files[0].name} has no channels to choose from, and '{channel}' was asked for.",
            "Leave depth_channel out: it is for EXR and npz files.",
        )
    if kind in sequences:
        found = sequences[kind](files, channel)
    elif kind in MOVIES and one:
        found = open_movie(files[0])
    else:
        what = files[0].name if one else f"{files[0].name} and its like"
        raise Ex4dError(UNSUPPORTED, f"Depth cannot be read from {what}.", f"Use {READ}.")
    return _with(found, files, notes)


def _with(found: Stored, files: Sequence[Path], notes: Sequence[str]) -> Stored:
    """The same, with the numbers in the names of the files, where each frame has one of its own."""
    numbers = [int(digits[-1]) for path in files if (digits := re.findall(r"\d+", path.stem))]
    own = len(files) == found.total and len(numbers) == len(files) > 1 and len(set(numbers)) == len(files)
    return replace(found, numbers=tuple(numbers) if own else (), notes=(*notes, *found.notes))
