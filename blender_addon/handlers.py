# SPDX-License-Identifier: GPL-3.0-or-later
"""When a .blend is opened, or a step undone, jobs that are unfinished by what it says are taken up again."""

from __future__ import annotations

from typing import Any

import bpy
from bpy.app.handlers import persistent

from shared_protocol.errors import Ex4dError

from . import jobs, preferences, runtime, status
from .core import events as ev


@persistent
def take_up_jobs(*_: Any) -> None:
    """Follow the jobs of the file that was opened, and let go of those of the one before."""
    link = runtime.link()
    state = status.get()
    state.link, state.text, state.hint, state.level = link.state, link.message, link.hint, "INFO"
    status.idle()
    runtime.send(ev.ForgetJobs())
    if _follow() and link.state in (ev.OFF, ev.FAILED):
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
    _follow()


def _follow() -> int:
    commands = jobs.unfinished()
    for command in commands:
        runtime.send(command)
    return len(commands)


_HANDLERS = (
    (bpy.app.handlers.load_post, take_up_jobs),
    (bpy.app.handlers.undo_post, after_undo),
    (bpy.app.handlers.redo_post, after_undo),
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
