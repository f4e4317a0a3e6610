# SPDX-License-Identifier: Apache-2.0
"""Clip + depth → meshes, one frame after the other: what is the same for all of them, and each when it is asked for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ex4d.cameras import check_path, standing_still
from ex4d.mesh.extent import FURTHEST, Extent
from ex4d.mesh.lift import check_depth, default_intrinsics, lift
from ex4d.on_disk import streamed
from ex4d.values import F32, Bool, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

PIVOT_PERCENTILE = 5.0  # of the first frame's depth: near the front of the subject, and not one stray pixel
_PHASE = "Preparing the depth"


@dataclass(frozen=True, eq=False)
class Lifted:
    """A scene whose meshes are made when they are asked for. The fields are those of `ex4d.values.Scene`."""

    clip: Clip
    z: F32  # [T, H, W] as it is lifted
    camera: CameraPath
    far: float
    pivot: float
    near: float
    far_depth: float
    estimator: str
    draft: bool
    notes: tuple[str, ...]
    metric: bool
    facts: Mapping[str, Any]

    def mesh(self, t: int) -> tuple[F32, Bool]:
        """A frame's `mesh_depth` and `mesh_valid`, as in `Scene`."""
        return lift(self.z[t], self.far)


def lifted(
    clip: Clip,
    depth: DepthVideo,
    *,
    focal: float | None = None,
    camera: CameraPath | None = None,
    sharpen: bool = True,
    progress: Callable[[str, int, int], None] = lambda phase, done, total: None,
) -> Lifted:
    """Looks at every frame of a clip's depth, and makes it ready to be lifted.

    Args:
        clip: the pictures.
        depth: their depth, of the same size and length; changed in place where it is limited or sharpened.
        focal: focal length in pixels of `clip.frames`; None = 500/512 of the longest side.
        camera: the source camera at each frame, of the clip's size and length; None = it stands still, with `focal`.
        sharpen: make edges that were smeared in the depth sharp again.
        progress: told of each frame; may raise.

    Raises:
        Ex4dError: SIZE_MISMATCH when clip, depth and camera differ in size or length, BAD_INPUT for depth that is not
            positive and finite, or all too near or too far, and for a camera that cannot be used.
    """
    camera = _camera(clip, depth, focal, camera)
    total = len(clip.frames)
    nearest, furthest = np.inf, 0.0
    for t, frame in enumerate(streamed(depth.z)):
        check_depth(frame)
        nearest, furthest = min(nearest, float(frame.min())), max(furthest, float(frame.max()))
        progress(_PHASE, t + 1, 2 * total)
    limit = np.float32(FURTHEST / 1.05)  # room for the skirt behind everything
    if nearest > limit:
        raise Ex4dError(
            BAD_INPUT,
            f"The nearest depth of the clip is {nearest:.3g} units; {limit:.0f} is the most that can be used.",
            "Give depth, and the positions of cameras with it, in another unit.",
        )
    notes = clip.notes + depth.notes
    if furthest > limit:
        notes += (f"depth beyond {limit:.0f} units was brought to there",)
    extent = Extent(depth.z.size)
    for t, frame in enumerate(streamed(depth.z)):
        if furthest > limit:
            np.minimum(frame, limit, out=frame)
        if sharpen:
            from ex4d.mesh.sharpen import sharpened  # loads Numba

            frame[:] = sharpened(frame)
        extent.add(frame)
        progress(_PHASE, total + t + 1, 2 * total)
    near, far_depth, far = extent.measured(each.z for each in depth.beyond)
    return Lifted(
        clip=clip,
        z=depth.z,
        camera=camera,
        far=far,
        pivot=float(np.percentile(depth.z[0], PIVOT_PERCENTILE)),
        near=near,
        far_depth=far_depth,
        estimator=depth.estimator,
        draft=depth.draft,
        notes=notes,
        metric=depth.metric,
        facts=depth.facts,
    )


def _camera(clip: Clip, depth: DepthVideo, focal: float | None, camera: CameraPath | None) -> CameraPath:
    """The source camera, once it and depth fit the clip."""
    total, height, width = clip.frames.shape[:3]
    if depth.z.shape != (total, height, width):
        frames, rows, columns = depth.z.shape
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The depth has {frames} frames of {columns}x{rows}, the clip {total} of {width}x{height}.",
            "Both must have the same size and length.",
        )
    if not clip.frames.size:
        raise Ex4dError(BAD_INPUT, "The clip has no frames.")
    if camera is None:
        return standing_still(default_intrinsics(width, height, focal), total, clip.fps)
    if (len(camera.world_from_camera), camera.height, camera.width) != (total, height, width):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The source camera has {len(camera.world_from_camera)} frames of {camera.width}x{camera.height}, the clip "
            f"{total} of {width}x{height}.",
            "Both must have the same size and length.",
        )
    check_path(camera)
    return camera
