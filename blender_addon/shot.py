# SPDX-License-Identifier: GPL-3.0-or-later
"""Which reconstruction and which camera a scene's shot is made of, and the shot as a job for the backend."""

from __future__ import annotations

import bpy

from shared_protocol.errors import NOT_FOUND, Ex4dError
from shared_protocol.messages import Render

from . import camera_moves, camera_path, reconstruction


def collection_of(scene: bpy.types.Scene) -> str:
    """Name of the reconstruction that is worked on.

    Of several in a scene: the one that the scene's camera belongs to, else that of the active object, else the last.

    Raises:
        Ex4dError: NOT_FOUND, there is none.
    """
    found = [c for c in scene.collection.children_recursive if reconstruction.ARTIFACT in c]
    if not found:
        raise Ex4dError(NOT_FOUND, f"The scene '{scene.name}' has no reconstruction.", "Reconstruct a clip first.")
    layer = bpy.context.view_layer if bpy.context.scene == scene else None
    for obj in (scene.camera, layer.objects.active if layer is not None else None):
        for collection in found:
            if obj is not None and obj.name in collection.all_objects:
                return str(collection.name)
    return str(found[-1].name)


def sample(scene: bpy.types.Scene) -> Render:
    """What the scene's camera is to be rendered as: over the scene's frame range, at its size and rate.

    Raises:
        Ex4dError: there is no reconstruction or camera, or one that cannot be used.
    """
    collection = collection_of(scene)
    built = reconstruction.find(collection)
    frames = range(scene.frame_start, scene.frame_end + 1)
    width, height = camera_path.resolution(scene)
    return Render(
        scene=str(bpy.data.collections[collection][reconstruction.ARTIFACT]),
        width=width,
        height=height,
        fps=camera_path.rate(scene),
        cameras=camera_path.sample(scene, camera_path.FOLLOW_SCENE, built.mesh, frames),
    )


def apply_move(scene: bpy.types.Scene, move: str) -> str:
    """Lay a preset move down on the shot camera, over the scene's frame range. Returns the camera's name.

    Raises:
        Ex4dError: there is no reconstruction, or its camera is gone.
    """
    collection = collection_of(scene)
    built = reconstruction.find(collection)
    pivot = reconstruction.manifest_of(collection).pivot
    camera_moves.apply(scene, built.shot_camera, move, scene.frame_start, scene.frame_end, pivot)
    return built.shot_camera
