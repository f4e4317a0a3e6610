# SPDX-License-Identifier: Apache-2.0
"""A clip's depth as a scene needs it: estimated, in the units of what is known, with the lens and the source camera."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.cameras import check_path, standing_still
from ex4d.depth import estimate_depth
from ex4d.depth.choose import Choice
from ex4d.depth.door import Progress, nobody
from ex4d.depth.kept import KeptDepth
from ex4d.depth.known.fit import check_against, check_known, in_real_units
from ex4d.depth.known.points import seen_by
from ex4d.depth.known.values import Known, KnownPoints, WorldPoints
from ex4d.lens import Lens, known_lens, settled_lens
from ex4d.mesh.lift import default_intrinsics
from ex4d.settings import Value
from ex4d.source_camera import fit_to_clip, rebased, scale_depth
from ex4d.source_camera.tracks import moves
from ex4d.values import F64, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError


@dataclass(frozen=True, eq=False)
class DepthOptions:
    """What a clip's depth is made of."""

    estimator: str = "auto"
    options: Mapping[str, Value] = field(default_factory=dict)  # of the estimator and of the depth step
    files: Sequence[Path] = ()  # depth that was brought along
    sky: Sequence[Path] = ()  # masks that are white where the sky is; () = it is looked for
    first: int = 0  # of the clip within the shot
    focal: float | None = None  # pixels of the clip as it comes in
    lens: tuple[float, float] | None = None  # focal length and sensor width in millimetres, where `focal` is None
    source_camera: CameraPath | None = None  # how the source camera moved, in a world of its own; None = it stood still
    known: Known = field(default_factory=Known)
    kept: KeptDepth | None = None  # depth of earlier runs
    chosen: Callable[[Choice], None] = nobody  # told which estimator it will be; may raise
    default_focal: float | None = None  # pixels of the clip's frames, where nobody knows it; None = 500/512 of the side

    def told(self) -> dict[str, Any]:
        """What side-cars tell among the parameters; files stand among the inputs, the rest with what came of it."""
        return {
            "estimator": self.estimator,
            "depth_options": dict(self.options),
            "focal": self.focal,
            "lens": None if self.lens is None else list(self.lens),
        }


@dataclass(frozen=True, eq=False)
class ClipDepth:
    """Depth, and the camera that saw it."""

    depth: DepthVideo
    camera: CameraPath  # the source camera at each frame, in the scene's world
    facts: dict[str, Any]  # for the side-car: estimator, fits. JSON values


def depth_of_clip(clip: Clip, workspace: Path, wish: DepthOptions, progress: Progress = nobody) -> ClipDepth:
    """Estimates the depth of a clip, and settles lens, camera and units.

    The source camera is the one that is given; else the one that the estimator tells, where that is asked for; else one
    that stands still. Depth is fitted to known points; without them to a source camera that moves, so that both are of
    one world; without that to distances or the camera's height, which otherwise are only compared.

    Args:
        clip: the pictures.
        workspace: a folder of `ex4d.on_disk.workspace`; the depth lies in it and ends with it.
        wish: how.
        progress: told at each step; may raise Ex4dError(CANCELLED).

    Raises:
        Ex4dError: BAD_INPUT for two lenses or for what cannot be known, and whatever estimating or fitting reports.
    """
    if wish.source_camera is not None and (wish.focal is not None or wish.lens is not None):
        raise Ex4dError(
            BAD_INPUT,
            "The source camera's file says its focal length already.",
            "Leave out the focal length, or the file.",
        )
    check_known(wish.known, clip, wish.first)
    given = None if wish.source_camera is None else fit_to_clip(wish.source_camera, clip, wish.first)
    known = replace(wish.known, points=_in_frames(wish.known.points, given, clip))
    lens = known_lens(clip, wish.focal, wish.lens) if given is None else None
    depth = estimate_depth(
        clip,
        workspace,
        estimator=wish.estimator,
        files=wish.files,
        options=wish.options,
        first=wish.first,
        focal=_focal(lens, given),
        sky=wish.sky,
        kept=wish.kept,
        chosen=wish.chosen,
        progress=progress,
    )
    facts: dict[str, Any] = {"depth": dict(depth.facts)}
    if given is not None:
        camera, world = given
        facts["source_camera"] = {"given_from_world": world.tolist()}
    else:
        lens = settled_lens(clip, lens, depth.focal, wish.default_focal)
        facts["lens"] = asdict(lens)
        depth = replace(depth, notes=(*depth.notes, lens.note))
        camera, note = _camera(clip, lens, depth.poses)
        if note:
            facts["source_camera"] = {"estimated": True}
            depth = replace(depth, notes=(*depth.notes, note))
    if known:
        facts["given"] = known.told()
    if known.points is None and given is not None and moves(camera):
        depth, found = scale_depth(
            depth, camera, clip, lambda done, steps: progress("Fitting depth to the camera", done, steps)
        )
        facts["source_camera"].update(asdict(found))
        if found.points or not known:  # it could be fitted, or nothing else is known
            notes = check_against(depth.z, clip, known, camera, 1.0, 0.0)
            return ClipDepth(replace(depth, notes=(*depth.notes, *notes)), camera, facts)
    if known:
        # Poses that were estimated together with the depth stay right only where it is scaled.
        depth, fit = in_real_units(depth, clip, known, camera, progress, shift=given is not None or not moves(camera))
        facts["known"] = asdict(fit)
        if given is None:
            camera.world_from_camera[:, :3, 3] /= fit.scale
    return ClipDepth(depth, camera, facts)


def _in_frames(
    points: KnownPoints | WorldPoints | None, given: tuple[CameraPath, F64] | None, clip: Clip
) -> KnownPoints | None:
    """Known points with the depth at which each frame sees them."""
    if not isinstance(points, WorldPoints):
        return points
    if given is None:
        raise Ex4dError(
            BAD_INPUT,
            "The known points are places in the world of a source camera, and there is no camera path.",
            "Give the source camera's path with them, or points with their depth.",
        )
    return seen_by(points, *given, clip)


def _focal(lens: Lens | None, given: tuple[CameraPath, F64] | None) -> float | None:
    """Pixels of the clip's frames, for estimators that make use of it."""
    if given is not None:
        return float(np.median(given[0].intrinsics[:, 0]))
    return None if lens is None else lens.focal


def _camera(clip: Clip, lens: Lens, poses: F64 | None) -> tuple[CameraPath, str]:
    """The camera where none is given: one that stands still, or the estimator's; and a note about that."""
    total, height, width = clip.frames.shape[:3]
    camera = standing_still(default_intrinsics(width, height, lens.focal), total, clip.fps)
    if poses is None:
        return camera, ""
    rigid = np.tile(np.eye(4), (total, 1, 1))
    left, _, right = np.linalg.svd(np.asarray(poses, np.float64)[:, :3, :3])
    rigid[:, :3, :3], rigid[:, :3, 3] = left @ right, poses[:, :3, 3]  # networks give rotations in few digits
    camera = rebased(replace(camera, world_from_camera=rigid), rigid[0])
    check_path(camera)
    return camera, "the source camera's movement is the depth estimator's own estimate"
