# SPDX-License-Identifier: GPL-3.0-or-later
"""What comes back from the backend, put into the .blend. The pump hands it over, on the main thread.

Scenes and strips are found by the ids of their jobs at the time, never kept: undo and loading replace them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import bpy

from shared_protocol.errors import Ex4dError

from . import clip_record, jobs, places, reconstruction, same_clip, source_camera, status, strips, versions
from .core import depth_words, project, sidecar
from .core import events as ev

_built: set[str] = set()  # reconstruct jobs that were brought in since Blender was started


def file_arrived(event: ev.FileArrived) -> None:
    """A file of a job lies in its folder: a frame goes onto its strip."""
    folder, _, name = event.name.rpartition("/")
    stem = name.partition(".")[0]
    if folder == "frames" and stem.isdigit():
        strips.put_frame(event.job_id, int(stem), name)


def finished(event: ev.JobFinished) -> None:
    """All of a job's files are here.

    Raises:
        Ex4dError: what came cannot be used.
    """
    status.idle(event.job_id)
    match event.kind:
        case "generate":
            _generated(event)
        case "render":
            for scene in _scenes("render_job", event.job_id):
                _rendered(scene, event)
            _start_waiting(event)
        case _:
            _reconstructed(event)


def _reconstructed(event: ev.JobFinished) -> None:
    scenes = list(_scenes("reconstruct_job", event.job_id))
    for scene in scenes:
        _build(scene, event)
    if scenes:
        _built.add(event.job_id)
        _undo_step("EX-4D: Reconstruct")
    else:  # undone, or the scene was deleted
        status.say(
            "The reconstruction is finished, and no scene waits for it.",
            hint=f"Its files are in '{event.folder}'.",
            level="WARNING",
        )


def _build(scene: bpy.types.Scene, event: ev.JobFinished) -> None:
    """A finished reconstruction comes into the scene that waits for it, with the camera of the one before."""
    settings = scene.ex4d
    settings.reconstruct_job = ""
    kept, hints = _kept(scene)
    place = source_camera.place_from_text(settings.reconstruct_place)
    built = reconstruction.build(
        scene,
        event.folder,
        name=event.folder.name,
        artifact=event.artifact,
        place=place or (kept.place if kept is not None else None),
        keep="" if kept is None else kept.collection,
    )
    clip_record.mark(built.collection, settings.reconstruct_clip, settings.reconstruct_first)
    reconstruction.show_alone(scene, built.collection)
    reconstruction.show_geometry(scene, jobs.geometry(scene))
    manifest = reconstruction.manifest_of(built.collection)
    settings.draft_depth = manifest.draft
    if kept is None:
        hints.append("Lay down a camera move, or animate the shot camera yourself.")
    else:
        hints += same_clip.carry_over(scene, kept, built)
    count = f"{manifest.frames} frame{'' if manifest.frames == 1 else 's'}"
    hints += depth_words.in_short(manifest)
    status.say(f"Reconstructed {count} of {manifest.width} x {manifest.height}.", hint=" ".join(hints))


def _kept(scene: bpy.types.Scene) -> tuple[same_clip.Kept | None, list[str]]:
    """What is taken over from the reconstruction before, and what is to be said of it."""
    settings = scene.ex4d
    collection, settings.reconstruct_keeps = settings.reconstruct_keeps, None
    if collection is None or collection.name not in reconstruction.names_in(scene):  # there was none, or it was deleted
        return None, []
    try:
        return same_clip.keep(scene, collection.name, settings.reconstruct_first), []
    except Ex4dError as e:
        return None, [f"The camera of '{collection.name}' was not kept: {e.message}"]


def _undo_step(message: str) -> None:
    # In a mesh's Edit Mode, say, a step holds that mesh alone: what was made comes into the next step of Object Mode.
    if bpy.context.mode == "OBJECT" and bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=message)


def _rendered(scene: bpy.types.Scene, event: ev.JobFinished) -> None:
    settings = scene.ex4d
    settings.render_artifact = event.artifact
    settings.coverage_min, settings.coverage_mean = sidecar.coverage(event.folder)
    settings.coverage_hash = settings.render_hash
    status.say(
        f"The source camera saw {settings.coverage_mean:.0%} of the shot, "
        f"{settings.coverage_min:.0%} of its worst frame."
    )


def _start_waiting(event: ev.JobFinished) -> None:
    """Takes that waited for this render are made now, also where the scene's camera has moved on since."""
    for _, strip in strips.every():
        if strip[strips.STATE] == strips.WAITING and strip[strips.AFTER] == event.job_id:
            strip[strips.STATE], strip[strips.AFTER] = strips.WORKING, ""
            jobs.send_generate(strip, event.artifact)


