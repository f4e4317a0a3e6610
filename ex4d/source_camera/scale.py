# SPDX-License-Identifier: Apache-2.0
"""A clip's depth, known up to scale (and, of disparity, a shift), brought to the scale of the source camera's poses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.mesh.lift import check_depth
from ex4d.source_camera.robust import Line, robust_line
from ex4d.source_camera.tracks import Tracks, follow, moves
from ex4d.values import F32, F64, Bool, CameraPath, Clip, DepthVideo
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

FEWEST = 30  # corners: with fewer, one moving thing can be all there is
PARALLAX = 1.0  # degrees, ...
MOVED = 2.0  # ... and pixels of parallax that a corner needs to say something about the scale by itself
SHARE = 0.15  # of all corners that need to have that much
PLACED = 0.7  # pixels that a corner may be misplaced
CLEAR = 0.15  # of the usual disparity: what that may do at most, else the corner's frames lie too close together
AGREES = 0.10  # of the disparity: what a corner may be off and still agree; good estimators are off by half as much
POOR = 0.4  # share of corners that agree below which the fit is not believed
FINEST = 0.03  # the least that this is tightened to where depth and corners agree better than that, ...
WIDTHS = 4.0  # ... in multiples of the usual difference
BETTER = 0.5  # of the misfit without a shift: a shift has to get below
CLOSE = 0.02  # what scale (of 1) and shift (of the usual disparity) may be off in depth that is left as it is
EDGE = 1.15  # depth ratio around a corner from which on it lies on an outline: what is followed there is neither side
AROUND = 9  # pixels: size of that surrounding
FURTHEST = 50.0  # times the usual depth: where a shift leaves no disparity, depth ends there


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
        depth: z of each frame, in any scale.
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
    check_depth(depth.z)
    if not moves(camera):
        fit = _kept("the source camera turns or stands still, which tells no distances: the depth's scale was kept")
    else:
        tracks = follow(clip.frames, camera, lambda index: _smooth(_steady(depth.z[index])), progress)
        fit = fitted(tracks, _sampled(depth.z, tracks))
    z = _applied(depth.z, fit) if fit.applied else depth.z
    return DepthVideo(z, depth.estimator, depth.draft, (*depth.notes, fit.note)), fit


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
    line = _line(x, y, noise)
    if min(line.share, float(line.agrees.mean())) < POOR or line.slope <= 0.0:
        return _doubtful(given[telling], tracks.disparity[telling])
    off = _off(line, x, y)
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


def _line(x: F64, y: F64, noise: F64) -> Line:
    """Through 0, or with a shift where it is needed; first with wide limits, then with those that the points allow."""
    limit = AGREES
    for _ in range(2):
        line, shifted = (robust_line(x, y, noise, limit, offset=offset) for offset in (False, True))
        agreeing = [_off(each, x, y)[each.agrees] for each in (line, shifted) if each.agrees.any()]
        usual = min((float(np.median(off)) for off in agreeing), default=AGREES)
        limit = float(np.clip(WIDTHS * usual, FINEST, AGREES))
    return shifted if _supported(shifted, line, x) else line


def _off(line: Line, x: F64, y: F64) -> F64:
    """[N] difference from the line, relative."""
    return np.asarray(np.abs(y / (line.slope * x + line.offset) - 1.0), np.float64)


def _supported(shifted: Line, line: Line, x: F64) -> bool:
    """Whether a shift is more than noise, and leaves what is given in front of the camera."""
    modelled = shifted.slope * x + shifted.offset
    usual = float(np.median(modelled))
    if shifted.slope <= 0.0 or abs(shifted.offset) <= CLOSE * usual or np.percentile(modelled, 2.0) <= 0.0:
        return False
    if line.share < POOR <= shifted.share:
        return True
    either = shifted.agrees | line.agrees  # what agrees with neither would drown the difference
    with_shift, without = (float(each.weight[either] @ each.misfit[either]) for each in (shifted, line))
    return with_shift < BETTER * without


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


def _steady(z: F32) -> F32:
    """Without noise of single pixels."""
    return np.asarray(cv2.medianBlur(z, 5), np.float32)


def _smooth(z: F32) -> Bool:
    """[H, W] where depth around a pixel is that of one surface."""
    around = np.ones((AROUND, AROUND), np.uint8)
    return np.asarray(cv2.dilate(z, around) <= EDGE * cv2.erode(z, around), np.bool_)


def _sampled(z: F32, tracks: Tracks) -> F64:
    """[N] disparity at each corner; it is disparity that is linear across a plane."""
    given = np.empty(len(tracks.frame))
    for frame in np.unique(tracks.frame):
        here = tracks.frame == frame
        u, v = (tracks.at[here] - 0.5).T.astype(np.float32)
        given[here] = cv2.remap(
            1.0 / _steady(z[frame]), u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        ).ravel()
    return given


def _applied(z: F32, fit: Fit) -> F32:
    """1 / (scale / z + shift), frame by frame."""
    least = 0.0
    if fit.shift < 0.0:
        least = float(np.median(fit.scale / z[:, ::8, ::8] + fit.shift)) / FURTHEST
    result = np.empty_like(z)
    for frame, values in zip(result, z, strict=True):
        frame[:] = 1.0 / np.maximum(fit.scale / values.astype(np.float64) + fit.shift, least)
    return result
