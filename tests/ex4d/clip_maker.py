# SPDX-License-Identifier: Apache-2.0
"""Small movies for tests: frames that carry their number, encoded any way a test asks for."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np

from ex4d.media.ffmpeg import program
from ex4d.values import U8

BITS = 8


def numbered(count: int, width: int = 64, height: int = 48) -> U8:
    """[count, height, width, 3]: a coloured slope, with the frame's number as black and white fields on top."""
    v, u = np.mgrid[0:height, 0:width]
    slope = np.stack([40 + 120 * u / width, 60 + 100 * v / height, np.full(u.shape, 90.0)], axis=2)
    frames = np.repeat(slope.astype(np.uint8)[None], count, axis=0)
    for t in range(count):
        for bit in range(BITS):
            columns = slice(bit * width // BITS, (bit + 1) * width // BITS)
            frames[t, : height // 3, columns] = 235 if t >> bit & 1 else 20
    return frames


def number_of(frame: U8) -> int:
    """The number painted into a frame of `numbered`."""
    height, width = frame.shape[:2]
    fields = [frame[height // 9 : height // 5, (2 * b + 1) * width // (2 * BITS)].mean() for b in range(BITS)]
    return sum(1 << bit for bit, value in enumerate(fields) if value > 127)


def numbers(frames: U8) -> list[int]:
    """Of all frames."""
    return [number_of(frame) for frame in frames]


def encode(path: Path, frames: U8, fps: str, *options: str, before: tuple[str, ...] = ()) -> Path:
    """Encodes frames with ffmpeg's options (default: H.264, 4:4:4, so that every size works)."""
    height, width = frames.shape[1:3]
    chosen = options or ("-c:v", "libx264", "-pix_fmt", "yuv444p", "-qp", "4", "-preset", "ultrafast")
    raw = ("-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-framerate", fps, *before, "-i", "pipe:0")
    ffmpeg(*raw, "-fps_mode", "passthrough", *chosen, str(path), feed=frames.tobytes())
    return path


def ffmpeg(*arguments: str, feed: bytes = b"") -> None:
    """Runs ffmpeg; its log is in the error when it fails."""
    line = [program(), "-hide_banner", "-v", "error", "-y", *arguments]
    done = subprocess.run(line, input=feed, capture_output=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.decode("utf-8", "replace"))
