# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes down, frame by frame, what a camera sees and how the source mesh stands: what is sent to the backend.

Everything is read from the evaluated scene, so that constraints, drivers, parents and animated lenses count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TypeVar

import bpy
import numpy as np

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNSUPPORTED, Ex4dError
from shared_protocol.messages import CameraSample, Render

from . import mesh_nodes, reconstruction
from .core import camera_math, picks
from .core.camera_math import F64
from .core.frame_rate import from_blender

T = TypeVar("T")

FOLLOW_SCENE = ""  # in place of a camera's name: the scene's camera of each frame, as timeline markers switch it


@dataclass(frozen=True, eq=False)
class MeshStand:
    """The mesh at one frame."""

    matrix: F64  # [4, 4] evaluated `matrix_world`: that of the source camera, in Blender's axes
    index: int  # of the picture that is shown, from 0
    lens: picks.Lens  # of the source camera, as it is set
    scale: float  # of disparity
    shift: float


@dataclass(frozen=True, eq=False)
class Stand:
    """A Blender camera at one frame."""

    matrix: F64  # [4, 4] evaluated `matrix_world`, its scale taken out
    lens: tuple[float, float, float, float]  # fx, fy, cx, cy in pixels of the scene's renders


def resolution(scene: bpy.types.Scene) -> tuple[int, int]:
    """Width and height of the scene's renders, percentage applied (and rounded down, as Blender does)."""
    render = scene.render
    share = render.resolution_percentage
    return max(1, render.resolution_x * share // 100), max(1, render.resolution_y * share // 100)


def frame_rate(scene: bpy.types.Scene) -> tuple[int, int]:
    """The scene's frames per second as (numerator, denominator)."""
    return from_blender(scene.render.fps, scene.render.fps_base)


def collection_of(scene: bpy.types.Scene) -> str:
    """Name of the collection with the reconstruction that the scene's camera looks at.

    Raises:
        Ex4dError: NOT_FOUND, the scene has none.
    """
    return reconstruction.of_scene(scene).collection


def render_job(scene: bpy.types.Scene) -> Render:
    """The scene's shot as it stands now: its frame range through its camera, timeline markers followed.

    Raises:
        Ex4dError: NOT_FOUND (nothing is reconstructed here), or as `sample`.
    """
    mesh = reconstruction.of_scene(scene).need(reconstruction.MESH)
    frames = range(scene.frame_start, scene.frame_end + 1)
    cameras = sample(scene, FOLLOW_SCENE, mesh, frames)
    width, height = resolution(scene)
    artifact = str(scene.objects[mesh].get(reconstruction.ARTIFACT, ""))
    return Render(artifact, width, height, frame_rate(scene), cameras)


def sample(
    scene: bpy.types.Scene, camera_name: str, mesh_name: str, frames: Iterable[float]
) -> tuple[CameraSample, ...]:
    """The shot camera and the mesh's inputs at each of the frames.

    Poses are taken relative to the mesh, which lies in the axes of the source camera, and put where that camera stood
    in the reconstruction's own world: moving, turning or uniformly scaling the root changes nothing, and neither does
    moving the mesh itself against the camera go unseen.

    Args:
        scene: the scene to evaluate. Its current frame and its camera are as before when this returns.
        camera_name: the camera object; `FOLLOW_SCENE` for the scene's camera, with the timeline's camera markers.
        mesh_name: the imported mesh.
        frames: scene frames; fractions are evaluated in between.

    Raises:
        Ex4dError: NOT_FOUND (camera or mesh are gone, or not in the view layer), UNSUPPORTED (not a perspective
            camera), BAD_INPUT (no frames, or a scale that the backend could not reproduce).
    """
    source_poses: list[F64] = []

    def take(frame: float, depsgraph: bpy.types.Depsgraph) -> CameraSample:
        mesh = _evaluated(scene, depsgraph, mesh_name, "mesh")
        camera, (fx, fy, cx, cy) = _seen_through(scene, depsgraph, camera_name)
        source = _source(mesh)
        if not source_poses:
            manifest = reconstruction.manifest_of_mesh(scene.objects[mesh_name])
            source_poses.extend(np.array(pose).reshape(4, 4) for pose in manifest.camera.world_from_camera)
        shown = _shown(source, frame)
        pose = camera_math.world_from_camera(np.array(mesh.matrix_world), np.array(camera.matrix_world), camera.name)
        return CameraSample(
            world_from_camera=tuple((source_poses[shown] @ pose).ravel().tolist()),
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            source_frame=shown,
            source_focal=float(source["Focal"]),
            source_cx=float(source["Principal X"]),
            source_cy=float(source["Principal Y"]),
            disparity_scale=float(source["Disparity Scale"]),
            disparity_shift=float(source["Disparity Shift"]),
        )

    return _at_each(scene, (camera_name, mesh_name), frames, take)


def sample_camera(scene: bpy.types.Scene, camera_name: str, frames: Iterable[float]) -> tuple[Stand, ...]:
    """A camera alone, in the scene's own world, at each of the frames. Otherwise as `sample`."""

    def take(_: float, depsgraph: bpy.types.Depsgraph) -> Stand:
        camera, lens = _seen_through(scene, depsgraph, camera_name)
        return Stand(camera_math.unscaled(np.array(camera.matrix_world), camera.name), lens)

    return _at_each(scene, (camera_name,), frames, take)


def sample_mesh(scene: bpy.types.Scene, mesh_name: str, frames: Iterable[float]) -> tuple[MeshStand, ...]:
    """The mesh alone at each of the frames. Otherwise as `sample`."""

    def take(frame: float, depsgraph: bpy.types.Depsgraph) -> MeshStand:
        mesh = _evaluated(scene, depsgraph, mesh_name, "mesh")
        source = _source(mesh)
        lens = picks.Lens(float(source["Focal"]), float(source["Principal X"]), float(source["Principal Y"]))
        scale, shift = float(source["Disparity Scale"]), float(source["Disparity Shift"])
        return MeshStand(np.array(mesh.matrix_world), _shown(source, frame), lens, scale, shift)

    return _at_each(scene, (mesh_name,), frames, take)


def sample_matrix(scene: bpy.types.Scene, name: str, frames: Iterable[float]) -> tuple[F64, ...]:
    """An object's evaluated `matrix_world` [4, 4] at each of the frames. Otherwise as `sample`."""

    def take(_: float, depsgraph: bpy.types.Depsgraph) -> F64:
        return np.array(_evaluated(scene, depsgraph, name, "object").matrix_world)

    return _at_each(scene, (name,), frames, take)


def _at_each(
    scene: bpy.types.Scene,
    names: tuple[str, ...],
    frames: Iterable[float],
    take: Callable[[float, bpy.types.Depsgraph], T],
) -> tuple[T, ...]:
    """What `take` finds at each frame; the scene is as before afterwards."""
    wanted = list(frames)
    if not wanted:
        raise Ex4dError(BAD_INPUT, "There are no frames to take the camera from.", "Check the scene's frame range.")

    def at(frame: float) -> T:
        whole = math.floor(frame)
        scene.frame_set(whole, subframe=frame - whole)
        return take(frame, bpy.context.evaluated_depsgraph_get())

    with in_scene(scene), frame_kept(scene), _geometry_paused(scene), _enabled(scene, names):
        return tuple(at(frame) for frame in wanted)


def in_scene(scene: bpy.types.Scene) -> AbstractContextManager[None]:
    """Has `bpy.context` evaluate this scene, whichever the window shows."""
    override: AbstractContextManager[None] = bpy.context.temp_override(scene=scene, view_layer=scene.view_layers[0])
    return override


@contextmanager
def frame_kept(scene: bpy.types.Scene) -> Iterator[None]:
    """Goes back to the scene's frame, and gives it back its camera."""
    frame, subframe, camera = scene.frame_current, scene.frame_subframe, scene.camera
    try:
        yield
    finally:
        scene.frame_set(frame, subframe=subframe)
        if scene.camera != camera:  # a marker switched it
            scene.camera = camera


@contextmanager
def _geometry_paused(scene: bpy.types.Scene) -> Iterator[None]:
    """Leaves out the making of the meshes: for the cameras only their inputs count, and each costs a file's reading.

    Not where something hangs on a mesh's surface, by a constraint or as child of a vertex: that might move the camera.
    """
    modifiers = {obj: mesh_nodes.find_modifier(obj) for obj in scene.objects}
    meshes = {obj: modifier for obj, modifier in modifiers.items() if modifier is not None and modifier.show_viewport}
    needed = any(
        (obj.parent in meshes and obj.parent_type != "OBJECT")
        or any(getattr(constraint, "target", None) in meshes for constraint in obj.constraints)
        for obj in scene.objects
    )
    paused = [] if needed else list(meshes.values())
    try:
        for modifier in paused:
            modifier.show_viewport = False
        yield
    finally:
        for modifier in paused:
            modifier.show_viewport = True


@contextmanager
def _enabled(scene: bpy.types.Scene, names: Iterable[str]) -> Iterator[None]:
    """Objects that are disabled in viewports are not evaluated: has them enabled for a while."""
    objects = [obj for name in names if (obj := scene.objects.get(name)) is not None and obj.hide_viewport]
    try:
        for obj in objects:
            obj.hide_viewport = False
        yield
    finally:
        for obj in objects:
            obj.hide_viewport = True


def _seen_through(
    scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, name: str
) -> tuple[bpy.types.Object, tuple[float, float, float, float]]:
    """The evaluated camera and its fx, fy, cx, cy."""
    camera = _evaluated(scene, depsgraph, _camera_name(scene, name), "camera")
    if camera.type != "CAMERA":
        raise Ex4dError(BAD_INPUT, f"'{camera.name}' is not a camera.", "Choose a camera object.")
    return camera, _intrinsics(scene, camera)


def _camera_name(scene: bpy.types.Scene, name: str) -> str:
    if name != FOLLOW_SCENE:
        return name
    if scene.camera is None:
        raise Ex4dError(NOT_FOUND, f"The scene '{scene.name}' has no camera.", "Set one in the scene's properties.")
    return scene.camera.name


def _evaluated(scene: bpy.types.Scene, depsgraph: bpy.types.Depsgraph, name: str, what: str) -> bpy.types.Object:
    obj = scene.objects.get(name)
    if obj is None:
        raise Ex4dError(NOT_FOUND, f"The {what} '{name}' is not in the scene '{scene.name}'.", "Choose it again.")
    evaluated = obj.evaluated_get(depsgraph)
    if not evaluated.is_evaluated:
        raise Ex4dError(
            NOT_FOUND,
            f"The {what} '{name}' is switched off with its collection, so its position is unknown.",
            "Enable the collection in the outliner (hiding it with the eye is fine).",
        )
    return evaluated


def _intrinsics(scene: bpy.types.Scene, camera: bpy.types.Object) -> tuple[float, float, float, float]:
    data = camera.data
    if data.type != "PERSP":
        raise Ex4dError(
            UNSUPPORTED,
            f"The camera '{camera.name}' is {_KINDS.get(data.type, data.type.lower())}.",
            "Set its lens type to Perspective.",
        )
    lens = camera_math.Lens(
        data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x, data.shift_y
    )
    render = scene.render
    return camera_math.intrinsics(lens, *resolution(scene), render.pixel_aspect_x, render.pixel_aspect_y)


_KINDS = {"ORTHO": "orthographic", "PANO": "panoramic"}


def _source(mesh: bpy.types.Object) -> dict[str, float]:
    """The mesh group's inputs as they stand at this frame."""
    modifier = mesh_nodes.need_modifier(mesh)
    names = (
        "Focal", "Principal X", "Principal Y", "Disparity Scale", "Disparity Shift", "Frame Start", "Frames"
    )  # fmt: skip
    return {name: mesh_nodes.get_input(modifier, name) for name in names}


def _shown(source: dict[str, float], frame: float) -> int:
    """Index of the picture that is shown at a frame of the scene."""
    return min(max(math.floor(frame) - int(source["Frame Start"]), 0), int(source["Frames"]) - 1)
