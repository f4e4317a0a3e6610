# SPDX-License-Identifier: GPL-3.0-or-later
"""The three jobs, from what is in the .blend to the backend and back.

Started by the operators; what comes back is handed over by the pump, on the main thread. Scenes and strips are found
by the ids of their jobs at the time, never kept: undo and loading replace them.
"""

from __future__ import annotations

import contextlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import bpy

from shared_protocol.client import new_job_id
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError
from shared_protocol.messages import Generate, Reconstruct, Render

from . import camera_path, compat, places, reconstruction, runtime, status, strips
from .core import events as ev
from .core import project, sidecar

_log = logging.getLogger(__name__)


# ---- reconstruct


def reconstruct(scene: bpy.types.Scene) -> None:
    """Send the scene's clip and have it reconstructed.

    Raises:
        Ex4dError: the clip or depth is not there, or no backend is connected.
    """
    settings = scene.ex4d
    clip = _chosen(settings.clip_path, "clip")
    depth = _chosen(settings.depth_path, "depth") if settings.depth_path else None
    if settings.reconstruct_job:
        raise Ex4dError(BAD_INPUT, "A clip is being reconstructed already.", "Wait for it, or cancel it.")
    runtime.need_backend()
    is_movie = clip.is_file() and clip.suffix.lower() not in project.PICTURES
    job = Reconstruct(
        clip=(),  # filled in when the files are uploaded
        depth_kind=settings.depth_kind,
        estimator=settings.estimator or "auto",
        first=settings.first_frame - 1,
        count=settings.frame_count,
        fps=None if is_movie else camera_path.frame_rate(scene),
        focal=settings.focal or None,
        max_side=settings.max_side,
    )
    name = clip.stem if is_movie else (clip.stem if clip.is_file() else clip.name).rstrip("_.-0123456789")
    folder = project.new_version(places.project_folder() / "scenes", project.clean_name(name, "clip"))
    settings.reconstruct_job = new_job_id()
    settings.reconstruct_folder = places.stored(folder)
    runtime.send(ev.StartJob(settings.reconstruct_job, job, folder, clip, depth))
    status.progress(settings.reconstruct_job, "Sending the clip", 0, 0)
    status.say(f"Reconstructing '{clip.name}'…", hint=_save_hint())


def _chosen(text: str, what: str) -> Path:
    if not text:
        raise Ex4dError(BAD_INPUT, f"No {what} is chosen.", f"Choose a {what} file.")
    path = places.resolved(text)
    if not path.exists():
        raise Ex4dError(NOT_FOUND, f"There is no {what} file '{path}'.", "Choose a file that exists.")
    return path


def _reconstructed(scene: bpy.types.Scene, event: ev.JobFinished) -> None:
    settings = scene.ex4d
    settings.reconstruct_job = ""
    built = reconstruction.build(scene, event.folder, name=event.folder.name, artifact=event.artifact)
    manifest = reconstruction.manifest_of(built.collection)
    settings.draft_depth = manifest.draft
    draft = " Draft depth: good for blocking out a move." if manifest.draft else ""
    status.say(
        f"Reconstructed {manifest.frames} frames of {manifest.width} x {manifest.height}.{draft}",
        hint="Lay down a camera move, or animate the shot camera yourself.",
    )
    _undo_step("EX-4D: Reconstruct")


# ---- render


@dataclass(frozen=True)
class Shot:
    """What the scene's camera is to be rendered as, and the name of all that."""

    job: Render
    hash: str


def sample(scene: bpy.types.Scene) -> Shot:
    """The scene's shot as it stands now.

    Raises:
        Ex4dError: nothing is reconstructed, or the camera is one that cannot be used.
    """
    job = camera_path.render_job(scene)
    return Shot(job, sidecar.shot_hash(job))


def render(scene: bpy.types.Scene, wanted: Shot) -> str:
    """Have the shot rendered, unless it was, or is being, already. Returns the job's id.

    Raises:
        Ex4dError: no backend is connected.
    """
    settings = scene.ex4d
    runtime.need_backend()
    if settings.render_hash == wanted.hash and settings.render_job and not settings.render_artifact:
        return str(settings.render_job)
    folder = places.project_folder() / "renders" / wanted.hash[:16]
    settings.render_job, settings.render_hash, settings.render_artifact = new_job_id(), wanted.hash, ""
    settings.render_folder = places.stored(folder)
    runtime.send(ev.StartJob(settings.render_job, wanted.job, folder))
    status.progress(settings.render_job, "Rendering what the camera sees", 0, len(wanted.job.cameras))
    status.say("Rendering what the camera sees of the clip…", hint=_save_hint())
    return str(settings.render_job)


def rendered_artifact(scene: bpy.types.Scene, wanted: Shot) -> str:
    """The artifact of this very shot if it was rendered and its files are here, else ""."""
    settings = scene.ex4d
    here = settings.render_folder and (places.resolved(settings.render_folder) / "coverage.json").is_file()
    return str(settings.render_artifact) if settings.render_hash == wanted.hash and here else ""


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
            _send_generate(strip, event.artifact)


# ---- generate


