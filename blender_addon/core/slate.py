# SPDX-License-Identifier: GPL-3.0-or-later
"""The picture that stands on a strip until a frame arrives: dark grey with diagonal stripes, as a PNG."""

from __future__ import annotations

import struct
import zlib

_DARK, _LIGHT = 0x28, 0x34  # grey values
_PERIOD = 64  # pixels


def slate(width: int, height: int) -> bytes:
    """A PNG of that size, 8-bit grey."""
    stripe = bytes([_DARK] * (_PERIOD // 2) + [_LIGHT] * (_PERIOD // 2))
    pattern = stripe * (width // _PERIOD + 2)
    rows = b"".join(b"\0" + pattern[(y % _PERIOD) : (y % _PERIOD) + width] for y in range(height))
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(rows, 1)) + _chunk(b"IEND", b"")
    )


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
