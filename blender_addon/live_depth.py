# SPDX-License-Identifier: GPL-3.0-or-later
"""Scale and shift of a mesh's disparity; near and far, as two other handles on them; and its depth's colours."""

from __future__ import annotations

import bpy

from shared_protocol.errors import BAD_INPUT, Ex4dError

from . import compat, depth_colours, mesh_nodes, reconstruction
from .core import depth_range
from .reconstruction import Built

SCALE, SHIFT = "Disparity Scale", "Disparity Shift"


def modifier_of(scene: bpy.types.Scene) -> bpy.types.Modifier:
    """The mesh modifier of the scene's reconstruction.

    Raises:
        Ex4dError: NOT_FOUND, there is none.
    """
    return modifier_in(reconstruction.of_scene(scene))


def modifier_in(built: Built) -> bpy.types.Modifier:
    """The mesh modifier of a reconstruction.

    Raises:
        Ex4dError: NOT_FOUND, it is gone.
    """
    return mesh_nodes.need_modifier(bpy.data.objects[built.need(reconstruction.MESH)])


def values(built: Built) -> tuple[float, float]:
    """Scale and shift of a reconstruction's mesh. Raises Ex4dError NOT_FOUND."""
    modifier = modifier_in(built)
    return float(mesh_nodes.get_input(modifier, SCALE)), float(mesh_nodes.get_input(modifier, SHIFT))


def shown_range(built: Built) -> tuple[float, float]:
    """Distances of what is near and what is far in the clip, as the mesh shows them now.

    Raises:
        Ex4dError: NOT_FOUND, a part of the reconstruction is gone.
    """
    manifest, now = reconstruction.manifest_of(built.collection), values(built)
    return depth_range.adjusted(manifest.near, *now), depth_range.adjusted(manifest.far_depth, *now)


def set_range(built: Built, near: float, far: float) -> None:
    """Set scale and shift so that near and far are there.

    Raises:
        Ex4dError: NOT_FOUND; BAD_INPUT where far is not beyond near, or the inputs cannot hold what that takes.
    """
    manifest = reconstruction.manifest_of(built.collection)
    put(modifier_in(built), *depth_range.for_range(manifest.near, manifest.far_depth, near, far))


def put(modifier: bpy.types.Modifier, scale: float, shift: float) -> None:
    """Set scale and shift of a mesh.

    Raises:
        Ex4dError: BAD_INPUT, the inputs cannot hold them; nothing was set.
    """
    wanted = {SCALE: scale, SHIFT: shift}
    for name, value in wanted.items():
        least, most = mesh_nodes.limits(modifier, name)
        if not least <= value <= most:
            raise Ex4dError(
                BAD_INPUT,
                f"That takes a {name} of {value:.4g}; {least:g} to {most:g} is possible.",
                "Scale the reconstruction's root first, which changes the size of everything.",
            )
    for name, value in wanted.items():
        mesh_nodes.set_input(modifier, name, value)


def what_takes_over(modifier: bpy.types.Modifier) -> str:
    """What animates scale or shift, and so brings back other values than were set: "keyframes", "a driver"; "" where
    nothing does."""
    paths = {mesh_nodes.input_path(modifier, name) for name in (SCALE, SHIFT)}
    mesh = modifier.id_data
    drivers = mesh.animation_data.drivers if mesh.animation_data is not None else ()
    if any(driver.data_path in paths for driver in drivers):
        return "a driver"
    return "keyframes" if any(curve.data_path in paths for curve in compat.fcurves(mesh) or ()) else ""


def colours_of(built: Built) -> bpy.types.NodeSocket | None:
    """The switch of a mesh's depth colours; None where its material has none."""
    material = _material(built)
    return None if material is None else depth_colours.find(material)


def fit_colours(built: Built) -> None:
    """Have the depth colours go from what is near to what is far now."""
    if colours_of(built) is not None:
        depth_colours.fit(_material(built), *shown_range(built))


def _material(built: Built) -> bpy.types.Material | None:
    return mesh_nodes.get_input(modifier_in(built), "Material")
