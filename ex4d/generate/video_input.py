# SPDX-License-Identifier: Apache-2.0
"""A colour and a mask video → what a generator is told about a shot.

Frames are picked as the public EX-4D code picks them (`ex4d.upstream.frames`). Pictures stay as they are in the files:
generators bring them to their size, erode masks and black out what is not seen.

A mask is made binary here, at its own size; that code resizes and erodes it first. Where no size changes that is the
same, since a smallest value commutes with a threshold. Where one does, levels between black and white, which lossy
files have along edges, decide otherwise for a few pixels there: of the public example, 0.05 % at 832x480 and 0.6 % at
half its size, along edges from which that code takes a random 2 to 8 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ex4d.clip import read_clip
from ex4d.media.rate import spoken
from ex4d.upstream.frames import binarise, hold_last, read_indices
from ex4d.values import Bool, Conditioning
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

_WHOLE = 0.98  # of the first frame that is to be seen, for it to pass as a real picture


@dataclass(frozen=True, eq=False)
class VideoInput:
    """Two videos, read."""

    conditioning: Conditioning  # colour as it is in the file, where the mask is False too
    notes: tuple[str, ...]  # for a person: what was done on the way in, and what looks wrong


def read_videos(colour: Path, mask: Path, wanted: int = 0) -> VideoInput:
    """Reads a shot's colour and mask.

    Args:
        colour: movie, or folder of pictures. Its rate is the shot's.
        mask: the same; white = seen. Of coloured pictures the red channel counts.
        wanted: frames to take, spread evenly over the videos; more than there are: the last one is held. 0 = all.

    Raises:
        Ex4dError: SIZE_MISMATCH where the two differ in length or size; NOT_FOUND, NOT_A_CLIP, BAD_INPUT, UNSUPPORTED
            or LIMIT for a file that cannot be read.
    """
    pictures, masks = read_clip([colour]), read_clip([mask])
    total, height, width = pictures.frames.shape[:3]
    frames, rows, columns = masks.frames.shape[:3]
    if (total, height, width) != (frames, rows, columns):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"{colour.name} has {total} frames of {width}x{height}, {mask.name} {frames} of {columns}x{rows}.",
            "The colour and the mask video must have the same length and size.",
        )
    notes = [f"{path.name}: {note}" for path, clip in ((colour, pictures), (mask, masks)) for note in clip.notes]
    if pictures.fps != masks.fps and colour.is_file() and mask.is_file():  # folders have no rate of their own
        notes.append(
            f"{colour.name} has {spoken(pictures.fps)} fps, {mask.name} {spoken(masks.fps)}: "
            "they are taken frame for frame"
        )
    seen = binarise(masks.frames[..., 0])
    del masks
    shown = pictures.frames
    if wanted and wanted != total:
        indices = read_indices(total, wanted)
        shown = np.asarray(hold_last(shown[indices], wanted), np.uint8)
        seen = np.asarray(hold_last(seen[indices], wanted), np.bool_)
        notes.append(
            f"{wanted} of {total} frames are taken, spread evenly: the shot plays faster"
            if wanted < total
            else f"the last of {total} frames is held to the end of {wanted}"
        )
    coverage = seen.mean(axis=(1, 2), dtype=np.float64)
    conditioning = Conditioning(colour=shown, mask=seen, coverage=coverage, fps=pictures.fps)
    return VideoInput(conditioning, (*notes, *_doubts(seen, mask.name)))


def _doubts(seen: Bool, name: str) -> list[str]:
    if not seen.any():
        return [f"{name} is black from end to end: nothing of the colour video is used (white = seen)"]
    if seen.all():
        return [f"{name} is white from end to end: there is nothing to paint (white = seen)"]
    first = float(seen[0].mean())
    if first < _WHOLE:
        text = (
            f"{name} shows {first:.0%} of the first frame as seen; the generator wan takes that frame for a whole one"
        )
        return [text]
    return []
