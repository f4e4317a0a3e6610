# SPDX-License-Identifier: GPL-3.0-or-later
"""Keys and drivers that have a reconstruction run with its clip: the source camera, the mesh's lens, the pictures."""

from __future__ import annotations

import bpy
import numpy as np
from mathutils import Matrix

from . import keys, materials, mesh_nodes
from .core import camera_math
from .core.scene_manifest import SceneManifest


def animate(mesh: bpy.types.Object, source: bpy.types.Object, manifest: SceneManifest, first: int) -> None:
    """Keys on every frame for what changes over time: where the source camera stands, and the mesh's lens inputs."""
    camera = manifest.camera
    frames = range(first, first + manifest.frames)
    if camera.moves:
        source.rotation_mode = "QUATERNION"
        poses = [
            Matrix(camera_math.blender_pose(np.array(pose).reshape(4, 4)).tolist()) for pose in camera.world_from_camera
        ]
        keys.lay_pose(source, dict(zip(frames, poses, strict=True)))
    if camera.zooms:
        modifier = mesh_nodes.find_modifier(mesh)
        for name, column in (("Focal", 0), ("Principal X", 2), ("Principal Y", 3)):
            values = {frame: lens[column] for frame, lens in zip(frames, camera.lens, strict=True)}
            path = mesh_nodes.input_path(modifier, name)
            keys.lay(mesh, path, values, lambda value, n=name: mesh_nodes.set_input(modifier, n, value))


def follow_inputs(
    mesh: bpy.types.Object, source: bpy.types.Object, material: bpy.types.Material, manifest: SceneManifest
) -> None:
    """Drivers: the pictures run with the mesh, and the source camera shows the mesh's focal length and centre.

    The start of an image sequence cannot be driven, its offset can: the material's sequence is one frame long, and the
    offset does the counting. All are plain arithmetic, which Blender evaluates without running Python, so they work in
    files that nobody has declared trusted.
    """
    view = max(manifest.width, manifest.height)
    sensor = camera_math.DEFAULT_SENSOR
    offset = f'nodes["{materials.PICTURE}"].image_user.frame_offset'
    count = f"min(max(floor(frame) - value, 0), {manifest.frames - 1})"
    _drive(material.node_tree, offset, mesh, "Frame Start", count)
    _drive(source.data, "lens", mesh, "Focal", f"value * {sensor / view!r}")
    _drive(source.data, "shift_x", mesh, "Principal X", f"({manifest.width / 2!r} - value) / {view}")
    _drive(source.data, "shift_y", mesh, "Principal Y", f"(value - {manifest.height / 2!r}) / {view}")


def _drive(owner: bpy.types.ID, path: str, mesh: bpy.types.Object, source_input: str, expression: str) -> None:
    modifier = mesh_nodes.find_modifier(mesh)
    driver = owner.driver_add(path).driver
    variable = driver.variables.new()
    variable.name = "value"
    target = variable.targets[0]
    target.id = mesh
    target.data_path = mesh_nodes.input_path(modifier, source_input)
    driver.type = "SCRIPTED"
    driver.expression = expression
