# SPDX-License-Identifier: GPL-3.0-or-later
"""Brings the background thread's events into Blender, a few milliseconds at a time.

`pump` is a plain function: Blender's timer calls it, and so do scripts and tests, since timers do not run in
Blender's Python module.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable

import bpy

from shared_protocol.errors import Ex4dError

from . import glimpse, handlers, jobs, options, results, runtime, status
from .core import events as ev

_log = logging.getLogger(__name__)

_BUSY_S, _IDLE_S = 0.05, 0.2  # between two ticks
_CHANGES_FILE = (ev.FileArrived, ev.JobFinished, ev.JobFailed)

_waiting: deque[ev.Event] = deque()  # events that change data, held back while Blender renders
_switched_on: list[bool] = []  # until the first tick: the open file was not looked at


def pump(budget_s: float = 0.004) -> int:
    """Handle events until there are none, or the time is up. Returns how many were handled.

    One event is always handled whole; the longest is the building of a reconstruction.

    Args:
        budget_s: no event is begun after this many seconds.
    """
    if _switched_on:
        _switched_on.clear()
        _guarded("looking for jobs", handlers.look_for_jobs)
    # Strips and objects must not change under a renderer.
    rendering = bpy.app.is_job_running("RENDER") or bpy.app.is_job_running("OBJECT_BAKE")
    if not rendering:
        _guarded("keeping options", options.keep_up)
    end = time.monotonic() + budget_s
    handled = 0
    while time.monotonic() < end:
        if _waiting and not rendering:
            event: ev.Event | None = _waiting.popleft()
        else:
            event = runtime.next_event()
            if isinstance(event, _CHANGES_FILE) and rendering:
                _waiting.append(event)
                continue
        if event is None:
            break
        _guarded(type(event).__name__, _dispatch, event)
        handled += 1
    if handled:
        status.redraw()
    return handled


def _guarded(what: str, work: Callable[..., None], *arguments: ev.Event) -> None:
    try:
        work(*arguments)
    except Ex4dError as e:
        status.idle()
        status.fail(e)
    except Exception:  # a timer that raises is taken off by Blender, and everything would stand still
        _log.exception("while handling %s", what)
        status.say("Something went wrong in the extension.", hint="The log says more.", level="ERROR")


def _dispatch(event: ev.Event) -> None:
    match event:
        case ev.LinkChanged():
            runtime.link_changed(event)
            status.get().link = event.state
            if event.state != ev.CONNECTED:
                status.get().left = ""  # nobody works on it now, or nobody knows
            bad = event.state in (ev.FAILED, ev.RECONNECTING)
            level = "ERROR" if event.state == ev.FAILED else "WARNING" if bad else "INFO"
            status.say(event.message, hint=event.hint, level=level)
        case ev.Uploading() if jobs.is_known(event.job_id):
            status.progress(event.job_id, f"Sending {event.name}", event.done, event.total)
        case ev.JobChanged():
            info = event.info
            if not jobs.is_known(info.job_id):  # of a file that was open before
                return
            count = f"{info.done}/{info.total}  " if info.total else ""
            left = "" if info.seconds_left is None else f"About {_time(info.seconds_left)} left"
            status.progress(info.job_id, f"{count}{info.phase or info.state}", info.done, info.total, left)
        case ev.GlimpseArrived() if jobs.is_known(event.job_id):
            glimpse.show(event.job_id, event.width, event.height, event.rgb)
        case ev.FileArrived():
            results.file_arrived(event)
        case ev.JobFinished():
            glimpse.clear(event.job_id)
            results.finished(event)
        case ev.JobFailed():
            glimpse.clear(event.job_id)
            results.failed(event)
        case ev.Exported():
            status.say(f"Exported {event.files} files to '{event.destination}'.")
        case ev.Problem():
            status.fail(Ex4dError(event.code, event.message, event.hint))


def _time(seconds: int) -> str:
    """A length of time for a person, as exact as a guess can be."""
    if seconds < 60:
        return f"{seconds} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _tick() -> float:
    return _BUSY_S if pump() or status.get().job_id else _IDLE_S


def register() -> None:
    """Start the background thread and the timer. The open file is out of reach until the timer ticks."""
    runtime.start()
    _switched_on[:] = [True]
    bpy.app.timers.register(_tick, first_interval=_BUSY_S, persistent=True)


def unregister() -> None:
    """Stop both."""
    if bpy.app.timers.is_registered(_tick):
        bpy.app.timers.unregister(_tick)
    runtime.stop()
    _waiting.clear()
    _switched_on.clear()