def _generated(event: ev.JobFinished) -> None:
    """The take is whole. There is no undo step of it: `catch_up` brings back whatever an undo takes off its strip."""
    take = _with_versions(event)
    _put_frames(event.job_id, event.folder)
    if strips.finish(event.job_id, take):
        status.say(f"The take '{event.folder.name}' is finished.")
    else:
        status.say(
            f"The take '{event.folder.name}' is finished; its strip was removed.",
            hint=f"Its frames are in '{event.folder / 'frames'}'.",
            level="WARNING",
        )


def _with_versions(event: ev.JobFinished) -> dict[str, object]:
    """The take's side-car, with the versions of this side in it, on the disk too.

    Raises:
        Ex4dError: NOT_FOUND, DISK.
    """
    file = event.folder / "take.json"
    take = sidecar.read_json(file)
    asked = next((strip[strips.SETTINGS].to_dict() for _, strip in strips.of_job(event.job_id)), {})
    take["made_in"] = asked.get("made_in") or versions.of_this_side()
    project.write_file(file, json.dumps(take, indent=1).encode())
    return take


def _put_frames(job_id: str, folder: Path) -> None:
    for frame in sorted((folder / "frames").glob("[0-9]*.png")):
        strips.put_frame(job_id, int(frame.stem), frame.name)


def failed(event: ev.JobFailed) -> None:
    """A job ended without a result: what waited for it is taken back."""
    status.idle(event.job_id)
    for scene in _scenes("reconstruct_job", event.job_id):
        scene.ex4d.reconstruct_job, scene.ex4d.reconstruct_keeps = "", None
        places.remove_unfinished(places.resolved(scene.ex4d.reconstruct_folder))
    for scene in _scenes("render_job", event.job_id):
        scene.ex4d.render_job = scene.ex4d.render_hash = ""
    for _, strip in list(strips.every()):
        job_id = strip[strips.JOB]
        if job_id == event.job_id or (strip[strips.STATE] == strips.WAITING and strip[strips.AFTER] == event.job_id):
            folder = strips.take_folder(strip)
            if not strips.withdraw(job_id):
                places.remove_unfinished(folder)
    status.say(event.message, hint=event.hint, level="INFO" if event.code == "CANCELLED" else "ERROR")


def _scenes(record: str, job_id: str) -> Iterator[bpy.types.Scene]:
    return (scene for scene in list(bpy.data.scenes) if getattr(scene.ex4d, record) == job_id)


# ---- after an undo, or when a file is opened


def catch_up() -> None:
    """Put onto the strips what lies in their folders already. Needs no backend.

    An older state of the .blend has strips that show less than has arrived; a finished take is finished at once.
    """
    for _, strip in list(strips.every()):
        if strip[strips.STATE] not in (strips.WORKING, strips.WAITING):
            continue
        job_id, folder = strip[strips.JOB], strips.take_folder(strip)
        _put_frames(job_id, folder)
        if strips.arrived(strip) < len(strip.elements):
            continue
        try:
            take = sidecar.read_json(folder / "take.json")
        except Ex4dError:  # the last file of a take, which is still to come
            continue
        if "made_in" in take:  # everything that belongs to it was here
            strips.finish(job_id, take)


def take_back() -> bool:
    """After an undo: a reconstruction that it took away is not to be brought in a second time. True: there was one."""
    undone = [scene for scene in bpy.data.scenes if scene.ex4d.reconstruct_job in _built]
    for scene in undone:
        scene.ex4d.reconstruct_job = ""
    return bool(undone)
