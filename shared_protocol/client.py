# SPDX-License-Identifier: Apache-2.0
"""The backend's client: requests, uploads, watched jobs, finished files.

A `Client` is one connection and lives in one thread. It never waits without a limit, and never heals by itself: when
the backend is gone every call raises UNREACHABLE, and its owner makes a new `Client` from the connection file, which a
restarted backend has written anew. Job ids make that safe: a job submitted twice under one id is one job.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final

from . import connection as connections
from . import messages as m
from .codec import DecodeError, Message, decode, encode, version_clash
from .errors import BAD_INPUT, BAD_MESSAGE, NOT_FOUND, UNREACHABLE, VERSION, Ex4dError
from .link import Link

CHUNK: Final = 1 << 20  # bytes of an upload or download in one message
PING_S: Final = 2.0  # silence after which the client asks for a life sign
LOST_S: Final = 8.0  # silence after that question, until the backend counts as gone
_HASHED: Final = 8 << 20  # bytes between two reports while a file's hash is taken
_KNOWN_FILES: Final = 50_000

Push = m.JobInfo | m.FileReady
Progress = Callable[[int, int], None]


class Client:
    """One connection to a backend. Every method raises `Ex4dError`; a `Failure` that is answered is raised as one.

    Attributes:
        welcome: what the backend said about itself (doors, protocol, pid).
    """

    welcome: m.Welcome

    def __init__(self, link: Link) -> None:
        self._link = link
        self._thread = threading.get_ident()
        self._request = 0
        self._pushes: deque[Push] = deque()
        self._heard = time.monotonic()
        self._pinged: float | None = None
        self._sha256: dict[tuple[str, str], str] = {}

    @classmethod
    def connect(cls, connection_file: Path, timeout_s: float = 3.0, name: str = "ex4d client") -> Client:
        """Connects and compares versions.

        Args:
            connection_file: written by the backend.
            timeout_s: for the whole of it.
            name: program and version, for the backend's log.

        Raises:
            Ex4dError: UNREACHABLE, NOT_A_BACKEND, VERSION; BAD_INPUT for a connection file that others may read.
        """
        deadline = time.monotonic() + timeout_s
        client = cls(Link(connections.read(Path(connection_file)), timeout_s))
        try:
            left = max(deadline - time.monotonic(), 1.0)
            reply, _ = client.request(m.Hello(name, m.PROTOCOL), timeout_s=left)
            if not isinstance(reply, m.Welcome):
                raise _unexpected(reply)
            if reply.protocol[0] != m.PROTOCOL[0]:
                raise version_clash("this program", "the backend", reply.protocol)
        except BaseException:
            client.close()
            raise
        client.welcome = reply
        return client

    def __enter__(self) -> Client:
        """For `with Client.connect(...) as client`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Closes the connection."""
        self.close()

    def close(self) -> None:
        """Closes the connection at once. May be called twice."""
        self._link.close()

    # ---- requests and pushes

    def request(self, message: Message, part: bytes = b"", timeout_s: float = 10.0) -> tuple[Message, bytes]:
        """Sends a message and waits for its answer; pushes that come in between are kept for `poll`.

        Raises:
            Ex4dError: the code of the answered `Failure`, or UNREACHABLE when no answer came in `timeout_s`.
        """
        self._own_thread()
        self._request += 1
        number = self._request
        deadline = time.monotonic() + timeout_s
        self._link.send(encode(message, number, part), timeout_s)
        while (left := deadline - time.monotonic()) > 0.0:
            answer = self._receive(min(left, PING_S), number)
            if answer is None:
                self._life_sign()
            elif isinstance(answer[0], m.Failure):
                raise Ex4dError(answer[0].code, answer[0].message, answer[0].hint)
            else:
                return answer
        what = type(message).__name__
        raise Ex4dError(UNREACHABLE, f"The backend did not answer {what} within {timeout_s:.0f} seconds.")

    def poll(self, timeout_s: float = 0.0) -> list[Push]:
        """News of watched jobs. Waits at most `timeout_s` for the first one.

        Call it at least every few seconds: it also exchanges life signs.

        Raises:
            Ex4dError: UNREACHABLE when the backend is gone. News that came before are still returned first.
        """
        self._own_thread()
        deadline = time.monotonic() + timeout_s
        while True:
            left = 0.0 if self._pushes else max(deadline - time.monotonic(), 0.0)
            try:
                got = self._receive(min(left, PING_S), None) is not None
                if not got:
                    self._life_sign()
            except Ex4dError:
                if not self._pushes:
                    raise
                got = False
            if not got and (self._pushes or time.monotonic() >= deadline):
                break
        news = list(self._pushes)
        self._pushes.clear()
        return news

    def _receive(self, timeout_s: float, request: int | None) -> tuple[Message, bytes] | None:
        """The answer to `request`, or what else came; None when nothing came in time. Late answers are dropped."""
        deadline = time.monotonic() + timeout_s
        while True:
            parts = self._link.receive(max(deadline - time.monotonic(), 0.0))
            if parts is None:
                return None
            self._heard, self._pinged = time.monotonic(), None
            try:
                arrived = decode(parts)
            except DecodeError as exc:
                if exc.protocol is not None:
                    raise version_clash("this program", "the backend", exc.protocol) from exc
                raise
            message = arrived.message
            if isinstance(message, m.FileReady):
                self._remember(message.artifact, message.file)
            if arrived.request == 0:
                if isinstance(message, m.JobInfo | m.FileReady):
                    self._pushes.append(message)
                elif isinstance(message, m.Failure) and message.code == VERSION:
                    raise Ex4dError(message.code, message.message, message.hint)
                if request is None:
                    return message, arrived.part
            elif arrived.request == request:
                return message, arrived.part
            elif request is None:
                return message, arrived.part

    def _life_sign(self) -> None:
        now = time.monotonic()
        if self._pinged is not None:
            if now - self._pinged > LOST_S:
                raise Ex4dError(UNREACHABLE, f"The backend has given no life sign for {LOST_S:.0f} seconds.")
        elif now - self._heard > PING_S:
            self._request += 1
            self._link.send(encode(m.Ping(), self._request), LOST_S)
            self._pinged = now

    def _own_thread(self) -> None:
        if threading.get_ident() != self._thread:
            raise RuntimeError("a Client belongs to the thread that made it")

    # ---- uploads

    def upload(self, path: Path, progress: Progress | None = None) -> m.Asset:
        """Brings a file to the backend, unless it is there; an interrupted upload goes on where it was.

        Args:
            path: a file of this machine.
            progress: called with (bytes there, bytes of the file), with 0 while the file's hash is taken; what it
                raises ends the upload.
        """
        path = Path(path)
        try:
            asset = _describe(path, progress)
            state = self._asset_state(m.AssetQuery(asset), b"")
            with open(path, "rb") as file:
                while state.received < asset.size:
                    file.seek(state.received)
                    part = file.read(min(CHUNK, asset.size - state.received))
                    if not part:
                        raise Ex4dError(BAD_INPUT, f"'{path.name}' changed while it was uploaded.", "Try again.")
                    if progress is not None:
                        progress(state.received, asset.size)
                    state = self._asset_state(m.AssetChunk(asset, state.received), part)
        except OSError as exc:
            raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {exc.strerror or exc}.") from exc
        if progress is not None:
            progress(asset.size, asset.size)
        return asset

    def _asset_state(self, message: m.AssetQuery | m.AssetChunk, part: bytes) -> m.AssetState:
        # The backend reads the whole file once more when an upload is resumed or ends, hence the long limit.
        reply, _ = self.request(message, part, timeout_s=120.0)
        if not isinstance(reply, m.AssetState):
            raise _unexpected(reply)
        return reply

    # ---- jobs

    def submit(self, job: m.Reconstruct | m.Render | m.Generate, job_id: str | None = None) -> m.JobInfo:
        """Submits a job. With the `job_id` of an earlier submission it is that job."""
        return self._job(m.Submit(job_id or new_job_id(), job))

    def watch(self, job_id: str) -> m.JobInfo:
        """Where the job stands; `poll` then tells every finished file, also those from before, and each change.

        The last news of a watched job is its `JobInfo` in a finished state, after all of its files.
        """
        return self._job(m.JobQuery(job_id, watch=True))

    def job(self, job_id: str) -> m.JobInfo:
        """Where the job stands, once."""
        return self._job(m.JobQuery(job_id, watch=False))

    def glimpse(self, job_id: str) -> tuple[m.Glimpse, bytes] | None:
        """The newest picture of a job's unfinished result, RGB bytes row by row from the top; None where none is."""
        try:
            reply, part = self.request(m.GlimpseQuery(job_id))
        except Ex4dError as exc:
            if exc.code == NOT_FOUND:
                return None
            raise
        if not isinstance(reply, m.Glimpse):
            raise _unexpected(reply)
        return reply, part

    def cancel(self, job_id: str) -> m.JobInfo:
        """Cancels the job; files that are finished stay."""
        return self._job(m.Cancel(job_id))

    def _job(self, message: m.Submit | m.JobQuery | m.Cancel) -> m.JobInfo:
        reply, _ = self.request(message)
        if not isinstance(reply, m.JobInfo):
            raise _unexpected(reply)
        return reply

    # ---- artifacts

    def files(self, artifact: str) -> m.FileList:
        """The files of an artifact that are finished by now."""
        reply, _ = self.request(m.ListFiles(artifact))
        if not isinstance(reply, m.FileList):
            raise _unexpected(reply)
        for file in reply.files:
            self._remember(artifact, file)
        return reply

    def fetch(self, artifact: str, name: str) -> bytes:
        """A finished file; its hash is checked where the backend told it before (`files`, `poll`).

        Raises:
            Ex4dError: NOT_FOUND; BAD_MESSAGE when it arrives damaged.
        """
        data = bytearray()
        while True:
            reply, part = self.request(m.Fetch(artifact, name, len(data), CHUNK))
            if not isinstance(reply, m.FileChunk):
                raise _unexpected(reply)
            data += part
            if len(data) >= reply.size:
                break
            if not part:
                raise Ex4dError(BAD_MESSAGE, f"{name} ended early.")
        expected = self._sha256.get((artifact, name))
        if expected is not None and hashlib.sha256(data).hexdigest() != expected:
            raise Ex4dError(BAD_MESSAGE, f"{name} arrived damaged.", "Try again.")
        return bytes(data)

    def _remember(self, artifact: str, file: m.FileInfo) -> None:
        if len(self._sha256) >= _KNOWN_FILES:
            self._sha256.clear()
        self._sha256[artifact, file.name] = file.sha256

    def shutdown(self) -> None:
        """Asks the backend to end; running jobs go on at its next start."""
        self.request(m.Shutdown())


def new_job_id() -> str:
    """A fresh id for a job: keep it with what the job is for, and the job can be found again."""
    return secrets.token_hex(16)


def _describe(path: Path, progress: Progress | None) -> m.Asset:
    """Size and hash of a file."""
    digest = hashlib.sha256()
    size = 0
    with open(path, "rb") as file:
        total = os.fstat(file.fileno()).st_size
        while block := file.read(_HASHED):
            digest.update(block)
            size += len(block)
            if progress is not None and size < total:
                progress(0, total)
    if size == 0:
        raise Ex4dError(BAD_INPUT, f"'{path.name}' is empty.")
    printable = "".join(c if c.isprintable() else "_" for c in path.name)
    # From the end, so that a very long name keeps its suffix.
    return m.Asset(digest.hexdigest(), size, printable[-255:])


def _unexpected(reply: Message) -> Ex4dError:
    return Ex4dError(BAD_MESSAGE, f"The backend answered with {type(reply).__name__}, which was not asked for.")
