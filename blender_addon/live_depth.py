# SPDX-License-Identifier: GPL-3.0-or-later
"""Near and far of the mesh in use, as two other handles on its scale and shift of disparity."""

from __future__ import annotations

import bpy

from shared_protocol.errors import BAD_INPUT, Ex4dError

from . import compat, mesh_nodes, reconstruction
from .core import depth_range
from .core.scene_manifest import SceneManifest

SCALE, SHIFT = "Disparity Scale", "Disparity Shift"


def modifier_of(scene: bpy.types.Scene) -> bpy.types.Modifier:
    """The mesh modifier of the scene's reconstruction.

    Raises:
        Ex4dError: NOT_FOUND, there is none.
    """
    built = reconstruction.of_scene(scene)
    return mesh_nodes.need_modifier(bpy.data.objects[built.need(reconstruction.MESH)])


def shown_range(scene: bpy.types.Scene) -> tuple[float, float]:
    """Distances of what is near and what is far in the clip, as the mesh shows them now.

    Raises:
        Ex4dError: NOT_FOUND, nothing is reconstructed.
    """
    modifier, manifest = modifier_of(scene), _manifest(scene)
    now = float(mesh_nodes.get_input(modifier, SCALE)), float(mesh_nodes.get_input(modifier, SHIFT))
    return depth_range.adjusted(manifest.near, *now), depth_range.adjusted(manifest.far_depth, *now)


def set_range(scene: bpy.types.Scene, near: float, far: float) -> None:
    """Set scale and shift so that near and far are there.

    Raises:
        Ex4dError: NOT_FOUND; BAD_INPUT where far is not beyond near, or the inputs cannot hold what that takes.
    """
    modifier, manifest = modifier_of(scene), _manifest(scene)
    values = depth_range.for_range(manifest.near, manifest.far_depth, near, far)
    for name, value in zip((SCALE, SHIFT), values, strict=True):
        least, most = mesh_nodes.limits(modifier, name)
        if not least <= value <= most:
            raise Ex4dError(
                BAD_INPUT,
                f"From {near:.4g} to {far:.4g} takes a {name} of {value:.4g}; {least:g} to {most:g} is possible.",
                "Bring both closer to what they were, or scale the reconstruction's root.",
            )
    for name, value in zip((SCALE, SHIFT), values, strict=True):
        mesh_nodes.set_input(modifier, name, value)


def reset(scene: bpy.types.Scene) -> None:
    """Show the depth as it was estimated.

    Raises:
        Ex4dError: NOT_FOUND, nothing is reconstructed.
    """
    modifier = modifier_of(scene)
    mesh_nodes.set_input(modifier, SCALE, 1.0)
    mesh_nodes.set_input(modifier, SHIFT, 0.0)


def is_keyed(modifier: bpy.types.Modifier) -> bool:
    """Whether scale or shift are animated."""
    paths = {mesh_nodes.input_path(modifier, name) for name in (SCALE, SHIFT)}
    return any(curve.data_path in paths for curve in compat.fcurves(modifier.id_data) or ())


def _manifest(scene: bpy.types.Scene) -> SceneManifest:
    return reconstruction.manifest_of(reconstruction.of_scene(scene).collection)
