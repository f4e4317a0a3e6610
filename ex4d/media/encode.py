# SPDX-License-Identifier: Apache-2.0
"""Movies for looking at."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np

from ex4d.files import replacing
from ex4d.media.ffmpeg import stream
from ex4d.values import U8
from shared_protocol.errors import BAD_INPUT, DISK, Ex4dError


def write_h264(path: Path, frames: Iterable[U8], fps: Fraction) -> None:
    """See `ex4d.clip.write_video`."""
    if path.suffix.lower() not in (".mp4", ".mov", ".mkv"):
        raise Ex4dError(BAD_INPUT, f"{path.name} is not a name for a movie.", "Let it end in .mp4.")
    if fps <= 0:
        raise Ex4dError(BAD_INPUT, f"{fps} frames per second is not a rate.")
    pictures = iter(frames)
    head = next(pictures, None)
    if head is None:
        raise Ex4dError(BAD_INPUT, "A movie needs at least one frame.")
    height, width = head.shape[:2]
    padded = (height + height % 2, width + width % 2)
    with replacing(path) as temporary, stream(_arguments(temporary, padded, fps), feed=True) as running:
        pipe = running.process.stdin
        assert pipe is not None  # noqa: S101 - for the type checker: it was asked for
        frame: U8 | None = head
        try:
            while frame is not None:
                pipe.write(_even(frame, (height, width)).tobytes())
                running.alive()
                frame = next(pictures, None)
                running.alive()
            pipe.close()
        except BrokenPipeError:
            pass  # ffmpeg ended early; its exit status and log say why
        code, log = running.end()
        if code != 0 or frame is not None:
            lines = log.strip().splitlines() or [f"exit status {code}"]
            raise Ex4dError(DISK, f"{path} could not be written: {lines[-1].strip()}", "Is the disk full?")


def _arguments(path: Path, size: tuple[int, int], fps: Fraction) -> list[str]:
    height, width = size
    rate = f"{fps.numerator}/{fps.denominator}"
    return [
        *("-v", "error", "-f", "rawvideo", "-pix_fmt", "rgb24", "-video_size", f"{width}x{height}"),
        *("-framerate", rate, "-i", "pipe:0", "-fps_mode", "passthrough"),
        *("-vf", "scale=out_color_matrix=bt709:out_range=tv:flags=bicubic+accurate_rnd,format=yuv420p"),
        *("-c:v", "libx264", "-crf", "18", "-preset", "veryfast"),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709", "-color_range", "tv"),
        *("-movflags", "+faststart", "-y", f"file:{path.absolute()}"),
    ]


def _even(frame: U8, size: tuple[int, int]) -> U8:
    """A frame with even sides: 4:2:0 has one colour sample for 2x2 pixels."""
    if frame.dtype != np.uint8 or frame.shape != (*size, 3):
        raise Ex4dError(BAD_INPUT, f"Frames of a movie are all of one size: {frame.shape} comes after {(*size, 3)}.")
    return np.pad(frame, ((0, size[0] % 2), (0, size[1] % 2), (0, 0)), mode="edge")
