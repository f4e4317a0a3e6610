# SPDX-License-Identifier: Apache-2.0
"""Depth files as they are: npz, EXR sequences, 16-bit PNG sequences."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d.images import read_exr, read_raw_png
from ex4d.media.sequence import expand
from ex4d.memory import check_memory
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, SIZE_MISMATCH, UNSUPPORTED, Ex4dError

Progress = Callable[[int, int], None]

MILLIMETRES = 1000.0  # 16-bit PNGs that hold depth hold millimetres: what depth cameras and data sets write
DEPTH_KEYS = ("depth", "depths", "z", "disparity")  # of an npz, the first that is there


@dataclass(frozen=True, eq=False)
class Stored:
    """Values as they were stored, and what they are."""

    values: F32  # [T, h, w]
    kind: str  # "depth" | "disparity"
    notes: tuple[str, ...]


def read_depth(paths: Sequence[Path], kind: str, first: int, frames: int, progress: Progress | None = None) -> Stored:
    """Reads the depth of `frames` frames from frame `first` on.

    With kind "auto", EXR files and an npz's `depth` (or its only array) are z-depth in scene units; an npz's
    `disparity`, an EXR channel of that name and PNG files are disparity. PNG files told to be "depth" are in
    millimetres.

    Raises:
        Ex4dError: NOT_FOUND, NOT_A_CLIP for a file that cannot be read, BAD_INPUT for an array that is no depth video,
            SIZE_MISMATCH for too few frames, UNSUPPORTED for another format.
    """
    files, notes = expand(paths)
    kinds = {path.suffix.lower() for path in files}
    if kinds == {".npz"} and len(files) == 1:
        stored, name = _read_npz(files[0])
        chosen = _window(len(stored), first, frames, notes)
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinitely far
            values = np.asarray(stored[chosen], np.float32)
        found = "disparity" if "disp" in name.lower() else "depth"
        if progress is not None:
            progress(frames, frames)
        return Stored(values, found if kind == "auto" else kind, tuple(notes))
    if kinds not in ({".exr"}, {".png"}):
        raise Ex4dError(
            UNSUPPORTED,
            f"Depth cannot be read from {files[0].name}" + (" and its like." if len(files) > 1 else "."),
            "Use an EXR or 16-bit PNG sequence, or one npz file.",
        )
    wanted = files[_window(len(files), first, frames, notes)]
    if kinds == {".exr"}:
        values, found = _stack(wanted, lambda path: _exr_depth(path)[0], progress), _exr_depth(wanted[0])[1]
        return Stored(values, found if kind == "auto" else kind, tuple(notes))
    if read_raw_png(wanted[0]).dtype == np.uint8:
        notes.append("depth has only 8 bits: expect steps in it")
    values = _stack(wanted, _png_values, progress)
    if kind == "depth":
        notes.append("16-bit PNG depth read as millimetres, 0 as background")
        return Stored(values / np.float32(MILLIMETRES), "depth", tuple(notes))
    return Stored(values, "disparity", tuple(notes))


def _window(total: int, first: int, frames: int, notes: list[str]) -> slice:
    """Which of `total` depth frames belong to the clip's frames from `first` on."""
    if total >= first + frames:
        return slice(first, first + frames)
    if total == frames:
        notes.append(f"the depth has as many frames as were chosen: its first belongs to the clip's frame {first + 1}")
        return slice(0, frames)
    raise Ex4dError(
        SIZE_MISMATCH,
        f"The depth has {total} frame{'s' if total != 1 else ''}; the clip's frames {first + 1} to {first + frames} "
        f"need {first + frames}.",
        "Give depth for every frame of the clip, or choose fewer frames.",
    )


def _read_npz(path: Path) -> tuple[NDArray[Any], str]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = list(archive.files)
            name = next((key for key in DEPTH_KEYS if key in names), names[0] if len(names) == 1 else "")
            if not name:
                raise Ex4dError(
                    BAD_INPUT,
                    f"{path.name} holds {', '.join(names) or 'nothing'}.",
                    "Name the array depth or disparity.",
                )
            size = archive.zip.getinfo(f"{name}.npy").file_size if archive.zip else 0
            check_memory(size, f"The values in {path.name}")
            array = archive[name]
    except (ValueError, OSError, EOFError, KeyError, NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise Ex4dError(NOT_A_CLIP, f"{path.name} is not a whole npz file of arrays.") from error
    if array.dtype.kind not in "fui":
        raise Ex4dError(BAD_INPUT, f"'{name}' in {path.name} holds {array.dtype}, not numbers.")
    if array.ndim == 4 and array.shape[-1] == 1:
        array = array[..., 0]
    elif array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    elif array.ndim == 2:
        array = array[None]
    if array.ndim != 3 or 0 in array.shape:
        raise Ex4dError(
            BAD_INPUT, f"'{name}' in {path.name} has the shape {array.shape}.", "Depth is [frames, height, width]."
        )
    return array, name


def _stack(files: Sequence[Path], read: Callable[[Path], F32], progress: Progress | None) -> F32:
    head = read(files[0])
    check_memory(len(files) * head.nbytes, f"{len(files)} frames of depth like {files[0].name}")
    values = np.empty((len(files), *head.shape), np.float32)
    for index, path in enumerate(files):
        frame = head if index == 0 else read(path)
        if frame.shape != head.shape:
            sizes = f"{frame.shape[1]}x{frame.shape[0]}, {files[0].name} is {head.shape[1]}x{head.shape[0]}"
            raise Ex4dError(SIZE_MISMATCH, f"{path.name} is {sizes}.", "All must be of one size.")
        values[index] = frame
        if progress is not None:
            progress(index + 1, len(files))
    return values


def _exr_depth(path: Path) -> tuple[F32, str]:
    """The channel that is depth, and "depth" or "disparity" by its name."""
    channels = read_exr(path)
    lower = {name.lower(): name for name in channels}
    layers = sorted(name for name in lower if ".depth." in f".{name}")  # "ViewLayer.Depth.Z"
    ends = sorted(name for name in lower if name.endswith(".z"))
    candidates = ["z", "depth", *layers, *ends, "disparity", "y", "v", "r"]
    found = next((name for name in candidates if name in lower), None)
    if found is None and len(channels) == 1:
        found = next(iter(lower))
    if found is None:
        names = ", ".join(list(channels)[:6])
        raise Ex4dError(NOT_A_CLIP, f"{path.name} has no depth, only: {names}.", "Depth is a channel called Z.")
    return channels[lower[found]], "disparity" if "disp" in found else "depth"


def _png_values(path: Path) -> F32:
    picture = read_raw_png(path)
    if picture.ndim == 3:
        if (picture != picture[..., :1]).any():
            raise Ex4dError(
                BAD_INPUT, f"{path.name} is a coloured picture.", "Depth is grey: one value for each pixel."
            )
        picture = picture[..., 0]
    return picture.astype(np.float32)
