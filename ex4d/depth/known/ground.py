# SPDX-License-Identifier: Apache-2.0
"""The plane that the camera stands above: of picked points, or found in the lower part of the picture.

A plane n . P = h, seen along the ray r = (x, y, 1), has the disparity n . r / h there: linear in x and y. So a plane is
three numbers a, b, c with disparity = a x + b y + c, and the camera's distance from it is 1 / |(a, b, c)|. They are
found by MSAC (Torr and Zisserman, CVIU 2000) over three points each, and least squares with Tukey's biweight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.depth.known.picks import placed, rays
from ex4d.depth.known.values import Pick
from ex4d.source_camera.rescale import without_specks
from ex4d.values import F32, F64, Bool, CameraPath, Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

FEWEST = 3  # picked points
MOST = 1000
_LOWER = 0.5  # of the picture's height: what lies below is looked at
_SAMPLES = 3000  # pixels looked at, of all frames together
_FRAMES = 8  # of a camera that stands still
_TRIES = 500
_ROUNDS = 20
_SEED = 0
_OFF = 0.05  # of the disparity: what a pixel of the ground may be off, tightened ...
_FINEST, _WIDTHS = 0.01, 4.0  # ... to multiples of the usual difference
_PITCH, _ROLL = 60.0, 30.0  # degrees that a camera is taken to be turned against the ground at most
_SHARE = 0.3  # of the lower part of the picture that has to lie on the ground
_BENEATH = 1.15, 0.1  # depth over the ground's from which on something lies beneath it, and the share that may
_CRISP = 3.0, 0.7  # of all that is off by so many times _OFF, the share that has to be off by less than that
_HORIZON = 0.25  # of the usual disparity of the ground: nearer to the horizon nobody can tell what is beneath it
_LINE = 0.02  # of the picture's longer side: picked points in a narrower strip lie in a line


@dataclass(frozen=True, eq=False)
class Ground:
    """The ground plane in the camera's axes."""

    plane: F64  # [3] a, b, c
    count: int  # pixels that were looked at
    agreeing: float  # share of them that lie on it
    residual: float  # median relative difference of those

    def height(self, scale: float = 1.0, shift: float = 0.0) -> float:
        """Of the camera above it, in depth whose disparity is scale d + shift."""
        return 1.0 / float(np.linalg.norm(scale * self.plane + [0.0, 0.0, shift]))


def find_ground(z: F32, clip: Clip, camera: CameraPath, picks: Sequence[Pick] = ()) -> Ground:
    """The ground below the first frame's camera.

    Args:
        z: [T, H, W] depth.
        clip: the pictures.
        camera: poses and lens of each frame. While it stands where it stood in the first frame, other frames count too.
        picks: points on the ground: what lies between them is taken for ground, but for what stands on it.

    Raises:
        Ex4dError: BAD_INPUT where no plane like a ground is found, for too few or unfit picked points.
    """
    still = (np.abs(camera.world_from_camera - camera.world_from_camera[0]).max(axis=(1, 2)) <= 1e-9) & (
        np.abs(camera.intrinsics - camera.intrinsics[0]).max(axis=1) <= 1e-6
    )
    height, width = z.shape[1:]
    if picks:
        frames, area = _picked_area(picks, clip, still)
    else:
        standing = np.flatnonzero(still)
        frames = standing[np.linspace(0, len(standing) - 1, min(_FRAMES, len(standing))).astype(int)].tolist()
        area = np.zeros((height, width), np.bool_)
        area[int(height * _LOWER) :] = True
    lens = camera.intrinsics[0]
    ray, disparity = _samples(z, frames, area, lens)
    whole = _samples(z, frames, np.ones_like(area), lens)
    plane, on_it = _plane(ray, disparity, None if picks else whole)
    if plane is None or not (picks or _crisp(plane, ray, disparity)):
        raise _none_found()
    off = np.abs(disparity / (ray @ plane) - 1.0)
    agreeing = float(on_it.mean())
    found = Ground(plane, len(ray), agreeing, float(np.median(off[on_it])) if on_it.any() else 1.0)
    _check(found, whole, bool(picks))
    return found


def check_picks(picks: Sequence[Pick], clip: Clip, first: int = 0) -> F64:
    """[N, 2] points on the ground in pixels of the clip's frames. Messages count frames from `first`.

    Raises:
        Ex4dError: BAD_INPUT for too few or too many, for points outside the clip or in a line.
    """
    if len(picks) < FEWEST or len(picks) > MOST:
        raise Ex4dError(
            BAD_INPUT,
            f"{len(picks)} point{'s were' if len(picks) != 1 else ' was'} picked on the ground.",
            f"Pick {FEWEST} to {MOST}, not in a line; or none, then the ground is looked for.",
        )
    at = np.array(
        [
            placed(f"Ground point {number}", pick.frame, (pick.x, pick.y), clip, first)
            for number, pick in enumerate(picks, 1)
        ]
    )
    spread = np.linalg.svd(at - at.mean(axis=0), compute_uv=False) / np.sqrt(len(at))
    if spread[1] < _LINE * max(clip.frames.shape[1:3]):
        raise Ex4dError(
            BAD_INPUT, "The points picked on the ground lie in a line.", "Pick one more to the side, nearer or further."
        )
    return at


