# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel: a status line with the one button that helps, and the six steps in their order."""

import bpy

from . import glimpse, jobs, options, places, reconstruction, runtime, status
from .core import events as ev
from .panel_clip import draw_clip, draw_mesh
from .panel_parts import DoorMenu, columns, door_details, door_field, lines, width

_ICONS = {"INFO": "INFO", "WARNING": "ERROR", "ERROR": "CANCEL"}
_UNIT = 20.0  # pixels at a scale of 1: what an icon's size is told in


class EX4D_MT_estimators(DoorMenu, bpy.types.Menu):
    bl_label = "Estimator"
    kind = options.DEPTH


class EX4D_MT_generators(DoorMenu, bpy.types.Menu):
    bl_label = "Generator"
    kind = options.GENERATOR


class EX4D_MT_reconstructions(bpy.types.Menu):
    bl_label = "Reconstruction"

    def draw(self, context):
        for name in reconstruction.names_in(context.scene):
            self.layout.operator("ex4d.use_reconstruction", text=name).collection = name


class _Panel:
    bl_label = "EX-4D"
    bl_category = "EX-4D"
    bl_region_type = "UI"

    def draw(self, context):
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        settings = context.scene.ex4d
        state = status.get()
        _status(layout, state, columns(context))
        _glimpse(layout, context)
        ready = state.link in (ev.CONNECTED, ev.RECONNECTING)
        draw_clip(layout, context, ready)
        reconstructed = bool(reconstruction.names_in(context.scene))
        if reconstructed:
            draw_mesh(layout, context)
        _camera(layout, settings, reconstructed)
        _coverage(layout, context, settings, reconstructed, ready)
        _take(layout, context, settings, reconstructed, ready)
        _deliver(layout, settings)


def _status(layout, state, room):
    box = layout.box()
    row = box.row()
    column = row.column(align=True)
    for i, line in enumerate(lines(state.text or "Not connected.", room)):
        column.label(text=line, icon=_ICONS[state.level] if i == 0 else "BLANK1")
    for line in lines(state.hint, room):
        column.label(text=line, icon="BLANK1")
    if state.link == ev.CONNECTED:
        row.operator("ex4d.stop_backend", text="", icon="QUIT")
    if state.job_id:
        row = box.row(align=True)
        row.progress(factor=state.progress, text=state.phase)
        row.operator("ex4d.cancel", text="", icon="X")
        if state.left:
            box.label(text=state.left, icon="TIME")
    if state.link in (ev.OFF, ev.FAILED, ev.RECONNECTING):
        row = box.row(align=True)
        row.operator("ex4d.start_backend", icon="PLAY")
        row.operator("ex4d.connect", text="", icon="LINKED")
    if not places.is_saved():
        box.operator("wm.save_as_mainfile", text="Save the .blend", icon="FILE_TICK")


def _glimpse(layout, context):
    """How the take that is being made looks at this moment."""
    icon = glimpse.icon()
    if icon is not None and icon.icon_id:  # with no window there are no icons
        room = width(context) / _UNIT - 3.0
        layout.template_icon(icon_value=icon.icon_id, scale=max(4.0, min(room, 20.0)))


def _camera(layout, settings, reconstructed):
    column = layout.column()
    column.enabled = reconstructed
    column.label(text="3  Camera", icon="CAMERA_DATA")
    column.prop(settings, "move")
    column.operator("ex4d.apply_move", icon="KEYFRAME_HLT")
    layout.operator("ex4d.export_camera", icon="EXPORT")


def _coverage(layout, context, settings, reconstructed, ready):
    column = layout.column()
    column.enabled = reconstructed
    column.label(text="4  Coverage", icon="RENDER_STILL")
    column.prop(settings, "geometry")
    if settings.geometry == "auto" and runtime.doors("generator"):  # else nobody has said what it works best with
        column.label(text=f"{jobs.geometry(context.scene).title()}, for this generator", icon="BLANK1")
    column.prop(settings, "persist")
    column.prop(settings, "lead_in_auto")
    if not settings.lead_in_auto:
        column.prop(settings, "lead_in")
    elif jobs.lead_in(context.scene):
        column.label(text=f"{jobs.lead_in(context.scene)} frames, for this generator", icon="BLANK1")
    row = column.row()
    row.enabled = ready
    row.operator("ex4d.render_conditioning")
    if settings.coverage_hash:
        column.label(text=f"Last render: {settings.coverage_mean:.0%} seen, {settings.coverage_min:.0%} at worst")


def _take(layout, context, settings, reconstructed, ready):
    column = layout.column()
    column.enabled = reconstructed
    column.label(text="5  Take", icon="RENDER_ANIMATION")
    door_field(column, "Generator", settings.generator, "EX4D_MT_generators", options.GENERATOR)
    door_details(layout, context, options.GENERATOR)
    column = layout.column()
    column.enabled = reconstructed
    column.prop(settings, "seed")
    column.prop(settings, "take_name")
    row = column.row()
    row.enabled = ready
    row.operator("ex4d.generate", icon="PLAY")
    if settings.generator == "preview":
        column.label(text="A preview, made without a model", icon="INFO")
    if context.scene.view_settings.view_transform != "Standard":
        column.operator("ex4d.match_source_colours", icon="COLOR")


def _deliver(layout, settings):
    column = layout.column()
    column.label(text="6  Deliver", icon="EXPORT")
    column.prop(settings, "export_first")
    row = column.row()
    row.enabled = bool(settings.take_folder)
    row.operator("ex4d.export_take", icon="EXPORT")


class EX4D_PT_view3d(_Panel, bpy.types.Panel):
    bl_idname = "EX4D_PT_view3d"
    bl_space_type = "VIEW_3D"


class EX4D_PT_sequencer(_Panel, bpy.types.Panel):
    bl_idname = "EX4D_PT_sequencer"
    bl_space_type = "SEQUENCE_EDITOR"


register, unregister = bpy.utils.register_classes_factory(
    (EX4D_MT_estimators, EX4D_MT_generators, EX4D_MT_reconstructions, EX4D_PT_view3d, EX4D_PT_sequencer)
)
