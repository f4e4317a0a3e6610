# SPDX-License-Identifier: Apache-2.0
"""Depth that somebody brought along: rendered, measured, or estimated elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from ex4d.depth.convert import depth_from_disparity, finite_depth
from ex4d.depth.door import DepthRequest, Estimate, GivesInAll, Nature, Progress, nobody
from ex4d.depth.read import read_depth
from ex4d.settings import Setting, Value, read_settings
from ex4d.values import F32, Clip
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

KINDS = ("auto", "depth", "disparity")


class FileDepth:
    """Reads depth from files."""

    name = "file"
    label = "Depth from files"
    licence = "Apache-2.0"
    commercial_use = True
    gives: GivesInAll = "either"
    steady = True  # as steady as whoever made it wanted it
    draft = False
    size = 0
    settings: tuple[Setting, ...] = (
        Setting(
            "depth_kind",
            "auto",
            "What the files hold: z (depth) or 1 / z (disparity); auto: by the type of file.",
            label="Depth Kind",
            choices=KINDS,
        ),
    )

    def available(self) -> tuple[bool, str]:
        """Always."""
        return True, ""

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        """See `ex4d.depth.door.DepthEstimator.nature`."""
        read_settings(self.settings, options, self.name, "estimator")
        return Nature("", self.licence, True, "depth", True, 0)

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        """Always: it holds a frame at a time."""
        return ""

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: Progress = nobody) -> dict[str, str]:
        """No weights."""
        return {}

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """See `ex4d.depth.door.DepthEstimator.frames`."""
        clip = request.clip
        kind = str(read_settings(self.settings, request.options, self.name, "estimator")["depth_kind"])
        if not request.files:
            raise Ex4dError(BAD_INPUT, "No depth files were given.", "Choose them, or another depth estimator.")

        def progress(done: int, total: int) -> None:
            request.progress("Reading the depth", done, total)

        stored = read_depth(request.files, kind, request.first, len(clip.frames), progress)
        notes = list(stored.notes)
        placed = finite_depth if stored.kind == "depth" else depth_from_disparity
        z, said = placed(stored.values)
        notes += [said] if said else []
        height, width = clip.frames.shape[1:3]
        if z.shape[1:] != (height, width):
            _check_size(clip, z)
            notes.append(f"depth of {z.shape[2]}x{z.shape[1]} scaled to {width}x{height}, like the clip")
            z = _scaled(z, height, width)
        for note in notes:
            request.note(note)
        for frame in z:
            yield Estimate(frame, "depth")


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
