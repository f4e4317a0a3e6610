# SPDX-License-Identifier: GPL-3.0-or-later
"""The panel's first two steps: the clip and what is known of it, and the mesh that it became."""

from __future__ import annotations

import bpy

from shared_protocol.errors import Ex4dError

from . import (
    clip_record,
    depth_colours,
    live_depth,
    mesh_nodes,
    options,
    picked,
    reconstruction,
    tracker,
)
from .core import camera_math, depth_words
from .core.scene_manifest import SceneManifest
from .panel_parts import choice, door_details, door_field, told
from .reconstruction import Built


def draw_clip(layout: bpy.types.UILayout, context: bpy.types.Context, ready: bool) -> None:
    """What is to be reconstructed, and how."""
    settings = context.scene.ex4d
    column = layout.column(heading="")
    column.label(text="1  Clip", icon="FILE_MOVIE")
    column.prop(settings, "clip_path")
    column.prop(settings, "depth_path")
    if settings.depth_path:
        column.prop(settings, "depth_kind")
    else:
        door_field(column, "Estimator", settings.estimator, "EX4D_MT_estimators", options.DEPTH)
        choice(column, "non_commercial", settings)
    column.prop(settings, "sky_path")
    door_details(layout, context, options.DEPTH)
    column = layout.column()
    column.prop(settings, "first_frame")
    column.prop(settings, "frame_count")
    column.prop(settings, "source_kind")
    if settings.source_kind == "CAMERA":
        _source_camera(column, context)
    elif settings.source_kind == "FILE":
        column.prop(settings, "source_camera_path")
    else:
        column.prop(settings, "lens_unit")
        for name in ("lens", "sensor") if settings.lens_unit == "MM" else ("focal",):
            column.prop(settings, name)
        column.prop(settings, "camera_height")
    column.prop(settings, "max_side")
    column.label(text="2  Reconstruction", icon="MESH_GRID")
    before = clip_record.before(context.scene, settings.clip_path)
    if before:
        choice(column, "keep_camera", settings, f"Keep camera of {before}")
    row = column.row()
    row.enabled = ready and not settings.reconstruct_job
    row.operator("ex4d.reconstruct", icon="MESH_GRID")
    if settings.draft_depth:
        column.label(text="Draft depth: for blocking out a move", icon="ERROR")


def _source_camera(column: bpy.types.UILayout, context: bpy.types.Context) -> None:
    settings = context.scene.ex4d
    column.prop(settings, "source_camera")
    column.prop(settings, "clip_start")
    film = tracker.film_of(context.scene, settings.source_camera)
    if film is None:
        return
    choice(column, "use_points", settings)
    if settings.use_points:
        told(column, tracker.why_not(film), context, "ERROR")


def draw_mesh(layout: bpy.types.UILayout, context: bpy.types.Context) -> None:
    """Which clip it is, what can be dragged on its mesh, and how it is shown."""
    scene = context.scene
    built = reconstruction.of_scene(scene)
    if len(reconstruction.names_in(scene)) > 1 or not reconstruction.is_shown(built.collection):
        layout.menu("EX4D_MT_reconstructions", text=built.collection)
    try:
        mesh = bpy.data.objects[built.need(reconstruction.MESH)]
        manifest = reconstruction.manifest_of(built.collection)
    except Ex4dError as error:  # a part of the reconstruction was deleted, or it is of another release
        layout.label(text=error.message, icon="ERROR")
        return
    modifier = mesh_nodes.find_modifier(mesh)
    if modifier is None:
        layout.label(text=f"'{mesh.name}' has lost its mesh modifier", icon="ERROR")
        return
    column = layout.column()
    mesh_nodes.draw_input(column, modifier, "Focal")
    column.label(text=_lens(mesh_nodes.get_input(modifier, "Focal"), manifest), icon="BLANK1")
    column.prop(scene.ex4d, "near")
    column.prop(scene.ex4d, "far")
    for name in (live_depth.SCALE, live_depth.SHIFT):
        mesh_nodes.draw_input(column, modifier, name)
    column.operator("ex4d.reset_depth", icon="LOOP_BACK")
    mesh_nodes.draw_input(column, modifier, "Unseen")
    _colours(column, modifier)
    column.operator("ex4d.depth_strip", icon="SEQUENCE")
    space = context.space_data
    if space is not None and space.type == "VIEW_3D" and space.shading.type in {"WIREFRAME", "SOLID"}:
        column.label(text="Material Preview shows the clip", icon="SHADING_TEXTURE")
    _known_size(layout, context, built, manifest)
    _origin(layout, context, manifest)


def _lens(focal: float, manifest: SceneManifest) -> str:
    lens = camera_math.lens_for(focal, manifest.cx, manifest.cy, manifest.width, manifest.height)
    return f"{lens.lens:.1f} mm on a sensor of {lens.sensor_width:g} mm"


def _colours(column: bpy.types.UILayout, modifier: bpy.types.Modifier) -> None:
    material = mesh_nodes.get_input(modifier, "Material")
    switch = depth_colours.find(material) if material is not None else None
    if switch is not None:
        column.operator("ex4d.depth_colours", icon="COLOR", depress=switch.default_value > 0.5)


def _known_size(layout: bpy.types.UILayout, context: bpy.types.Context, built: Built, manifest: SceneManifest) -> None:
    """Distances that are known, and the ground."""
    header, body = layout.panel("ex4d_known_size", default_closed=True)
    header.label(text="Known size")
    if body is None:
        return
    if manifest.camera.moves:
        told(body, "The source camera's path says how large everything is.", context, "INFO")
        return
    pairs, floor = picked.distances(built), picked.ground(built)
    for number, pair in enumerate(pairs, 1):
        body.prop(pair.a, f'["{picked.DISTANCE}"]', text=f"Distance {number}")
    body.operator("ex4d.add_distance", icon="DRIVER_DISTANCE")
    body.prop(context.scene.ex4d, "camera_height")
    body.operator("ex4d.add_ground", text=f"Add Ground Point ({len(floor)} there)", icon="MESH_PLANE")
    row = body.row()
    row.enabled = any(pair.length > 0.0 for pair in pairs) or (bool(floor) and context.scene.ex4d.camera_height > 0.0)
    row.operator("ex4d.apply_known", icon="FULLSCREEN_ENTER")


def _origin(layout: bpy.types.UILayout, context: bpy.types.Context, manifest: SceneManifest) -> None:
    """Where the depth comes from, how well it fits, and what its model may be used for."""
    told(layout, depth_words.licence(manifest), context, "ERROR")
    header, body = layout.panel("ex4d_depth_notes", default_closed=True)
    header.label(text=f"Depth: {manifest.model or manifest.estimator}")
    if body is None:
        return
    if manifest.known is not None:
        told(body, depth_words.fitted(manifest.known), context, "INFO")
    for note in manifest.notes:
        told(body, depth_words.sentence(note), context, "DOT")
