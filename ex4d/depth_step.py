# SPDX-License-Identifier: Apache-2.0
"""A clip's depth as a scene needs it: estimated, in the units of what is known, with the lens and the source camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ex4d.cameras import standing_still
from ex4d.depth import estimate_depth
from ex4d.depth.choose import Choice
from ex4d.depth.door import Progress, nobody
from ex4d.depth.kept import KeptDepth
from ex4d.depth.known.fit import in_real_units
from ex4d.depth.known.values import Known
from ex4d.mesh.lift import default_intrinsics
from ex4d.settings import Value
from ex4d.source_camera import fit_to_clip, scale_depth
from ex4d.values import CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError


@dataclass(frozen=True, eq=False)
class DepthOptions:
    """What a clip's depth is made of."""

    estimator: str = "auto"
    options: Mapping[str, Value] = field(default_factory=dict)  # of the estimator and of the depth step
    files: Sequence[Path] = ()  # depth that was brought along
    first: int = 0  # of the clip within the shot
    focal: float | None = None  # pixels of the clip as it comes in
    lens: tuple[float, float] | None = None  # focal length and sensor width in millimetres, where `focal` is None
    source_camera: CameraPath | None = None  # how the source camera moved, in a world of its own; None = it stood still
    known: Known = field(default_factory=Known)
    kept: KeptDepth | None = None  # depth of earlier runs
    chosen: Callable[[Choice], None] = nobody  # told which estimator it will be; may raise
    default_focal: float | None = None  # pixels of the clip's frames, where nobody knows it; None = 500/512 of the side


@dataclass(frozen=True, eq=False)
class ClipDepth:
    """Depth, and the camera that saw it."""

    depth: DepthVideo
    camera: CameraPath  # the source camera at each frame, in the scene's world
    facts: dict[str, Any]  # for the side-car: estimator, fits. JSON values


def depth_of_clip(clip: Clip, workspace: Path, wish: DepthOptions, progress: Progress = nobody) -> ClipDepth:
    """Estimates the depth of a clip, and settles lens, camera and units.

    Args:
        clip: the pictures.
        workspace: a folder of `ex4d.on_disk.workspace`; the depth lies in it and ends with it.
        wish: how.
        progress: told at each step; may raise Ex4dError(CANCELLED).

    Raises:
        Ex4dError: BAD_INPUT for two lenses, and whatever estimating or fitting reports.
    """
    if wish.source_camera is not None and (wish.focal is not None or wish.lens is not None):
        raise Ex4dError(
            BAD_INPUT,
            "The source camera's file says its focal length already.",
            "Leave out the focal length, or the file.",
        )
    focal = clip.focal if wish.focal is None else wish.focal * clip.scale
    depth = estimate_depth(
        clip,
        workspace,
        estimator=wish.estimator,
        files=wish.files,
        options=wish.options,
        first=wish.first,
        focal=focal,
        kept=wish.kept,
        chosen=wish.chosen,
        progress=progress,
    )
    facts: dict[str, Any] = {"depth": dict(depth.facts)}
    total, height, width = clip.frames.shape[:3]
    if wish.source_camera is not None:
        camera, world = fit_to_clip(wish.source_camera, clip, wish.first)
        facts["source_camera"] = {"given_from_world": world.tolist()}
    else:
        first = next((value for value in (focal, depth.focal, wish.default_focal) if value is not None), None)
        camera = standing_still(default_intrinsics(width, height, first), total, clip.fps)
    if wish.known:
        depth, known = in_real_units(depth, clip, wish.known, camera.intrinsics, progress)
        facts["known"] = asdict(known)
    elif wish.source_camera is not None:
        depth, found = scale_depth(
            depth, camera, clip, lambda done, steps: progress("Fitting depth to the camera", done, steps)
        )
        facts["source_camera"].update(asdict(found))
    return ClipDepth(depth, camera, facts)
