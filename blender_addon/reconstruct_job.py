# SPDX-License-Identifier: GPL-3.0-or-later
"""The job that turns a clip into a mesh with a camera: what the panel and the scene say of the clip, sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy

from shared_protocol.client import new_job_id
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, Ex4dError
from shared_protocol.messages import OptionValue, Reconstruct

from . import (
    camera_path,
    clip_record,
    measuring,
    options,
    picked,
    places,
    reconstruction,
    runtime,
    source_camera,
    status,
    tracker,
)
from .core import camera_file, project
from .core import events as ev

_SOURCE_CAMERA, _POINTS = "source_camera.json", "tracked_points.json"  # in the folder of a reconstruction
NON_COMMERCIAL = "Non-commercial work"  # what the choice is called


def reconstruct(scene: bpy.types.Scene) -> None:
    """Send the scene's clip and have it reconstructed.

    Raises:
        Ex4dError: the clip or depth is not there, or no backend is connected.
    """
    settings = scene.ex4d
    clip = _chosen(settings.clip_path, "clip")
    depth = _chosen(settings.depth_path, "depth") if settings.depth_path else None
    sky = _chosen(settings.sky_path, "sky mask") if settings.sky_path else None
    if settings.reconstruct_job:
        raise Ex4dError(BAD_INPUT, "A clip is being reconstructed already.", "Wait for it, or cancel it.")
    runtime.need_backend()
    source = _source_camera(scene, clip)
    is_movie = clip.is_file() and clip.suffix.lower() not in project.PICTURES
    first = settings.first_frame - 1
    kept = clip_record.before(scene, settings.clip_path) if settings.keep_camera else ""
    known = _known(scene, clip, kept) if kept and source is None else measuring.Told()
    job = Reconstruct(
        clip=(),  # filled in when the files are uploaded
        depth_kind=settings.depth_kind,
        estimator=_estimator(settings),
        first=first,
        count=settings.frame_count,
        fps=None if is_movie else camera_path.frame_rate(scene),
        max_side=settings.max_side,
        depth_options=_depth_options(scene),
        measures=known.measures,
        ground=known.ground if settings.camera_height else (),  # without a height they tell nothing
        **(_lens(settings, known.unit) if source is None else {}),  # a path has a lens and a scale of its own
    )
    points = _points(scene, clip)
    folder = project.new_version(places.project_folder() / "scenes", project.clip_name(clip))
    camera = source
    if isinstance(source, source_camera.Taken):
        camera = folder / _SOURCE_CAMERA
        project.write_file(camera, source.path)
    if points is not None:
        project.write_file(folder / _POINTS, points)
    place = source.place if isinstance(source, source_camera.Taken) else None
    settings.reconstruct_job = new_job_id()
    settings.reconstruct_folder, settings.reconstruct_clip = places.stored(folder), places.stored(clip)
    settings.reconstruct_first = settings.first_frame
    settings.reconstruct_keeps = bpy.data.collections[kept] if kept else None
    settings.reconstruct_place = source_camera.place_to_text(place) if place is not None else ""
    points_file = None if points is None else folder / _POINTS
    runtime.send(ev.StartJob(settings.reconstruct_job, job, folder, clip, depth, camera, points_file, sky))
    status.progress(settings.reconstruct_job, "Sending the clip", 0, 0)
    status.say(f"Reconstructing '{clip.name}'…", hint=places.save_hint())


def _known(scene: bpy.types.Scene, clip: Path, kept: str) -> measuring.Told:
    """What was picked on the reconstruction before. Where nothing was, it matters not whether its mesh is still there.

    Raises:
        Ex4dError: as `measuring.told`.
    """
    built, settings = reconstruction.find(kept), scene.ex4d
    try:
        return measuring.told(scene, built, clip, first=settings.first_frame, count=settings.frame_count)
    except Ex4dError as error:
        if error.code != NOT_FOUND or settings.camera_height or picked.every(built):
            raise
        return measuring.Told()


def _estimator(settings: bpy.types.PropertyGroup) -> str:
    """The chosen estimator.

    Raises:
        Ex4dError: UNAVAILABLE, its licence does not allow the work that is done.
    """
    name = settings.estimator or options.AUTO
    if settings.depth_path:
        return options.AUTO  # which takes the files
    for door in runtime.doors(options.DEPTH):
        if door.name == name and not (door.commercial_use or settings.non_commercial):
            raise Ex4dError(
                UNAVAILABLE,
                f"'{door.label}' may not be used for commercial work ({door.licence}).",
                f"Choose another estimator, or tick '{NON_COMMERCIAL}' if this is none.",
            )
    return str(name)


def _depth_options(scene: bpy.types.Scene) -> tuple[tuple[str, OptionValue], ...]:
    given = options.asked(scene, options.DEPTH)
    if scene.ex4d.non_commercial:
        given["commercial"] = False
    return tuple(sorted(given.items()))


def _lens(settings: bpy.types.PropertyGroup, unit: float) -> dict[str, Any]:
    """What is known of a camera that stood still; `unit`: scene units in one of the reconstruction's."""
    known: dict[str, Any] = {"camera_height": settings.camera_height / unit if settings.camera_height else None}
    if settings.lens_unit == "MM":
        return known | {"lens": (settings.lens, settings.sensor) if settings.lens else None}
    return known | {"focal": settings.focal or None}


def _points(scene: bpy.types.Scene, clip: Path) -> bytes | None:
    """The points of the solve that drives the source camera, where there is one and the artist wants that."""
    settings = scene.ex4d
    if settings.source_kind != "CAMERA" or not settings.use_points:
        return None
    if tracker.film_of(scene, settings.source_camera) is None:
        return None
    return tracker.take_down(
        scene,
        settings.source_camera.name,
        clip,
        start=settings.clip_start,
        first=settings.first_frame - 1,
        count=settings.frame_count,
    )


def _source_camera(scene: bpy.types.Scene, clip: Path) -> source_camera.Taken | Path | None:
    """How the source camera moved: taken down from a Blender camera, a file that says so, or not at all."""
    settings = scene.ex4d
    if settings.source_kind == "FILE":
        path = _chosen(settings.source_camera_path, "camera path")
        if path.suffix.lower() not in camera_file.SUFFIXES:
            raise Ex4dError(BAD_INPUT, f"'{path.name}' is not a camera path.", "Choose a .json or .npz file.")
        return path
    if settings.source_kind != "CAMERA":
        return None
    if settings.source_camera is None:
        raise Ex4dError(BAD_INPUT, "No source camera is chosen.", "Choose a camera, or say that it stood still.")
    return source_camera.take_down(
        scene,
        settings.source_camera.name,
        clip,
        start=settings.clip_start,
        first=settings.first_frame - 1,
        count=settings.frame_count,
    )


def _chosen(text: str, what: str) -> Path:
    if not text:
        raise Ex4dError(BAD_INPUT, f"No {what} is chosen.", f"Choose a {what} file.")
    path = places.resolved(text)
    if not path.exists():
        raise Ex4dError(NOT_FOUND, f"There is no {what} file '{path}'.", "Choose a file that exists.")
    return path
