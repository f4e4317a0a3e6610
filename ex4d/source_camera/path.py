# SPDX-License-Identifier: Apache-2.0
"""A source camera's path, as it was given, brought to the clip it belongs to: frames, picture size, world.

The world of a scene is the source camera of the clip's first frame. A path from a tracker or from Blender lives in a
world of its own; both it and every new camera that was made in that same world are moved by one and the same rigid
transform, the inverse of the pose that the source camera had there at the clip's first frame.
"""

from __future__ import annotations

import numpy as np

from ex4d.cameras import camera_from_world, check_path
from ex4d.values import F64, CameraPath, Clip
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

ASPECT_SLACK = 0.01  # a picture that was scaled to whole pixels is off by less, a crop is off by more
SQUARE_SLACK = (
    0.005  # between fx and fy: solvers give them apart by rounding; a non-square pixel is off by 1/15 or more
)


def fit_to_clip(path: CameraPath, clip: Clip, first: int = 0) -> tuple[CameraPath, F64]:
    """The source camera of each of a clip's frames, in pixels of the clip and with the first frame's camera as world.

    Args:
        path: the source camera as it was given: one entry for each frame of the whole shot, or for each frame of the
            clip. Its picture may have another size than the clip's, of the same aspect: the lens is scaled with it.
            Its rate is left aside, frames belong to frames.
        clip: what `read_clip` gave.
        first: the same that `read_clip` was given: index of the clip's first frame within the whole shot.

    Returns:
        The path, with as many frames as the clip, of the clip's size and rate, fx = fy, and the identity as the first
        pose; and `given_from_world` [4, 4], the pose that the first frame's camera had in the world it was given in,
        for `rebased`.

    Raises:
        Ex4dError: SIZE_MISMATCH for too few frames or another aspect, BAD_INPUT for pixels that are not square or a
            path that cannot be used.
    """
    check_path(path)
    if first < 0:
        raise Ex4dError(BAD_INPUT, f"A first frame of {first} makes no sense: frames are counted from 0.")
    total, height, width = clip.frames.shape[:3]
    chosen = _window(len(path.world_from_camera), first, total)
    given_from_world = path.world_from_camera[chosen][0]
    moved = rebased(path, given_from_world)
    lens = _lens(path, width, height)[chosen]
    fitted = CameraPath(np.array(moved.world_from_camera[chosen]), lens, width, height, clip.fps)
    check_path(fitted)
    return fitted, np.array(given_from_world)


def rebased(path: CameraPath, given_from_world: F64) -> CameraPath:
    """A camera in the scene's world that was made in the world which the source camera was given in.

    Args:
        path: poses in the given world.
        given_from_world: [4, 4], from `fit_to_clip`. The identity leaves poses as they are, bit for bit.
    """
    if np.array_equal(given_from_world, np.eye(4)):
        return path
    poses = camera_from_world(given_from_world) @ path.world_from_camera
    same = (path.world_from_camera == given_from_world).all(axis=(1, 2))
    poses[same] = np.eye(4)  # exact where the camera stands where the world's origin was put
    poses[:, 3] = (0.0, 0.0, 0.0, 1.0)
    return CameraPath(poses, path.intrinsics, path.width, path.height, path.fps)


def _window(given: int, first: int, total: int) -> slice:
    """Which of a path's entries belong to the clip's frames. Depth files are counted in the same way."""
    if given >= first + total:
        return slice(first, first + total)
    if given == total:
        return slice(0, total)
    raise Ex4dError(
        SIZE_MISMATCH,
        f"The source camera has {given} frame{'s' if given != 1 else ''}; the clip's frames {first + 1} to "
        f"{first + total} need {first + total}.",
        "Give a camera for every frame of the clip, or choose fewer frames.",
    )


def _lens(path: CameraPath, width: int, height: int) -> F64:
    """[T, 4] in pixels of a picture of this size."""
    ratio = (path.width / path.height) / (width / height)
    slack = ASPECT_SLACK + 1.0 / min(path.width, path.height, width, height)  # sides are whole numbers
    if abs(ratio - 1.0) > slack:
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The source camera is for pictures of {path.width}x{path.height}, the clip is {width}x{height}.",
            "Both need the same aspect: give the camera at the size of the clip's own picture, not cropped "
            "(in Blender: the scene's resolution).",
        )
    uneven = np.abs(path.intrinsics[:, 0] / path.intrinsics[:, 1] - 1.0)
    if uneven.max() > SQUARE_SLACK:
        worst = int(np.argmax(uneven > SQUARE_SLACK))
        fx, fy = path.intrinsics[worst, :2]
        raise Ex4dError(
            BAD_INPUT,
            f"The source camera at frame {worst + 1} has fx {fx:.6g} and fy {fy:.6g}; they must agree within "
            f"{SQUARE_SLACK:.1%}.",
            "Clips are brought to square pixels: set the pixel aspect to 1, or give the lens in square pixels.",
        )
    across, down = width / path.width, height / path.height
    fx, fy, cx, cy = (path.intrinsics * [across, down, across, down]).T
    focal = 0.5 * (fx + fy)
    return np.stack([focal, focal, cx, cy], axis=1)
