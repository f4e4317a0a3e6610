# SPDX-License-Identifier: Apache-2.0
"""Depth of a clip: an estimator's frames, cleaned up. Arrays of the whole clip lie on the disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.depth.choose import choose_estimator
from ex4d.depth.convert import to_depth
from ex4d.depth.door import DepthEstimator, DepthRequest, Gives, Nature, Progress, nobody
from ex4d.depth.edges import refine_edges
from ex4d.depth.sky import push_sky
from ex4d.depth.steady import steady_depth
from ex4d.on_disk import disk_array, forget
from ex4d.settings import Value
from ex4d.values import F32, F64, Bool, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, INTERNAL, SIZE_MISMATCH, Ex4dError

_FORGET_EVERY = 16  # frames


@dataclass(frozen=True, eq=False)
class Raw:
    """What an estimator gave for a whole clip."""

    values: F32  # [T, H, W]
    gives: Gives
    sky: Bool | None  # [T, H, W] where the estimator itself knows it
    focal: float | None  # pixels, median over the frames
    poses: F64 | None  # [T, 4, 4]


def estimate_depth(
    clip: Clip,
    workspace: Path,
    *,
    estimator: str = "auto",
    files: Sequence[Path] = (),
    options: Mapping[str, Value] | None = None,
    first: int = 0,
    focal: float | None = None,
    progress: Progress = nobody,
) -> DepthVideo:
    """z-depth of every frame of a clip.

    Args:
        clip: what `read_clip` gave.
        workspace: a folder of `ex4d.on_disk.workspace`; the result lies in it and ends with it.
        estimator: a name of `DEPTH_DOORS`; "auto" is "file" where files are given, else the best one that works here.
        files: depth that was brought along, see `ex4d.depth.file`.
        options: of the estimator, and of `STAGE_SETTINGS`.
        first: the same that `read_clip` was given, since depth files are counted from the start of the shot; how many
            frames are needed, the clip itself says.
        focal: pixels of the clip's frames, where somebody knows it.
        progress: called with (phase, done, in all); it may raise Ex4dError(CANCELLED).

    Returns:
        z [T, H, W] float32, finite and > 0.

    Raises:
        Ex4dError: BAD_INPUT for unknown names, SIZE_MISMATCH when depth and clip differ in shape or length,
            UNAVAILABLE, LIMIT, DISK, and what reading files raises.
    """
    if first < 0:
        raise Ex4dError(BAD_INPUT, f"A first frame of {first} makes no sense: frames are counted from 0.")
    if not len(clip.frames):
        raise Ex4dError(BAD_INPUT, "The clip has no frames.", "Choose at least one.")
    height, width = clip.frames.shape[1:3]
    choice = choose_estimator(estimator, files, options or {}, height, width)
    door, own, stage = choice.door, choice.options, choice.stage
    commercial = bool(stage["commercial"])
    nature = door.nature(own, commercial)
    notes: list[str] = list(choice.notes)
    request = DepthRequest(
        clip=clip,
        options=own,
        files=tuple(files),
        first=first,
        commercial=commercial,
        focal=focal,
        progress=progress,
        note=notes.append,
    )
    raw = _gather(door, request, workspace)
    notes += to_depth(raw.values, raw.gives)
    notes += _clean(raw, clip, nature, stage, progress)
    facts: dict[str, Any] = {
        "estimator": door.name,
        "model": nature.model,
        "licence": nature.licence,
        "commercial_use": nature.commercial_use,
        "options": {**own, **stage},
    }
    return DepthVideo(
        raw.values,
        door.name,
        door.draft,
        tuple(notes),
        metric=raw.gives == "metric",
        focal=raw.focal,
        poses=raw.poses if stage["estimated_camera"] else None,
        facts=facts,
    )


def _gather(door: DepthEstimator, request: DepthRequest, workspace: Path) -> Raw:
    clip = request.clip
    shape = clip.frames.shape[:3]
    values = disk_array(workspace, "depth", shape, np.float32)
    sky: Bool | None = None
    focals: list[float] = []
    poses: list[F64] = []
    gives: Gives = "disparity"
    count = 0
    for index, estimate in enumerate(door.frames(request)):
        if index >= shape[0] or estimate.values.shape != shape[1:]:
            raise Ex4dError(
                SIZE_MISMATCH,
                f"The estimator '{door.name}' gave depth of {estimate.values.shape} for frame {index + 1}, the clip "
                f"has {shape[0]} frames of {shape[1:]}.",
            )
        values[index], gives, count = estimate.values, estimate.gives, index + 1
        if estimate.sky is not None:
            sky = disk_array(workspace, "sky", shape, np.bool_) if sky is None else sky
            sky[index] = estimate.sky
        if estimate.focal is not None:
            focals.append(estimate.focal)
        if estimate.world_from_camera is not None:
            poses.append(estimate.world_from_camera)
        if count % _FORGET_EVERY == 0:
            forget(values, clip.frames, *(() if sky is None else (sky,)))
    if count != shape[0]:
        raise Ex4dError(INTERNAL, f"The estimator '{door.name}' gave {count} of {shape[0]} frames.")
    return Raw(
        values,
        gives,
        sky,
        float(np.median(focals)) if focals else None,
        np.stack(poses) if len(poses) == shape[0] else None,
    )


def _clean(raw: Raw, clip: Clip, nature: Nature, stage: Mapping[str, Value], progress: Progress) -> list[str]:
    """Changes z in place. Each of the three acts on what the one before left."""
    z = raw.values
    network = bool(nature.model)
    notes: list[str] = []
    if _wanted(stage["edges"], network):
        notes += refine_edges(z, clip.frames, progress)
    if _wanted(stage["steady"], network and not nature.steady):
        notes += steady_depth(z, clip.frames, progress)
    if _wanted(stage["sky"], network):
        notes += push_sky(z, clip.frames, raw.sky, progress)
    return notes


def _wanted(wish: Value, by_itself: bool) -> bool:
    return by_itself if wish == "auto" else wish == "on"
