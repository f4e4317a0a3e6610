# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of a clip's disparity from points whose distance is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from ex4d.cameras import camera_from_world
from ex4d.depth.known.solve import Solved, solve
from ex4d.depth.known.values import LENGTHS, KnownPoints, WorldPoints
from ex4d.on_disk import forget
from ex4d.source_camera.rescale import FORGET_EVERY, disparity_at, on_one_surface, without_specks
from ex4d.values import F32, F64, I32, Bool, CameraPath, Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

_STRAY = 0.02  # of the picture's diagonal: a point that the camera sees further from where it was marked is left out
_FEW = 0.5  # share of the points that has to be left, else path and points do not belong together
_CLEAN = 0.5  # share of the points beside outlines from which on those on outlines are left out


def seen_by(points: WorldPoints, camera: CameraPath, given_from_world: F64, clip: Clip) -> KnownPoints:
    """Points of the source camera's world, with the depth at which its frames see them.

    Args:
        points: in the world that the path was given in.
        camera: of the clip's frames, from `fit_to_clip`, ...
        given_from_world: ... as is this.
        clip: the pictures.

    Raises:
        Ex4dError: BAD_INPUT where most points lie behind the camera, or where it does not see them where they are said
            to be seen.
    """
    used = (points.frame >= 0) & (points.frame < len(clip.frames))
    frame, at, world = points.frame[used], points.at[used], points.world[used]
    if not len(frame):
        raise _none_used(len(points.frame), clip)
    from_given = camera_from_world(camera.world_from_camera) @ camera_from_world(given_from_world)
    seen = np.einsum("nij,nj->ni", from_given[frame, :3, :3], world) + from_given[frame, :3, 3]
    ahead = seen[:, 2] > 1e-6
    if ahead.mean() < _FEW:
        raise Ex4dError(
            BAD_INPUT,
            f"{int((~ahead).sum())} of {len(frame)} known points lie behind the source camera.",
            "Points and camera path must be of one world: export both from the same scene.",
        )
    lens = camera.intrinsics[frame]
    place = lens[:, :2] * seen[:, :2] / np.where(ahead, seen[:, 2], 1.0)[:, None] + lens[:, 2:]
    stray = np.linalg.norm(place - at * clip.scale, axis=1) / np.hypot(camera.width, camera.height)
    good = ahead & (stray <= _STRAY)
    if good.mean() < _FEW:
        raise Ex4dError(
            BAD_INPUT,
            f"The source camera sees only {good.mean():.0%} of the known points where they were marked; half of them "
            f"lie {float(np.median(stray[ahead])):.0%} of the picture away or more.",
            "Points and camera path must be of one world and one lens: export both from the same solved scene.",
        )
    return KnownPoints(frame[good], at[good], seen[good, 2])


def fit_points(
    z: F32, clip: Clip, points: KnownPoints, *, shift_from: int, progress: Callable[[int, int], None]
) -> tuple[Solved, int]:
    """What fits, and how many points were compared.

    Args:
        z: [T, H, W] depth.
        clip: the pictures.
        points: what is known. Where points are enough, those on outlines are left out: depth there is of either side.
        shift_from: how many points there have to be for a shift, as in `solve`.
        progress: called as progress(done, total) for the frames; it may raise.

    Raises:
        Ex4dError: BAD_INPUT where no point lies in the pictures, or a depth is none.
    """
    total, height, width = z.shape
    bad = ~((points.z >= LENGTHS[0]) & (points.z <= LENGTHS[1]))  # what is not a number is neither
    if bad.any():
        worst = int(np.argmax(bad))
        raise Ex4dError(
            BAD_INPUT,
            f"Known point {worst + 1} has the depth {points.z[worst]:.4g}.",
            f"Depth is the distance in front of the camera, {LENGTHS[0]:g} to {LENGTHS[1]:g} scene units.",
        )
    at = points.at * clip.scale
    inside = ((at >= 0.0) & (at <= (width, height))).all(axis=1) & (points.frame >= 0) & (points.frame < total)
    if not inside.any():
        raise _none_used(len(points.frame), clip)
    frame, at, known = points.frame[inside], at[inside], 1.0 / points.z[inside]
    given, clean = _looked_up(z, frame, at, progress)
    keep = clean if clean.mean() >= _CLEAN else np.ones_like(clean)
    return solve(given[keep], known[keep], shift_from=shift_from), int(keep.sum())


def _looked_up(z: F32, frame: I32, at: F64, progress: Callable[[int, int], None]) -> tuple[F64, Bool]:
    """[N] disparity by the depth, and [N] where that is of one surface."""
    given, clean = np.empty(len(frame)), np.empty(len(frame), np.bool_)
    frames = np.unique(frame)
    for count, index in enumerate(frames):
        progress(count, len(frames))
        here = np.flatnonzero(frame == index)
        steady = without_specks(z[index])
        given[here] = disparity_at(steady, at[here])
        row, column = (np.minimum(at[here, axis].astype(int), z.shape[2 - axis] - 1) for axis in (1, 0))
        clean[here] = on_one_surface(steady)[row, column]
        if count % FORGET_EVERY == 0:
            forget(z)
    progress(len(frames), len(frames))
    return given, clean


def _none_used(count: int, clip: Clip) -> Ex4dError:
    total, height, width = clip.frames.shape[:3]
    size = f"{round(width / clip.scale)}x{round(height / clip.scale)}"
    return Ex4dError(
        BAD_INPUT,
        f"None of the {count} known points lies in the clip's {total} frames of {size}.",
        "Frames are counted from 1 at the shot's first frame, pixels from the upper left corner of the clip's picture.",
    )
