# SPDX-License-Identifier: GPL-3.0-or-later
"""What happens when a .blend is opened or saved, or a step undone.

Jobs that are unfinished by what the file says are taken up again, and paths that are kept in it go on leading to the
same files when it is saved in another folder: Blender sees to that for its own paths, not for those in properties.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bpy
from bpy.app.handlers import persistent

from shared_protocol.errors import Ex4dError

from . import clip_record, glimpse, jobs, places, preferences, properties, results, runtime, status, strips
from .core import events as ev


@persistent
def take_up_jobs(*_: Any) -> None:
    """Follow the jobs of the file that was opened, and let go of those of the one before."""
    link = runtime.link()
    state = status.get()
    state.link, state.text, state.hint, state.level = link.state, link.message, link.hint, "INFO"
    status.idle()
    glimpse.clear()
    runtime.send(ev.ForgetJobs())
    look_for_jobs()


def look_for_jobs() -> None:
    """Take up the unfinished jobs of the open file, and look for the backend when there are some."""
    results.catch_up()
    if _follow() and runtime.link().state in (ev.OFF, ev.FAILED):
        try:
            if preferences.settings().connection_file.is_file():
                runtime.connect(start_program=False)
            else:
                status.say("Jobs of this file are not finished.", hint="Press Start Backend to go on.", level="WARNING")
        except Ex4dError as e:
            status.fail(e)


@persistent
def after_undo(*_: Any) -> None:
    """An undo brings back an older state of strips and job records: what arrived since is put in again."""
    results.catch_up()
    if results.take_back():
        status.say("The reconstruction was undone.", hint="Redo brings it back.")
    _follow()


@persistent
def before_saving(target: str, *_: Any) -> None:
    """Make kept paths relative to where the file is about to be."""
    if target and bpy.data.filepath:
        _move_paths(Path(bpy.data.filepath).parent, Path(target).parent)


@persistent
def after_saving(target: str, *_: Any) -> None:
    """Where a copy was saved, or saving failed, the open file is still the one before."""
    if target and bpy.data.filepath:
        _move_paths(Path(target).parent, Path(bpy.data.filepath).parent)


def _move_paths(old: Path, new: Path) -> None:
    if old == new:
        return
    for scene in bpy.data.scenes:
        if scene.library is None:
            for name in properties.PATHS:
                setattr(scene.ex4d, name, places.moved(getattr(scene.ex4d, name), old, new))
    for collection in clip_record.marked():
        collection[clip_record.CLIP] = places.moved(collection[clip_record.CLIP], old, new)
    for scene, strip in strips.every():
        if scene.library is None:
            wanted = strip[strips.SETTINGS]
            wanted["render_folder"] = places.moved(wanted.get("render_folder", ""), old, new)


def _follow() -> int:
    commands = jobs.unfinished()
    for command in commands:
        runtime.send(command)
    return len(commands)


_HANDLERS = (
    (bpy.app.handlers.load_post, take_up_jobs),
    (bpy.app.handlers.undo_post, after_undo),
    (bpy.app.handlers.redo_post, after_undo),
    (bpy.app.handlers.save_pre, before_saving),
    (bpy.app.handlers.save_post, after_saving),
    (bpy.app.handlers.save_post_fail, after_saving),
)


def register() -> None:
    """Listen."""
    for handlers, function in _HANDLERS:
        handlers.append(function)


def unregister() -> None:
    """Stop listening."""
    for handlers, function in _HANDLERS:
        if function in handlers:
            handlers.remove(function)
