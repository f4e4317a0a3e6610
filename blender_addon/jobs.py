# SPDX-License-Identifier: GPL-3.0-or-later
"""Rendering and generating, from what is in the .blend to the backend, and what is under way. What comes back is for
`results`; reconstructing is in `reconstruct_job`.

Which jobs are under way is told by the .blend alone: by the records of its scenes and strips, which undo and loading
bring back.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import bpy

from shared_protocol.client import new_job_id
from shared_protocol.errors import Ex4dError
from shared_protocol.messages import Generate, Render

from . import camera_path, compat, options, places, reconstruction, runtime, status, strips, versions
from .core import events as ev
from .core import project, sidecar

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
    settings = scene.ex4d
    before = lead_in(scene)
    job = replace(
        camera_path.render_job(scene),
        geometry=geometry(scene),
        persist=settings.persist,
        lead_in=before,
        seed=settings.seed if before else 0,
    )
    reconstruction.show_geometry(scene, job.geometry)
    return Shot(job, sidecar.shot_hash(job))


def geometry(scene: bpy.types.Scene) -> str:
    """What a rendering is asked for: the scene's choice, else what its generator works best with."""
    settings = scene.ex4d
    if settings.geometry != "auto":
        return str(settings.geometry)
    wishes = [door.geometry for door in options.of(scene, options.GENERATOR)]
    return (wishes or [""])[0] or Render.geometry


def lead_in(scene: bpy.types.Scene) -> int:
    """How many frames a rendering is asked to put before the shot, should it start elsewhere than the source camera."""
    settings = scene.ex4d
    if not settings.lead_in_auto:
        return int(settings.lead_in)
    return next((door.lead_in for door in options.of(scene, options.GENERATOR)), Render.lead_in)


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
    status.progress(
        settings.render_job, "Rendering what the camera sees", 0, len(wanted.job.cameras) + wanted.job.lead_in
    )
    status.say("Rendering what the camera sees of the clip…", hint=places.save_hint())
    return str(settings.render_job)


def rendered_artifact(scene: bpy.types.Scene, wanted: Shot) -> str:
    """The artifact of this very shot if it was rendered and its files are here, else ""."""
    settings = scene.ex4d
    here = settings.render_folder and (places.resolved(settings.render_folder) / "coverage.json").is_file()
    return str(settings.render_artifact) if settings.render_hash == wanted.hash and here else ""


# ---- generate


def generate(context: bpy.types.Context, scene: bpy.types.Scene) -> None:
    """Make a new take: a strip at once, its frames as they come. Renders first where the camera changed since.

    Raises:
        Ex4dError: as `sample` and `render`; DISK.
    """
    settings = scene.ex4d
    runtime.need_backend()
    wanted, given = sample(scene), options.asked(scene, options.GENERATOR)
    take = project.new_version(
        places.project_folder() / "takes", settings.take_name or camera_path.collection_of(scene)
    )
    artifact = rendered_artifact(scene, wanted)
    job_id = new_job_id()
    try:
        waits_for = "" if artifact else render(scene, wanted)
        made = strips.add(
            context,
            compat.sequencer_scene(context),
            take,
            size=(wanted.job.width, wanted.job.height),
            frames=len(wanted.job.cameras),
            job_id=job_id,
            after=waits_for,
            settings={
                "generator": settings.generator,
                "seed": settings.seed,
                "options": given,
                "geometry": wanted.job.geometry,
                "persist": wanted.job.persist,
                "lead_in": wanted.job.lead_in,
                "render_folder": settings.render_folder,
                "made_in": versions.of_this_side(),
            },
        )
    except Ex4dError:
        places.remove_unfinished(take)
        raise
    settings.take_folder = places.stored(take)
    if artifact:
        send_generate(next(strip for _, strip in strips.of_job(job_id)), artifact)
    status.say(f"Making the take '{made}'…", hint=places.save_hint())


def _generate_command(strip: bpy.types.Strip) -> ev.StartJob:
    """The job of a strip. Sent again under the same id, it is the same job."""
    wanted = strip[strips.SETTINGS]
    given = wanted["options"].to_dict() if "options" in wanted else {}
    job = Generate(
        wanted["conditioning"],
        generator=wanted["generator"],
        seed=wanted["seed"],
        options=tuple(sorted(given.items())),
    )
    folder, render_folder = strips.take_folder(strip), places.resolved(wanted["render_folder"])
    return ev.StartJob(strip[strips.JOB], job, folder, link_from=render_folder)


def send_generate(strip: bpy.types.Strip, conditioning: str) -> None:
    """Have a strip's take made from the rendered shot with this artifact id."""
    strip[strips.SETTINGS]["conditioning"] = conditioning
    runtime.send(_generate_command(strip))
    status.progress(strip[strips.JOB], "Waiting for the first frame", 0, len(strip.elements))


# ---- what is under way


def cancel_all() -> int:
    """Cancel what runs for the open file. Returns how many jobs that were."""
    found = {command.job_id for command in unfinished()}
    # A take that waits for its render would be begun if the render were finished at this very moment.
    waiting = {strip[strips.JOB] for _, strip in strips.every() if strip[strips.STATE] == strips.WAITING}
    for job_id in found | waiting:
        runtime.send(ev.CancelJob(job_id))
    return len(found)


def is_known(job_id: str) -> bool:
    """Whether the open file has this job under way."""
    return any(command.job_id == job_id for command in unfinished())


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
        if strip[strips.STATE] == strips.WORKING and "conditioning" in strip[strips.SETTINGS]:
            command = _generate_command(strip)
            found[command.job_id] = command
        elif strip[strips.STATE] == strips.WAITING:
            job, folder = strip[strips.AFTER], strip[strips.SETTINGS]["render_folder"]
            found.setdefault(job, ev.FollowJob(job, places.resolved(folder)))
    return list(found.values())
