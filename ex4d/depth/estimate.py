# SPDX-License-Identifier: Apache-2.0
"""Depth of a clip: an estimator's frames, cleaned up. Arrays of the whole clip lie on the disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ex4d.depth.choose import Choice, choose_estimator
from ex4d.depth.convert import to_depth
from ex4d.depth.door import DepthEstimator, DepthRequest, Nature, Progress, nobody
from ex4d.depth.edges import refine_edges
from ex4d.depth.kept import KeptDepth, key_of
from ex4d.depth.raw import Raw, gather
from ex4d.depth.sky import push_sky
from ex4d.depth.sky_mask import SkyMask
from ex4d.depth.steady import steady_depth
from ex4d.settings import Value
from ex4d.values import Beyond, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError


def estimate_depth(
    clip: Clip,
    workspace: Path,
    *,
    estimator: str = "auto",
    files: Sequence[Path] = (),
    options: Mapping[str, Value] | None = None,
    first: int = 0,
    focal: float | None = None,
    sky: Sequence[Path] = (),
    kept: KeptDepth | None = None,
    chosen: Callable[[Choice], None] = nobody,
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
        sky: masks that are white where the sky is, see `ex4d.depth.sky_mask`; () = it is looked for, as `options` say.
        kept: where depth of earlier runs is, and where this run's is kept; None = each run is its own.
        chosen: told which estimator it will be, with all of its options, before it begins; may raise.
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
    mask = SkyMask(sky, clip, first) if sky else None
    choice = choose_estimator(estimator, files, options or {}, height, width)
    chosen(choice)
    door, own, stage = choice.door, choice.options, choice.stage
    commercial = bool(stage["commercial"])
    nature = door.nature(own, commercial)
    request = DepthRequest(
        clip=clip,
        options=own,
        files=tuple(files),
        first=first,
        commercial=commercial,
        focal=focal if door.uses_focal else None,
        progress=progress,
        workspace=workspace,
    )
    raw = _raw(door, request, workspace, nature, kept)
    said, background = to_depth(raw.values, raw.gives, first, progress)
    cleaned, sky_is = _clean(raw, clip, nature, mask, stage, progress)
    notes = [*choice.notes, *raw.notes, *said, *cleaned]
    facts: dict[str, Any] = {
        "estimator": door.name,
        "model": nature.model,
        "licence": nature.licence,
        "commercial_use": nature.commercial_use,
        "gives": raw.gives,
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
        beyond=tuple(each for each in (background, sky_is) if each is not None),
        facts=facts,
    )


def _raw(door: DepthEstimator, request: DepthRequest, workspace: Path, nature: Nature, kept: KeptDepth | None) -> Raw:
    """What the estimator gives, or gave in an earlier run."""
    if kept is None or not nature.model:
        return gather(door, request, workspace)
    identity = door.identity(request.options, request.commercial, request.progress)
    key = key_of(door, request, identity)
    found = kept.find(key, request.clip, workspace, request.progress)
    if found is not None:
        return found
    raw = gather(door, request, workspace)
    kept.keep(key, raw)
    return raw


def _clean(
    raw: Raw, clip: Clip, nature: Nature, mask: SkyMask | None, stage: Mapping[str, Value], progress: Progress
) -> tuple[list[str], Beyond | None]:
    """Changes z in place. Each of the three acts on what the one before left. Notes, and where the sky is then."""
    z = raw.values
    network = bool(nature.model)
    notes: list[str] = []
    sky_is: Beyond | None = None
    if _wanted(stage["edges"], network):
        notes += refine_edges(z, clip.frames, progress)
    if _wanted(stage["steady"], network and not nature.steady):
        notes += steady_depth(z, clip.frames, progress)
    if mask is not None or _wanted(stage["sky"], network):
        said, sky_is = push_sky(z, clip.frames, raw.sky if mask is None else mask, raw.gives == "metric", progress)
        notes += said
    return notes, sky_is


def _wanted(wish: Value, by_itself: bool) -> bool:
    return by_itself if wish == "auto" else wish == "on"
