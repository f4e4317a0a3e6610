# SPDX-License-Identifier: Apache-2.0
"""How far two answers to "which triangle is seen here?" agree, after the shared code made pictures of both."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks._scene import View
from ex4d.render.clip_space import to_clip
from ex4d.render.resolve import resolve
from ex4d.values import I32, Bool

LEAST_IOU = 0.9995  # of covered pixels, and of the masks
MOST_COLOUR = 0.02  # levels of 255, mean over the picture
LEAST_IDS = 0.94  # for corners snapped to 1/16 of a pixel


@dataclass(frozen=True)
class Agreement:
    """Of one view."""

    cover_iou: float  # pixels with any face
    mask_iou: float  # pixels whose face the source camera saw
    colour: float  # mean absolute difference over all pixels and channels, levels of 255
    ids: float  # share of equal indices where both have a face; nan where that says nothing

    @property
    def good(self) -> bool:
        """Whether it is as close as snapping alone would leave it."""
        close = self.cover_iou >= LEAST_IOU and self.mask_iou >= LEAST_IOU and self.colour <= MOST_COLOUR
        return close and not self.ids < LEAST_IDS


def agreement(view: View, ours: I32, theirs: I32) -> Agreement:
    """Compares two answers for one view.

    From the source camera every pixel's centre lies on the corner of several faces: there indices are not compared.

    Args:
        view: what was drawn.
        ours: [h, w] index of the face + 1, 0 for none.
        theirs: the same, from somewhere else.
    """
    position = to_clip(view.surface.points, view.world_from_camera, view.intrinsics, view.near)
    colour, mask, _ = resolve(ours, position, view.surface, view.picture)
    other_colour, other_mask, _ = resolve(theirs, position, view.surface, view.picture)
    both = (ours > 0) & (theirs > 0)
    same = float((ours == theirs)[both].mean()) if view.angle and both.any() else float("nan")
    difference = np.abs(colour.astype(np.int16) - other_colour).mean(dtype=np.float64)
    return Agreement(_iou(ours > 0, theirs > 0), _iou(mask, other_mask), float(difference), same)


def _iou(a: Bool, b: Bool) -> float:
    union = int((a | b).sum())
    return int((a & b).sum()) / union if union else 1.0
