# SPDX-License-Identifier: Apache-2.0
"""The server's socket: ROUTER with CURVE on loopback, one client key pair a start, nobody can hold up the others."""

from __future__ import annotations

import ipaddress
import logging
from dataclasses import dataclass
from typing import Any, Final

import zmq
import zmq.auth
from zmq.auth.thread import ThreadAuthenticator

from shared_protocol.errors import BAD_INPUT, PORT_TAKEN, UNSUPPORTED, Ex4dError
from shared_protocol.limits import MAX_HEADER, MAX_PART

_log = logging.getLogger(__name__)

_QUEUE: Final = 100  # messages that may wait for a client that does not read
_DOMAIN: Final = "ex4d"

Parts = list[bytes]


@dataclass(frozen=True)
class Keys:
    """Z85 text."""

    server_public: str
    client_public: str
    client_secret: str


class Router:
    """A bound socket. Used from one thread.

    Args:
        host: a loopback address.
        port: 0 = any free one.

    Raises:
        Ex4dError: UNSUPPORTED for a host that is not loopback, PORT_TAKEN, BAD_INPUT.
    """

    def __init__(self, host: str, port: int) -> None:
        host = _loopback(host)
        server_public, server_secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        self.keys = Keys(server_public.decode(), client_public.decode(), client_secret.decode())
        self._context = zmq.Context(1)
        self._guard = ThreadAuthenticator(self._context, log=logging.getLogger("backend.guard"))
        self._guard.start()
        self._guard.configure_curve_callback(_DOMAIN, _OneKey(client_public))
        self._socket = self._context.socket(zmq.ROUTER)
        try:
            self._set_up(server_public, server_secret)
            self._bind(host, port)
        except BaseException:
            self.close()
            raise
        endpoint: Any = self._socket.getsockopt(zmq.LAST_ENDPOINT)
        self.address: str = endpoint.rstrip(b"\0").decode()

    def _set_up(self, public: bytes, secret: bytes) -> None:
        s = self._socket
        s.curve_server = True
        s.curve_publickey, s.curve_secretkey = public, secret
        s.zap_domain = _DOMAIN.encode()
        s.setsockopt(zmq.ZAP_ENFORCE_DOMAIN, 1)
        s.linger = 0
        s.router_mandatory = 1  # a client that is gone or full gives an error, not silence
        s.sndhwm = s.rcvhwm = _QUEUE
        s.maxmsgsize = max(MAX_HEADER, MAX_PART) + (1 << 10)
        s.handshake_ivl = 5000
        s.heartbeat_ivl, s.heartbeat_timeout = 5000, 30000  # finds clients whose machine stands still

    def _bind(self, host: str, port: int) -> None:
        where = f"{host}:{port}"
        try:
            self._socket.bind(f"tcp://{host}:{port or '*'}")
        except zmq.ZMQError as exc:
            if exc.errno == zmq.EADDRINUSE:
                raise Ex4dError(
                    PORT_TAKEN,
                    f"Another program uses {where}.",
                    "Choose another port with --port; 0 takes a free one.",
                ) from exc
            raise Ex4dError(BAD_INPUT, f"The backend cannot listen at {where}: {exc.strerror}.") from exc

    @property
    def socket(self) -> zmq.Socket[bytes]:
        """For a poller."""
        return self._socket

    def receive(self) -> tuple[bytes, Parts] | None:
        """The next message and its client, or None."""
        try:
            client, *parts = self._socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return None
        return client, parts

    def send(self, client: bytes, parts: Parts) -> bool:
        """Sends without waiting. False: the client's queue is full.

        Raises:
            ConnectionError: the client is gone.
        """
        try:
            self._socket.send_multipart([client, *parts], zmq.NOBLOCK)
        except zmq.Again:
            return False
        except zmq.ZMQError as exc:
            raise ConnectionError(str(exc)) from exc
        return True

    def close(self) -> None:
        """Closes the port at once."""
        self._socket.close(200)  # milliseconds for last words
        self._guard.stop()
        self._context.term()


class _OneKey:
    """Tells the authenticator which keys may come in: one."""

    def __init__(self, public: bytes) -> None:
        self._public = public

    def callback(self, domain: str, key: bytes | Any) -> bool:
        """Called for each connection."""
        known: bool = key == self._public
        if not known:
            _log.warning("a client with an unknown key was refused")
        return known


def _loopback(host: str) -> str:
    text = "127.0.0.1" if host == "localhost" else host
    try:
        address = ipaddress.ip_address(text)
    except ValueError as exc:
        raise Ex4dError(BAD_INPUT, f"'{host}' is not an address of this machine.", "Use 127.0.0.1.") from exc
    if address.version != 4 or not address.is_loopback:
        raise Ex4dError(
            UNSUPPORTED,
            f"The backend does not listen at {host}: only programs on this machine may connect (127.0.0.1).",
            "For another machine, forward the port, for example with ssh -L.",
        )
    return text
