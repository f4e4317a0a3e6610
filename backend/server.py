# SPDX-License-Identifier: Apache-2.0
"""One loop over everything: clients' messages, the worker's events, the clock. Imports no engine code."""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import socket
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import zmq

from ex4d.versions import project_version
from shared_protocol import connection as connections
from shared_protocol import messages as m
from shared_protocol.codec import DecodeError, Envelope, Message, decode, encode, version_clash
from shared_protocol.errors import INTERNAL, NOT_FOUND, Ex4dError

from .jobs import Jobs
from .journal import Journal
from .router import Router
from .shelf import Shelf
from .state_folder import StateFolder
from .store import Artifacts, Assets
from .supervisor import Event, Worker
from .uploads import Uploads
from .watches import Watches

_log = logging.getLogger(__name__)

_TICK_S: Final = 1.0
_FULL_S: Final = 0.05  # until a client whose queue is full is tried again
_BURST: Final = 32  # messages taken in before pushes get their turn
_READY_S: Final = 30.0  # that the worker may take to tell its doors before clients are let in without


class Server:
    """The backend's server process.

    Args:
        state: folder, locked.
        host: loopback.
        port: 0 = any.
        connection_file: written when clients may come; None = inside the state folder.
        exit_when_idle_s: ends when nothing runs and no client spoke for so long; 0 = never.

    Raises:
        Ex4dError: see `Router`, `Journal`.
    """

    def __init__(
        self,
        state: StateFolder,
        host: str = "127.0.0.1",
        port: int = 0,
        connection_file: Path | None = None,
        exit_when_idle_s: float = 0.0,
    ) -> None:
        self._state = state
        self._idle_s = exit_when_idle_s
        self._calls: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()  # from other threads
        self._wake_in, self._wake_out = socket.socketpair()
        self._wake_in.setblocking(False)
        self._wake_out.setblocking(False)
        self._stopping = False
        self._full = False  # whether some client did not take all of its news yet
        self._heard = time.monotonic()
        assets, self._artifacts = Assets(state.assets), Artifacts(state.artifacts)
        with contextlib.ExitStack() as undo:
            self._router = Router(host, port)
            undo.callback(self._router.close)
            self._journal = Journal(state.journal)
            undo.callback(self._journal.close)
            # First who is told, then what there is to tell: jobs from before have news as soon as they are read.
            self._watches = Watches(self._journal, lambda job_id: self._jobs.info(job_id), self._router.send)
            shelf = Shelf(self._journal, assets, self._artifacts)
            self._jobs = Jobs(self._journal, shelf, state.root, self._on_worker_thread, self._watches.on_news)
            undo.pop_all()
        self._uploads = Uploads(assets, self._call)
        self.connection_file = connection_file or state.connection_file
        keys = self._router.keys
        self.connection = connections.Connection(
            self._router.address,
            keys.server_public,
            keys.client_public,
            keys.client_secret,
            os.getpid(),
            m.PROTOCOL,
        )
        self._listening = False
        self._open_at = time.monotonic() + _READY_S

    # ---- other threads and signals

    def stop(self) -> None:
        """Ends `run` soon. May be called from any thread and from a signal handler."""
        self._stopping = True
        self._wake()

    def _call(self, function: Callable[[], None]) -> None:
        self._calls.put(function)
        self._wake()

    def _wake(self) -> None:
        try:
            self._wake_in.send(b"x")
        except OSError:
            return  # full: it is awake

    def _on_worker_thread(self, worker: Worker, event: Event) -> None:
        self._call(lambda: self._jobs.on_worker(worker, event))

    # ---- the loop

    def run(self, on_ready: Callable[[], None] | None = None) -> None:
        """Serves until `stop`, a `Shutdown` or idleness.

        Args:
            on_ready: called when clients may come.
        """
        poller = zmq.Poller()
        poller.register(self._router.socket, zmq.POLLIN)
        poller.register(self._wake_out, zmq.POLLIN)
        try:
            self._jobs.work()
            while not self._stopping:
                poller.poll(int(1000 * (_FULL_S if self._full else _TICK_S)))
                self._drain()
                for _ in range(_BURST):
                    arrived = self._router.receive()
                    if arrived is None:
                        break
                    self._heard = time.monotonic()
                    self._guarded(lambda a=arrived: self._take(*a))  # type: ignore[misc]
                self._guarded(self._jobs.work)
                self._full = self._watches.tell()
                self._open_door(on_ready)
                if self._idle():
                    _log.info("nothing to do for %.0f seconds", self._idle_s)
                    break
        finally:
            self._close()

    def _drain(self) -> None:
        try:
            while self._wake_out.recv(4096):
                pass
        except BlockingIOError:
            pass
        while True:
            try:
                call = self._calls.get_nowait()
            except queue.Empty:
                return
            self._guarded(call)

    def _guarded(self, call: Callable[[], None]) -> None:
        """One bad event must not end the server: what goes wrong is logged, and the loop goes on."""
        try:
            call()
        except Exception:
            _log.exception("an event could not be handled")

    def _open_door(self, on_ready: Callable[[], None] | None) -> None:
        """Lets clients know of the server as soon as it can tell them what it can do."""
        if self._listening or not (self._jobs.settled or time.monotonic() > self._open_at):
            return
        connections.write(self.connection_file, self.connection)
        self._listening = True
        self._heard = time.monotonic()
        _log.info("listening at %s", self.connection.address)
        if on_ready is not None:
            on_ready()

    def _idle(self) -> bool:
        now = time.monotonic()
        if self._jobs.active():
            self._heard = now  # whoever wants the result gets the whole time to come for it
        return self._listening and 0.0 < self._idle_s < now - self._heard

    def _close(self) -> None:
        with contextlib.ExitStack() as ends:  # each is done even where one before it fails; the last goes first
            for end in (self._wake_out, self._wake_in, self._journal, self._router, self._uploads, self._jobs):
                ends.callback(end.close)
            if self._listening:
                ends.callback(connections.remove, self.connection_file, self.connection)
        _log.info("ended")

    # ---- messages

    def _take(self, client: bytes, parts: list[bytes]) -> None:
        try:
            envelope = decode(parts)
        except DecodeError as exc:
            error: Ex4dError = exc
            if exc.protocol is not None:
                error = version_clash("the backend", "the program that connects", exc.protocol)
            _log.info("a message was refused: %s: %s", error.code, error.message)
            self._fail(client, exc.request, error)
            return
        try:
            reply = self._answer(client, envelope)
            if reply is not None:
                self._send(client, envelope.request, *reply)
        except Ex4dError as exc:  # also of an answer that is over a limit
            self._fail(client, envelope.request, exc)
        except Exception:
            _log.exception("%s could not be answered", type(envelope.message).__name__)
            bug = Ex4dError(INTERNAL, "The backend met a bug of its own.", f"See its log {self._state.log}.")
            self._fail(client, envelope.request, bug)

    def _answer(self, client: bytes, envelope: Envelope) -> tuple[Message, bytes] | None:
        """What is answered at once; None: nothing, or later."""
        match envelope.message:
            case m.Hello(client=name):
                _log.info("client: %s", name[:200])
                program = f"ex4d-backend {project_version()}"
                return m.Welcome(program, m.PROTOCOL, os.getpid(), self._jobs.doors), b""
            case m.Ping():
                return m.Pong(), b""
            case m.Pong():
                return None
            case m.Shutdown():
                _log.info("a client asked for the end")
                self._stopping = True
                return m.Pong(), b""
            case m.AssetQuery(asset=asset):
                self._uploads.query(asset, self._later(client, envelope.request))
                return None
            case m.AssetChunk(asset=asset, offset=offset):
                self._uploads.chunk(asset, offset, envelope.part, self._later(client, envelope.request))
                return None
            case m.Submit() as submit:
                return self._jobs.submit(submit), b""
            case m.JobQuery(job_id=job_id, watch=watch):
                info = self._jobs.info(job_id)
                if watch:
                    self._watches.add(client, info)
                return info, b""
            case m.GlimpseQuery(job_id=job_id):
                return self._jobs.glimpse(job_id)
            case m.Cancel(job_id=job_id):
                return self._jobs.cancel(job_id), b""
            case m.ListFiles(artifact=artifact):
                return self._file_list(artifact), b""
            case m.Fetch() as fetch:
                return self._chunk(fetch)
            case other:
                raise Ex4dError(NOT_FOUND, f"A backend does not answer {type(other).__name__}.")

    def _send(self, client: bytes, request: int, message: Message, part: bytes = b"") -> None:
        try:
            if not self._router.send(client, encode(message, request, part)):
                _log.info("a client does not read; the answer %s was dropped", type(message).__name__)
        except ConnectionError:
            self._watches.forget(client)

    def _later(self, client: bytes, request: int) -> Callable[[m.AssetState | Ex4dError], None]:
        """Answers a request, now or later."""

        def answer(result: m.AssetState | Ex4dError) -> None:
            if isinstance(result, Ex4dError):
                self._fail(client, request, result)
            else:
                self._send(client, request, result)

        return answer

    def _fail(self, client: bytes, request: int, error: Ex4dError) -> None:
        self._send(client, request, m.Failure(error.code, error.message[:1000], error.hint[:1000]))

    # ---- artifacts

    def _file_list(self, artifact: str) -> m.FileList:
        known = self._journal.artifact(artifact)
        if known is None:
            raise Ex4dError(NOT_FOUND, f"The backend knows no artifact {artifact[:12]}.")
        return m.FileList(artifact, known[2], tuple(f for _, f in self._journal.files(artifact)))

    def _chunk(self, fetch: m.Fetch) -> tuple[m.FileChunk, bytes]:
        file = self._journal.file(fetch.artifact, fetch.name)
        if file is None:
            raise Ex4dError(NOT_FOUND, f"There is no finished file {fetch.name} in {fetch.artifact[:12]}.")
        data = self._artifacts.read(fetch.artifact, file, fetch.offset, fetch.length)
        return m.FileChunk(fetch.artifact, fetch.name, fetch.offset, file.size), data
