# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators on the depth of a reconstruction: how it is shown, and what is known of its size."""

import bpy

from shared_protocol.errors import NOT_FOUND, Ex4dError

from . import compat, live_depth, measuring, mesh_nodes, picked, reconstruction, status, strips
from .core import picks as core_picks
from .core import scene_manifest
from .operator_base import Step

_TOO_OLD = "Reconstruct the clip again."


class EX4D_OT_depth_strip(Step, bpy.types.Operator):
    """Put the depth of the clip as a strip into the sequencer, in colours: red is near, blue is far"""

    bl_idname = "ex4d.depth_strip"
    bl_label = "Depth Preview Strip"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        built = reconstruction.of_scene(context.scene)
        folder = reconstruction.folder_of(built.collection) / scene_manifest.DEPTH_PREVIEW
        files = sorted(file for file in folder.glob("*.png") if file.stem.isdigit())
        if not files:
            raise Ex4dError(NOT_FOUND, f"'{built.collection}' has no pictures of its depth.", _TOO_OLD)
        start = int(mesh_nodes.get_input(live_depth.modifier_of(context.scene), "Frame Start"))
        scene = compat.sequencer_scene(context)
        name = strips.add_pictures(context, scene, f"{built.collection} depth", files, start)
        status.say(f"The depth lies in the sequencer as '{name}'.", hint="Red is near, blue is far.")


class EX4D_OT_depth_colours(Step, bpy.types.Operator):
    """Show the mesh in the colours of its depth, or in those of the clip again"""

    bl_idname = "ex4d.depth_colours"
    bl_label = "Depth Colours"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        built = reconstruction.of_scene(context.scene)
        switch = live_depth.colours_of(built)
        if switch is None:
            raise Ex4dError(NOT_FOUND, "The material of this mesh has no colours for its depth.", _TOO_OLD)
        switch.default_value = 0.0 if switch.default_value > 0.5 else 1.0
        live_depth.fit_colours(built)
        if switch.default_value:
            status.say("The mesh shows its depth: red is near, blue is far.", hint="It is seen in Material Preview.")
        else:
            status.say("The mesh shows the clip.")


class EX4D_OT_reset_depth(Step, bpy.types.Operator):
    """Show the depth as it was estimated: Disparity Scale 1, Disparity Shift 0"""

    bl_idname = "ex4d.reset_depth"
    bl_label = "Reset Depth"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        built = reconstruction.of_scene(context.scene)
        live_depth.put(live_depth.modifier_in(built), 1.0, 0.0)
        live_depth.fit_colours(built)
        other = _takes_over(built)
        status.say("The depth is as it was estimated.", hint=other, level="WARNING" if other else "INFO")


class EX4D_OT_add_distance(Step, bpy.types.Operator):
    """Add two points to the mesh, to be moved to the ends of something whose length you know"""

    bl_idname = "ex4d.add_distance"
    bl_label = "Add Known Distance"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        pair = picked.add_distance(context.scene, reconstruction.of_scene(context.scene))
        _select(context, pair.a, pair.b)
        status.say(
            "Move both points to the ends of what you know, and type its length.",
            hint="Easiest in the source camera's view: only where it sees them counts. Then press Apply Known Size.",
        )


class EX4D_OT_add_ground(Step, bpy.types.Operator):
    """Add a point to the mesh, to be moved onto the ground"""

    bl_idname = "ex4d.add_ground"
    bl_label = "Add Ground Point"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        built = reconstruction.of_scene(context.scene)
        _select(context, picked.add_ground(context.scene, built))
        count = len(picked.ground(built))
        hint = (
            f"With {core_picks.PLANE - count} more the ground may be tilted; else it is taken to be level in the scene."
            if count < core_picks.PLANE
            else "They tell how the ground is tilted."
        )
        status.say("Move the point onto the ground, and type the camera's height.", hint=hint)


class EX4D_OT_apply_known(Step, bpy.types.Operator):
    """Scale the mesh so that the known distances and the camera's height above the ground points are right"""

    bl_idname = "ex4d.apply_known"
    bl_label = "Apply Known Size"
    bl_options = {"REGISTER", "UNDO"}

    def work(self, context):
        scene = context.scene
        built = reconstruction.of_scene(scene)
        done = measuring.apply(scene, built, scene.ex4d.camera_height)
        live_depth.fit_colours(built)
        off = f" What you know differs by up to {done.off:.1%}." if done.count > 1 else ""
        other = _takes_over(built)
        status.say(
            f"Everything is {done.factor:.4g} times as far as before.{off}",
            hint=other or "What you know goes with the next reconstruction of this clip, too.",
            level="WARNING" if other or done.off > measuring.AGREE else "INFO",
        )


def _takes_over(built: reconstruction.Built) -> str:
    """That what was set does not last; "" where it does."""
    what = live_depth.what_takes_over(live_depth.modifier_in(built))
    return f"Disparity Scale or Shift has {what}, which takes over again: remove that first." if what else ""


def _select(context: bpy.types.Context, *objects: bpy.types.Object) -> None:
    """These alone, so that they can be moved at once."""
    for obj in context.view_layer.objects:
        obj.select_set(obj in objects)
    context.view_layer.objects.active = objects[0]


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_depth_strip,
        EX4D_OT_depth_colours,
        EX4D_OT_reset_depth,
        EX4D_OT_add_distance,
        EX4D_OT_add_ground,
        EX4D_OT_apply_known,
    )
)
