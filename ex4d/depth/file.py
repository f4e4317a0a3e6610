# SPDX-License-Identifier: Apache-2.0
"""Depth that somebody brought along: rendered, measured, or estimated elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ex4d.depth.convert import NOTHING, is_disparity, no_disparity
from ex4d.depth.door import DepthRequest, Estimate, Gives, GivesInAll
from ex4d.depth.match import check_size, fitted, frames_for
from ex4d.depth.read import open_depth
from ex4d.depth.stored import Stored
from ex4d.depth.weightless import Weightless
from ex4d.settings import Setting, read_settings
from ex4d.values import F32, Bool
from shared_protocol.errors import BAD_INPUT, Ex4dError

KINDS = ("auto", "depth", "disparity")
MILLIMETRE = 0.001  # pictures of whole numbers that hold depth count these: what depth cameras and data sets write
_LOOKED_AT = 48  # frames that tell what disparity is


class FileDepth(Weightless):
    """Reads depth from files."""

    name = "file"
    label = "Depth from files"
    gives: GivesInAll = "either"
    steady = True  # as steady as whoever made it wanted it
    draft = False
    settings: tuple[Setting, ...] = (
        Setting(
            "depth_kind",
            "auto",
            "What the files hold: z (depth) or 1 / z (disparity); auto: by the type of file.",
            label="Depth Kind",
            choices=KINDS,
        ),
        Setting(
            "depth_channel",
            "",
            "Channel of EXR files (ViewLayer.Depth.Z, or its end), array of an npz; none: the one that is depth by "
            "its name.",
            label="Depth Channel",
        ),
        Setting(
            "depth_scale",
            0.0,
            "Scene units for each unit of z in the files: 0.01 for centimetres; 0: 0.001 for pictures and movies of "
            "whole numbers, else 1.",
            label="Depth Scale",
            least=0.0,
        ),
        Setting(
            "depth_first",
            -1,
            "Depth frame that belongs to the clip's first used frame: the number in its file's name, else counted "
            "from 1; -1: depth and shot begin together.",
            label="First Depth Frame",
            least=-1,
        ),
    )

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """See `ex4d.depth.door.DepthEstimator.frames`."""
        clip, options = request.clip, read_settings(self.settings, request.options, self.name, "estimator")
        if not request.files:
            raise Ex4dError(BAD_INPUT, "No depth files were given.", "Choose them, or another depth estimator.")
        stored = open_depth(request.files, str(options["depth_channel"]).strip())
        total, height, width = clip.frames.shape[:3]
        wanted, notes = frames_for(stored, int(options["depth_first"]), request.first, total)
        kind = stored.kind if options["depth_kind"] == "auto" else str(options["depth_kind"])
        notes = [*stored.notes, *notes, *(text for when, text in stored.remarks if when == kind)]
        gives, scale, said = _meaning(stored, kind, wanted, float(options["depth_scale"]))
        for note in (*notes, *said):
            request.note(note)
        for index, values in enumerate(stored.read(wanted)):
            if not index:
                check_size(clip, *values.shape)
                if values.shape != (height, width):
                    size = f"{values.shape[1]}x{values.shape[0]}"
                    request.note(f"depth of {size} scaled to {width}x{height}, like the clip")
            request.progress("Reading the depth", index + 1, total)
            frame = fitted(values, height, width)
            if gives != "disparity":
                frame = _in_units(frame, scale, inverse=kind == "disparity")
            yield Estimate(frame, gives, None if gives == "disparity" else _endless(frame))


def _meaning(stored: Stored, kind: str, wanted: Sequence[int], asked: float) -> tuple[Gives, float, list[str]]:
    """What frames mean, scene units for each unit of their z, and notes. `asked`: the scale that was set, or 0."""
    gives: Gives = "metric" if stored.metric and not asked else "depth"
    if kind == "depth":
        return gives, asked or (MILLIMETRE if stored.whole else 1.0), []
    inverse = stored.inverse and stored.kind == kind
    if inverse or not (stored.whole or _is_relative(stored, wanted)):
        return gives if inverse else "depth", asked or 1.0, ["disparity read as 1 / z in scene units"]
    if asked:
        raise Ex4dError(
            BAD_INPUT,
            f"The disparity of {stored.name} is relative: it has no unit that a depth_scale of {asked:g} could be of.",
            "Leave depth_scale out; if the files hold z, set depth_kind to depth.",
        )
    return "disparity", 1.0, []


def _in_units(values: F32, scale: float, *, inverse: bool) -> F32:
    """z in scene units; what is infinitely far or no number stays so. Values that need no change come back as such.

    Disparity of 0 and below, as noise leaves it there, is infinitely far.
    """
    with np.errstate(all="ignore"):  # what float32 cannot hold is infinitely far
        z = values
        if inverse:
            z = np.where(values > 0.0, np.float32(1.0) / values, np.float32(np.inf))
            z[~is_disparity(values)] = np.nan
        return z if scale == 1.0 else np.where(z < NOTHING, z * np.float32(scale), z)


def _endless(z: F32) -> Bool | None:
    """[H, W] what the files say lies infinitely far; None where nothing does."""
    with np.errstate(invalid="ignore"):
        far = np.asarray(z >= NOTHING, np.bool_)
    return far if far.any() else None


def _is_relative(stored: Stored, wanted: Sequence[int]) -> bool:
    """Whether disparity is known only up to a scale and a shift: values span 0 to 1, or are whole numbers.

    Some frames, evenly taken, tell it.

    Raises:
        Ex4dError: BAD_INPUT when there is no disparity in them.
    """
    some = sorted({wanted[round(k)] for k in np.linspace(0, len(wanted) - 1, _LOOKED_AT)})
    low, high, whole = np.inf, -np.inf, True
    for frame in stored.read(some):
        values = frame[is_disparity(frame)]
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            whole = whole and bool((values == np.round(values)).all())
    if high <= 0.0:
        raise no_disparity()
    return (whole and high > 2.0) or low < 0.0 or (low < 0.005 and 0.98 < high <= 1.0)
