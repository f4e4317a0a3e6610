# SPDX-License-Identifier: Apache-2.0
"""One encrypted connection to a backend, and what can be told about why there is none.

ZeroMQ hides connections: it retries for ever and queues for peers that do not exist. An artist needs the opposite, so
this asks the socket's monitor what really happened, never retries by itself and never waits without a limit.
"""

from __future__ import annotations

import math
import time
from typing import Any, Final

import zmq
from zmq.utils.monitor import recv_monitor_message

from .connection import Connection
from .errors import BAD_MESSAGE, NOT_A_BACKEND, UNREACHABLE, Ex4dError
from .limits import MAX_HEADER

_REFUSED: Final = (
    zmq.Event.HANDSHAKE_FAILED_NO_DETAIL,
    zmq.Event.HANDSHAKE_FAILED_PROTOCOL,
    zmq.Event.HANDSHAKE_FAILED_AUTH,
)
_HINT: Final = "Start the backend again, or choose another port for it."


class Link:
    """A DEALER socket with CURVE. Used from one thread.

    Args:
        connection: from the connection file.
        timeout_s: how long the other side may take to prove that it is the backend of that file.

    Raises:
        Ex4dError: UNREACHABLE when nothing listens there, NOT_A_BACKEND when something else does or the keys are
            refused.
    """

    def __init__(self, connection: Connection, timeout_s: float) -> None:
        self._where = connection.address.removeprefix("tcp://")
        self._alive = False
        self._context = zmq.Context(1)
        self._socket = self._context.socket(zmq.DEALER)
        try:
            self._monitor = self._open(connection)
            self._poller = zmq.Poller()
            self._poller.register(self._socket, zmq.POLLIN)
            self._poller.register(self._monitor, zmq.POLLIN)
            self._shake_hands(timeout_s)
        except BaseException:
            self.close()
            raise

    def _open(self, connection: Connection) -> zmq.Socket[bytes]:
        s = self._socket
        s.linger = 0
        s.immediate = 1  # no queue for a peer that is not there
        s.sndhwm, s.rcvhwm = 64, 1000
        s.maxmsgsize = MAX_HEADER + (1 << 16)
        s.reconnect_ivl = -1  # a backend that comes back has new keys
        s.handshake_ivl = 5000
        try:
            s.curve_serverkey = connection.server_public.encode()
            s.curve_publickey = connection.client_public.encode()
            s.curve_secretkey = connection.client_secret.encode()
        except (zmq.ZMQError, ValueError) as exc:
            raise Ex4dError(NOT_A_BACKEND, "The keys in the connection file are damaged.", _HINT) from exc
        monitor: zmq.Socket[bytes] = s.get_monitor_socket()
        monitor.linger = 0
        s.connect(connection.address)
        return monitor

    def _shake_hands(self, timeout_s: float) -> None:
        deadline = time.monotonic() + timeout_s
        connected = False
        while (left := deadline - time.monotonic()) > 0.0:
            self._poller.poll(math.ceil(left * 1000.0))
            for event in self._events():
                if event == zmq.Event.HANDSHAKE_SUCCEEDED:
                    self._alive = True
                    return
                if event == zmq.Event.CONNECTED:
                    connected = True
                elif event in _REFUSED or (connected and event == zmq.Event.DISCONNECTED):
                    raise self._not_a_backend(event)
                elif event == zmq.Event.CLOSED:  # the system refused the connection
                    raise Ex4dError(
                        UNREACHABLE,
                        f"No backend answers: nothing listens at {self._where}.",
                        "Start the backend.",
                    )
        if connected:
            raise self._not_a_backend(None)
        raise Ex4dError(UNREACHABLE, f"No backend answers at {self._where}.", "Start the backend.")

    def _not_a_backend(self, event: int | None) -> Ex4dError:
        if event == zmq.Event.HANDSHAKE_FAILED_AUTH:
            return Ex4dError(
                NOT_A_BACKEND, f"The backend at {self._where} refuses the key of the connection file.", _HINT
            )
        return Ex4dError(
            NOT_A_BACKEND,
            f"Another program answers at {self._where}, or a backend with other keys than the connection file's.",
            _HINT,
        )

    def _events(self) -> list[int]:
        found = []
        while self._monitor.poll(0):
            found.append(int(recv_monitor_message(self._monitor, zmq.NOBLOCK)["event"]))
        return found

    def _lost(self) -> Ex4dError:
        return Ex4dError(
            UNREACHABLE,
            f"The backend at {self._where} has gone away.",
            "Start it again; its jobs go on where they were.",
        )

    def send(self, parts: list[bytes], timeout_s: float) -> None:
        """Sends one message.

        Raises:
            Ex4dError: UNREACHABLE when the backend is gone, or takes nothing for `timeout_s`.
        """
        self._check()
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                self._socket.send_multipart(parts, zmq.NOBLOCK)
                return
            except zmq.Again as exc:
                self._check()
                if time.monotonic() >= deadline:
                    raise Ex4dError(UNREACHABLE, f"The backend at {self._where} takes no messages.") from exc
                self._socket.poll(20, zmq.POLLOUT)

    def receive(self, timeout_s: float) -> list[bytes] | None:
        """One message, or None when none came in `timeout_s`.

        Raises:
            Ex4dError: UNREACHABLE when the backend is gone and nothing is left to read.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                parts: list[Any] = self._socket.recv_multipart(zmq.NOBLOCK)
                return parts
            except zmq.Again:
                self._check()
            except zmq.ZMQError as exc:
                raise Ex4dError(BAD_MESSAGE, f"The connection to {self._where} failed: {exc}.") from exc
            left = deadline - time.monotonic()
            if left <= 0.0:
                return None
            self._poller.poll(math.ceil(left * 1000.0))

    def _check(self) -> None:
        if any(event == zmq.Event.DISCONNECTED for event in self._events()):
            self._alive = False
        if not self._alive:
            raise self._lost()

    def close(self) -> None:
        """Closes the sockets at once. May be called twice."""
        self._alive = False
        if not self._socket.closed:
            self._socket.disable_monitor()
            self._socket.close(0)
        self._context.destroy(0)
