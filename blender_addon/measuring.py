# SPDX-License-Identifier: GPL-3.0-or-later
"""What picked points say of a clip's size: applied to the mesh at once, and told to the next reconstruction."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from shared_protocol.errors import BAD_INPUT, Ex4dError
from shared_protocol.messages import Measure, Pick

from . import camera_path, live_depth, picked, reconstruction, source_camera
from .core import depth_range
from .core import picks as core_picks
from .core.camera_math import F64
from .reconstruction import Built

AGREE = 0.05  # how far two things that are known may contradict each other without a warning, as a share


@dataclass(frozen=True)
class Applied:
    """What was known made of the mesh."""

    factor: float  # everything is so many times as far as before
    off: float  # by how much the worst of what was known is off, as a share
    count: int  # of what was known


@dataclass(frozen=True)
class Told:
    """What a job is told."""

    measures: tuple[Measure, ...] = ()
    ground: tuple[Pick, ...] = ()
    unit: float = 1.0  # scene units in one of the reconstruction's


def apply(scene: bpy.types.Scene, built: Built, height: float) -> Applied:
    """Scale the mesh, live, so that known distances and the camera's height come out right. Picks that were used are
    put onto the mesh.

    Args:
        scene: has it.
        built: the reconstruction.
        height: of the source camera above the ground points, in scene units; 0 = not known.

    Raises:
        Ex4dError: BAD_INPUT where nothing is known, a pick cannot be used, the mesh's inputs cannot hold what it takes,
            or the source camera's movement says the size.
    """
    if reconstruction.manifest_of(built.collection).camera.moves:
        raise Ex4dError(
            BAD_INPUT,
            "The source camera of this clip moves, and its path says how large everything is.",
            "Set the scale where the camera was solved, or scale the reconstruction's root.",
        )
    pairs = [pair for pair in picked.distances(built) if pair.length > 0.0]
    floor = picked.ground(built) if height > 0.0 else []
    if not pairs and not floor:
        raise Ex4dError(
            BAD_INPUT,
            "Nothing is known of this clip's size.",
            "Add a distance and type its length, or the camera's height and points on the ground.",
        )
    used = [*(end for pair in pairs for end in (pair.a, pair.b)), *floor]
    seen = {obj.name: picked.seen(scene, built, obj) for obj in used}
    places = {obj.name: picked.put_on_mesh(scene, built, obj, seen[obj.name]) for obj in used}
    factors = [pair.length / _apart(places[pair.a.name], places[pair.b.name]) for pair in pairs]
    mesh = bpy.data.objects[built.need(reconstruction.MESH)]
    if floor:
        (stand,) = camera_path.sample_matrix(scene, mesh.name, [scene.frame_current])
        above = core_picks.camera_height(stand[:3, 3].tolist(), [places[obj.name].tolist() for obj in floor])
        factors.append(height / above)
    factor, off = core_picks.together(factors)
    live_depth.put(live_depth.modifier_in(built), *depth_range.times(*live_depth.values(built), factor))
    for obj in used:
        picked.put_on_mesh(scene, built, obj, seen[obj.name])
    return Applied(factor, off, len(factors))


def told(scene: bpy.types.Scene, built: Built, clip: Path, *, first: int, count: int) -> Told:
    """What a reconstruction's picks say, for a new one of the same clip. Picks in frames that it does not use are left
    out, and so are ground points that tell no plane: how the ground lies is found in the picture then.

    Args:
        scene: has the reconstruction.
        built: the one that the picks lie on.
        clip: the clip.
        first: first frame of its file that is used, from 1.
        count: how many are used; 0 = all that follow.

    Raises:
        Ex4dError: BAD_INPUT, a pick lies outside the picture; UNSUPPORTED, Blender cannot read the clip.
    """
    pairs = [pair for pair in picked.distances(built) if pair.length > 0.0]
    floor = picked.ground(built)
    (stand,) = camera_path.sample_matrix(scene, built.need(reconstruction.MESH), [scene.frame_current])
    unit = float(np.linalg.norm(stand[:3, 0]))
    if not pairs and not floor:
        return Told(unit=unit)
    manifest = reconstruction.manifest_of(built.collection)
    size, own = (manifest.width, manifest.height), source_camera.size_of(clip)

    def at(obj: bpy.types.Object) -> tuple[int, float, float]:
        seen = picked.seen(scene, built, obj)
        x, y = core_picks.in_clip((seen.u * size[0], seen.v * size[1]), size, own)
        return seen.frame - first, x, y

    def used(frame: int) -> bool:
        return frame >= 0 and (not count or frame < count)

    ends = [(at(pair.a), at(pair.b), pair.length / unit) for pair in pairs]
    measures = tuple(Measure(a[0], *a[1:], *b[1:], length) for a, b, length in ends if used(a[0]))
    points = tuple(point for point in (Pick(*at(obj)) for obj in floor) if used(point.frame))
    return Told(measures, points if len(points) >= core_picks.PLANE else (), unit)


def _apart(a: F64, b: F64) -> float:
    apart = float(np.linalg.norm(a - b))
    if apart <= 0.0:
        raise Ex4dError(BAD_INPUT, "Both ends of a distance lie at the same place.", "Move them apart.")
    return apart
