# SPDX-License-Identifier: Apache-2.0
"""Depth edges brought to the picture's edges, each pixel on one side of them.

A network smears depth over a silhouette, and seldom puts the silhouette where the picture has it: seen from aside, that
is a sheet of rubber. Which side a smeared pixel belongs to is told by the disparity around it within the same colour:
the domain transform filter, guided by the frame (Gastal and Oliveira, "Domain Transform for Edge-Aware Image and Video
Processing", SIGGRAPH 2011; OpenCV's). It takes the depth that the smear ends in on that side. Before that, noise within
surfaces is smoothed by a guided filter (He, Sun and Tang, "Guided Image Filtering", TPAMI 2013; OpenCV's): it would be
taken for edges.

The constants were chosen on scenes with known depth that was blurred, displaced and made noisy.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from ex4d.depth.door import Progress
from ex4d.mesh.edges import EDGE_RATIO
from ex4d.on_disk import forget
from ex4d.values import F32, U8

REACH = 4  # pixels from one of a smear to where it ends, in pictures of up to ...
SIDE = 512  # ... pixels; in larger ones, more in proportion, for a network's own picture is no larger
PLATEAU = 0.25  # of a smear's steepness: steeper than that beyond its ends, it is a slope
COLOURS = 50.0  # levels that a colour may change on the way to a pixel that still counts
AROUND = 2.5  # of the reach: how far away such pixels lie
NOISE = 0.03  # of the usual disparity: differences below are smoothed
SMOOTH = 2  # pixels
_EVERY = 16  # frames


def refine_edges(z: F32, frames: U8, progress: Progress) -> list[str]:
    """Changes z [T, H, W] in place, frame by frame, guided by the frames [T, H, W, 3]. Returns notes for a person.

    Raises:
        Ex4dError: whatever `progress` raises.
    """
    for index in range(len(z)):
        z[index] = refined(z[index], frames[index])
        progress("Refining edges", index + 1, len(z))
        if index % _EVERY == 0:
            forget(z, frames)
    return ["depth edges were brought to the picture's edges"]


def refined(z: F32, frame: U8) -> F32:
    """Depth [H, W] with its edges on those of the frame [H, W, 3]."""
    from ex4d.mesh.sharpen import sharpened  # loads Numba

    reach = round(REACH * max(1.0, max(z.shape) / SIDE))
    smooth = _smoothed(z)
    filters: Any = cv2.ximgproc  # which OpenCV's own types leave out
    alike = filters.dtFilter(frame, (1.0 / smooth).astype(np.float32), AROUND * reach, COLOURS)
    return sharpened(smooth, reach=reach, plateau=PLATEAU, belongs=np.asarray(alike, np.float32))


def _smoothed(z: F32) -> F32:
    """Without noise inside of surfaces; what lies near a gap stays as it is."""
    disparity = (1.0 / z).astype(np.float32)
    around = np.ones((2 * SMOOTH + 1, 2 * SMOOTH + 1), np.uint8)
    edge = cv2.dilate(disparity, around) > EDGE_RATIO * cv2.erode(disparity, around)
    filters: Any = cv2.ximgproc
    even = filters.guidedFilter(disparity, disparity, SMOOTH, (NOISE * float(np.median(disparity))) ** 2)
    return np.where(edge, z, 1.0 / np.maximum(even, 0.5 * disparity)).astype(np.float32)
