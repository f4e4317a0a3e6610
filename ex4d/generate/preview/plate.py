# SPDX-License-Identifier: Apache-2.0
"""The clean plate: what stands still behind whatever moves, put together over time.

Where the source camera stands still, a pixel sees the same still surface in every frame in which nothing moves in front
of it, and that surface is the furthest thing that the pixel ever sees. Where it moves, the plate is what a frame in the
middle of the clip shows, with the still background that any frame saw in place of what moves.
"""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.cameras import intrinsics_at, static_source
from ex4d.persist import Background
from ex4d.persist.kernels import medians
from ex4d.render.compiled import in_parallel, threads
from ex4d.values import BORDER, F32, U8, Scene

MOST_FRAMES = 25  # a plate from more does not get better, only slower
SAME_SURFACE = 1.08  # depths within this ratio of the furthest belong to it
_OUTLIERS = 0.08  # share of the frames whose depth may be wrongly too far


def stands_still(scene: Scene) -> bool:
    """Whether the source camera keeps its place and its lens."""
    camera = scene.camera
    return bool(
        (camera.world_from_camera == camera.world_from_camera[0]).all()
        and (camera.intrinsics == camera.intrinsics[0]).all()
    )


def plate_of(scene: Scene, background: Background | None) -> tuple[F32, F32, int]:
    """Colour [H, W, 3] 0..255 and z [H, W] of the plate, and the frame whose source camera it is seen from.

    Args:
        scene: the reconstructed clip.
        background: of the scene, where its camera moves.
    """
    depth = scene.mesh_depth[:, BORDER:-BORDER, BORDER:-BORDER]
    if background is None:
        return (*clean_plate(scene.clip.frames, depth), 0)
    middle = len(depth) // 2
    camera = scene.camera
    source, lens = static_source(scene, len(depth)), intrinsics_at(camera, middle)
    view = background.view(source, middle, camera.world_from_camera[middle], lens, cleared=True)
    colour = np.where(view.mask[..., None], view.colour, scene.clip.frames[middle]).astype(np.float32)
    return colour, np.where(view.mask, view.z, depth[middle]).astype(np.float32), middle


def clean_plate(frames: U8, depth: F32) -> tuple[F32, F32]:
    """The far surface of every pixel over the clip, and its colour with the grain averaged out.

    Args:
        frames: [T, H, W, 3] sRGB.
        depth: [T, H, W] z.

    Returns:
        [H, W, 3] float32 colour 0..255 and [H, W] float32 z: medians over the frames in which the pixel sees its far
        surface, leaving out those in which something nearer is so close by that the colours mix.
    """
    total, height, width = depth.shape
    picked = np.unique(np.round(np.linspace(0, total - 1, min(total, MOST_FRAMES))).astype(int))
    reach = 2 * max(1, round(max(height, width) / 640)) + 1
    kernel = np.ones((reach, reach), np.uint8)
    z = np.ascontiguousarray(depth[picked])
    beside = np.stack([cv2.erode(frame, kernel) * SAME_SURFACE < frame for frame in z])
    furthest = np.sort(z, axis=0)[len(z) - 1 - int(_OUTLIERS * len(z))]
    far = z * np.float32(SAME_SURFACE) >= furthest
    clear = far & ~beside
    chosen = np.where(clear.any(axis=0), clear, far)
    colour = np.empty((height, width, 3), np.float32)
    plate_z = np.empty((height, width), np.float32)
    pictures = np.ascontiguousarray(frames[picked])

    def rows(start: int, stop: int) -> None:
        medians(pictures, z, chosen, start, stop, colour, plate_z)

    in_parallel(rows, height, max(1, min(threads() * 4, height // 8)))
    return colour, plate_z
