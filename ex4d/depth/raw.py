# SPDX-License-Identifier: Apache-2.0
"""What an estimator gave for a whole clip, before anything is done to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ex4d.depth.door import DepthEstimator, DepthRequest, Gives
from ex4d.on_disk import FORGET_EVERY, disk_array, forget
from ex4d.values import F32, F64, Bool
from shared_protocol.errors import INTERNAL, SIZE_MISMATCH, Ex4dError

VALUES, SKY = "depth", "sky"  # files in a workspace


@dataclass(frozen=True, eq=False)
class Raw:
    """Arrays of the whole clip lie in a workspace."""

    values: F32  # [T, H, W]
    gives: Gives
    sky: Bool | None = None  # [T, H, W] where the estimator itself knows it
    focal: float | None = None  # pixels, median over the frames
    poses: F64 | None = None  # [T, 4, 4]
    notes: tuple[str, ...] = ()  # what the estimator told of how it was done


def gather(door: DepthEstimator, request: DepthRequest, workspace: Path) -> Raw:
    """Runs an estimator.

    Args:
        door: which.
        request: of what. Its `note` is told nothing, since notes are in the result.
        workspace: a folder of `ex4d.on_disk.workspace`.

    Raises:
        Ex4dError: SIZE_MISMATCH or INTERNAL for an estimator that does not give what was asked for, DISK, and whatever
            the estimator reports.
    """
    frames = request.clip.frames
    shape = frames.shape[:3]
    values = disk_array(workspace, VALUES, shape, np.float32)
    sky: Bool | None = None
    focals: list[float] = []
    poses: list[F64] = []
    kinds: set[Gives] = set()
    count = 0
    notes: list[str] = []
    for index, estimate in enumerate(door.frames(replace(request, note=notes.append))):
        if index >= shape[0] or estimate.values.shape != shape[1:]:
            raise Ex4dError(
                SIZE_MISMATCH,
                f"The estimator '{door.name}' gave depth of {estimate.values.shape} for frame {index + 1}, the clip "
                f"has {shape[0]} frames of {shape[1:]}.",
            )
        values[index], count = estimate.values, index + 1
        kinds.add(estimate.gives)
        if estimate.sky is not None:
            sky = disk_array(workspace, SKY, shape, np.bool_) if sky is None else sky
            sky[index] = estimate.sky
        if estimate.focal is not None:
            focals.append(estimate.focal)
        if estimate.world_from_camera is not None:
            poses.append(estimate.world_from_camera)
        if count % FORGET_EVERY == 0:
            forget(values, sky, frames)
    forget(values, sky, frames)
    if count != shape[0] or len(kinds) != 1:
        what = " and ".join(sorted(kinds)) or "nothing"
        raise Ex4dError(INTERNAL, f"The estimator '{door.name}' gave {count} of {shape[0]} frames, as {what}.")
    return Raw(
        values,
        kinds.pop(),
        sky,
        float(np.median(focals)) if focals else None,
        np.stack(poses) if len(poses) == shape[0] else None,
        tuple(notes),
    )
