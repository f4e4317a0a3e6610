# SPDX-License-Identifier: Apache-2.0
"""Depth that somebody brought along: rendered, measured, or estimated elsewhere."""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.depth.convert import depth_from_disparity, finite_depth
from ex4d.depth.door import DepthRequest, Progress
from ex4d.depth.read import read_depth
from ex4d.values import F32, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError


class FileDepth:
    """Reads depth from files."""

    name = "file"
    label = "Depth from files"
    licence = "Apache-2.0"
    commercial_use = True

    def available(self) -> tuple[bool, str]:
        """Always."""
        return True, ""

    def estimate(self, clip: Clip, request: DepthRequest, progress: Progress) -> DepthVideo:
        """See `ex4d.depth.estimate_depth`."""
        if not request.files:
            raise Ex4dError(BAD_INPUT, "No depth files were given.", "Choose them, or another depth estimator.")
        stored = read_depth(request.files, request.kind, request.first, len(clip.frames), progress)
        notes = list(stored.notes)
        to_depth = finite_depth if stored.kind == "depth" else depth_from_disparity
        z, said = to_depth(stored.values)
        notes += [said] if said else []
        height, width = clip.frames.shape[1:3]
        if z.shape[1:] != (height, width):
            _check_size(clip, z)
            notes.append(f"depth of {z.shape[2]}x{z.shape[1]} scaled to {width}x{height}, like the clip")
            z = _scaled(z, height, width)
        return DepthVideo(z, self.name, draft=False, notes=tuple(notes))


def _check_size(clip: Clip, z: F32) -> None:
    """Depth must fit the clip pixel by pixel, as it came in: other sizes are another clip's, or cropped."""
    height, width = clip.frames.shape[1:3]
    sides = ((z.shape[2], width / clip.scale), (z.shape[1], height / clip.scale))
    slack = 1.0 / clip.scale  # a side of the scaled clip is a whole number of pixels
    if any(abs(found - wanted) > slack for found, wanted in sides) or clip.scale == 1.0:
        size = " x ".join(f"{wanted:.0f}" for _, wanted in sides)
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The depth is {z.shape[2]} x {z.shape[1]}, the clip is {size}.",
            "Give depth of the same size, made for this clip.",
        )


def _scaled(z: F32, height: int, width: int) -> F32:
    """Nearest values: an average of two depths is the depth of nothing."""
    frames = [cv2.resize(frame, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) for frame in z]
    return np.stack(frames).astype(np.float32)
