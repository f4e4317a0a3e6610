# SPDX-License-Identifier: Apache-2.0
"""Depth in sequences of pictures: EXR of any channel and any part, PNG with 16 or 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.depth.stored import HOLDS, HOLDS_DISPARITY, METRES, UNITS, Stored, kind_of
from ex4d.images import read_exr_channel, read_raw_png
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, SIZE_MISMATCH, Ex4dError

_LISTED = 12  # channels that a message names


def open_exrs(files: Sequence[Path], channel: str) -> Stored:
    """EXR files; the first decides which channel it is.

    Raises:
        Ex4dError: BAD_INPUT for a channel that is not there, NOT_A_CLIP where none can be depth; as
            `ex4d.images.read_exr`.
    """
    picked: list[str] = []
    green: list[str] = []
    notes: list[str] = []

    def choose(names: Sequence[str]) -> str:
        if channel:
            name = _named(channel, names, files[0])
        else:
            name, others = _by_name(names, files[0])
            if others:
                notes.append(f"depth is read from the channel {name}; there is {_listed(others)} as well")
            green.extend(other for other in names if name.lower() == "r" and other.lower() == "g")
        picked.append(name)
        return name

    first, header = read_exr_channel(files[0], choose)
    name = picked[0]
    if green:
        _check_grey(files[0], first, green[0])
    kind = kind_of(name)

    def again(path: Path) -> F32:
        def same(names: Sequence[str]) -> str:
            if name not in names:
                raise _missing(name, names, path)
            return name

        return read_exr_channel(path, same)[0]

    return Stored(
        files[0].name,
        len(files),
        kind,
        lambda wanted: _one_size(files, wanted, again),
        inverse=kind == "disparity" and str(header.get(HOLDS, "")) == HOLDS_DISPARITY,
        metric=str(header.get(UNITS, "")) == METRES,
        notes=tuple(notes),
    )


def open_pngs(files: Sequence[Path]) -> Stored:
    """PNG files: grey, or coloured files of grey pictures."""
    few = read_raw_png(files[0]).dtype == np.uint8
    return Stored(
        files[0].name,
        len(files),
        "disparity",
        lambda wanted: _one_size(files, wanted, _png_values),
        whole=True,
        notes=("depth has only 8 bits: expect steps in it",) if few else (),
        remarks=(("depth", "16-bit PNG depth read as millimetres, 0 as background"),),
    )


def _one_size(files: Sequence[Path], wanted: Sequence[int], read: Callable[[Path], F32]) -> Iterator[F32]:
    head: tuple[Path, tuple[Any, ...]] | None = None
    for path in (files[index] for index in wanted):
        frame = read(path)
        head = head or (path, frame.shape)
        if frame.shape != head[1]:
            (height, width), (first_height, first_width) = frame.shape, head[1]
            raise Ex4dError(
                SIZE_MISMATCH,
                f"{path.name} is {width}x{height}, {head[0].name} is {first_width}x{first_height}.",
                "All must be of one size.",
            )
        yield frame


def _by_name(names: Sequence[str], path: Path) -> tuple[str, list[str]]:
    """The channel that is depth by its name, and others of which the same could be said."""
    lower = {name.lower(): name for name in names}
    layers = sorted(name for name in lower if ".depth." in f".{name}")  # "ViewLayer.Depth.Z"
    ends = sorted(name for name in lower if name.endswith(".z"))
    ranks = [["z"], ["depth"], layers, ends, ["disparity"], ["y"], ["v"], ["r"]]
    for rank in ranks:
        found = [lower[name] for name in rank if name in lower]
        if found:
            return found[0], found[1:]
    if len(names) == 1:
        return names[0], []
    raise Ex4dError(
        NOT_A_CLIP,
        f"{path.name} has no depth, only: {_listed(names)}.",
        "Depth is a channel called Z; name another with depth_channel.",
    )


def _named(channel: str, names: Sequence[str], path: Path) -> str:
    """The channel of that name: all of it, or its end where there is only one such ("Depth.Z", "Z")."""
    asked = channel.lower()
    if exact := [name for name in names if name == channel] or [name for name in names if name.lower() == asked]:
        return exact[0]
    ends = [name for name in names if name.lower().endswith(f".{asked}")]
    if len(ends) == 1:
        return ends[0]
    if ends:
        raise Ex4dError(
            BAD_INPUT, f"{path.name} has several channels '{channel}': {_listed(ends)}.", "Give its whole name."
        )
    raise _missing(channel, names, path)


def _missing(channel: str, names: Sequence[str], path: Path) -> Ex4dError:
    return Ex4dError(BAD_INPUT, f"{path.name} has no channel '{channel}'.", f"It has: {_listed(names)}.")


def _check_grey(path: Path, red: F32, green: str) -> None:
    """Refuses colour: what is grey is the same in all channels."""
    if not np.array_equal(red, read_exr_channel(path, lambda _: green)[0], equal_nan=True):
        raise Ex4dError(
            BAD_INPUT,
            f"{path.name} is a coloured picture.",
            "Depth is a channel called Z; if it is one of the colours, name it with depth_channel.",
        )


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
    return ", ".join(names[:_LISTED]) + more


def _png_values(path: Path) -> F32:
    picture = read_raw_png(path)
    if picture.ndim == 3:
        if (picture != picture[..., :1]).any():
            raise Ex4dError(
                BAD_INPUT, f"{path.name} is a coloured picture.", "Depth is grey: one value for each pixel."
            )
        picture = picture[..., 0]
    return picture.astype(np.float32)
