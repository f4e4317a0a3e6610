# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of disparity from what is known: least squares in disparity, robust.

Points say most, then measured distances, then the camera's height; the first of them that is known is fitted to, and
the note tells how the others come out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from ex4d.depth.door import Progress, nobody
from ex4d.depth.known.ground import check_picks, find_ground
from ex4d.depth.known.measures import check_measures, fit_lengths, lengths
from ex4d.depth.known.points import fit_points
from ex4d.depth.known.solve import NEVER, Solved
from ex4d.depth.known.values import LENGTHS, Known, KnownPoints
from ex4d.source_camera.rescale import rescale
from ex4d.values import F32, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError

_LOOKING = "Reading known points"
_FITTING = "Fitting depth to what is known"


@dataclass(frozen=True)
class KnownFit:
    """How depth was fitted to what is known: 1 / z' = scale / z + shift."""

    scale: float
    shift: float
    source: str  # "points" | "measures" | "camera_height"
    count: int  # of what was compared
    agreeing: float  # share of it that agrees, 0..1
    residual: float  # median relative difference of disparity, of what agrees
    note: str  # for a person; stands in the depth's notes as well


def in_real_units(
    depth: DepthVideo, clip: Clip, known: Known, camera: CameraPath, progress: Progress = nobody, *, shift: bool = True
) -> tuple[DepthVideo, KnownFit]:
    """Depth fitted to what is known. `depth.z` is changed in place.

    Args:
        depth: z of each frame.
        clip: the pictures.
        known: something of it must be known; points as `KnownPoints`.
        camera: pose and lens of each frame, pixels of the clip's frames.
        progress: told at each frame; may raise.
        shift: False where depth must stay in proportion, as it has to beside poses that were estimated with it.

    Raises:
        Ex4dError: BAD_INPUT for points outside the picture or the clip, or where nothing can be fitted.
    """
    check_known(known, clip)
    fit = _fit(depth, clip, known, camera, progress, shift)
    others = "; ".join(check_against(depth.z, clip, known, camera, fit.scale, fit.shift, fit.source))
    if others:
        fit = replace(fit, note=f"{fit.note}; {others}")
    beyond = rescale(depth.z, fit.scale, fit.shift, lambda done, total: progress(_FITTING, done, total), depth.beyond)
    return replace(depth, notes=(*depth.notes, fit.note), beyond=beyond, metric=True), fit


def check_known(known: Known, clip: Clip, first: int = 0) -> None:
    """Raises Ex4dError(BAD_INPUT) for what cannot be meant, before anything is estimated.

    `first` is the index of the clip's first frame within the shot, from which messages count.
    """
    check_measures(known.measures, clip, first)
    height = known.camera_height
    if height is not None and not LENGTHS[0] <= height <= LENGTHS[1]:  # nor is what is not a number
        raise Ex4dError(
            BAD_INPUT,
            f"A camera height of {height:g} cannot be used.",
            "Give the height of the first frame's camera above the ground in scene units, "
            f"{LENGTHS[0]:g} to {LENGTHS[1]:g}.",
        )
    if known.ground:
        if height is None:
            raise Ex4dError(
                BAD_INPUT,
                "Points on the ground were picked, but not how high the camera stands above it.",
                "Give the camera's height as well.",
            )
        check_picks(known.ground, clip, first)


def check_against(
    z: F32, clip: Clip, known: Known, camera: CameraPath, scale: float, shift: float, leave_out: str = "points"
) -> Iterator[str]:
    """How measured distances and the camera's height come out in depth of that scale and shift, for a person.

    Args:
        z: depth before it is scaled.
        leave_out: what it was fitted to.
    """
    if known.measures and leave_out != "measures":
        found = lengths(z, clip, known.measures, camera.intrinsics)
        ratio = float(np.median(found.at(scale, shift) / found.known))
        yield f"the measured distances come out {_ratio(ratio)}"
    if known.camera_height is not None and leave_out != "camera_height":
        try:
            height = find_ground(z, clip, camera, known.ground).height(scale, shift)
        except Ex4dError as error:
            yield f"the camera's height could not be compared ({error.message.rstrip('.')})"
        else:
            yield f"the camera comes out {height:.4g} above the ground, {known.camera_height:.4g} was given"


def _fit(depth: DepthVideo, clip: Clip, known: Known, camera: CameraPath, progress: Progress, shift: bool) -> KnownFit:
    # Two of them fix scale and shift without a third to tell: only disparity, whose shift is open, needs that.
    shift_from = NEVER if not shift else 2 if depth.facts.get("gives") == "disparity" else 3
    if isinstance(known.points, KnownPoints):
        solved, count = fit_points(
            depth.z,
            clip,
            known.points,
            shift_from=shift_from,
            progress=lambda done, total: progress(_LOOKING, done, total),
        )
        return _told(solved, "points", count, f"{count} known point{_s(count)}")
    if known.measures:
        solved = fit_lengths(lengths(depth.z, clip, known.measures, camera.intrinsics), shift_from=shift_from)
        count = len(known.measures)
        return _told(solved, "measures", count, f"{count} measured distance{_s(count)}")
    if known.camera_height is None:
        raise Ex4dError(BAD_INPUT, "Nothing is known that depth could be fitted to.", "Give points or a distance.")
    ground = find_ground(depth.z, clip, camera, known.ground)
    scale = ground.height() / known.camera_height
    where = "between the picked points" if known.ground else "of the lower half of the picture"
    note = (
        f"depth was multiplied by {1.0 / scale:.4g}, so that the camera stands {known.camera_height:g} above the "
        f"ground ({ground.agreeing:.0%} {where} lies on it, within {ground.residual:.1%})"
    )
    return KnownFit(scale, 0.0, "camera_height", ground.count, ground.agreeing, ground.residual, note)


def _told(solved: Solved, source: str, count: int, what: str) -> KnownFit:
    done = f"depth was multiplied by {1.0 / solved.scale:.4g}"
    if solved.shift != 0.0:
        done = f"disparity was multiplied by {solved.scale:.4g} and shifted by {solved.shift:.4g}"
    how = "" if count == 1 else f" ({solved.agreeing:.0%} agree, within {solved.residual:.1%})"
    note = f"{done} to fit {what}{how}"
    if not solved.sure:
        note += ", which do not agree with each other or with the depth: check them"
    return KnownFit(solved.scale, solved.shift, source, count, solved.agreeing, solved.residual, note)


def _ratio(ratio: float) -> str:
    off = ratio - 1.0
    if abs(off) < 0.005:
        return "as they were given"
    return f"{abs(off):.0%} too {'long' if off > 0.0 else 'short'}" if ratio < 2.0 else f"{ratio:.3g} times too long"


def _s(count: int) -> str:
    return "" if count == 1 else "s"
