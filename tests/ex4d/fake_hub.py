# SPDX-License-Identifier: Apache-2.0
"""A Hugging Face hub on this machine: the calls that huggingface_hub makes to list and fetch the files of a model.

Files are served as the real hub does: listed with sha256 where they are large, by commit, the large ones from where it
redirects to, in ranges. It can be told to break connections, to send damaged bytes, to know no ranges, or to refuse.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@dataclass
class Hub:
    """What the server has, how it behaves, and what it was asked for."""

    repositories: dict[str, dict[str, bytes]] = field(default_factory=dict)  # by "owner/name": files by path
    commit: str = COMMIT
    url: str = ""
    budget: int | None = None  # bytes of large files until every connection breaks; None: never
    break_each: int | None = None  # bytes of large files after which each single connection breaks
    stall_after: int | None = None  # bytes of a large file after which nothing comes, until `released`
    released: threading.Event = field(default_factory=threading.Event)
    damaged: set[str] = field(default_factory=set)  # paths whose bytes are sent with an error
    ranges: bool = True
    refuse: tuple[int, str] | None = None  # status and X-Error-Code of every answer
    fetched: list[tuple[str, int]] = field(default_factory=list)  # (path, first byte) of every GET of a file

    def large(self, path: str) -> bool:
        """Whether a file is one of those whose sha256 the hub tells."""
        return not path.endswith((".json", ".txt"))


@contextmanager
def serve(hub: Hub) -> Iterator[Hub]:
    """Runs it for a block, on a port of its own."""

    class Handler(_Handler):
        state = hub

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.released.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    state: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        """Tests have no use for a log."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, body: bool) -> None:
        hub = self.state
        parts = unquote(urlsplit(self.path).path).strip("/").split("/")
        if hub.refuse is not None:
            self._refuse(*hub.refuse)
        elif parts[:2] == ["api", "models"]:
            self._describe("/".join(parts[2:4]), parts[4:])
        elif len(parts) > 4 and parts[2] == "resolve" and hub.large(parts[-1]) and body:
            self.send_response(302)
            self.send_header("Location", self.path.replace("/resolve/", "/stored/"))
            self.send_header("Content-Length", "0")
            self.end_headers()
        elif len(parts) > 4 and parts[2] in ("resolve", "stored"):
            self._file("/".join(parts[:2]), "/".join(parts[4:]), body)
        else:
            self._refuse(404, "")

    def _describe(self, name: str, rest: list[str]) -> None:
        hub = self.state
        if name not in hub.repositories:
            self._refuse(404, "RepoNotFound")
        elif rest[0] == "revision":
            commit = hub.commit if rest[1] == "main" else rest[1]
            self._json({"_id": "1", "id": name, "modelId": name, "sha": commit, "siblings": [], "tags": []})
        else:
            self._json([_entry(hub, path, data) for path, data in sorted(hub.repositories[name].items())])

    def _file(self, name: str, path: str, body: bool) -> None:
        hub = self.state
        data = hub.repositories.get(name, {}).get(path)
        if data is None:
            self._refuse(404, "EntryNotFound")
            return
        asked = self.headers.get("Range")
        start = int(asked.removeprefix("bytes=").split("-")[0]) if asked and hub.ranges else 0
        if body:
            hub.fetched.append((path, start))
        if path in hub.damaged:
            data = data[:-1] + bytes([data[-1] ^ 1])
        self.send_response(206 if asked and hub.ranges else 200)
        if asked and hub.ranges:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.send_header("ETag", f'"{_oid(data)}"')
        self.send_header("X-Repo-Commit", self.path.split("/")[4])
        self.end_headers()
        if not body:
            return
        rest = data[start:]
        allowed = self._allowed(path, len(rest))
        self.wfile.write(rest[:allowed])
        if hub.stall_after is not None and allowed < len(rest):
            hub.released.wait(60)
        if allowed < len(rest):
            self.close_connection = True

    def _allowed(self, path: str, count: int) -> int:
        hub = self.state
        if not hub.large(path):
            return count
        if hub.break_each is not None:
            return min(count, hub.break_each)
        if hub.stall_after is not None:
            return min(count, hub.stall_after)
        if hub.budget is not None:
            count = min(count, hub.budget)
            hub.budget -= count
        return count

    def _json(self, value: object) -> None:
        text = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()


def _oid(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()  # noqa: S324 (git's own)


def _entry(hub: Hub, path: str, data: bytes) -> dict[str, object]:
    entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": _oid(data)}
    if hub.large(path):
        entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
    return entry
