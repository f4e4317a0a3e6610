# SPDX-License-Identifier: Apache-2.0
"""A clip's depth, known up to scale (and, of disparity, a shift), brought to the scale of the source camera's poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from ex4d.mesh.lift import check_depth
from ex4d.on_disk import forget
from ex4d.source_camera.disparity_line import AGREES, CLOSE, POOR, both_lines, needs_shift, off_by
from ex4d.source_camera.rescale import FORGET_EVERY, disparity_at, on_one_surface, rescale, without_specks
from ex4d.source_camera.tracks import Tracks, follow, moves
from ex4d.values import F32, F64, CameraPath, Clip, DepthVideo
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

FEWEST = 30  # corners: with fewer, one moving thing can be all there is
PARALLAX = 1.0  # degrees, ...
MOVED = 2.0  # ... and pixels of parallax that a corner needs to say something about the scale by itself
SHARE = 0.15  # of all corners that need to have that much
PLACED = 0.7  # pixels that a corner may be misplaced
CLEAR = 0.15  # of the usual disparity: what that may do at most, else the corner's frames lie too close together


@dataclass(frozen=True)
class Fit:
    """How depth was fitted to the source camera: 1 / z' = scale / z + shift."""

    scale: float
    shift: float
    applied: bool  # False: the depth is as it was
    points: int  # corners that were compared
    agreeing: float  # share of them that agree with the fit, 0..1
    residual: float  # median difference of depth of those that agree, relative
    note: str  # for a person; stands in the depth's notes as well


def scale_depth(
    depth: DepthVideo, camera: CameraPath, clip: Clip, progress: Callable[[int, int], None] = lambda done, total: None
) -> tuple[DepthVideo, Fit]:
    """Depth in the scale of the source camera's poses.

    One scale for the whole clip, and a shift of the disparity where the clip asks for one clearly, are fitted to
    corners that the source camera's motion triangulates. Depth that fits already (exact depth) comes back as it is,
    bit for bit; so does depth of a clip whose camera only turns or stands still, about which nothing can be known.

    Args:
        depth: z of each frame, in any scale; changed in place.
        camera: pose and lens of each frame, from `fit_to_clip`.
        clip: the pictures.
        progress: called as progress(done, total); it may raise Ex4dError(CANCELLED).

    Raises:
        Ex4dError: SIZE_MISMATCH when the three differ in length or size, BAD_INPUT for depth that is not positive.
    """
    shape = clip.frames.shape[:3]
    if depth.z.shape != shape or (len(camera.world_from_camera), camera.height, camera.width) != shape:
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The clip has {shape[0]} frames of {shape[2]}x{shape[1]}, its depth {len(depth.z)} of "
            f"{depth.z.shape[2]}x{depth.z.shape[1]}, its camera {len(camera.world_from_camera)} of "
            f"{camera.width}x{camera.height}.",
            "All three must have the same size and length.",
        )
    for index, z in enumerate(depth.z):
        check_depth(z)
        _now_and_then(index, depth.z)
    if not moves(camera):
        fit = _kept("the source camera turns or stands still, which tells no distances: the depth's scale was kept")
    else:
        tracks = follow(clip.frames, camera, lambda index: on_one_surface(without_specks(depth.z[index])), progress)
        fit = fitted(tracks, _sampled(depth.z, tracks))
    beyond = rescale(depth.z, fit.scale, fit.shift, progress, depth.beyond) if fit.applied else depth.beyond
    notes = (*depth.notes, fit.note)
    return replace(depth, notes=notes, beyond=beyond, metric=depth.metric and not fit.applied), fit


def fitted(tracks: Tracks, given: F64) -> Fit:
    """Scale and shift, and how good they are.

    Args:
        tracks: corners and their disparity in the scale of the poses.
        given: [N] > 0, their disparity by the depth.
    """
    count = len(given)
    if tracks.followed < FEWEST:
        return _kept(f"only {tracks.followed} points could be followed through the clip: its depth's scale was kept")
    if count < max(FEWEST, POOR * tracks.followed):
        return _kept(
            f"only {count} of {tracks.followed} points move as the source camera's path has it, so the depth's scale "
            "was kept: check the path and its lens"
        )
    telling = (tracks.parallax >= PARALLAX) & (tracks.moved >= MOVED)
    if int(telling.sum()) < max(FEWEST, SHARE * count):
        return _kept("the source camera hardly leaves its place, which tells no distances: the depth's scale was kept")
    usual = float(np.median(tracks.disparity[telling]))
    if usual <= 0.0:
        return _kept(
            "points lie behind the source camera by its path, so the depth's scale was kept: check the path's axes"
        )
    clear = PLACED * tracks.spread <= CLEAR * usual
    x, y, noise = given[clear], tracks.disparity[clear], PLACED * tracks.spread[clear]
    if len(x) < FEWEST:
        x, y, noise = given[telling], tracks.disparity[telling], PLACED * tracks.spread[telling]
    line, shifted = both_lines(x, y, noise)
    line = shifted if needs_shift(line, shifted, x) else line
    if min(line.share, float(line.agrees.mean())) < POOR or line.slope <= 0.0:
        return _doubtful(given[telling], tracks.disparity[telling])
    off = off_by(line, x, y)
    agrees = off <= np.hypot(AGREES, noise / np.abs(line.slope * x + line.offset))
    agreeing, residual = float(agrees.mean()), float(np.median(off[agrees]))
    agree = f"{agreeing:.0%} of {len(x)} points agree"
    if abs(line.slope - 1.0) <= CLOSE and abs(line.offset) <= CLOSE * float(np.median(x)):
        note = f"depth fits the source camera as it is ({agree})"
        return Fit(1.0, 0.0, False, len(x), agreeing, residual, note)
    done = f"depth was multiplied by {1.0 / line.slope:.4g}"
    if line.offset != 0.0:
        done = f"disparity was multiplied by {line.slope:.4g} and shifted by {line.offset:.4g}"
    return Fit(line.slope, line.offset, True, len(x), agreeing, residual, f"{done} to fit the source camera ({agree})")


def _doubtful(given: F64, found: F64) -> Fit:
    """A scale alone, where points and depth do not agree; of points before the camera, there are some."""
    given, found = given[found > 0.0], found[found > 0.0]
    scale = float(np.median(found / given))
    off = np.abs(found / (scale * given) - 1.0)
    agreeing = float((off <= AGREES).mean())
    note = (
        f"depth was multiplied by {1.0 / scale:.4g} to fit the source camera, but near and far points do not agree "
        f"({agreeing:.0%} of {len(given)} do): check the camera's path, its lens and the depth"
    )
    return Fit(scale, 0.0, True, len(given), agreeing, float(np.median(off)), note)


def _kept(note: str) -> Fit:
    return Fit(1.0, 0.0, False, 0, 0.0, 0.0, note)


def _sampled(z: F32, tracks: Tracks) -> F64:
    """[N] disparity at each corner."""
    given = np.empty(len(tracks.frame))
    for count, frame in enumerate(np.unique(tracks.frame)):
        here = tracks.frame == frame
        given[here] = disparity_at(without_specks(z[frame]), tracks.at[here])
        _now_and_then(count, z)
    return given


def _now_and_then(index: int, z: F32) -> None:
    if index % FORGET_EVERY == 0:
        forget(z)
