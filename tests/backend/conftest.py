# SPDX-License-Identifier: Apache-2.0
"""Real servers with real workers, and tiny real clips."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ex4d.images import write_png
from shared_protocol import messages as m
from shared_protocol.client import Client

WIDTH, HEIGHT = 32, 24


@dataclass
class Backend:
    """One server process and its state folder; it may be killed and started again."""

    state: Path
    process: subprocess.Popen[str] | None = None
    clients: list[Client] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)

    @property
    def connection_file(self) -> Path:
        return self.state / "connection.json"

    def start(self, *args: str) -> Backend:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "backend.cli", "serve", "--state", str(self.state), *args],
            stdout=subprocess.PIPE,
            stderr=(self.state.parent / "stderr.txt").open("a"),
            text=True,
            env={**os.environ, **self.env},
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("Listening at 127.0.0.1:")
        return self

    def client(self) -> Client:
        self.clients.append(Client.connect(self.connection_file, 10.0, "tests"))
        return self.clients[-1]

    def worker_pid(self) -> int:
        """Of the newest worker."""
        return int(re.findall(r"worker (\d+) started", self.log())[-1])

    def log(self) -> str:
        return (self.state / "backend.log").read_text("utf-8")

    def kill(self) -> None:
        """kill -9, as a crash or an impatient person does."""
        assert self.process is not None
        self.process.kill()
        self.process.communicate()

    def end(self) -> tuple[int, str]:
        """SIGTERM. Returns the exit status and all of stderr."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        self.process.communicate(timeout=20)
        return self.process.returncode, (self.state.parent / "stderr.txt").read_text("utf-8")

    def close(self) -> None:
        for client in self.clients:
            client.close()
        if self.process is not None and self.process.poll() is None:
            self.end()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[Backend]:
    """A server for one test, not started."""
    made = Backend(tmp_path / "state")
    yield made
    made.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """A server that the tests of a module share."""
    made = Backend(tmp_path_factory.mktemp("backend") / "state").start()
    yield made
    made.close()


@pytest.fixture
def client(running: Backend) -> Client:
    return running.client()


def write_clip(folder: Path, frames: int, width: int = WIDTH, height: int = HEIGHT) -> list[Path]:
    """An image sequence: a bright square passes in front of a gradient."""
    y, x = np.mgrid[0:height, 0:width]
    paths = []
    for t in range(frames):
        picture = np.stack([x * 255 // width, y * 255 // height, (x + y) * 2 % 256], -1).astype(np.uint8)
        left = (t * 2) % (width - 8)
        picture[height // 3 : height // 3 + 8, left : left + 8] = (240, 230, 80)
        paths.append(folder / f"shot_{t:04d}.png")
        write_png(paths[-1], picture)
    return paths


@pytest.fixture(scope="session")
def short_clip(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_clip(tmp_path_factory.mktemp("short"), 4)


@pytest.fixture(scope="session")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Long enough for a kill in the middle."""
    return write_clip(tmp_path_factory.mktemp("long"), 40, 96, 64)


@pytest.fixture(scope="session")
def _rendered(tmp_path_factory: pytest.TempPathFactory, long_clip: list[Path]) -> tuple[Path, m.JobInfo]:
    made = Backend(tmp_path_factory.mktemp("rendered") / "state").start()
    info = conditioning(made.client(), long_clip)
    made.close()
    return made.state, info


@pytest.fixture
def rendered(_rendered: tuple[Path, m.JobInfo], backend: Backend) -> m.JobInfo:
    """Makes `backend` own the finished conditioning of the long clip, as if it had made it before a restart."""
    shutil.copytree(_rendered[0], backend.state)
    return _rendered[1]


def wait(client: Client, info: m.JobInfo, timeout_s: float = 60.0) -> tuple[m.JobInfo, list[m.FileReady]]:
    """Follows a job to its end."""
    client.watch(info.job_id)
    files: list[m.FileReady] = []
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        for news in client.poll(0.5):
            if news.job_id != info.job_id:
                continue
            if isinstance(news, m.FileReady):
                files.append(news)
            elif news.state in m.FINISHED:
                return news, files
    raise AssertionError(f"job {info.job_id} did not end: {client.job(info.job_id)}")


def named(client: Client, info: m.JobInfo) -> m.JobInfo:
    """A generate job whose artifact is known."""
    until(lambda: client.job(info.job_id).artifact)
    return client.job(info.job_id)


def reconstruct(client: Client, clip: list[Path]) -> m.JobInfo:
    assets = tuple(client.upload(path) for path in clip)
    info, _ = wait(client, client.submit(m.Reconstruct(assets, fps=(24, 1))))
    assert info.state == m.DONE, info
    return info


def shot(client: Client, scene: m.JobInfo, step: float = 0.01) -> m.Render:
    """A slide to the right over all frames of a reconstruction."""
    facts = json.loads(client.fetch(scene.artifact, "scene.json"))
    focal, cx, cy = facts["focal"], facts["cx"], facts["cy"]
    cameras = tuple(
        m.CameraSample(
            (1.0, 0, 0, step * t, 0, 1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, 1.0),
            focal, focal, cx, cy, t, focal, cx, cy, 1.0, 0.0,
        )
        for t in range(facts["frames"])
    )  # fmt: skip
    return m.Render(scene.artifact, facts["width"], facts["height"], (24, 1), cameras)


def conditioning(client: Client, clip: list[Path]) -> m.JobInfo:
    info, _ = wait(client, client.submit(shot(client, reconstruct(client, clip))))
    assert info.state == m.DONE, info
    return info


def is_alive(pid: int) -> bool:
    """Whether a process runs (a zombie that waits for its parent does not)."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def until(condition: Callable[[], object], timeout_s: float = 10.0) -> None:
    """Waits for something to become true."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
