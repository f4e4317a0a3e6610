# SPDX-License-Identifier: GPL-3.0-or-later
"""Takes as image strips.

A strip has all of its frames from the start, every element pointing at one slate: an image strip whose first file
is missing can crash Blender, and a file name that was once read stays in the cache of some versions. A frame that
arrives is put in by giving its element the frame's own name. The slate lies beside the frames, hidden: when a .blend is
saved elsewhere, Blender takes the folder of a strip's first file for that of all. Strips are found by the job they
belong to each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy

from shared_protocol.errors import LIMIT, Ex4dError

from . import compat, places
from .core import png
from .core.project import write_file
from .core.sidecar import as_property
from .core.slate import slate

JOB = "ex4d_job"  # id of the generate job
STATE = "ex4d_state"  # one of WAITING, WORKING, DONE, FAILED
AFTER = "ex4d_after"  # id of the render job it waits for; "" = none
SETTINGS = "ex4d_settings"  # what the take is asked to be, and by which versions
TAKE = "ex4d_take"  # take.json
SIZE = "ex4d_size"  # width and height of the pictures that the strip is scaled for

WAITING, WORKING, DONE, FAILED = "waiting", "working", "done", "failed"
_SLATE = ".slate.png"
_CHANNELS = 128  # Blender's own limit


def add(
    context: bpy.types.Context,
    scene: bpy.types.Scene,
    take: Path,
    *,
    size: tuple[int, int],
    frames: int,
    job_id: str,
    after: str,
    settings: dict[str, Any],
) -> str:
    """Put a strip for a take that is about to be made onto the first free channel. Returns its name.

    Args:
        context: for the workspace.
        scene: which gets the strip.
        take: folder of the take.
        size: width and height of the shot, pixels; its frames may come in another size.
        frames: how many.
        job_id: of its generate job.
        after: of the render job that goes before; "" = none.
        settings: what the generate job is to be asked for.

    Raises:
        Ex4dError: DISK.
    """
    first_file = take / "frames" / _SLATE
    write_file(first_file, slate(*size))
    names = [_SLATE] * frames
    strip = _new(context, scene, take.name, first_file.parent, names, scene.frame_start)
    strip[JOB], strip[STATE], strip[AFTER] = job_id, WAITING if after else WORKING, after
    strip[SETTINGS], strip[SIZE] = dict(settings), list(size)
    return str(strip.name)


def add_pictures(
    context: bpy.types.Context, scene: bpy.types.Scene, name: str, files: Sequence[Path], start: int
) -> str:
    """Put a strip with finished pictures of one folder onto the first free channel. Returns its name.

    Args:
        context: for the workspace.
        scene: which gets the strip.
        name: of the strip.
        files: the pictures, in order.
        start: frame of the first.

    Raises:
        Ex4dError: LIMIT, no channel is free.
    """
    return str(_new(context, scene, name, files[0].parent, [file.name for file in files], start).name)


def _new(
    context: bpy.types.Context, scene: bpy.types.Scene, name: str, folder: Path, names: Sequence[str], start: int
) -> bpy.types.Strip:
    editor = scene.sequence_editor_create()
    compat.show_in_sequencer(context, scene)
    with _unread(editor):
        strip = editor.strips.new_image(
            name=name,
            filepath=str(folder / names[0]),
            channel=_free_channel(editor, start, len(names)),
            frame_start=start,
            fit_method="FIT",
        )
        strip.directory = places.stored(folder)
        for other in names[1:]:
            strip.elements.append(other)
    return strip


def of_job(job_id: str) -> Iterator[tuple[bpy.types.Scene, bpy.types.Strip]]:
    """The strips of a generate job: one, more where the artist copied it, none where it was deleted."""
    return ((scene, strip) for scene, strip in every() if strip[JOB] == job_id)


def every() -> Iterator[tuple[bpy.types.Scene, bpy.types.Strip]]:
    """All strips that are takes, in all scenes."""
    for scene in bpy.data.scenes:
        if scene.sequence_editor is None:
            continue
        for strip in scene.sequence_editor.strips_all:
            if strip.type == "IMAGE" and JOB in strip:
                yield scene, strip


def put_frame(job_id: str, number: int, name: str) -> None:
    """Show a frame that arrived.

    Args:
        job_id: of the generate job.
        number: of the frame, from 1.
        name: of its file in the take's frames folder.
    """
    for scene, strip in of_job(job_id):
        if not 1 <= number <= len(strip.elements):
            continue
        element = strip.elements[number - 1]
        if element.filename != name:
            with _unread(scene.sequence_editor):
                element.filename = name
                _fit(strip, png.size_of(take_folder(strip) / "frames" / name))


def _fit(strip: bpy.types.Strip, size: tuple[int, int] | None) -> None:
    """Scales a strip whose pictures have another size than it was made for, so that they fill the same place.

    A generator paints the whole of the shot's picture in multiples of 16 pixels, so its shape may be off by a little:
    each side is scaled by itself, which undoes that, leaves no bars and puts every pixel where the camera saw it.
    Blender shows pictures pixel by pixel, times the strip's own scale, which the artist may have changed since.
    """
    if size is None or SIZE not in strip or size == tuple(strip[SIZE]):
        return
    width, height = strip[SIZE]
    strip.transform.scale_x *= width / size[0]
    strip.transform.scale_y *= height / size[1]
    strip[SIZE] = list(size)


def take_folder(strip: bpy.types.Strip) -> Path:
    """Folder of a strip's take. Blender keeps the strip's own path right when the .blend is saved elsewhere."""
    return places.resolved(strip.directory).parent


def arrived(strip: bpy.types.Strip) -> int:
    """How many frames of a strip are there."""
    return sum(1 for element in strip.elements if element.filename != _SLATE)


def finish(job_id: str, take: dict[str, object]) -> bool:
    """Note on a job's strips that they are done, and how they were made. False: there is none any more."""
    found = False
    for _, strip in of_job(job_id):
        strip[STATE] = DONE
        strip[TAKE] = as_property(take)
        found = True
    return found


def withdraw(job_id: str) -> bool:
    """The job ended without a result: remove strips that show no frame, mark the others. True: one was kept."""
    kept = False
    for scene, strip in list(of_job(job_id)):
        if arrived(strip) == 0 and strip.name in scene.sequence_editor.strips:  # not inside a meta strip
            with _unread(scene.sequence_editor):
                scene.sequence_editor.strips.remove(strip)
        else:
            strip[STATE] = FAILED
            kept = True
    return kept


def _free_channel(editor: bpy.types.SequenceEditor, start: int, frames: int) -> int:
    taken: set[int] = set()
    for strip in editor.strips:
        first, end = compat.strip_range(strip)
        if first < start + frames and start < end:
            taken.add(strip.channel)
    channel = next(c for c in range(1, len(taken) + 2) if c not in taken)
    if channel > _CHANNELS:
        raise Ex4dError(LIMIT, "All channels of the sequencer are taken there.", "Remove some strips.")
    return channel


@contextmanager
def _unread(editor: bpy.types.SequenceEditor) -> Iterator[None]:
    """Keeps the sequencer from reading ahead in another thread while its strips change."""
    before = editor.use_prefetch
    editor.use_prefetch = False
    try:
        yield
    finally:
        editor.use_prefetch = before
