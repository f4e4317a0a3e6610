# SPDX-License-Identifier: Apache-2.0
"""Image sequences: which files, in which order, and each as an 8-bit sRGB picture."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ex4d.images import read_exr, read_file_head, read_png, read_raw_png
from ex4d.values import F32, U8
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, NOT_FOUND, Ex4dError

_PNG_WITH_ALPHA = (4, 6)  # colour types in the header: grey, RGB
PICTURES = (".png", ".exr", ".jpg", ".jpeg", ".tif", ".tiff")


def natural(path: Path) -> list[tuple[int, int, str]]:
    """Sorting key that puts frame 10 after frame 9."""
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in parts]


def is_picture(path: Path) -> bool:
    """Whether the name is that of a single picture."""
    return path.suffix.lower() in PICTURES


def expand(paths: Sequence[Path], suffixes: Sequence[str] = PICTURES) -> tuple[list[Path], list[str]]:
    """The files meant by a list of files or by one folder, in order, and notes about them.

    Args:
        paths: files, or one folder.
        suffixes: of the files that count in a folder.

    Raises:
        Ex4dError: NOT_FOUND for a missing file or folder, NOT_A_CLIP for a folder without pictures, BAD_INPUT for
            no paths and for a folder with several sequences.
    """
    if not paths:
        raise Ex4dError(BAD_INPUT, "No file was given.", "Choose a movie, or the files of an image sequence.")
    if len(paths) > 1 or not paths[0].is_dir():
        missing = [path for path in paths if not path.is_file()]
        if missing:
            what = "is a folder, not a file" if missing[0].is_dir() else "is not there"
            raise Ex4dError(NOT_FOUND, f"{missing[0]} {what}.", "Check the path.")
        return list(paths), []
    folder = paths[0]
    found = sorted(
        (
            path
            for path in folder.iterdir()
            if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
        ),
        key=natural,
    )
    if not found:
        raise Ex4dError(NOT_A_CLIP, f"There are no pictures in the folder {folder}.", "PNG and EXR files are read.")
    stems = {re.sub(r"\d+(?=\D*$)", "#", path.name.lower(), count=1) for path in found}
    if len(stems) > 1 and len(found) > 1:
        names = ", ".join(sorted(stems)[:3])
        raise Ex4dError(
            BAD_INPUT, f"There are several sequences in {folder}: {names}.", "Choose the files of one of them."
        )
    return found, _gaps(found)


def _gaps(files: list[Path]) -> list[str]:
    numbers = [int(found[-1]) for path in files if (found := re.findall(r"\d+", path.stem))]
    if len(numbers) != len(files) or len(files) < 2:
        return []
    missing = numbers[-1] - numbers[0] + 1 - len(numbers)
    return [f"{missing} numbers are missing in the sequence; it is read as if it had no gaps"] if missing > 0 else []


def read_picture(path: Path) -> tuple[U8, list[str]]:
    """One picture as [H, W, 3] sRGB, and what was done to it.

    Raises:
        Ex4dError: as `read_png` and `read_exr` do; NOT_A_CLIP for an EXR without colour.
    """
    if path.suffix.lower() == ".exr":
        return encode_srgb(linear_colour(path)), ["linear EXR colour converted to sRGB, values over 1 clipped"]
    raw = read_raw_png(path)
    notes = ["16-bit pictures rounded to 8 bits"] if raw.dtype == np.uint16 else []
    picture = read_png(path) if notes else np.asarray(raw, np.uint8)
    head = read_file_head(path, 26)
    if head.startswith(b"\x89PNG") and head[25] in _PNG_WITH_ALPHA:
        notes.append("transparency left out")
    if picture.ndim == 2:
        picture = np.repeat(picture[..., None], 3, axis=2)
    return picture, notes


def linear_colour(path: Path) -> F32:
    """[H, W, 3] linear colour of an EXR: R, G, B, those of a layer ("ViewLayer.Combined.R"), or grey Y."""
    channels = read_exr(path)
    layers = [name[: -len("R")] for name in channels if name == "R" or name.endswith(".R")]
    # Colour proper before anything that only uses the letters (a normal or a mask pass comes as other letters).
    layers.sort(key=lambda prefix: (prefix != "", "combined" not in prefix.lower(), prefix))
    for prefix in layers:
        if {prefix + "G", prefix + "B"} <= channels.keys():
            return np.stack([channels[prefix + letter] for letter in "RGB"], axis=2)
    grey = next((channels[name] for name in ("Y", "L") if name in channels), None)
    if grey is None:
        names = ", ".join(list(channels)[:6])
        raise Ex4dError(NOT_A_CLIP, f"{path.name} has no colour, only: {names}.", "Is it the depth of the clip?")
    return np.repeat(grey[..., None], 3, axis=2)


def encode_srgb(linear: F32) -> U8:
    """Linear light to 8-bit sRGB (IEC 61966-2-1), clipped to 0..1. Not-a-number becomes black."""
    light = np.clip(np.nan_to_num(linear, nan=0.0, posinf=1.0, neginf=0.0), 0.0, 1.0)
    encoded = np.where(light <= 0.0031308, light * 12.92, 1.055 * np.power(light, 1 / 2.4) - 0.055)
    return np.asarray(np.round(encoded * 255), np.uint8)
