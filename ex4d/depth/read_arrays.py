# SPDX-License-Identifier: Apache-2.0
"""Depth in numpy's files. Frames are read out of them one by one, and nothing in them is ever unpickled."""

from __future__ import annotations

import lzma
import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from ex4d.depth.stored import HOLDS, HOLDS_DISPARITY, METRES, UNITS, Kind, Stored, kind_of
from ex4d.images import read_file_head
from ex4d.memory import check_memory
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, SIZE_MISMATCH, Ex4dError

KEYS = ("depth", "depths", "z", "disparity")  # of an npz, the first that is there
_LONGEST_TEXT = 1024  # bytes
_BROKEN = (
    *(ValueError, OSError, EOFError, KeyError, RuntimeError, SyntaxError, TypeError),  # RuntimeError: encrypted
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, tokenize.TokenError),
)


@dataclass(frozen=True)
class _Head:
    """What stands in front of an array in a file."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    start: int  # of its values, in bytes


def open_npz(files: Sequence[Path], channel: str) -> Stored:
    """npz: one file of all frames, or a file for each frame.

    Raises:
        Ex4dError: BAD_INPUT for an array that is not there or is no depth, NOT_A_CLIP for a broken file.
    """
    name = _array_name(files[0], channel)
    kind = kind_of(name)

    def entry(path: Path) -> Callable[[], Any]:
        return lambda: _member(path, name)

    found = _stored(files, kind, [f"'{name}' in {path.name}" for path in files], [entry(path) for path in files])
    inverse = kind == "disparity" and _says(files[0], HOLDS) == HOLDS_DISPARITY
    return replace(found, inverse=inverse, metric=_says(files[0], UNITS) == METRES)


def open_arrays(files: Sequence[Path]) -> Stored:
    """npy: one file of all frames, or a file for each frame. Raises as `open_npz`."""

    def entry(path: Path) -> Callable[[], Any]:
        return lambda: _file(path)

    for path in files[:1]:
        read_file_head(path, 1)
    return _stored(files, "depth", [path.name for path in files], [entry(path) for path in files])


def _stored(files: Sequence[Path], kind: Kind, names: list[str], opens: list[Callable[[], Any]]) -> Stored:
    shape = _frames_of(files[0], names[0], opens[0])
    if len(files) == 1:
        return Stored(files[0].name, shape[0], kind, lambda wanted: _frames(files[0], opens[0], shape, wanted))

    def one_by_one(wanted: Sequence[int]) -> Iterator[F32]:
        for index in wanted:
            found = _frames_of(files[index], names[index], opens[index])
            if found != (1, *shape[1:]):
                raise Ex4dError(
                    SIZE_MISMATCH,
                    f"{names[index]} holds {_shown(found)}, {names[0]} {_shown(shape)}.",
                    "A sequence of arrays has one frame in each file, all of one size.",
                )
            yield from _frames(files[index], opens[index], found, [0])

    return Stored(files[0].name, len(files), kind, one_by_one)


def _frames_of(path: Path, name: str, opens: Callable[[], Any]) -> tuple[int, int, int]:
    """Frames, height and width of an array. Refuses what is no depth, and frames that fit no memory."""
    with _reading(path), opens() as stream:
        head = _head(stream)
    if head.dtype.kind not in "fui":
        raise Ex4dError(BAD_INPUT, f"{name} holds {head.dtype}, not numbers.", "Depth is [frames, height, width].")
    shape = head.shape
    if len(shape) == 4 and shape[-1] == 1:
        shape = shape[:3]
    elif len(shape) == 4 and shape[1] == 1:
        shape = (shape[0], *shape[2:])
    elif len(shape) == 2:
        shape = (1, *shape)
    if len(shape) != 3 or min(shape) < 1:
        raise Ex4dError(BAD_INPUT, f"{name} has the shape {head.shape}.", "Depth is [frames, height, width].")
    frames, height, width = shape
    # An array whose first axis runs fastest has no frame in one piece: it is read as a whole.
    check_memory(
        (frames if head.fortran else 1) * height * width * max(head.dtype.itemsize, 4), f"The values of {name}"
    )
    return frames, height, width


def _frames(path: Path, opens: Callable[[], Any], shape: tuple[int, int, int], wanted: Sequence[int]) -> Iterator[F32]:
    """Frames of an array by their index, which ascends. `shape`: frames, height and width."""
    with _reading(path), opens() as stream:
        head = _head(stream)
        size = math.prod(shape[1:]) * head.dtype.itemsize
        if head.fortran:
            whole = _values(stream, shape[0] * size, head.dtype).reshape(head.shape, order="F").reshape(shape)
            for index in wanted:
                yield _float(whole[index])
            return
        for index in wanted:
            stream.seek(head.start + index * size)
            frame = _float(_values(stream, size, head.dtype).reshape(shape[1:]))
            if index == shape[0] - 1:
                stream.read(1)  # at the end of what it holds, an archive checks that it is whole
            yield frame


def _values(stream: IO[bytes], size: int, kind: np.dtype[Any]) -> NDArray[Any]:
    data = stream.read(size)
    if len(data) != size:
        raise EOFError
    return np.frombuffer(data, kind)


def _float(values: NDArray[Any]) -> F32:
    with np.errstate(over="ignore", invalid="ignore"):  # what float32 cannot hold is infinitely far
        return np.asarray(values, np.float32)


def _head(stream: IO[bytes]) -> _Head:
    version = npy.read_magic(stream)
    read = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
    if read is None:
        raise ValueError(version)
    shape, fortran, dtype = read(stream)
    if dtype.hasobject:  # pickles
        raise ValueError(dtype)
    return _Head(shape, bool(fortran) and len(shape) > 1, dtype, stream.tell())


def _array_name(path: Path, channel: str) -> str:
    with _reading(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
    if channel and channel not in names:
        raise Ex4dError(BAD_INPUT, f"{path.name} has no array '{channel}'.", f"It has: {', '.join(names) or 'none'}.")
    name = channel or next((key for key in KEYS if key in names), names[0] if len(names) == 1 else "")
    if not name:
        raise Ex4dError(
            BAD_INPUT,
            f"{path.name} holds {', '.join(names) or 'nothing'}.",
            "Name the array depth or disparity, or say which it is with depth_channel.",
        )
    return name


def _says(path: Path, what: str) -> str:
    """A text that we put into an npz beside the depth; "" where there is none."""
    with _reading(path), zipfile.ZipFile(path) as archive:
        name = what.rsplit("/", 1)[-1]
        if f"{name}.npy" not in archive.namelist():
            return ""
        with archive.open(f"{name}.npy") as stream:
            head = _head(stream)
            if head.dtype.kind != "U" or head.shape or head.dtype.itemsize > _LONGEST_TEXT:
                return ""
            return str(_values(stream, head.dtype.itemsize, head.dtype)[0])


@contextmanager
def _member(path: Path, name: str) -> Iterator[IO[bytes]]:
    with zipfile.ZipFile(path) as archive, archive.open(f"{name}.npy") as stream:
        yield stream


@contextmanager
def _file(path: Path) -> Iterator[IO[bytes]]:
    with path.open("rb") as stream:
        yield stream


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    try:
        yield
    except _BROKEN as error:
        kind = path.suffix.lower().removeprefix(".")
        raise Ex4dError(NOT_A_CLIP, f"{path.name} is not a whole {kind} file of arrays.", "Make it again.") from error


def _shown(shape: tuple[int, int, int]) -> str:
    frames, height, width = shape
    return f"{frames} frame{'s' if frames != 1 else ''} of {width}x{height}"
