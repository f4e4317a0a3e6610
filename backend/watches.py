# SPDX-License-Identifier: Apache-2.0
"""News for the clients that follow jobs.

What a client was told is a position in the journal, so nothing has to be queued for it: one that does not read holds
up nobody, costs no memory, and misses nothing when it reads again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace

from shared_protocol import messages as m
from shared_protocol.codec import encode
from shared_protocol.errors import Ex4dError

from .journal import Journal

_log = logging.getLogger(__name__)


@dataclass
class _Watch:
    client: bytes
    job_id: str
    artifact: str  # as it was told; "" = not known then
    position: int = 0  # of the last file that was told
    told: m.JobInfo | None = None
    news: bool = True


class Watches:
    """Who follows which job.

    Args:
        journal: the finished files.
        info: where a job stands.
        send: sends without waiting; False when the client's queue is full; ConnectionError when it is gone.
    """

    def __init__(
        self,
        journal: Journal,
        info: Callable[[str], m.JobInfo],
        send: Callable[[bytes, list[bytes]], bool],
    ) -> None:
        self._journal, self._info, self._send = journal, info, send
        self._watches: dict[tuple[bytes, str], _Watch] = {}

    def add(self, client: bytes, info: m.JobInfo) -> None:
        """Lets a client, which was told this, follow a job from its first file on."""
        self._watches[client, info.job_id] = _Watch(client, info.job_id, info.artifact)

    def forget(self, client: bytes) -> None:
        """A client is gone."""
        for key in [k for k in self._watches if k[0] == client]:
            del self._watches[key]

    def on_news(self, job_id: str) -> None:
        """Something about a job has changed."""
        for watch in self._watches.values():
            if watch.job_id == job_id:
                watch.news = True

    def tell(self) -> bool:
        """Sends the news, as much as each client takes. Returns whether some client has not heard everything."""
        full = False
        for watch in [w for w in self._watches.values() if w.news]:
            try:
                full |= not self._push(watch)
            except ConnectionError:
                self.forget(watch.client)
            except Ex4dError as exc:  # the journal cannot be read just now
                _log.error("%s", exc)
        return full

    def _push(self, watch: _Watch) -> bool:
        """False: the client's queue is full. The state of a job comes after its files, its artifact before them."""
        info = self._info(watch.job_id)
        over = info.state in m.FINISHED and not self._journal.files(info.artifact, limit=1)  # before anything was made
        if info.artifact != watch.artifact and not over:
            first = replace(info, state=m.RUNNING, error=None) if info.state in m.FINISHED else info
            if not self._send(watch.client, encode(first)):
                return False
            watch.artifact, watch.told, watch.position = info.artifact, first, 0
        while files := self._journal.files(info.artifact, watch.position, 50):
            for position, file in files:
                if not self._send(watch.client, encode(m.FileReady(info.job_id, info.artifact, file))):
                    return False
                watch.position = position
        if info != watch.told and not self._send(watch.client, encode(info)):
            return False
        watch.told, watch.news = info, False
        if info.state in m.FINISHED:
            self._watches.pop((watch.client, watch.job_id), None)
        return True
