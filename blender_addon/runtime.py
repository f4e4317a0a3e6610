# SPDX-License-Identifier: GPL-3.0-or-later
"""What lives as long as the extension is switched on: the background session and the last news of the connection."""

from __future__ import annotations

from shared_protocol.errors import UNREACHABLE, Ex4dError
from shared_protocol.messages import Door

from . import places, preferences
from .core import events as ev
from .core.session import Session

_sessions: list[Session] = []  # none or one
_link: list[ev.LinkChanged] = []  # the last one


def start() -> None:
    """Start the background thread."""
    session = Session()
    session.start()
    _sessions.append(session)


def stop() -> None:
    """End it."""
    while _sessions:
        _sessions.pop().close()
    _link.clear()


def send(command: ev.Command) -> None:
    """Hand a command to the background thread."""
    _sessions[0].send(command)


def next_event() -> ev.Event | None:
    """The oldest event that was not looked at, or None."""
    return _sessions[0].next_event() if _sessions else None


def connect(*, start_program: bool) -> None:
    """Connect to the backend of the preferences; with `start_program`, start it where none answers.

    Raises:
        Ex4dError: BAD_INPUT when no program is set.
    """
    settings = preferences.settings()
    if start_program:
        log = places.user_folder() / "backend.log"
        send(ev.Launch(settings.command(), settings.connection_file, log))
    else:
        send(ev.Connect(settings.connection_file))


def link_changed(event: ev.LinkChanged) -> None:
    """Keep the news of the connection."""
    _link[:] = [event]


def link() -> ev.LinkChanged:
    """The last news of the connection."""
    return _link[0] if _link else ev.LinkChanged(ev.OFF, "Not connected.")


def need_backend() -> None:
    """Pass when a backend is connected, or will be again.

    Raises:
        Ex4dError: UNREACHABLE, with what to do.
    """
    state = link().state
    if state in (ev.CONNECTED, ev.RECONNECTING):
        return
    if state in (ev.STARTING, ev.CONNECTING):
        raise Ex4dError(UNREACHABLE, "The backend is not connected yet.", "Wait a moment and try again.")
    raise Ex4dError(UNREACHABLE, "No backend is running.", "Press Start Backend first.")


def doors(kind: str) -> tuple[Door, ...]:
    """The estimators ("depth"), rasterizers or generators of the connected backend."""
    welcome = link().welcome
    return tuple(d for d in welcome.doors if d.kind == kind) if welcome is not None else ()
