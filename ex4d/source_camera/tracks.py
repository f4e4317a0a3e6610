# SPDX-License-Identifier: Apache-2.0
"""Points of a clip followed through its frames, and how far away the source camera's motion says they are.

Corners (Shi and Tomasi) are followed with pyramidal Lucas-Kanade, there and back again. A corner's ray in the frame
where it starts is taken as exact; then one number is unknown, its disparity rho = 1 / z there, and in every other frame
it is seen at the projection of R ray + rho t, where R, t is the pose of the first camera seen from the other: linear
in rho.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.cameras import camera_from_world
from ex4d.values import F32, F64, U8, Bool, CameraPath

ANCHORS = 8  # frames that corners are taken from, spread over the clip
CORNERS = 500  # in each of them
LONGEST = 120  # frames that a corner is followed
ENOUGH = 5.0  # degrees of parallax beyond which following a corner further adds nothing
RETURNED = 0.5  # pixels that a corner followed there and back may end up away from where it was
STRAY = 1.5  # pixels off the ray's projection, root mean square, beyond which something moved by itself
SIDE = 24  # pictures with a side below this have no corners that could be followed
WINDOWS = 32  # of a corner's surroundings side by side make the picture's shorter side, ...
WINDOW = 9, 21  # ... within these limits, in pixels
_LOOK = 6  # frames between looks at whether there is enough parallax
_ROUNDS = 3  # of the triangulation: the weight of an equation depends on its answer
_STILL = 1e-9  # of the largest coordinate: a shorter baseline is rounding


@dataclass(frozen=True, eq=False)
class Tracks:
    """Corners whose distance the camera's motion tells."""

    followed: int  # how many there were before those that move by themselves were left out, M >= N
    frame: NDArray[np.intp]  # [N] where each was taken
    at: F64  # [N, 2] pixel position there, centres at +0.5
    disparity: F64  # [N] 1 / z in that frame, scene units of the poses; by noise it may be negative
    spread: F64  # [N] how far that is off when a position is off by one pixel
    parallax: F64  # [N] degrees between the rays to it, the most there is
    moved: F64  # [N] pixels that it stands away from where a camera that only turns would see it, the most there is


@dataclass(frozen=True, eq=False)
class _Views:
    """Where N corners were seen from K other cameras."""

    pose: F64  # [K, 4, 4] other camera from the first
    lens: F64  # [K, 4]
    at: F64  # [K, N, 2] pixels
    seen: Bool  # [K, N]


def follow(
    frames: U8, camera: CameraPath, usable: Callable[[int], Bool], progress: Callable[[int, int], None]
) -> Tracks:
    """Corners of a clip, triangulated.

    Args:
        frames: [T, H, W, 3].
        camera: pose and lens of each.
        usable: for a frame, [H, W] where corners may be taken.
        progress: called as progress(done, total); it may raise.

    Returns:
        The corners that keep to the projection of a point that stands still, where the camera moved.
    """
    total = len(frames)
    anchors: list[int] = np.unique(np.linspace(0, total - 1, min(ANCHORS, total)).round().astype(int)).tolist()
    parts: list[Tracks] = []
    for done, anchor in enumerate(anchors):
        progress(done, len(anchors))
        others = range(anchor + 1, total) if anchor < total / 2 else range(anchor - 1, -1, -1)
        parts.append(_from_anchor(frames, camera, anchor, others[:LONGEST], usable))
    progress(len(anchors), len(anchors))
    names = ("frame", "at", "disparity", "spread", "parallax", "moved")
    joined = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
    return Tracks(sum(part.followed for part in parts), *joined)


def _from_anchor(frames: U8, camera: CameraPath, anchor: int, others: range, usable: Callable[[int], Bool]) -> Tracks:
    start = _corners(frames[anchor], usable(anchor))
    if not len(start) or not len(others):
        return _no_tracks()
    at = start.astype(np.float64) + 0.5
    ray = _rays(at, camera.intrinsics[anchor])
    views = _Views(np.empty((0, 4, 4)), np.empty((0, 4)), np.empty((0, *at.shape)), np.empty((0, len(at)), np.bool_))
    for index, place, ok in _followed(frames, camera, anchor, others, start):
        relative = camera_from_world(camera.world_from_camera[index]) @ camera.world_from_camera[anchor]
        views = _Views(
            np.append(views.pose, relative[None], axis=0),
            np.append(views.lens, camera.intrinsics[index][None], axis=0),
            np.append(views.at, place[None] + 0.5, axis=0),
            np.append(views.seen, ok[None], axis=0),
        )
        if len(views.pose) % _LOOK == 0 and np.percentile(_triangulated(ray, views)[2][ok], 75) > ENOUGH:
            break
    if not len(views.pose):  # no corner was found again, even in the next frame
        return _no_tracks()
    disparity, spread, parallax, moved, off = _triangulated(ray, views)
    known = np.isfinite(spread)
    keep = known & (off <= STRAY)
    frame = np.full(int(keep.sum()), anchor, np.intp)
    return Tracks(int(known.sum()), frame, at[keep], disparity[keep], spread[keep], parallax[keep], moved[keep])


def _no_tracks() -> Tracks:
    nothing = np.empty(0)
    return Tracks(0, np.empty(0, np.intp), np.empty((0, 2)), nothing, nothing, nothing, nothing)


