# SPDX-License-Identifier: Apache-2.0
"""How the public EX-4D code loads the colour and mask videos that it generates from (generate.py).

What the released weights were run on: frames picked over the whole video, masks eroded and binarised, colour masked
and rounded to bfloat16. That code draws the erosion of each frame unseeded; here it has a seed, or is given.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.values import F32, U8, Bool
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

SMALLEST_KERNEL, LARGEST_KERNEL = 2, 8  # pixels; both are drawn

I64 = NDArray[np.int64]


def read_indices(count: int, wanted: int) -> I64:
    """Which frames of a video of `count` frames are read for `wanted` frames: spread evenly from the first to the
    last, cut off to whole numbers; all of them where there are fewer (`hold_last` makes up the rest).

    Returns:
        [min(count, wanted)] indices from 0.

    Raises:
        Ex4dError: BAD_INPUT when either number is below 1.
    """
    if count < 1 or wanted < 1:
        raise Ex4dError(BAD_INPUT, f"{wanted} frames cannot be taken from a video of {count}.")
    return np.linspace(0, count - 1, wanted, dtype=np.int64) if count >= wanted else np.arange(count, dtype=np.int64)


def hold_last(frames: NDArray[np.generic], wanted: int) -> NDArray[np.generic]:
    """Frames [T, ...] cut, or their last one repeated, to [wanted, ...]."""
    return frames[np.minimum(np.arange(wanted), len(frames) - 1)]


def resize(frames: U8, height: int, width: int) -> U8:
    """Frames [T, H, W] or [T, H, W, 3] in another size, bilinear, without antialiasing (OpenCV's default)."""
    resized = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_LINEAR) for frame in frames]
    return np.asarray(np.stack(resized), np.uint8)


def draw_kernels(count: int, seed: int) -> I64:
    """Sizes of the erosion of `count` frames, each of 2..8 equally likely; the same for the same seed."""
    return np.random.default_rng(seed).integers(SMALLEST_KERNEL, LARGEST_KERNEL, count, np.int64, endpoint=True)


def erode(masks: U8, kernels: I64) -> U8:
    """Smallest value in a box of kernels[t] x kernels[t] pixels, reaching kernels[t] // 2 pixels up and left.

    Beyond the picture's edge there is nothing that could lower a value.

    Args:
        masks: [T, H, W] u8.
        kernels: [T], at least 1.

    Raises:
        Ex4dError: SIZE_MISMATCH when there is not one kernel for each mask, BAD_INPUT for one below 1.
    """
    if len(kernels) != len(masks):
        raise Ex4dError(SIZE_MISMATCH, f"There are {len(masks)} masks and {len(kernels)} sizes of their erosion.")
    if (np.asarray(kernels) < 1).any():
        raise Ex4dError(BAD_INPUT, f"An erosion by {int(np.min(kernels))} pixels cannot be made.", "Give 1 or more.")
    boxes = [np.ones((int(k), int(k)), np.uint8) for k in kernels]
    return np.asarray(np.stack([cv2.erode(mask, box) for mask, box in zip(masks, boxes, strict=True)]), np.uint8)


def binarise(masks: U8) -> Bool:
    """True where a mask is above one half of 255."""
    return np.asarray(masks > 127)


def prepare_colour(frames: U8, wanted: int, height: int, width: int) -> U8:
    """Colour video [T, H, W, 3] → the frames that are generated from, [wanted, height, width, 3] u8."""
    read = resize(frames[read_indices(len(frames), wanted)], height, width)
    return np.asarray(hold_last(read, wanted), np.uint8)


def prepare_mask(masks: U8, wanted: int, height: int, width: int, kernels: I64) -> Bool:
    """Mask video [T, H, W] u8 → the masks that are generated from, [wanted, height, width].

    Args:
        masks: 255 = seen.
        wanted: how many frames.
        height: of the result.
        width: of the result.
        kernels: [min(T, wanted)] erosion of each frame that is read (`draw_kernels`).

    Raises:
        Ex4dError: SIZE_MISMATCH for another number of kernels, BAD_INPUT for no frames or a kernel below 1.
    """
    eroded = erode(resize(masks[read_indices(len(masks), wanted)], height, width), kernels)
    return np.asarray(hold_last(binarise(eroded), wanted), np.bool_)


def to_bfloat16(values: F32) -> F32:
    """Rounds finite float32 values to those that bfloat16 can hold, to nearest, ties to even; they stay float32.

    bfloat16 is the upper half of a float32 (sign, exponent and 7 bits); the lower half carries into it.
    """
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    kept = (bits + (np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1)))) & np.uint32(0xFFFF0000)
    return kept.view(np.float32)


def masked_colour(colour: U8, mask: Bool) -> F32:
    """The video that the network is conditioned on: masked, then -1..1, in the rounding of bfloat16.

    Args:
        colour: [T, H, W, 3].
        mask: [T, H, W].

    Returns:
        [T, H, W, 3] float32; every value can be held by bfloat16. -1 where the mask is False.
    """
    masked = colour.astype(np.float32) / np.float32(255.0) * mask[..., None].astype(np.float32)
    return to_bfloat16(to_bfloat16(masked) * np.float32(2.0) - np.float32(1.0))
