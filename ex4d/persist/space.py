# SPDX-License-Identifier: Apache-2.0
"""Which space is known to be empty.

What lies before a surface that a source camera sees is empty. In this frame that holds for all of it; of another
frame's camera it holds for what stands still, with things that move taken out. Behind things that move, space is taken
to be filled as far back as those things may reach. Behind things that stand still nothing is known, unless a camera
looked there from elsewhere.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.persist.evidence import SAME_DEPTH, edge_reach, grown, jumps
from ex4d.persist.kernels import walk
from ex4d.render.compiled import in_parallel, threads
from ex4d.values import F32, F64, Bool, Intrinsics

_THICK = 2.0  # a moving thing reaches this many of its widths behind what is seen of it
_BACK_PERCENTILE = 95.0  # of its depth: as far back as it is seen to reach
_SLACK = 0.01  # relative depth by which a point may lie behind a surface and count as before it
_MARGIN = 0.015  # relative depth before its end at which a way ends: there the surface begins
_STRIDE = 1.0  # pixels of a source picture from one look to the next
_REACH = 9  # pixels that are stepped over at once where nothing is near
_BEYOND = 0.25  # of the longest side: how far things that the picture's edge cuts off may go on
_PIECES = 4


@dataclass(frozen=True, eq=False)
class Camera:
    """Depth and the camera that it was seen from."""

    disparity: F32  # [H, W] see `solid`
    world_from_camera: F64  # [4, 4]
    lens: F64  # [4] fx, fy, cx, cy


def things(moving: Bool) -> Bool:
    """What moves, without lines and dots: depth that is not quite right leaves those along still edges."""
    count, label = cv2.connectedComponents(moving.astype(np.uint8), connectivity=8)
    real = np.zeros(count, np.bool_)
    real[np.unique(label[_core(moving)])] = True
    return np.asarray(real[label], np.bool_)


def _core(moving: Bool) -> Bool:
    """The pixels with nothing but moving ones around them; beyond the picture's edge it goes on."""
    kernel = np.ones((3, 3), np.uint8)
    return np.asarray(cv2.erode(moving.astype(np.uint8), kernel, borderValue=1), np.uint8) > 0


def filled_space(moving: Bool, z: F32, focal: float) -> tuple[F32, F32]:
    """Between which depths something that moves fills space, around each pixel of the source camera.

    A thing reaches from its surface as far back as any of it is seen to reach, and then `_THICK` times its width; it is
    round, so less far towards its outline.

    Args:
        moving: [H, W] what moves.
        z: [H, W] its depth.
        focal: of the camera, pixels.

    Returns:
        The nearest and the furthest depth, 0 and -1 where nothing moves: [H + 2 B, W + 2 B], with B pixels beyond the
        picture on each side, where things that its edge cuts off go on.
    """
    reach = edge_reach(*z.shape)
    window = np.ones((2 * reach + 1, 2 * reach + 1), np.uint8)
    inside = np.asarray(cv2.distanceTransform(moving.astype(np.uint8), cv2.DIST_L2, 5), np.float32)
    core = _core(moving)
    count, label, boxes, _ = cv2.connectedComponentsWithStats(moving.astype(np.uint8), connectivity=8)
    half, back = np.zeros(count, np.float32), np.zeros(count, np.float32)
    for k in range(1, count):
        left, top, width, height = (int(value) for value in boxes[k, :4])
        part = (slice(top, top + height), slice(left, left + width))
        own = label[part] == k
        half[k] = inside[part][own].max()
        own &= core[part]
        if own.any():
            back[k] = np.percentile(z[part][own], _BACK_PERCENTILE)
    roundness = np.sqrt(np.maximum(1.0 - (1.0 - inside / np.maximum(half[label], 1.0)) ** 2, 0.0)).astype(np.float32)
    near = np.asarray(cv2.erode(np.where(moving, z, np.float32(np.inf)), window), np.float32)
    near = np.where(grown(moving, reach), near, np.float32(0.0))
    thick = np.float32(2.0 * _THICK / focal) * near * np.asarray(cv2.dilate(half[label], window))
    thick += np.maximum(np.asarray(cv2.dilate(back[label], window)) - near, 0.0)
    far = np.where(near > 0.0, near + np.asarray(cv2.dilate(roundness, window)) * thick, np.float32(-1.0))
    beyond = round(_BEYOND * max(z.shape))
    return np.pad(near, beyond, mode="edge"), np.pad(far.astype(np.float32), beyond, mode="edge")


def clear_ways(
    wanted: Bool,
    z: F32,
    world_from_camera: F64,
    intrinsics: Intrinsics,
    own: Camera,
    others: list[Camera],
    filled: tuple[F32, F32],
) -> Bool:
    """Where a view's rays reach their points through empty space.

    Args:
        wanted: [h, w] the rays that are asked for.
        z: [h, w] z-depth of their points in the view.
        world_from_camera: [4, 4] of the view.
        intrinsics: of the view.
        own: this frame's source camera; where it sees through a point, the point is gone.
        others: where what stands still was seen from.
        filled: nearest and furthest depth in `own` that something which moves fills.

    Returns:
        [h, w], within `wanted`.
    """
    rows, columns = np.nonzero(wanted)
    depth = z[rows, columns]
    cameras = [own, *others]
    lenses = np.stack([camera.lens for camera in cameras])
    matrices = np.stack([np.linalg.inv(camera.world_from_camera) @ world_from_camera for camera in cameras])
    disparity = np.stack([camera.disparity for camera in cameras])
    lens = np.array([intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy])
    limits = (_SLACK, _MARGIN, _STRIDE, SAME_DEPTH - 1.0, float(_REACH))
    around = np.asarray(cv2.dilate(disparity[0], np.ones((2 * _REACH + 1, 2 * _REACH + 1), np.uint8)), np.float32)
    found = np.zeros(len(rows), np.bool_)

    def part(start: int, stop: int) -> None:
        walk(rows, columns, depth, lens, matrices, lenses, disparity, around, *filled, limits, start, stop, found)

    in_parallel(part, len(rows), _PIECES * threads())
    out = np.zeros_like(wanted)
    out[rows, columns] = found
    return out


def solid(z: F32) -> F32:
    """Disparity with near things a pixel wider than they are seen: their rims are not to be looked through."""
    disparity = (1.0 / z).astype(np.float32)
    wider = np.asarray(cv2.dilate(disparity, np.ones((3, 3), np.uint8)), np.float32)
    return np.where(jumps(z), wider, disparity).astype(np.float32)
