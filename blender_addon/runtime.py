# SPDX-License-Identifier: GPL-3.0-or-later
"""What lives as long as the extension is switched on: the background session and the last news of the connection."""

from __future__ import annotations

from shared_protocol.errors import UNREACHABLE, VERSION, Ex4dError
from shared_protocol.messages import PROTOCOL, Door, Welcome

from . import places, preferences
from .core import events as ev
from .core.session import Session

_sessions: list[Session] = []  # none or one
_link: list[ev.LinkChanged] = []  # the last one
_welcome: list[Welcome] = []  # of the backend that was connected last: what it has does not change while it is away


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
    _welcome.clear()


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
    if event.welcome is not None:
        _welcome[:] = [event.welcome]


def link() -> ev.LinkChanged:
    """The last news of the connection."""
    return _link[0] if _link else ev.LinkChanged(ev.OFF, "Not connected.")


def need_backend() -> None:
    """Pass when a backend is connected, or will be again, that knows all that it may be asked for.

    Raises:
        Ex4dError: UNREACHABLE or VERSION, with what to do.
    """
    state = link().state
    if state in (ev.CONNECTED, ev.RECONNECTING):
        if _welcome and _welcome[0].protocol < PROTOCOL:  # it would skip what it does not know, without a word
            theirs, ours = (".".join(map(str, version)) for version in (_welcome[0].protocol, PROTOCOL))
            raise Ex4dError(
                VERSION,
                f"The backend is older than this extension (protocol {theirs}; {ours} is needed).",
                "Update the backend, so that both come from the same release.",
            )
        return
    if state in (ev.STARTING, ev.CONNECTING):
        raise Ex4dError(UNREACHABLE, "The backend is not connected yet.", "Wait a moment and try again.")
    raise Ex4dError(UNREACHABLE, "No backend is running.", "Press Start Backend first.")


def doors(kind: str) -> tuple[Door, ...]:
    """The estimators ("depth"), rasterizers or generators of the backend that was connected last."""
    return tuple(d for welcome in _welcome for d in welcome.doors if d.kind == kind)
