# SPDX-License-Identifier: GPL-3.0-or-later
"""The size of a PNG picture, from its header."""

from __future__ import annotations

import struct
from pathlib import Path

_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"


def size_of(path: Path) -> tuple[int, int] | None:
    """Width and height in pixels; None where there is no such file, or another."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_START) + 8)
    except OSError:
        return None
    if len(head) < len(_START) + 8 or not head.startswith(_START):
        return None
    width, height = struct.unpack(">II", head[len(_START) :])
    return (width, height) if width and height else None
