# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a clip show something that stands still, told from what the other frames see at the same place.

A pixel with depth is a point of the world. Another frame speaks against its standing still when it sees through that
point to something further, or sees a surface there of another colour (a thing that slides along itself). It says
nothing when something nearer hides the point, or when the point lies outside its picture.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.persist.kernels import testify
from ex4d.render.compiled import in_parallel, threads
from ex4d.values import BORDER, F32, F64, I32, U8, Bool, Scene

MOST_FRAMES = 25  # key frames: more do not make the background better, only slower
_MOST_BYTES = 1 << 30  # of the key frames, with what is counted for them; large pictures get fewer key frames
_BYTES = 16  # for each of their pixels
SAME_DEPTH = 1.06  # ratio of depths up to which two frames see one surface: estimated depth differs by some percent
SAME_COLOUR = 20.0  # levels of 255 in any channel
_BEND = 0.05  # of the disparity: more, from one pixel to the next, is a jump
_OUTLIERS = 0.1  # share of the frames that may see through a still point: their depth is wrong there


@dataclass(frozen=True, eq=False)
class KeyFrames:
    """Some frames of a clip, evenly spread."""

    index: I32  # [M] which frames of the clip
    pictures: U8  # [M, H, W, 3]
    z: F32  # [M, H, W]
    world_from_camera: F64  # [M, 4, 4]
    lens: F64  # [M, 4] fx, fy, cx, cy


def key_frames(scene: Scene) -> KeyFrames:
    """Up to `MOST_FRAMES` frames, the first and the last among them; fewer where the pictures are large."""
    total, height, width = scene.clip.frames.shape[:3]
    most = max(3, min(MOST_FRAMES, _MOST_BYTES // (_BYTES * height * width)))
    picked = np.unique(np.round(np.linspace(0, total - 1, min(total, most))).astype(np.int32))
    return KeyFrames(
        picked,
        np.ascontiguousarray(scene.clip.frames[picked]),
        np.ascontiguousarray(scene.mesh_depth[picked, BORDER:-BORDER, BORDER:-BORDER]),
        scene.camera.world_from_camera[picked],
        scene.camera.intrinsics[picked],
    )


def depth_of(scene: Scene, frame: int) -> F32:
    """Depth [H, W] of a frame of the clip, without the mesh's border."""
    return np.ascontiguousarray(scene.mesh_depth[frame, BORDER:-BORDER, BORDER:-BORDER])


def still_pixels(keys: KeyFrames, progress: Callable[[], None]) -> Bool:
    """Where the key frames show something that stands still.

    A pixel counts when at least one other frame sees the same surface there, hardly any sees through it, and no more
    see it in another colour than in its own. Pixels beside a depth edge or beside something that moves have two colours
    mixed in and do not count.

    Args:
        keys: the frames.
        progress: called once for each of them.

    Returns:
        [M, H, W].
    """
    total, height, width = keys.z.shape
    counts = np.zeros((3, total, height, width), np.uint8)  # seen through, another colour, the same
    for other in range(total):
        nearest, furthest = extremes(keys.z[other])
        camera_from_world = np.linalg.inv(keys.world_from_camera[other])
        for own in range(total):
            if own != other:
                _ask(keys, own, other, camera_from_world @ keys.world_from_camera[own], nearest, furthest, counts)
        progress()
    reach = edge_reach(width, height)
    still = np.empty(keys.z.shape, np.bool_)
    for k in range(total):
        through, differ, same = (part.astype(np.int16) for part in counts[:, k])
        moving = (through > _OUTLIERS * (through + differ + same)) | (differ > same)
        still[k] = (same > 0) & ~grown(moving, reach) & ~grown(jumps(keys.z[k]), reach - 1)
    return still


def edge_reach(width: int, height: int) -> int:
    """How far beside an edge the colours of both sides may mix, in pixels."""
    return max(1, round(max(width, height) / 640))


def jumps(z: F32) -> Bool:
    """Where a depth picture [H, W] jumps from one pixel to the next.

    The disparity of a plane runs straight over the picture, however steep the plane is: a jump is where it bends.
    """
    disparity = np.pad(1.0 / z, 1, mode="reflect", reflect_type="odd")
    centre = disparity[1:-1, 1:-1]
    bend = np.maximum(
        np.abs(disparity[:-2, 1:-1] + disparity[2:, 1:-1] - 2.0 * centre),
        np.abs(disparity[1:-1, :-2] + disparity[1:-1, 2:] - 2.0 * centre),
    )
    return np.asarray(bend > _BEND * centre, np.bool_)


def grown(region: Bool, reach: int) -> Bool:
    """A region [H, W] and everything within `reach` pixels of it, along rows and columns."""
    kernel = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    return np.asarray(cv2.dilate(region.astype(np.uint8), kernel)) > 0


def extremes(z: F32) -> tuple[F32, F32]:
    """The nearest and the furthest depth within a pixel of each pixel."""
    window = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.erode(z, window), np.float32), np.asarray(cv2.dilate(z, window), np.float32)


def _ask(keys: KeyFrames, own: int, other: int, other_from_own: F64, nearest: F32, furthest: F32, counts: U8) -> None:
    """Adds what frame `other` says about each pixel of frame `own`."""

    def rows(start: int, stop: int) -> None:
        testify(
            keys.z[own], keys.pictures[own], keys.lens[own], other_from_own, keys.lens[other], keys.pictures[other],
            nearest, furthest, SAME_DEPTH, SAME_COLOUR, start, stop, counts[:, own],
        )  # fmt: skip

    in_parallel(rows, keys.z.shape[1], threads())
