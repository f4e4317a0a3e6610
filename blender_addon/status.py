# SPDX-License-Identifier: GPL-3.0-or-later
"""The status line: one sentence that says what happened and, where it helps, what to do about it."""

from __future__ import annotations

import logging

import bpy

from shared_protocol.errors import Ex4dError

_log = logging.getLogger(__name__)
_LEVELS = {"INFO": logging.INFO, "WARNING": logging.WARNING, "ERROR": logging.ERROR}
_AREAS = ("VIEW_3D", "SEQUENCE_EDITOR")


def get() -> bpy.types.PropertyGroup:
    """The status of this Blender session."""
    return bpy.data.window_managers[0].ex4d


def say(text: str, *, hint: str = "", level: str = "INFO") -> None:
    """Put a sentence into the status line and the log."""
    status = get()
    if (status.text, status.hint, status.level) == (text, hint, level):
        return
    status.text, status.hint, status.level = text, hint, level
    _log.log(_LEVELS[level], "%s %s", text, hint)


def fail(error: Ex4dError) -> None:
    """Show an error."""
    say(error.message, hint=error.hint, level="ERROR")


def progress(job_id: str, phase: str, done: int, total: int, left: str = "") -> None:
    """Move the bar. `left`: how long the phase still takes, in words."""
    status = get()
    status.job_id, status.phase, status.left = job_id, phase, left
    status.progress = done / total if total > 0 else 0.0


def idle(job_id: str = "") -> None:
    """Take the bar away (only if it shows this job, where one is given)."""
    status = get()
    if not job_id or status.job_id == job_id:
        status.job_id, status.phase, status.left, status.progress = "", "", "", 0.0


def redraw() -> None:
    """Have the panels drawn again."""
    for window in bpy.data.window_managers[0].windows:
        for area in window.screen.areas:
            if area.type in _AREAS:
                area.tag_redraw()
