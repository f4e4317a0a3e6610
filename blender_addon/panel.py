# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel: a status line with the one button that helps, and the six steps in their order."""

import bpy

from shared_protocol.errors import Ex4dError

from . import glimpse, jobs, mesh_nodes, options, places, reconstruction, runtime, status
from .core import events as ev

_ICONS = {"INFO": "INFO", "WARNING": "ERROR", "ERROR": "CANCEL"}
_CHARACTER, _MARGIN = 7.0, 80.0  # pixels at a scale of 1: of a letter on average, of what stands beside the text
_MENU = 60  # letters in a line of a menu
_UNIT = 20.0  # pixels at a scale of 1: what an icon's size is told in


class _DoorMenu:
    """A menu of estimators or generators; those that do not work here say why."""

    kind = ""

    def draw(self, _context):
        layout = self.layout
        if self.kind == "depth":
            self._choice(layout, "auto", "Automatic", True)
        doors = runtime.doors(self.kind)
        for door in doors:
            # With options it can be chosen all the same: one of them may say where its weights lie.
            self._choice(layout, door.name, door.label, door.available or bool(door.settings))
            for line in [] if door.available else _lines(door.reason, _MENU):
                layout.label(text=line, icon="BLANK1")
        if not doors:
            layout.label(text="Connect a backend to see what it has.")

    def _choice(self, layout, name, label, available):
        row = layout.row()
        row.enabled = available
        button = row.operator("ex4d.choose_door", text=label)
        button.kind, button.name = self.kind, name


class EX4D_MT_estimators(_DoorMenu, bpy.types.Menu):
    bl_label = "Estimator"
    kind = "depth"


class EX4D_MT_generators(_DoorMenu, bpy.types.Menu):
    bl_label = "Generator"
    kind = "generator"


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
        _status(layout, state, _columns(context))
        _glimpse(layout, context)
        ready = state.link in (ev.CONNECTED, ev.RECONNECTING)
        _clip(layout, settings, ready)
        reconstructed = bool(reconstruction.names_in(context.scene))
        if reconstructed:
            _mesh(layout, context)
        _camera(layout, settings, reconstructed)
        _coverage(layout, context, settings, reconstructed, ready)
        _take(layout, context, settings, reconstructed, ready)
        _deliver(layout, settings)


def _status(layout, state, columns):
    box = layout.box()
    row = box.row()
    column = row.column(align=True)
    for i, line in enumerate(_lines(state.text or "Not connected.", columns)):
        column.label(text=line, icon=_ICONS[state.level] if i == 0 else "BLANK1")
    for line in _lines(state.hint, columns):
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
        room = _width(context) / _UNIT - 3.0
        layout.template_icon(icon_value=icon.icon_id, scale=max(4.0, min(room, 20.0)))


def _clip(layout, settings, ready):
    column = layout.column(heading="")
    column.label(text="1  Clip", icon="FILE_MOVIE")
    column.prop(settings, "clip_path")
    column.prop(settings, "depth_path")
    if settings.depth_path:
        column.prop(settings, "depth_kind")
    else:
        _door(column, "Estimator", settings.estimator, "EX4D_MT_estimators", "depth")
    column.prop(settings, "first_frame")
    column.prop(settings, "frame_count")
    column.prop(settings, "source_kind")
    if settings.source_kind == "CAMERA":
        column.prop(settings, "source_camera")
        column.prop(settings, "clip_start")
    elif settings.source_kind == "FILE":
        column.prop(settings, "source_camera_path")
    else:
        column.prop(settings, "focal")
    column.prop(settings, "max_side")
    column.label(text="2  Reconstruction", icon="MESH_GRID")
    row = column.row()
    row.enabled = ready and not settings.reconstruct_job
    row.operator("ex4d.reconstruct", icon="MESH_GRID")
    if settings.draft_depth:
        column.label(text="Draft depth: for blocking out a move", icon="ERROR")


def _mesh(layout, context):
    """Which clip it is, what can be dragged on its mesh, and how it is shown."""
    built = reconstruction.of_scene(context.scene)
    if len(reconstruction.names_in(context.scene)) > 1:
        layout.menu("EX4D_MT_reconstructions", text=built.collection)
    try:
        mesh = bpy.data.objects[built.need(reconstruction.MESH)]
    except Ex4dError as error:  # a part of the reconstruction was deleted
        layout.label(text=error.message, icon="ERROR")
        return
    modifier = mesh_nodes.find_modifier(mesh)
    if modifier is None:
        layout.label(text=f"'{mesh.name}' has lost its mesh modifier", icon="ERROR")
        return
    column = layout.column()
    for name in ("Focal", "Disparity Scale", "Disparity Shift", "Unseen"):
        mesh_nodes.draw_input(column, modifier, name)
    space = context.space_data
    if space is not None and space.type == "VIEW_3D" and space.shading.type in {"WIREFRAME", "SOLID"}:
        column.label(text="Material Preview shows the clip", icon="SHADING_TEXTURE")


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
    _door(column, "Generator", settings.generator, "EX4D_MT_generators", "generator")
    for door in options.of(context.scene):
        lines = [] if door.available else _lines(door.reason, _columns(context))
        for i, line in enumerate(lines):
            column.label(text=line, icon="BLANK1" if i else "ERROR")
        if door.settings:
            _options(layout, context.scene, door)
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


def _options(layout, scene, door):
    """A part of the panel that is closed until it is wanted."""
    header, body = layout.panel("ex4d_generator_options", default_closed=True)
    changed = len(options.changed(scene))
    header.label(text=f"Generator options ({changed} set)" if changed else "Generator options")
    if body is not None:
        options.draw(body, scene, door)
        row = body.row()
        row.enabled = changed > 0
        row.operator("ex4d.reset_options", icon="LOOP_BACK")


def _deliver(layout, settings):
    column = layout.column()
    column.label(text="6  Deliver", icon="EXPORT")
    column.prop(settings, "export_first")
    row = column.row()
    row.enabled = bool(settings.take_folder)
    row.operator("ex4d.export_take", icon="EXPORT")


def _door(column, text, name, menu, kind):
    label = next((d.label for d in runtime.doors(kind) if d.name == name), "Automatic" if name == "auto" else name)
    row = column.split(factor=0.4)
    left = row.row()
    left.alignment = "RIGHT"
    left.label(text=text)
    row.menu(menu, text=label)


def _columns(context):
    """How many letters fit into a line of the sidebar, about."""
    return max(16, int((_width(context) - _MARGIN) / _CHARACTER))


def _width(context):
    """Of the sidebar, in pixels at a scale of 1."""
    if context.region is None:
        return 360.0
    return context.region.width / context.preferences.system.ui_scale


def _lines(text, columns):
    """The text in lines of at most so many letters."""
    lines, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= columns:
            lines.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [*lines, line] if line else lines


class EX4D_PT_view3d(_Panel, bpy.types.Panel):
    bl_idname = "EX4D_PT_view3d"
    bl_space_type = "VIEW_3D"


class EX4D_PT_sequencer(_Panel, bpy.types.Panel):
    bl_idname = "EX4D_PT_sequencer"
    bl_space_type = "SEQUENCE_EDITOR"


register, unregister = bpy.utils.register_classes_factory(
    (EX4D_MT_estimators, EX4D_MT_generators, EX4D_MT_reconstructions, EX4D_PT_view3d, EX4D_PT_sequencer)
)
