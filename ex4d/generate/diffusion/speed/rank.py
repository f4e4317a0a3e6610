# SPDX-License-Identifier: Apache-2.0
"""A process beside the generator's that takes its share of each step, on a GPU of its own.

It is started by `ex4d.generate.diffusion.speed.parallel`, is told what to do in lines of JSON on its standard input,
and ends when that ends, however it ends. Tensors come through torch.distributed.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import nullcontext, suppress
from datetime import timedelta
from importlib import import_module
from pathlib import Path
from queue import SimpleQueue
from typing import Any, TextIO

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ex4d.generate.diffusion.speed.apply import apply_speed, begin_window
from ex4d.generate.diffusion.speed.context_parallel import ContextParallel, token_count
from ex4d.generate.diffusion.speed.settings import Speed
from shared_protocol.errors import INTERNAL, LIMIT, Ex4dError


def join_group(backend: str, store: str, rank: int, world: int, seconds: float) -> None:
    """Becomes one of the ranks, all on this machine.

    Args:
        backend: "gloo" or "nccl".
        store: a file through which ranks find each other.
        rank: this process's, 0 .. world - 1.
        world: how many there are.
        seconds: how long to wait for the others, now and at any exchange.
    """
    if sys.platform == "linux":  # they speak over the loopback device, not over the network
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
        os.environ.setdefault("NCCL_SOCKET_IFNAME", "lo")
    dist.init_process_group(
        backend,
        init_method=Path(store).as_uri(),
        rank=rank,
        world_size=world,
        timeout=timedelta(seconds=seconds),
    )


def leave_group(orderly: bool) -> None:
    """Is no rank any more.

    Args:
        orderly: all leave, after the last exchange. Else what is under way is given up: NCCL would wait for it.
    """
    if orderly or dist.get_backend() != "nccl":
        dist.destroy_process_group()
    else:
        with suppress(RuntimeError):  # it may have been given up already, when a follower ended
            dist.distributed_c10d._abort_process_group()


def serve(job: dict[str, Any], lines: Iterator[dict[str, Any]], say: TextIO) -> None:
    """Loads the transformer, joins, and takes part in passes until it is told to end."""
    device = torch.device(job["device"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    module, function = job["function"].split(":")
    transformer = getattr(import_module(module), function)(device, **job["arguments"])
    apply_speed(transformer, Speed.from_record(job["speed"]), job["steps"], device)
    _say(say, {"ready": True})
    join_group(job["backend"], job["store"], job["rank"], job["world"], job["seconds"])
    shared = ContextParallel(transformer, device, job["attention"])
    for line in lines:
        if line["do"] == "window":
            begin_window(transformer)
        elif line["do"] == "pass":
            _take_part(transformer, shared, device, line)
        else:
            break
    leave_group(True)


@torch.no_grad()
def _take_part(transformer: Any, shared: ContextParallel, device: torch.device, line: dict[str, Any]) -> None:
    inputs = dict(line["others"])
    for name, shape, dtype in line["tensors"]:
        inputs[name] = torch.empty(shape, dtype=getattr(torch, dtype), device=device)
        dist.broadcast(inputs[name], src=0)
    shared.expect(token_count(transformer, inputs["hidden_states"]))

    def receive(_module: nn.Module, _inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        embedded = embedded.contiguous()
        dist.broadcast(embedded, src=0)
        return embedded

    handle = transformer.patch_embedding.register_forward_hook(receive)
    context = line["context"]
    try:
        with transformer.cache_context(context) if context else nullcontext():
            transformer(**inputs)
    finally:
        handle.remove()


def _say(say: TextIO, message: dict[str, Any]) -> None:
    say.write(json.dumps(message) + "\n")
    say.flush()


def _lines(queue: SimpleQueue[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        yield queue.get()


def _listen(queue: SimpleQueue[dict[str, Any]]) -> None:
    """Passes lines on. Where they end without a word, the generator's process is gone, and this one goes too."""
    for text in sys.stdin:
        line = json.loads(text)
        queue.put(line)
        if line["do"] == "end":
            return
    os._exit(1)  # the main thread may wait in an exchange that nobody will answer


def _as_error(error: Exception) -> Ex4dError:
    if isinstance(error, Ex4dError):
        return error
    if isinstance(error, torch.OutOfMemoryError):
        return Ex4dError(LIMIT, "Its memory is full.", "Choose a smaller profile.")
    return Ex4dError(INTERNAL, f"{type(error).__name__}: {error}"[:500])


def main() -> int:
    """What the process runs."""
    say = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever libraries print goes to the log
    job = json.loads(sys.stdin.readline())
    queue: SimpleQueue[dict[str, Any]] = SimpleQueue()
    threading.Thread(target=_listen, args=(queue,), daemon=True).start()
    try:
        serve(job, _lines(queue), say)
    except Exception as error:
        told = _as_error(error)
        _say(say, {"error": [told.code, told.message, told.hint]})
        say.close()
        os._exit(1)  # a group whose other members wait is not taken down in order
    return 0


if __name__ == "__main__":
    sys.exit(main())
