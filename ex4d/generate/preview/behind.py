# SPDX-License-Identifier: Apache-2.0
"""What may stand behind things that never move: near things are peeled off the plate, widest last."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.values import F32, Bool

from .fill import membrane

WIDTHS = (0.09, 0.22, 0.5)  # of the longest side: how wide the things are that each layer looks behind
_STANDS_OUT = 1.07  # ratio of disparities by which something is in front of what surrounds it


@dataclass(frozen=True, eq=False)
class Peeled:
    """The plate without the things that are narrower than some width."""

    colour: F32  # [H, W, 3] 0..255
    z: F32  # [H, W], nowhere nearer than the plate
    removed: Bool  # [H, W] where it differs from the plate: invented


def peel(colour: F32, z: F32, share: float) -> Peeled:
    """Removes from a plate whatever stands out of its surroundings and is narrower than `share` of the longest side.

    A morphological opening of the disparity finds it: an opening keeps slopes (floors, walls) as they are and takes
    away whatever a square of that width does not fit into. Colour and disparity behind are a membrane from the rim.
    """
    height, width = z.shape
    side = max(3, round(share * max(height, width))) | 1
    disparity = (1.0 / z).astype(np.float32)
    removed = disparity > _opened(disparity, side) * _STANDS_OUT
    # The rim of a thing has its colour mixed in and, with estimated depth, lies a few pixels beside the edge.
    rim = 2 * max(2, round(0.007 * max(height, width))) + 1
    removed = cv2.dilate(removed.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (rim, rim))) > 0
    if removed.all():
        removed[:] = False
    behind = np.minimum(membrane(disparity, ~removed, relaxations=30), disparity)
    return Peeled(membrane(colour, ~removed), (1.0 / behind).astype(np.float32), removed)


def _opened(disparity: F32, side: int) -> F32:
    """Opening by a square. Beyond the edge the slope goes on, or else a floor would lose its nearest rows."""
    height, width = disparity.shape
    pad_y, pad_x = min(side, height - 1), min(side, width - 1)
    wide = np.pad(disparity, ((pad_y, pad_y), (pad_x, pad_x)), mode="reflect", reflect_type="odd")
    kernel = np.ones((side, side), np.uint8)
    opened = cv2.dilate(cv2.erode(wide, kernel), kernel)
    return np.asarray(opened[pad_y : pad_y + height, pad_x : pad_x + width], np.float32)
