# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of disparity from what is known: least squares in disparity, robust."""

from __future__ import annotations

from dataclasses import dataclass

from ex4d.depth.door import Progress, nobody
from ex4d.depth.known.values import Known
from ex4d.values import F64, Clip, DepthVideo


@dataclass(frozen=True)
class KnownFit:
    """How depth was fitted to what is known: 1 / z' = scale / z + shift."""

    scale: float
    shift: float
    source: str  # "points" | "measures" | "camera_height"
    count: int  # of what was compared
    agreeing: float  # share of it that agrees, 0..1
    residual: float  # median relative difference of depth, of what agrees
    note: str  # for a person; stands in the depth's notes as well


def in_real_units(
    depth: DepthVideo, clip: Clip, known: Known, lens: F64, progress: Progress = nobody
) -> tuple[DepthVideo, KnownFit]:
    """Depth fitted to what is known. `depth.z` is changed in place.

    Args:
        depth: z of each frame.
        clip: the pictures.
        known: something of it must be known.
        lens: [T, 4] fx, fy, cx, cy of the source camera, pixels of the clip's frames.
        progress: told at each frame; may raise.

    Raises:
        Ex4dError: BAD_INPUT for points outside the picture or the clip, or where nothing can be fitted.
    """
    raise NotImplementedError
