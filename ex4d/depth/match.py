# SPDX-License-Identifier: Apache-2.0
"""Depth files brought to a clip: which frames belong to it, and its size."""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.depth.stored import Stored
from ex4d.values import F32, Clip
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

_SLACK = 1.0  # pixels of the coarser of two pictures that rounding may put them apart


def frames_for(stored: Stored, depth_first: int, first: int, count: int) -> tuple[range, list[str]]:
    """Which depth frames belong to a clip, as indices, and notes.

    Args:
        stored: the depth.
        depth_first: the depth frame that belongs to the clip's first: the number in its file's name, else counted from
            1; negative = depth and shot begin together, or, where both have as many frames, depth and clip.
        first: of the clip within its shot, from 0.
        count: frames of the clip.

    Raises:
        Ex4dError: BAD_INPUT for a frame that is not there, SIZE_MISMATCH for too few frames.
    """
    total = stored.total
    if depth_first < 0:
        if total >= first + count:
            return range(first, first + count), []
        if total == count:
            note = f"the depth has as many frames as were chosen: its first belongs to the clip's frame {first + 1}"
            return range(count), [note]
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The depth has {_frames(total)}; the clip's frames {first + 1} to {first + count} need {first + count}.",
            "Give depth for every frame of the clip, choose fewer frames, or say with depth_first where it begins.",
        )
    numbers = stored.numbers or range(1, total + 1)
    if depth_first not in numbers:
        raise Ex4dError(
            BAD_INPUT,
            f"There is no depth frame {depth_first}: the depth has {_frames(total)}, {numbers[0]} to {numbers[-1]}.",
            "Set depth_first to the frame that belongs to the clip's first one.",
        )
    start = numbers.index(depth_first)
    have = total - start
    if have < count:
        raise Ex4dError(
            SIZE_MISMATCH,
            f"From depth frame {depth_first} on there are {have}, to {numbers[-1]}; the clip has {_frames(count)}.",
            "Choose an earlier depth_first, or fewer frames of the clip.",
        )
    end = numbers[start + count - 1]
    if end - depth_first != count - 1:
        raise Ex4dError(
            SIZE_MISMATCH,
            f"Depth frames {depth_first} to {end} have gaps: {count} files of {end - depth_first + 1} are there.",
            "Make those that are missing, or leave depth_first out to read the files one after the other.",
        )
    return range(start, start + count), []


def check_size(clip: Clip, height: int, width: int, what: str = "depth") -> None:
    """Depth, or a mask, has the clip's size or its shape. What has one side alike and the other not was cropped.

    Raises:
        Ex4dError: SIZE_MISMATCH, with both sizes.
    """
    rows, columns = clip.frames.shape[1:3]
    if (width, height) == (columns, rows):
        return
    whole = columns / clip.scale, rows / clip.scale  # the clip as it comes in, to within a pixel of its frames
    if clip.scale < 1.0 and all(abs(a - b) <= _SLACK / clip.scale for a, b in zip((width, height), whole, strict=True)):
        return
    across, down = width / whole[0], height / whole[1]
    scale = (across * down) ** 0.5
    off = max(abs(width - scale * whole[0]), abs(height - scale * whole[1]))
    cropped = (width == columns) != (height == rows) or (width == round(whole[0])) != (height == round(whole[1]))
    if cropped or off > _SLACK * max(1.0, scale):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The {what} is {width} x {height}, the clip is {whole[0]:.0f} x {whole[1]:.0f}.",
            f"Give {what} of the same size or shape, made for this clip.",
        )


def fitted(values: F32, height: int, width: int) -> F32:
    """A frame in another size. Nearest values: an average of two depths is the depth of nothing."""
    if values.shape == (height, width):
        return values
    return np.asarray(cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"