def generate(context: bpy.types.Context, scene: bpy.types.Scene) -> None:
    """Make a new take: a strip at once, its frames as they come. Renders first where the camera changed since.

    Raises:
        Ex4dError: as `sample` and `render`; DISK.
    """
    settings = scene.ex4d
    runtime.need_backend()
    wanted = sample(scene)
    artifact = rendered_artifact(scene, wanted)
    waits_for = "" if artifact else render(scene, wanted)
    name = settings.take_name or camera_path.collection_of(scene)
    take = project.new_version(places.project_folder() / "takes", name)
    job_id = new_job_id()
    made = strips.add(
        context,
        compat.sequencer_scene(context),
        take,
        size=(wanted.job.width, wanted.job.height),
        frames=len(wanted.job.cameras),
        job_id=job_id,
        after=waits_for,
        settings={"generator": settings.generator, "seed": settings.seed, "render_folder": settings.render_folder},
    )
    settings.take_folder = places.stored(take)
    if artifact:
        strip = next(s for _, s in strips.of_job(job_id))
        _send_generate(strip, artifact)
    status.say(f"Making the take '{made}'…", hint=_save_hint())


def _generate_command(strip: bpy.types.Strip) -> ev.StartJob:
    """The job of a strip. Sent again under the same id, it is the same job."""
    wanted = strip[strips.SETTINGS]
    job = Generate(wanted["conditioning"], generator=wanted["generator"], seed=wanted["seed"])
    folder, render_folder = strips.take_folder(strip), places.resolved(wanted["render_folder"])
    return ev.StartJob(strip[strips.JOB], job, folder, link_from=render_folder)


def _send_generate(strip: bpy.types.Strip, conditioning: str) -> None:
    strip[strips.SETTINGS]["conditioning"] = conditioning
    runtime.send(_generate_command(strip))
    status.progress(strip[strips.JOB], "Waiting for the first frame", 0, len(strip.elements))


def _generated(event: ev.JobFinished) -> None:
    take = sidecar.read_json(event.folder / "take.json")
    for frame in sorted((event.folder / "frames").glob("[0-9]*.png")):  # an undo may have taken some off the strip
        strips.put_frame(event.job_id, int(frame.stem), frame.name)
    if strips.finish(event.job_id, take):
        status.say(f"The take '{event.folder.name}' is finished.")
        _undo_step("EX-4D: Take")
    else:
        status.say(
            f"The take '{event.folder.name}' is finished; its strip was removed.",
            hint=f"Its frames are in '{event.folder / 'frames'}'.",
            level="WARNING",
        )


# ---- what comes back


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
    if event.kind == "generate":
        _generated(event)
        return
    if event.kind == "render":
        for scene in _scenes("render_job", event.job_id):
            _rendered(scene, event)
        _start_waiting(event)
        return
    scenes = list(_scenes("reconstruct_job", event.job_id))
    for scene in scenes:
        _reconstructed(scene, event)
    if not scenes:  # undone, or the scene was deleted
        status.say(
            "The reconstruction is finished, and no scene waits for it.",
            hint=f"Its files are in '{event.folder}'.",
            level="WARNING",
        )


def failed(event: ev.JobFailed) -> None:
    """A job ended without a result: what waited for it is taken back."""
    status.idle(event.job_id)
    for scene in _scenes("reconstruct_job", event.job_id):
        scene.ex4d.reconstruct_job = ""
        _remove_unfinished(places.resolved(scene.ex4d.reconstruct_folder), "scene.json")
    for scene in _scenes("render_job", event.job_id):
        scene.ex4d.render_job = scene.ex4d.render_hash = ""
    for _, strip in list(strips.every()):
        job_id = strip[strips.JOB]
        if job_id == event.job_id or (strip[strips.STATE] == strips.WAITING and strip[strips.AFTER] == event.job_id):
            folder = strips.take_folder(strip)
            if not strips.withdraw(job_id):
                _remove_unfinished(folder, "frames/[0-9]*.png")
    status.say(event.message, hint=event.hint, level="INFO" if event.code == "CANCELLED" else "ERROR")


def _scenes(record: str, job_id: str) -> Iterator[bpy.types.Scene]:
    return (scene for scene in list(bpy.data.scenes) if getattr(scene.ex4d, record) == job_id)


def _remove_unfinished(folder: Path, sign: str) -> None:
    """Remove a folder that was made for a job which gave nothing. Files like `sign` show that it gave something."""
    if folder.is_relative_to(places.project_folder()) and folder.is_dir() and not any(folder.glob(sign)):
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(folder)


def cancel_all() -> int:
    """Cancel what runs for the open file. Returns how many jobs that were."""
    found = {command.job_id for command in unfinished()}
    for job_id in found:
        runtime.send(ev.CancelJob(job_id))
    return len(found)


def unfinished() -> list[ev.StartJob | ev.FollowJob]:
    """Jobs that are not over by what the open file says, as commands that take them up again."""
    found: dict[str, ev.StartJob | ev.FollowJob] = {}
    for scene in bpy.data.scenes:
        settings = scene.ex4d
        jobs = [(settings.reconstruct_job, settings.reconstruct_folder)]
        if not settings.render_artifact:
            jobs.append((settings.render_job, settings.render_folder))
        found.update({job: ev.FollowJob(job, places.resolved(folder)) for job, folder in jobs if job})
    for _, strip in strips.every():
        if strip[strips.STATE] == strips.WORKING:
            command = _generate_command(strip)
            found[command.job_id] = command
        elif strip[strips.STATE] == strips.WAITING:
            job, folder = strip[strips.AFTER], strip[strips.SETTINGS]["render_folder"]
            found.setdefault(job, ev.FollowJob(job, places.resolved(folder)))
    return list(found.values())


def _undo_step(message: str) -> None:
    if bpy.ops.ed.undo_push.poll():
        bpy.ops.ed.undo_push(message=message)


def _save_hint() -> str:
    return (
        "" if places.is_saved() else f"Save the .blend to keep its files beside it; now: '{places.project_folder()}'."
    )
