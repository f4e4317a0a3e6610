# SPDX-License-Identifier: Apache-2.0
"""State between steps: what a run that was killed goes on from."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from ex4d.generate.diffusion.unfinished import EVERY, Progress, Unfinished, request_key

KEY = request_key({"seed": 1}, [])


class Clock:
    """Seconds that pass when told to."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def latents() -> torch.Tensor:
    return torch.randn(1, 16, 3, 4, 5, generator=torch.Generator().manual_seed(0))


def kept(folder: Path, latents: torch.Tensor) -> None:
    """One window finished, three steps of the next."""
    clock = Clock()
    unfinished = Unfinished(folder, KEY, clock)
    unfinished.window_done(1, 2.0 * latents)
    clock.now += EVERY
    unfinished.step_done(1, 3, latents)
    assert unfinished.notes == []


def nothing(progress: Progress) -> bool:
    return progress.windows == progress.steps == 0 and progress.shot is None and progress.latents is None


def test_goes_on_where_it_was(tmp_path: Path, latents: torch.Tensor) -> None:
    kept(tmp_path / "scratch", latents)
    unfinished = Unfinished(tmp_path / "scratch", KEY)
    progress = unfinished.load()
    assert (progress.windows, progress.steps) == (1, 3)
    assert progress.latents is not None
    assert progress.shot is not None
    assert torch.equal(progress.latents, latents)
    assert torch.equal(progress.shot, 2.0 * latents)
    assert unfinished.notes == []
    unfinished.clear()
    assert list((tmp_path / "scratch").iterdir()) == []
    assert nothing(unfinished.load())


def test_not_every_step_is_written(tmp_path: Path, latents: torch.Tensor) -> None:
    clock = Clock()
    unfinished = Unfinished(tmp_path, KEY, clock)
    told = []
    for step in range(1, 9):
        clock.now += 0.45 * EVERY
        unfinished.step_done(0, step, latents + step)
        told.append(Unfinished(tmp_path, KEY).load().steps)
    assert told == [0, 0, 3, 3, 3, 6, 6, 6]
    progress = unfinished.load()
    assert progress.latents is not None
    assert torch.equal(progress.latents, latents + 6)


def test_a_finished_window_counts_alone(tmp_path: Path, latents: torch.Tensor) -> None:
    """Killed between writing the shot's latents and removing the window's: these are of a window that is finished."""
    kept(tmp_path, latents)
    window = (tmp_path / "window.safetensors").read_bytes()
    unfinished = Unfinished(tmp_path, KEY)
    unfinished.window_done(2, 3.0 * latents)
    assert [path.name for path in tmp_path.iterdir()] == ["shot.safetensors"]
    (tmp_path / "window.safetensors").write_bytes(window)
    progress = unfinished.load()
    assert (progress.windows, progress.steps, progress.latents) == (2, 0, None)


def test_another_request_begins_anew(tmp_path: Path, latents: torch.Tensor) -> None:
    kept(tmp_path, latents)
    unfinished = Unfinished(tmp_path, request_key({"seed": 2}, []))
    assert nothing(unfinished.load())
    assert len(unfinished.notes) == 1
    assert "something else" in unfinished.notes[0]


@pytest.mark.parametrize("harm", ["empty", "cut", "flipped", "zeros", "text"])
def test_broken_files_begin_anew(tmp_path: Path, latents: torch.Tensor, harm: str) -> None:
    kept(tmp_path, latents)
    for name in ("window.safetensors", "shot.safetensors"):
        data = (tmp_path / name).read_bytes()
        flipped = data[:-5] + bytes([data[-5] ^ 1]) + data[-4:]
        broken = {
            "empty": b"",
            "cut": data[: len(data) // 2],
            "flipped": flipped,
            "zeros": bytes(len(data)),
            "text": b"hello",
        }
        (tmp_path / name).write_bytes(broken[harm])
    unfinished = Unfinished(tmp_path, KEY)
    assert nothing(unfinished.load())
    assert len(unfinished.notes) == 1
    assert "broken" in unfinished.notes[0]


def test_a_broken_window_leaves_the_finished_ones(tmp_path: Path, latents: torch.Tensor) -> None:
    kept(tmp_path, latents)
    (tmp_path / "window.safetensors").write_bytes(b"")
    progress = Unfinished(tmp_path, KEY).load()
    assert (progress.windows, progress.steps) == (1, 0)
    assert progress.shot is not None


def test_killed_while_writing(tmp_path: Path, root: Path) -> None:
    """What lies there after a kill is whole, whenever it came."""
    work = (
        "import sys, torch; from pathlib import Path; from ex4d.generate.diffusion.unfinished import *\n"
        "unfinished = Unfinished(Path(sys.argv[1]), sys.argv[2], clock=iter(range(0, 10**9, 10)).__next__)\n"
        "for step in range(1, 10**6):\n"
        "    unfinished.step_done(0, step, torch.full((1, 16, 8, 32, 32), float(step)))\n"
        "    print(step, flush=True)\n"
    )
    command = [sys.executable, "-c", work, str(tmp_path), KEY]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=root, text=True) as process:
        assert process.stdout is not None
        seen = [int(process.stdout.readline()) for _ in range(20)]
        os.kill(process.pid, signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
    unfinished = Unfinished(tmp_path, KEY)
    progress = unfinished.load()
    assert unfinished.notes == []
    assert progress.steps >= seen[-1]
    assert progress.latents is not None
    assert (progress.latents == progress.steps).all()


def test_without_a_folder_nothing_is_kept(latents: torch.Tensor) -> None:
    clock = Clock()
    unfinished = Unfinished(None, KEY, clock)
    clock.now += 10.0
    unfinished.step_done(0, 1, latents)
    unfinished.window_done(1, latents)
    assert nothing(unfinished.load())
    unfinished.clear()
    assert unfinished.notes == []


def test_a_folder_that_cannot_be_written_does_not_stop_the_work(tmp_path: Path, latents: torch.Tensor) -> None:
    (tmp_path / "file").write_bytes(b"")
    unfinished = Unfinished(tmp_path / "file" / "scratch", KEY)
    unfinished.window_done(1, latents)
    unfinished.window_done(2, latents)
    assert len(unfinished.notes) == 1
    assert "could not go on" in unfinished.notes[0]


def test_the_key_tells_requests_apart() -> None:
    picture = np.zeros((2, 3), np.uint8)
    keys = [
        request_key({"seed": 1, "cfg": 5.0}, [picture]),
        request_key({"seed": 2, "cfg": 5.0}, [picture]),
        request_key({"seed": 1, "cfg": 5.0}, [picture + 1]),
        request_key({"seed": 1, "cfg": 5.0}, [picture.T]),
        request_key({"seed": 1, "cfg": 5.0}, [picture.astype(bool)]),
        request_key({"seed": 1, "cfg": 5.0}, [picture, picture]),
    ]
    assert len(set(keys)) == len(keys)
    assert keys[0] == request_key({"cfg": 5.0, "seed": 1}, [np.zeros((4, 3), np.uint8)[::2]])