def moves(camera: CameraPath) -> bool:
    """Whether the camera ever leaves its place; turning does not count."""
    places = camera.world_from_camera[:, :3, 3]
    return bool(np.abs(places - places[0]).max() > _STILL * max(float(np.abs(places).max()), _STILL))


def _corners(frame: U8, usable: Bool) -> F32:
    """[N, 2] positions in OpenCV's pixels (centres at whole numbers)."""
    height, width = frame.shape[:2]
    if min(height, width) < SIDE:
        return np.empty((0, 2), np.float32)
    apart = max(3.0, (height * width / (4 * CORNERS)) ** 0.5)  # a quarter of the picture's area covered
    found = cv2.goodFeaturesToTrack(
        _grey(frame), CORNERS, qualityLevel=0.01, minDistance=apart, mask=usable.astype(np.uint8), blockSize=5
    )
    return np.empty((0, 2), np.float32) if found is None else np.asarray(found, np.float32).reshape(-1, 2)


def _followed(
    frames: U8, camera: CameraPath, anchor: int, others: range, start: F32
) -> Iterator[tuple[int, F64, Bool]]:
    """For one frame after the other: its index, where the corners are, which of them were followed all the way."""
    height, width = frames.shape[1:3]
    places, alive, before, last = start, np.ones(len(start), np.bool_), _grey(frames[anchor]), anchor
    for index in others:
        grey = _grey(frames[index])
        there, found = _flow(before, grey, places, _turned(camera, last, index, places))
        back, returned = _flow(grey, before, there, _turned(camera, index, last, there))
        inside = ((there >= 0.0) & (there <= (width - 1, height - 1))).all(axis=1)
        alive = alive & found & returned & inside & (np.linalg.norm(back - places, axis=1) <= RETURNED)
        if not alive.any():
            return
        places, before, last = np.where(alive[:, None], there, places), grey, index
        yield index, places.astype(np.float64), alive


def _turned(camera: CameraPath, here: int, there: int, places: F32) -> F32:
    """Where a camera that only turns would see corners next: a start for the search that fast pans need."""
    rotation = camera.world_from_camera[there, :3, :3].T @ camera.world_from_camera[here, :3, :3]
    ray = _rays(places.astype(np.float64) + 0.5, camera.intrinsics[here]) @ rotation.T
    lens = camera.intrinsics[there]
    ahead = ray[:, 2:] > 0.1
    seen = lens[:2] * ray[:, :2] / np.where(ahead, ray[:, 2:], 1.0) + lens[2:] - 0.5
    return np.where(ahead, seen, places).astype(np.float32)


def _flow(here: NDArray[np.uint8], there: NDArray[np.uint8], places: F32, start: F32) -> tuple[F32, Bool]:
    window = min(max(min(here.shape) // WINDOWS, WINDOW[0]), WINDOW[1]) | 1
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        here, there, places, start, winSize=(window, window), maxLevel=4, flags=cv2.OPTFLOW_USE_INITIAL_FLOW
    )
    return np.asarray(moved, np.float32), status.ravel() > 0


def _triangulated(ray: F64, views: _Views) -> tuple[F64, F64, F64, F64, F64]:
    """Disparity, spread (infinite where nothing is known), parallax, moved, pixels off (root mean square); [N] each."""
    focal = views.lens[:, None, :2]
    seen_at = (views.at - views.lens[:, None, 2:]) / focal  # [K, N, 2] on the plane z = 1
    turned = np.einsum("kij,nj->kni", views.pose[:, :3, :3], ray)
    shift = views.pose[:, None, :3, 3]
    slope = focal * (seen_at * shift[..., 2:] - shift[..., :2])
    target = focal * (turned[..., :2] - seen_at * turned[..., 2:])
    rho = np.zeros(len(ray))
    for _ in range(_ROUNDS):
        depth = turned[..., 2] + rho[:, None].T * shift[..., 2]
        weight = np.where(views.seen & (depth > 1e-3), 1.0 / np.maximum(depth, 1e-3), 0.0)[..., None]
        a, b = slope * weight, target * weight
        known = (a * a).sum(axis=(0, 2))
        rho = np.where(known > 0.0, (a * b).sum(axis=(0, 2)) / np.maximum(known, 1e-300), 0.0)
    count = np.maximum((weight > 0.0).sum(axis=(0, 2)), 1)
    off = np.sqrt(((a * rho[:, None] - b) ** 2).sum(axis=(0, 2)) / count)
    # Errors of one corner's views go together (all hang on where it started), so that the best view is what counts.
    best = np.sqrt((a * a).sum(axis=2).max(axis=0))
    spread = np.where(best > 0.0, 1.0 / np.maximum(best, 1e-300), np.inf)
    ahead = turned + rho[:, None] * shift
    across = np.linalg.norm(np.cross(turned, ahead), axis=2)
    angle = np.degrees(np.arctan2(across, (turned * ahead).sum(axis=2)))
    parallax = np.where(weight[..., 0] > 0.0, angle, 0.0).max(axis=0)
    return rho, spread, parallax, best * np.abs(rho), off


def _rays(at: F64, lens: F64) -> F64:
    """[N, 3] with z = 1."""
    plane = (at - lens[2:]) / lens[:2]
    return np.concatenate([plane, np.ones((len(at), 1))], axis=1)


def _grey(frame: U8) -> NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY), np.uint8)
