# SPDX-License-Identifier: Apache-2.0
"""What may stand behind things that never move: near things are peeled off the plate, widest last."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.values import F32, Bool

from .fill import membrane

EDGE_RATIO = 1.05  # of depths of neighbours: what is further apart belongs to two things
WIDTHS = (0.06, 0.13, 0.24, 0.5)  # of the longest side: how wide the things are that each layer looks behind
_STANDS_OUT = 1.07  # ratio of disparities by which something is in front of what surrounds it

_SAME = 1.05  # ratio of disparities up to which the rim counts as part of what is behind
_TUCK = 3  # pixels


@dataclass(frozen=True, eq=False)
class Peeled:
    """The plate without the things that are narrower than some width."""

    colour: F32  # [H, W, 3] 0..255
    z: F32  # [H, W], nowhere nearer than the plate
    removed: Bool  # [H, W] where it differs from the plate: invented


def without_fringes(colour: F32, z: F32, margin: int) -> F32:
    """Recolours the far side of depth edges from further away.

    There the colour of the near thing is mixed in (lens, sampling, or an estimated edge that lies beside the real
    one). In front of the thing nobody sees that; in a hole beside it, it would draw the thing's outline.

    Args:
        colour: [H, W, 3] 0..255.
        z: [H, W].
        margin: how far beside an edge the colours of both sides may mix, pixels.

    Returns:
        [H, W, 3].
    """
    disparity = (1.0 / z).astype(np.float32)
    beside = np.asarray(cv2.dilate(disparity, np.ones((3, 3), np.uint8)), np.float32) > disparity * EDGE_RATIO
    if not beside.any():
        return colour
    far_side = disparity <= _at_nearest(disparity, beside) * _SAME
    fringe = _grown(beside, margin) & far_side
    holds = _grown(fringe, margin + 1) & ~fringe & far_side
    return np.where(fringe[..., None], membrane(colour, holds), colour).astype(np.float32) if holds.any() else colour


def solid(z: F32) -> Bool:
    """Where a depth picture [H, W] is surface, and not a strip a pixel or two wide that hangs between near and far:
    estimated and filtered depth leaves such strips along edges."""
    kernel = np.ones((3, 3), np.uint8)
    jumps = np.asarray(cv2.dilate(z, kernel), np.float32) > np.asarray(cv2.erode(z, kernel), np.float32) * EDGE_RATIO
    return np.asarray(cv2.dilate((~jumps).astype(np.uint8), kernel), np.uint8) > 0


def peel(colour: F32, z: F32, share: float, margin: int) -> Peeled:
    """Removes from a plate whatever stands out of its surroundings and is narrower than `share` of the longest side.

    A morphological opening of the disparity finds it: an opening keeps slopes (floors, walls) as they are and takes
    away whatever a square of that width does not fit into. Colour and disparity behind are a membrane over the hole,
    held at that part of its rim which is no nearer than what the opening found behind, or than what the widest opening
    leaves: where only a corner of a wider thing is taken off, the rest of that thing has no say in it.
    """
    height, width = z.shape
    longest = max(height, width)
    side = max(3, round(share * longest)) | 1
    disparity = (1.0 / z).astype(np.float32)
    opened = _opened(disparity, side)
    stands_out = disparity > opened * _STANDS_OUT
    removed = _without_islands(_grown(stands_out, margin), side * side)
    if removed.all() or not removed.any():
        return Peeled(colour, z, np.zeros_like(removed))
    rim = _grown(removed, 2 * margin) & ~removed
    ground = _opened(disparity, max(3, round(WIDTHS[-1] * longest)) | 1)
    holds = rim & (disparity <= np.maximum(_at_nearest(opened, stands_out), ground) * _SAME)
    if not holds.any():
        holds = rim
    behind = np.minimum(membrane(disparity, holds, relaxations=30), disparity)
    filled = membrane(colour, holds)
    # The sheet reaches a little beyond the hole, and must not climb up what stands beside it.
    around = _grown(removed, _TUCK) & ~holds
    return Peeled(
        np.where(around[..., None], filled, colour),
        (1.0 / np.where(around, behind, disparity)).astype(np.float32),
        removed,
    )


def _at_nearest(values: F32, region: Bool) -> F32:
    """For each pixel, the value at the pixel of `region` that is nearest to it. The region must not be empty."""
    _, label = cv2.distanceTransformWithLabels(
        (~region).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros(int(label.max()) + 1, np.float32)
    found[label[region]] = values[region]
    return np.asarray(found[label], np.float32)


def _without_islands(removed: Bool, smallest: int) -> Bool:
    """Adds what is left standing amid the removed, in pieces of fewer pixels than `smallest`. A strip along the edge
    of the picture stays: it is the end of something that goes on."""
    height, width = removed.shape
    _, label, stats, _ = cv2.connectedComponentsWithStats((~removed).astype(np.uint8), connectivity=4)
    left, top, right, bottom = stats[:, 0], stats[:, 1], stats[:, 0] + stats[:, 2], stats[:, 1] + stats[:, 3]
    amid = (left > 0) & (top > 0) & (right < width) & (bottom < height)
    small = amid & (stats[:, cv2.CC_STAT_AREA] < smallest)
    small[0] = True  # label 0 is what was removed
    return np.asarray(small[label], np.bool_)


def _disc(radius: int) -> NDArray[np.uint8]:
    side = 2 * radius + 1
    return np.asarray(cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (side, side)), np.uint8)


def _grown(region: Bool, radius: int) -> Bool:
    return np.asarray(cv2.dilate(region.astype(np.uint8), _disc(radius)), np.uint8) > 0


def _opened(disparity: F32, side: int) -> F32:
    """Opening by a square. Beyond the edge the slope goes on, or else a floor would lose its nearest rows."""
    height, width = disparity.shape
    pad_y, pad_x = min(side, height - 1), min(side, width - 1)
    pad = ((pad_y, pad_y), (pad_x, pad_x))
    sloped = np.pad(disparity, pad, mode="reflect", reflect_type="odd")
    wide = np.maximum(sloped, np.pad(disparity, pad, mode="edge"))  # a near thing mirrors into a pit: no
    kernel = np.ones((side, side), np.uint8)
    opened = cv2.dilate(cv2.erode(wide, kernel), kernel)
    return np.asarray(opened[pad_y : pad_y + height, pad_x : pad_x + width], np.float32)
