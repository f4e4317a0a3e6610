# SPDX-License-Identifier: GPL-3.0-or-later
"""When a .blend is opened, its unfinished jobs are taken up again."""

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
    open_jobs = jobs.unfinished()
    for command in open_jobs:
        runtime.send(command)
    if open_jobs and link.state in (ev.OFF, ev.FAILED):
        try:
            if preferences.settings().connection_file.is_file():
                runtime.connect(start_program=False)
            else:
                status.say("Jobs of this file are not finished.", hint="Press Start Backend to go on.", level="WARNING")
        except Ex4dError as e:
            status.fail(e)


def register() -> None:
    """Listen."""
    bpy.app.handlers.load_post.append(take_up_jobs)


def unregister() -> None:
    """Stop listening."""
    if take_up_jobs in bpy.app.handlers.load_post:
        bpy.app.handlers.load_post.remove(take_up_jobs)
