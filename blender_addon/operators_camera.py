# SPDX-License-Identifier: GPL-3.0-or-later
"""The operator that writes a camera into a file."""

from __future__ import annotations

from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

from shared_protocol.errors import BAD_INPUT, DISK, UNSUPPORTED, Ex4dError

from . import camera_path, keys, reconstruction, status
from .core import camera_file, camera_math
from .core.project import write_file
from .operator_base import Step

_RECONSTRUCTION, _WORLD = "RECONSTRUCTION", "WORLD"


class EX4D_OT_export_camera(Step, bpy.types.Operator):
    """Write a camera, constraints and all, frame by frame into a camera path that the command line and others read"""

    bl_idname = "ex4d.export_camera"
    bl_label = "Export Camera"
    bl_options = {"REGISTER"}

    filepath: bpy.props.StringProperty(subtype="FILE_PATH")
    check_existing: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    filter_glob: bpy.props.StringProperty(default="*.json", options={"HIDDEN"})
    camera: bpy.props.StringProperty(
        name="Camera", description="Empty: the scene's, as markers on the timeline switch it", options={"SKIP_SAVE"}
    )
    frame_start: bpy.props.IntProperty(name="First frame", options={"SKIP_SAVE"})
    frame_end: bpy.props.IntProperty(name="Last frame", options={"SKIP_SAVE"})
    relative_to: bpy.props.EnumProperty(
        name="World",
        items=(
            (
                _RECONSTRUCTION,
                "Reconstruction",
                "Where the source camera of the first frame stands: a new camera for this clip",
            ),
            (_WORLD, "Scene", "The scene's own, y down and looking along Y: a source camera, say"),
        ),
        options={"SKIP_SAVE"},
    )
    with_usd: bpy.props.BoolProperty(
        name="USD as well", description="Also write a .usda file with this camera alone, as Blender exports it"
    )

    def invoke(self, context, _event):
        """Ask where to."""
        self._fill_in(context.scene)
        if not self.camera and context.object is not None and context.object.type == "CAMERA":
            self.camera = context.object.name
        name = bpy.path.clean_name(self.camera or "camera")
        self.filepath = str(Path(bpy.path.abspath("//")) / f"{name}.json") if bpy.data.filepath else f"{name}.json"
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def check(self, _context):
        """Name the file as it is going to be called, so that the browser tells when there is one already."""
        before = self.filepath
        if Path(before).name:
            self.filepath = _named(before)
        return self.filepath != before

    def draw(self, context):
        """The choices beside the file browser."""
        layout = self.layout
        layout.use_property_split = True
        layout.prop_search(self, "camera", context.scene, "objects", icon="CAMERA_DATA")
        for name in ("frame_start", "frame_end", "relative_to"):
            layout.prop(self, name)
        if bpy.app.usd.supported:
            layout.prop(self, "with_usd")

    def work(self, context):
        scene = context.scene
        self._fill_in(scene)
        if not self.filepath:
            raise Ex4dError(BAD_INPUT, "No file is chosen.", "Choose the file that gets the camera.")
        file = Path(bpy.path.abspath(_named(self.filepath)))
        frames = range(self.frame_start, self.frame_end + 1)
        stands = camera_path.sample_camera(scene, self.camera, frames)
        if self.relative_to == _RECONSTRUCTION:
            mesh = reconstruction.of_scene(scene).need(reconstruction.MESH)
            poses = [s.world_from_camera for s in camera_path.sample(scene, self.camera, mesh, frames)]
        else:
            poses = [
                tuple(camera_math.world_from_camera(camera_math.UPRIGHT, s.matrix).ravel().tolist()) for s in stands
            ]
        path = [camera_file.Pose(pose, stand.lens) for pose, stand in zip(poses, stands, strict=True)]
        size, fps = camera_path.resolution(scene), camera_path.frame_rate(scene)
        write_file(file, camera_file.to_json(path, size, fps))
        if self.with_usd:
            _write_usd(scene, file.with_suffix(".usda"), stands, frames)
        status.say(f"Exported {len(path)} frames of the camera to '{file}'.")

    def _fill_in(self, scene):
        """What was not said is as the scene has it."""
        given = self.properties.is_property_set
        if not given("frame_start"):
            self.frame_start = scene.frame_start
        if not given("frame_end"):
            self.frame_end = scene.frame_end
        if not given("relative_to"):
            self.relative_to = _RECONSTRUCTION if reconstruction.names_in(scene) else _WORLD


def _named(filepath: str) -> str:
    return bpy.path.ensure_ext(filepath, ".json")


def _write_usd(scene: bpy.types.Scene, file: Path, stands: tuple[camera_path.Stand, ...], frames: range) -> None:
    """The camera by Blender's own exporter, from a scene that holds it alone: with no parents and constraints to obey.

    Raises:
        Ex4dError: UNSUPPORTED, this Blender was built without USD; DISK.
    """
    if not bpy.app.usd.supported:
        raise Ex4dError(UNSUPPORTED, "This Blender was built without USD.", "The .json file was written.")
    alone = bpy.data.scenes.new("EX-4D export")
    data = bpy.data.cameras.new("camera")
    obj = bpy.data.objects.new("camera", data)
    try:
        alone.collection.objects.link(obj)
        _copy_render_settings(scene, alone)
        alone.frame_start, alone.frame_end = frames.start, frames.stop - 1
        obj.rotation_mode = "QUATERNION"
        keys.lay_pose(obj, {f: Matrix(s.matrix.tolist()) for f, s in zip(frames, stands, strict=True)})
        _lay_lens(scene, data, stands, frames)
        with bpy.context.temp_override(scene=alone, view_layer=alone.view_layers[0]):
            bpy.ops.wm.usd_export(filepath=str(file), export_animation=True, export_materials=False, root_prim_path="")
    except RuntimeError as e:
        raise Ex4dError(DISK, f"'{file}' could not be written: {str(e).strip()}") from None
    finally:
        bpy.data.objects.remove(obj)
        bpy.data.cameras.remove(data)
        bpy.data.scenes.remove(alone)


def _copy_render_settings(source: bpy.types.Scene, target: bpy.types.Scene) -> None:
    for name in ("resolution_x", "resolution_y", "resolution_percentage", "fps", "fps_base"):
        setattr(target.render, name, getattr(source.render, name))
    for name in ("pixel_aspect_x", "pixel_aspect_y"):
        setattr(target.render, name, getattr(source.render, name))


def _lay_lens(
    scene: bpy.types.Scene, data: bpy.types.Camera, stands: tuple[camera_path.Stand, ...], frames: range
) -> None:
    """Lens and shifts that give the focal lengths and centres that were taken down."""
    width, height = camera_path.resolution(scene)
    lenses = [camera_math.lens_for(s.lens[0], s.lens[2], s.lens[3], width, height) for s in stands]
    data.sensor_width, data.sensor_fit = lenses[0].sensor_width, lenses[0].sensor_fit
    for name in ("lens", "shift_x", "shift_y"):
        values = {f: getattr(lens, name) for f, lens in zip(frames, lenses, strict=True)}
        if len(np.unique(list(values.values()))) > 1:
            keys.lay(data, name, values, lambda value, n=name: setattr(data, n, value))
        else:
            setattr(data, name, values[frames.start])


register, unregister = bpy.utils.register_classes_factory((EX4D_OT_export_camera,))
