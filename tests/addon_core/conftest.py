# SPDX-License-Identifier: GPL-3.0-or-later
"""A session of the extension's core against a real backend process, without Blender."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from blender_addon.core import events as ev
from blender_addon.core.session import Session

ROOT = Path(__file__).resolve().parents[2]
SIZE, FRAMES = (32, 24), 5  # width and height, length of the clip


class Bench:
    """A session, and everything it said."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.state = folder / "state"
        self.connection_file = self.state / "connection.json"
        self.seen: list[ev.Event] = []
        self.session = Session()
        self.session.start()

    def command(self) -> tuple[str, ...]:
        """Starts the backend of this checkout."""
        serve = (sys.executable, "-m", "backend.cli", "serve", "--state", str(self.state))
        return (*serve, "--connection-file", str(self.connection_file), "--exit-when-idle", "120")

    def launch(self) -> ev.LinkChanged:
        """Start the backend through the session, and wait until it is connected."""
        self.session.send(ev.Launch(self.command(), self.connection_file, self.folder / "backend.log"))
        event = self.until(lambda e: isinstance(e, ev.LinkChanged) and e.state in (ev.CONNECTED, ev.FAILED))
        assert event.state == ev.CONNECTED, event
        return event

    def until(self, wanted: Callable[[ev.Event], bool], timeout_s: float = 30.0) -> ev.Event:
        """The next event that is wanted; all that come are kept in `seen`."""
        end = time.monotonic() + timeout_s
        while time.monotonic() < end:
            event = self.session.next_event()
            if event is None:
                time.sleep(0.01)
                continue
            self.seen.append(event)
            if wanted(event):
                return event
        raise AssertionError(f"not within {timeout_s} s; the last events: {self.seen[-5:]}")

    def state_becomes(self, state: str, timeout_s: float = 30.0) -> ev.LinkChanged:
        """Wait for a state of the connection."""
        return self.until(lambda e: isinstance(e, ev.LinkChanged) and e.state == state, timeout_s)

    def end_of(self, job_id: str) -> ev.JobFinished | ev.JobFailed:
        """Wait for the end of a job."""
        return self.until(lambda e: isinstance(e, ev.JobFinished | ev.JobFailed) and e.job_id == job_id, 60.0)


@pytest.fixture(autouse=True, scope="session")
def _checkout_on_path() -> Iterator[None]:
    """Programs that the session starts find the checkout, as an installed backend finds itself."""
    before = Path.cwd()
    os.chdir(ROOT)
    yield
    os.chdir(before)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """A session with nothing connected; the backend that it starts is ended with it."""
    bench = Bench(tmp_path)
    yield bench
    assert bench.session.close(), "the thread did not end"
    end_backend(bench.connection_file)


def backend_pid(connection_file: Path) -> int:
    """Process of the backend that wrote the file; 0 = none."""
    try:
        return int(json.loads(connection_file.read_text())["pid"])
    except (OSError, ValueError):
        return 0


def end_backend(connection_file: Path) -> None:
    """End a backend that may be stopped, or gone."""
    pid = backend_pid(connection_file)
    if pid:
        for number in (signal.SIGCONT, signal.SIGTERM):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                return


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first picture of a sequence, a moving box before a wall; `depth.npz` lies beside it."""
    folder = tmp_path_factory.mktemp("clip")
    width, height = SIZE
    rows, columns = np.mgrid[:height, :width]
    z = np.empty((FRAMES, height, width), np.float32)
    for t in range(FRAMES):
        z[t] = 4.0 + 0.02 * columns
        picture = np.stack([columns * 7, rows * 9, (rows // 3 + columns // 3) % 2 * 160], -1).astype(np.uint8)
        box = np.s_[height // 4 : height // 2, width // 4 + t : width // 2 + t]
        z[t][box], picture[box] = 2.0, (40, 210, 250)
        assert cv2.imwrite(str(folder / f"clip_{t + 1:04d}.png"), picture)
    np.savez(folder / "depth.npz", depth=z)
    return folder / "clip_0001.png"


@pytest.fixture(scope="session")
def other_program() -> Iterator[int]:
    """A port of this machine on which something that is no backend answers."""
    code = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
while True:
    server.accept()[0].sendall(b"220 mail")
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    yield int(process.stdout.readline())
    process.kill()
    process.wait()