def _picked_area(picks: Sequence[Pick], clip: Clip, still: Bool) -> tuple[list[int], Bool]:
    """Frames that points were picked in, and [H, W] what lies between the points."""
    at = check_picks(picks, clip)
    moved = next((number for number, pick in enumerate(picks, 1) if not still[pick.frame]), 0)
    if moved:
        raise Ex4dError(
            BAD_INPUT,
            f"Ground point {moved} was picked in a frame where the camera stands elsewhere than in the first one.",
            "Pick ground points in the first frame: the height is that of its camera.",
        )
    area = np.zeros(clip.frames.shape[1:3], np.uint8)
    cv2.fillConvexPoly(area, cv2.convexHull((at - 0.5).round().astype(np.int32)), 1)
    return sorted({pick.frame for pick in picks}), area.astype(np.bool_)


def _samples(z: F32, frames: list[int], area: Bool, lens: F64) -> tuple[F64, F64]:
    """Rays [N, 3] and disparity [N] of pixels of the area, spread over it and over the frames."""
    rows, columns = np.nonzero(area)
    each = max(_SAMPLES // len(frames), 1)
    chosen = np.unique(np.linspace(0, len(rows) - 1, min(each, len(rows))).astype(int))
    rows, columns = rows[chosen], columns[chosen]
    ray = rays(np.stack([columns, rows], axis=1) + 0.5, lens)
    disparity = [1.0 / without_specks(z[frame])[rows, columns].astype(np.float64) for frame in frames]
    return np.tile(ray, (len(frames), 1)), np.concatenate(disparity)


def _plane(ray: F64, disparity: F64, whole: tuple[F64, F64] | None) -> tuple[F64 | None, Bool]:
    """The plane that most samples lie on, and which; of those like a ground with nothing much beneath, where `whole`
    is given."""
    rng = np.random.default_rng(_SEED)
    three = rng.integers(0, len(ray), (_TRIES, 3))
    corners = ray[three]
    sound = np.abs(np.linalg.det(corners)) > 1e-6
    planes = np.linalg.solve(corners[sound], disparity[three][sound][..., None])[..., 0]
    if whole is not None:
        planes = planes[_like_ground(planes)]
        planes = planes[[_beneath(plane, whole) <= _BENEATH[1] for plane in planes]]
    if not len(planes):
        return None, np.zeros(len(ray), np.bool_)
    costs = [float(_misfit(plane, ray, disparity, _OFF).sum()) for plane in planes]
    plane, limit = planes[int(np.argmin(costs))], _OFF
    for _ in range(_ROUNDS):
        misfit = _misfit(plane, ray, disparity, limit)
        trust = (1.0 - misfit) / np.maximum(np.abs(ray @ plane), 1e-12)
        if int((misfit < 1.0).sum()) < FEWEST:
            break
        plane = np.linalg.lstsq(ray * trust[:, None], disparity * trust, rcond=None)[0]
        near = _misfit(plane, ray, disparity, _OFF) < 1.0
        if near.any():
            usual = float(np.median(np.abs(disparity[near] / (ray[near] @ plane) - 1.0)))
            limit = float(np.clip(_WIDTHS * usual, _FINEST, _OFF))
    return plane, np.asarray(_misfit(plane, ray, disparity, _OFF) < 1.0, np.bool_)


def _misfit(plane: F64, ray: F64, disparity: F64, limit: float) -> F64:
    """[N] min((relative difference / limit)^2, 1)."""
    modelled = ray @ plane
    with np.errstate(divide="ignore", invalid="ignore"):
        off = np.where(modelled > 0.0, disparity / modelled - 1.0, np.inf)
    return np.asarray(np.minimum((off / limit) ** 2, 1.0), np.float64)


def _like_ground(planes: F64) -> Bool:
    """[N] whether they lie below a camera that is held more or less upright."""
    a, b, c = planes.T
    pitch, roll = np.degrees(np.arctan2(np.abs(c), b)), np.degrees(np.arctan2(np.abs(a), b))
    return np.asarray((b > 0.0) & (pitch <= _PITCH) & (roll <= _ROLL), np.bool_)


def _beneath(plane: F64, whole: tuple[F64, F64]) -> float:
    """Share of the picture's pixels, of those that look at the plane, that see something behind it."""
    ray, disparity = whole
    modelled = ray @ plane
    looked = modelled > 0.0
    if not looked.any():
        return 1.0
    clear = looked & (modelled > _HORIZON * float(np.median(modelled[looked])))
    return float((modelled[clear] > _BENEATH[0] * disparity[clear]).mean())


def _crisp(plane: F64, ray: F64, disparity: F64) -> bool:
    """Whether what lies about the plane lies on it: not so where it cuts through another one."""
    near, about = (float((_misfit(plane, ray, disparity, _OFF * width) < 1.0).mean()) for width in (1.0, _CRISP[0]))
    return near >= _CRISP[1] * about


def _check(found: Ground, whole: tuple[F64, F64], picked: bool) -> None:
    """Raises Ex4dError(BAD_INPUT) for a plane that is no ground."""
    _, b, c = found.plane
    if picked:
        if found.agreeing < _SHARE:
            raise Ex4dError(
                BAD_INPUT,
                f"Only {found.agreeing:.0%} of what lies between the ground points lies on one plane.",
                "Pick points on a flat part of the ground, with little standing between them.",
            )
        if b <= -abs(c):
            raise Ex4dError(
                BAD_INPUT, "The plane through the ground points lies above the camera.", "Pick points on the ground."
            )
        return
    if not _like_ground(found.plane[None])[0] or found.agreeing < _SHARE or _beneath(found.plane, whole) > _BENEATH[1]:
        raise _none_found()


def _none_found() -> Ex4dError:
    return Ex4dError(
        BAD_INPUT,
        "No ground was found in the lower part of the picture: nothing there is flat, below the camera, and lies under "
        "everything else.",
        f"Pick {FEWEST} or more points on the ground, or measure a distance.",
    )
