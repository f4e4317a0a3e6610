# SPDX-License-Identifier: Apache-2.0
"""Two processes on the CPU share the passes of a small transformer."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from speed_cases import ask, small_vace, small_wan
from torch import Tensor

from ex4d.generate.diffusion.speed.apply import apply_speed, begin_window
from ex4d.generate.diffusion.speed.parallel import Maker, several_gpus
from ex4d.generate.diffusion.speed.settings import Speed
from shared_protocol.errors import CANCELLED, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, WORKER_DIED, Ex4dError

CPU = torch.device("cpu")
STEPS = 12
TWO = Speed(gpus=2, cache="taylor")


@pytest.fixture(autouse=True)
def _followers_find_the_cases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))


def passes(transformer: Any) -> list[Tensor]:
    """Two prompts, six steps: the last of them is guessed."""
    begin_window(transformer)
    return [
        ask(transformer, 1000.0 - 50 * step, context, seed)
        for step in range(4)
        for seed, context in enumerate(("positive", "negative"))
    ]


@pytest.mark.parametrize("kind", ["wan", pytest.param("vace", marks=pytest.mark.slow)])
def test_two_processes_come_to_what_one_does_and_the_end_of_one_is_told(kind: str, others: set[int]) -> None:
    transformer = {"wan": small_wan, "vace": small_vace}[kind]()
    apply_speed(transformer, TWO, STEPS)
    # As the generator does it: only this process knows what is added to the patches.
    transformer.patch_embedding.register_forward_hook(lambda _module, _inputs, embedded: embedded + 0.5)
    alone = passes(transformer)
    tokens: list[int] = []
    watch = transformer.blocks[1].register_forward_pre_hook(lambda _block, inputs: tokens.append(inputs[0].shape[1]))
    with ExitStack() as stack:
        stack.enter_context(several_gpus(transformer, TWO, STEPS, Maker(f"speed_cases:small_{kind}", {}), CPU))
        together = passes(transformer)
        again = passes(transformer)
        shared = set(tokens)
        with pytest.raises(Ex4dError, match="27 tokens cannot be shared by 2 processes") as uneven:
            ask(transformer, 900.0, size=(3, 6, 6))
        (follower,) = children() - others
        os.kill(follower, signal.SIGKILL)
        with pytest.raises(Ex4dError) as error:
            ask(transformer, 900.0)
    for one, two, three in zip(alone, together, again, strict=True):
        torch.testing.assert_close(two, one, atol=1e-5, rtol=0)
        torch.testing.assert_close(three, one, atol=1e-5, rtol=0)
    assert shared == {2 * 4 * 4 // 2}  # half of the tokens
    assert uneven.value.code == UNSUPPORTED
    assert error.value.code == WORKER_DIED
    assert "GPU 2 of 2" in error.value.message
    assert not dist.is_initialized()
    assert not children() - others
    tokens.clear()
    torch.testing.assert_close(passes(transformer)[0], alone[0], atol=0, rtol=0)  # whole again
    assert set(tokens) == {2 * 4 * 4}
    watch.remove()


@pytest.fixture(autouse=True)
def others() -> set[int]:
    """Processes that other tests of this run have left (of compilers, of multiprocessing)."""
    return children()


def children() -> set[int]:
    """Processes that this one started and that have not ended."""
    own = str(os.getpid())
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if fields[1] == own and fields[0] != "Z":
            found.add(int(stat.parent.name))
    return found


def test_a_follower_that_cannot_load_says_why() -> None:
    transformer = small_wan()
    with pytest.raises(Ex4dError, match="GPU 2 of 2: No weights") as error:
        with several_gpus(transformer, TWO, STEPS, Maker("speed_cases:no_weights", {}), CPU):
            raise AssertionError("nothing was loaded")
    assert error.value.code == NOT_FOUND
    assert not dist.is_initialized()


def test_a_follower_ends_with_the_process_that_leads_it() -> None:
    follower = subprocess.Popen(
        [sys.executable, "-m", "ex4d.generate.diffusion.speed.rank"],
        stdin=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        text=True,
    )
    try:
        assert follower.stdin is not None
        follower.stdin.write(json.dumps({"device": "cpu", "function": "speed_cases:endless", "arguments": {}}) + "\n")
        follower.stdin.close()  # as the system does when a process is gone
        assert follower.wait(timeout=120) != 0
    finally:
        follower.kill()


def test_loading_can_be_stopped(others: set[int]) -> None:
    def stop() -> None:
        raise Ex4dError(CANCELLED, "Stopped.")

    with pytest.raises(Ex4dError, match="Stopped") as error:
        with several_gpus(small_wan(), TWO, STEPS, Maker("speed_cases:small_wan", {}), CPU, waiting=stop):
            raise AssertionError("it was stopped")
    assert error.value.code == CANCELLED
    assert not children() - others


def test_one_gpu_needs_nobody_else() -> None:
    transformer = small_wan()
    exact = ask(transformer, 900.0)
    with several_gpus(transformer, Speed(), STEPS, Maker("speed_cases:no_weights", {}), CPU):
        assert torch.equal(ask(transformer, 900.0), exact)


@pytest.mark.skipif(torch.cuda.device_count() > 15, reason="there are as many GPUs")
def test_gpus_that_are_not_there_are_told() -> None:
    with pytest.raises(Ex4dError, match="16 were asked for") as error:
        with several_gpus(small_wan(), Speed(gpus=16), STEPS, Maker("", {}), torch.device("cuda", 0)):
            raise AssertionError("there are none")
    assert error.value.code == UNAVAILABLE
