# SPDX-License-Identifier: Apache-2.0
"""Depth of a clip, through one of several doors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ex4d.depth.door import DepthEstimator, DepthRequest, Progress
from ex4d.depth.draft import DraftDepth
from ex4d.depth.file import FileDepth
from ex4d.doors import choose
from ex4d.values import Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

__all__ = ["DEPTH_DOORS", "KINDS", "DepthEstimator", "DepthRequest", "estimate_depth"]

DEPTH_DOORS: dict[str, DepthEstimator] = {door.name: door for door in (FileDepth(), DraftDepth())}
KINDS = ("auto", "depth", "disparity")


def estimate_depth(
    clip: Clip,
    *,
    estimator: str = "auto",
    files: Sequence[Path] = (),
    kind: str = "auto",
    first: int = 0,
    progress: Progress | None = None,
) -> DepthVideo:
    """z-depth of every frame of a clip.

    Args:
        clip: what `read_clip` gave.
        estimator: a name of `DEPTH_DOORS`; "auto" is "file" where files are given, else "draft".
        files: depth that was brought along: one npz, one folder, or the files of an EXR or 16-bit PNG sequence. It
            has the clip's size, or the size that the clip had before it was scaled down.
        kind: what the files hold: "depth" (z, scene units), "disparity", or "auto" (by the type of file, see
            `ex4d.depth.read.read_depth`).
        first: the same that `read_clip` was given, since depth files are counted from the start of the shot; how many
            frames are needed, the clip itself says.
        progress: called with (frames done, frames in all); it may raise Ex4dError(CANCELLED).

    Returns:
        z [T, H, W] float32, finite and > 0.

    Raises:
        Ex4dError: BAD_INPUT for unknown names, SIZE_MISMATCH when depth and clip differ in shape or length, and what
            reading the files raises.
    """
    if kind not in KINDS:
        raise Ex4dError(BAD_INPUT, f"'{kind}' is not a kind of depth.", f"Choose one of: {', '.join(KINDS)}.")
    if first < 0:
        raise Ex4dError(BAD_INPUT, f"A first frame of {first} makes no sense: frames are counted from 0.")
    if not len(clip.frames):
        raise Ex4dError(BAD_INPUT, "The clip has no frames.", "Choose at least one.")
    name = ("file" if files else "draft") if estimator == "auto" else estimator
    door = choose(DEPTH_DOORS, name, "depth estimator")
    depth = door.estimate(clip, DepthRequest(tuple(files), kind, first), progress or _silent)
    if depth.z.shape != clip.frames.shape[:3]:
        raise Ex4dError(SIZE_MISMATCH, f"The depth is {depth.z.shape}, the clip {clip.frames.shape[:3]}.")
    return depth


def _silent(done: int, total: int) -> None:
    """For callers that do not want to know."""
