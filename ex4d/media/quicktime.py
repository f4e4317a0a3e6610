# SPDX-License-Identifier: Apache-2.0
"""What a QuickTime or MP4 file tells about its camera, of the file and of its tracks.

It is read here, since ffmpeg prints the items of the file alone, and phones write their lens into the video track.
Layout: QuickTime File Format Specification, "Metadata": an atom `meta` with `keys` (names) and `ilst` (values).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

_CONTAINERS = (b"moov", b"trak", b"udta")
_LARGEST = 64 << 20  # bytes of an atom that is read; the lists of a film's frames are smaller
_ITEMS = 4096
_LONGEST = 4096  # bytes of a value that is looked at
_DEPTH = 6  # atoms within atoms

# Kinds of values, of the specification's "Well-known types".
_UTF8, _SIGNED, _UNSIGNED, _FLOAT, _DOUBLE = 1, 21, 22, 23, 24


def quicktime_items(path: Path) -> dict[str, str]:
    """Names ("com.apple.quicktime.model") and values as text; {} where there are none, or for another kind of file.

    A damaged file gives what was found until there: whether it is a movie at all, others say.
    """
    found: dict[str, str] = {}
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if head[4:8] not in (b"ftyp", b"moov", b"wide", b"mdat", b"free", b"skip"):
                return {}
            end = file.seek(0, 2)
            at = 0
            while at + 8 <= end:
                file.seek(at)
                size, kind, start = _head(file.read(16), at, end)
                if size < start - at or start == at:
                    break
                if kind == b"moov" and size <= _LARGEST:
                    file.seek(start)
                    for name, value in _walk(file.read(at + size - start), 0):
                        found.setdefault(name, value)
                at += size
    except (OSError, struct.error):
        return found
    return found


def _head(data: bytes, at: int, end: int) -> tuple[int, bytes, int]:
    """Size of the atom at `at`, its kind, and where its content starts: at `at` where its head is cut off."""
    size, kind = struct.unpack_from(">I4s", data)
    if size == 1:  # the size did not fit
        return (struct.unpack_from(">Q", data, 8)[0], kind, at + 16) if len(data) >= 16 else (0, b"", at)
    return (end - at if size == 0 else size), kind, at + 8


def _atoms(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at + 8 <= len(data):
        size, kind, start = _head(data[at : at + 16], at, len(data))
        if size < start - at or start == at:
            return
        yield kind, data[start : at + size]
        at += size


def _walk(data: bytes, depth: int) -> Iterator[tuple[str, str]]:
    for kind, content in _atoms(data):
        if kind in _CONTAINERS and depth < _DEPTH:
            yield from _walk(content, depth + 1)
        elif kind == b"meta":
            yield from _items(content)


def _items(content: bytes) -> Iterator[tuple[str, str]]:
    # MP4's atom has four bytes of version and flags in front, QuickTime's has not.
    parts = dict(_atoms(content if content[4:8] in (b"hdlr", b"keys", b"ilst") else content[4:]))
    keys, values = parts.get(b"keys", b""), parts.get(b"ilst", b"")
    names = [name.decode("utf-8", "replace") for _, name in _atoms(keys[8:])][:_ITEMS]
    for index, item in _atoms(values):
        number = int.from_bytes(index, "big")
        data = dict(_atoms(item)).get(b"data", b"")
        if 1 <= number <= len(names) and len(data) >= 8:
            value = _text(int.from_bytes(data[:4], "big") & 0xFFFFFF, data[8 : 8 + _LONGEST])
            if value:
                yield names[number - 1], value


def _text(kind: int, value: bytes) -> str:
    if kind == _UTF8:
        return value.decode("utf-8", "replace").strip("\0 ")
    if kind in (_SIGNED, _UNSIGNED) and 1 <= len(value) <= 8:
        return str(int.from_bytes(value, "big", signed=kind == _SIGNED))
    if kind == _FLOAT and len(value) == 4:
        return f"{struct.unpack('>f', value)[0]:g}"
    if kind == _DOUBLE and len(value) == 8:
        return f"{struct.unpack('>d', value)[0]:g}"
    return ""
