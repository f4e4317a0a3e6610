# SPDX-License-Identifier: GPL-3.0-or-later
"""The connection to the backend over time: started, connected, lost, found again. Runs in the background thread."""

from __future__ import annotations

import logging
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from shared_protocol.client import Client
from shared_protocol.errors import NOT_A_BACKEND, UNREACHABLE, VERSION, Ex4dError

from . import events as ev
from .launch import backend_is_gone, connection_stamp, ended_early, start_program

_log = logging.getLogger(__name__)

LOST = frozenset({UNREACHABLE, NOT_A_BACKEND, VERSION})  # errors that mean: this connection is of no more use
_HANDSHAKE_S = 2.0  # for one attempt
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 4.0  # between attempts


class Link:
    """State machine around one `Client`. `tick` does at most one attempt to connect, and never waits longer.

    Args:
        emit: takes the events.
        connect: makes a client from a connection file; raises Ex4dError.
    """

    def __init__(self, emit: Callable[[ev.Event], None], connect: Callable[[Path, float], Client]) -> None:
        self.client: Client | None = None
        self._emit = emit
        self._connect = connect
        self._state = ev.OFF
        self._file: Path | None = None  # wanted; None = nobody wants a connection
        self._give_up: float | None = None  # monotonic time; None = never
        self._next = 0.0
        self._wait = _FIRST_WAIT_S
        self._launch: ev.Launch | None = None  # to be started when nobody answers
        self._process: subprocess.Popen[bytes] | None = None
        self._answered = False  # it did, once: its end is no failed start
        self._stale = b""  # connection file as it was before the program was started

    # ---- what the artist asks

    def want(self, command: ev.Connect | ev.Launch) -> None:
        """Connect (and start the program before, where asked and needed)."""
        if self.client is not None and command.connection_file == self._file:
            self._say(ev.CONNECTED, "The backend is connected.")
            return
        self._close_client()
        self._reap()
        self._file = command.connection_file
        self._launch = command if isinstance(command, ev.Launch) else None
        self._give_up = time.monotonic() + command.patience_s
        self._soon()
        starting = self._launch is not None
        self._say(
            ev.STARTING if starting else ev.CONNECTING,
            "Starting the backend…" if starting else "Connecting to the backend…",
        )

    def stop_backend(self) -> None:
        """Ask the backend to end, where one is connected; let go of it and do not look for it again."""
        said = "Not connected."
        if self.client is not None:
            try:
                self.client.shutdown()
            except Ex4dError as e:
                if e.code not in LOST:
                    raise
            said = "The backend was stopped."
        self._close_client()
        self._file = self._launch = self._give_up = None
        self._say(ev.OFF, said)

    # ---- as time goes by

    @property
    def wants(self) -> bool:
        """Whether `tick` has something to do."""
        return self._file is not None and self.client is None

    def tick(self) -> bool:
        """One attempt, when it is time for one. True: just connected."""
        if self.client is not None:
            self._reap()
        if self._file is None or self.client is not None or time.monotonic() < self._next:
            return False
        if (problem := self._program_problem()) is not None:
            self._fail(problem)
            return False
        stamp = connection_stamp(self._file)
        try:
            self._check(stamp)
            self.client = self._connect(self._file, _HANDSHAKE_S)
        except Ex4dError as e:
            self._not_yet(e, stamp)
            return False
        self._give_up = self._launch = None
        self._answered = True
        self._wait = _FIRST_WAIT_S
        welcome = self.client.welcome
        self._state = ev.CONNECTED
        self._emit(ev.LinkChanged(ev.CONNECTED, f"Connected to {welcome.server}.", welcome=welcome))
        return True

    def lost(self, error: Ex4dError) -> None:
        """The client raised: look for the backend until it answers again or is let go."""
        _log.warning("connection lost: %s", error)
        self._close_client()
        self._give_up = None
        self._wait = _FIRST_WAIT_S
        self._next = time.monotonic() + self._wait
        self._state = ev.RECONNECTING
        self._emit(
            ev.LinkChanged(
                ev.RECONNECTING,
                "The backend does not answer any more; looking for it…",
                "Press Start Backend if it was closed.",
                error.code,
            )
        )

    def close(self) -> None:
        """Close the socket. The program goes on."""
        self._close_client()

    # ---- details

    def _reap(self) -> None:
        """Forget a program of ours that has ended. That nobody answers, the client notices by itself."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None

    def _program_problem(self) -> Ex4dError | None:
        """Why waiting for the program we started has no point, or None."""
        if self._process is None or self._launch is None:
            return None
        error = ended_early(self._process, self._launch.log_file)
        if error is not None:
            self._process = None
        return None if self._answered else error

    def _check(self, stamp: bytes) -> None:
        """Raise for a connection file that is known to lead nowhere."""
        if not stamp:
            raise Ex4dError(UNREACHABLE, "No backend is running.", "Press Start Backend.")
        if self._process is not None and stamp == self._stale:
            raise Ex4dError(UNREACHABLE, "The backend is still starting.")
        if backend_is_gone(stamp):
            raise Ex4dError(UNREACHABLE, "No backend is running.", "Press Start Backend.")

    def _not_yet(self, error: Ex4dError, stamp: bytes) -> None:
        """An attempt failed: start the program, wait, or give up.

        A backend that is stopped in a debugger or swapped out looks like another program on its port, so one that was
        connected before is looked for until it is let go.
        """
        hopeful = {UNREACHABLE, NOT_A_BACKEND} if self._launch or self._state == ev.RECONNECTING else {UNREACHABLE}
        if error.code not in hopeful:
            self._fail(error)
            return
        if self._launch is not None and self._process is None:
            self._start(self._launch, stamp)
            return
        if self._give_up is not None and time.monotonic() > self._give_up:
            self._fail(error)
            return
        self._next = time.monotonic() + self._wait
        # A program that is starting is looked for at a steady pace, a lost one ever more seldom.
        self._wait = min(self._wait * (1.0 if self._process else 1.5), _LONGEST_WAIT_S)

    def _start(self, launch: ev.Launch, stamp: bytes) -> None:
        self._stale = stamp
        try:
            self._process = start_program(launch.command, launch.log_file)
        except Ex4dError as e:
            self._fail(e)
            return
        self._answered = False
        _log.info("started %s (pid %d)", launch.command[0], self._process.pid)
        self._soon()

    def _fail(self, error: Ex4dError) -> None:
        self._close_client()
        self._file = self._launch = self._give_up = None
        self._say(ev.FAILED, error.message, error.hint, error.code)

    def _soon(self) -> None:
        self._next, self._wait = 0.0, _FIRST_WAIT_S

    def _say(self, state: str, message: str, hint: str = "", code: str = "") -> None:
        self._state = state
        welcome = self.client.welcome if self.client is not None else None
        self._emit(ev.LinkChanged(state, message, hint, code, welcome))

    def _close_client(self) -> None:
        if self.client is not None:
            self.client.close()
            self.client = None
