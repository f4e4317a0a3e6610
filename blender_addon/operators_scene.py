# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators that bring a clip into the scene and move the camera."""

import bpy

from . import camera_moves, compat, jobs, reconstruct_job, reconstruction, runtime, same_clip, status
from .core import door_words
from .operator_base import Step


class EX4D_OT_reconstruct(Step, bpy.types.Operator):
    """Have the backend turn the clip into a mesh with a camera, and bring it into this scene"""

    bl_idname = "ex4d.reconstruct"
    bl_label = "Reconstruct"
    bl_options = {"REGISTER"}

    def work(self, context):
        reconstruct_job.reconstruct(context.scene)


class EX4D_OT_use_reconstruction(Step, bpy.types.Operator):
    """Work on this reconstruction: show its mesh alone, and look through its shot camera"""

    bl_idname = "ex4d.use_reconstruction"
    bl_label = "Use Reconstruction"
    bl_options = {"INTERNAL", "UNDO"}

    collection: bpy.props.StringProperty()

    def work(self, context):
        reconstruction.show_alone(context.scene, self.collection)
        manifest = reconstruction.manifest_of(self.collection)
        context.scene.ex4d.draft_depth = manifest.draft
        rate = manifest.fps[0] / manifest.fps[1]
        status.say(
            f"Working on '{self.collection}'.",
            hint=f"Its clip has {manifest.frames} frames of {manifest.width} x {manifest.height} at {rate:.5g} fps; "
            "the scene's range, rate and resolution are as they were.",
        )


class EX4D_OT_apply_move(Step, bpy.types.Operator):
    """Lay a camera move down as keyframes of the shot camera, to be edited freely"""

    bl_idname = "ex4d.apply_move"
    bl_label = "Apply Move"
    bl_options = {"REGISTER", "UNDO"}

    move: bpy.props.StringProperty(name="Move", description="Empty: the one chosen in the panel", options={"SKIP_SAVE"})

    def work(self, context):
        scene = context.scene
        built = reconstruction.of_scene(scene)
        camera = built.need(reconstruction.SHOT_CAMERA)
        pivot = same_clip.pivot_of(built)
        camera_moves.apply(scene, camera, self.move or scene.ex4d.move, scene.frame_start, scene.frame_end, pivot)
        seen = scene.camera is not None and scene.camera.name == camera
        status.say(
            f"The move lies on '{camera}' as keyframes.",
            hint="Edit them as you like." if seen else "Make it the scene's camera to see through it.",
        )


class EX4D_OT_match_source_colours(Step, bpy.types.Operator):
    """Show and render colours as they are in the clip: view transform Standard, no look, exposure 0, gamma 1"""

    bl_idname = "ex4d.match_source_colours"
    bl_label = "Match Source Colours"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        for scene in {context.scene, compat.sequencer_scene(context)}:
            view = scene.view_settings
            scene.display_settings.display_device = "sRGB"
            view.view_transform, view.look = "Standard", "None"
            view.exposure, view.gamma, view.use_curve_mapping = 0.0, 1.0, False
        status.say("Colours now match the clip's.")


class EX4D_OT_choose_door(bpy.types.Operator):
    """Use this one"""

    bl_idname = "ex4d.choose_door"
    bl_label = "Choose"
    bl_options = {"INTERNAL", "UNDO"}

    kind: bpy.props.EnumProperty(items=(("depth", "Estimator", ""), ("generator", "Generator", "")))
    name: bpy.props.StringProperty()

    @classmethod
    def description(cls, _context, properties):
        """What it is: nature and licence, and why it is not available."""
        for door in runtime.doors(properties.kind):
            if door.name == properties.name:
                return f"{door_words.nature(door)}. {door.reason}".strip()
        return "The best that is installed, fits the memory and has a licence that allows your work"

    def execute(self, context):
        """Note the choice in the scene."""
        setattr(context.scene.ex4d, "estimator" if self.kind == "depth" else "generator", self.name)
        reconstruction.show_geometry(context.scene, jobs.geometry(context.scene))
        return {"FINISHED"}


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_reconstruct,
        EX4D_OT_use_reconstruction,
        EX4D_OT_apply_move,
        EX4D_OT_match_source_colours,
        EX4D_OT_choose_door,
    )
)
