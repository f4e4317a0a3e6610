# SPDX-License-Identifier: GPL-3.0-or-later
"""Operators from the camera to a take: render, generate, cancel, export."""

from pathlib import Path

import bpy

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

from . import compat, jobs, options, places, runtime, status, strips
from .core import events as ev
from .operator_base import Step


class EX4D_OT_render_conditioning(Step, bpy.types.Operator):
    """Render what the shot camera sees of the clip, and tell how much of each frame that is"""

    bl_idname = "ex4d.render_conditioning"
    bl_label = "Render Coverage"
    bl_options = {"REGISTER"}

    def work(self, context):
        scene = context.scene
        runtime.need_backend()  # which says what geometry its generators like
        shot = jobs.sample(scene)
        if jobs.rendered_artifact(scene, shot):
            status.say(f"Rendered already: {scene.ex4d.coverage_mean:.0%} of the shot is seen.")
            return
        jobs.render(scene, shot)


class EX4D_OT_generate(Step, bpy.types.Operator):
    """Make a new take of the shot. Its strip appears at once and fills up"""

    bl_idname = "ex4d.generate"
    bl_label = "Generate"
    bl_options = {"UNDO"}

    def work(self, context):
        jobs.generate(context, context.scene)


class EX4D_OT_reset_options(Step, bpy.types.Operator):
    """Set these options to their defaults"""

    bl_idname = "ex4d.reset_options"
    bl_label = "Reset Options"
    bl_options = {"REGISTER", "UNDO"}

    kind: bpy.props.EnumProperty(
        items=((options.GENERATOR, "Generator", ""), (options.DEPTH, "Estimator", "")), options={"SKIP_SAVE"}
    )

    def work(self, context):
        options.reset(context.scene, self.kind)
        what = "generator" if self.kind == options.GENERATOR else "estimator"
        status.say(f"The {what}'s options have their defaults.")


class EX4D_OT_cancel(Step, bpy.types.Operator):
    """Cancel what the backend does for this file. Frames that are there stay"""

    bl_idname = "ex4d.cancel"
    bl_label = "Cancel"
    bl_options = {"REGISTER"}

    def work(self, _context):
        if not jobs.cancel_all():
            status.idle()
            status.say("Nothing is running.")
            return
        status.say("Cancelling…")


class EX4D_OT_export_take(Step, bpy.types.Operator):
    """Copy the frames, colour, mask and settings of the selected take (else the newest) into a folder"""

    bl_idname = "ex4d.export_take"
    bl_label = "Export Take"
    bl_options = {"REGISTER"}

    directory: bpy.props.StringProperty(subtype="DIR_PATH")
    filter_folder: bpy.props.BoolProperty(default=True, options={"HIDDEN"})
    first: bpy.props.IntProperty(name="First number", description="0: as chosen in the panel", default=0, min=0)

    def invoke(self, context, _event):
        """Ask where to."""
        context.window_manager.fileselect_add(self)
        return {"RUNNING_MODAL"}

    def work(self, context):
        if not self.directory:
            raise Ex4dError(BAD_INPUT, "No folder is chosen.", "Choose the folder that gets the files.")
        take = _take(context)
        first = self.first or int(context.scene.ex4d.export_first)
        runtime.send(ev.ExportTake(take, Path(bpy.path.abspath(self.directory)), first))
        status.say(f"Exporting '{take.name}'…")


def _take(context: bpy.types.Context) -> Path:
    """Folder of the take that is meant."""
    editor = compat.sequencer_scene(context).sequence_editor
    strip = editor.active_strip if editor is not None else None
    if strip is not None and strip.select and strips.JOB in strip:
        return strips.take_folder(strip)
    newest = context.scene.ex4d.take_folder
    if not newest:
        raise Ex4dError(NOT_FOUND, "There is no take yet.", "Press Generate first.")
    return places.resolved(newest)


register, unregister = bpy.utils.register_classes_factory(
    (
        EX4D_OT_render_conditioning,
        EX4D_OT_generate,
        EX4D_OT_reset_options,
        EX4D_OT_cancel,
        EX4D_OT_export_take,
    )
)
