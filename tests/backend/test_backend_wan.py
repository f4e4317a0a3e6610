# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator behind the backend, on weights of its architecture with few numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from conftest import Backend, conditioning, kill, until, wait
from safetensors import safe_open

from scripts._tiny_models import write_adapter, write_wan
from shared_protocol import messages as m
from shared_protocol.errors import UNAVAILABLE

STEPS = 150  # of which it keeps the latents every two seconds


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with wan/ and ex4d.safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    write_wan(folder / "wan")
    write_adapter(folder / "ex4d.safetensors")
    return folder


def test_a_take_that_is_killed_between_steps_is_the_one_that_an_undisturbed_run_makes(
    backend: Backend, weights: Path, short_clip: list[Path], tmp_path: Path
) -> None:
    backend.env = {"OMP_NUM_THREADS": "1", "EX4D_MODELS": str(tmp_path), "HF_HOME": str(tmp_path)}
    client = backend.start().client()
    door = next(d for d in client.welcome.doors if d.name == "wan")
    assert not door.available
    assert "ex4d models download" in door.reason
    assert {"prompt", "negative_prompt", "steps", "cfg", "shift"} <= {s.name for s in door.settings}
    shot = conditioning(client, short_clip)
    missing, _ = wait(client, client.submit(m.Generate(shot.artifact, "wan")))
    assert missing.error is not None
    assert missing.error.code == UNAVAILABLE

    options = {
        "model": str(weights / "wan"), "adapter": str(weights / "ex4d.safetensors"),
        "steps": STEPS, "width": 128, "height": 128, "glimpse_every": 1,
    }  # fmt: skip
    job = m.Generate(shot.artifact, "wan", 3, tuple(options.items()))
    info = client.submit(job)
    until(lambda: client.job(info.job_id).glimpse, 60.0)
    assert client.glimpse(info.job_id) is not None
    folder = backend.state / "artifacts" / client.job(info.job_id).artifact
    until(lambda: (folder / "unfinished" / "window.safetensors").is_file(), 60.0)
    with safe_open(folder / "unfinished" / "window.safetensors", "np") as file:
        kept = int(file.metadata()["steps"])
    worker = backend.worker_pid()
    kill(worker)
    until(lambda: backend.worker_pid() != worker)
    begun: list[int] = []
    client.watch(info.job_id)
    until(lambda: begun.extend(n.done for n in client.poll(0.05) if getattr(n, "total", 0) == STEPS) or begun, 60.0)
    assert begun[0] >= kept >= 1, "the steps before were not done again"
    done, told = wait(client, info)
    assert done.state == m.DONE, done.error
    assert len(told) == 5
    assert not (folder / "unfinished").exists()
    take = json.loads(client.fetch(done.artifact, "take.json"))
    assert take["parameters"]["options"]["steps"] == STEPS
    assert take["size"] == [128, 128]
    assert take["generator"]["made_with"]["weights"]
    frames = {f.file.name: client.fetch(done.artifact, f.file.name) for f in told if f.file.name != "take.json"}

    for file in (folder / "frames").iterdir():
        file.unlink()
    again, _ = wait(client, client.submit(job))
    assert (again.state, again.artifact) == (m.DONE, done.artifact)
    assert {name: client.fetch(again.artifact, name) for name in frames} == frames
