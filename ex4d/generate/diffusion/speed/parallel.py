# SPDX-License-Identifier: Apache-2.0
"""Several GPUs for one shot: this process leads, and one more for each further GPU follows (`rank.py`).

All have the transformer whole. At each pass the leader sends its inputs and the embedded patches, whatever was added to
them, and every rank computes its share of the tokens. The leader's calls look as they do with one GPU.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
import torch.distributed as dist
from diffusers.hooks import HookRegistry, ModelHook
from diffusers.hooks.hooks import BaseState, StateManager
from torch import Tensor, nn

from ex4d.generate.diffusion.speed.attention import resolve_attention
from ex4d.generate.diffusion.speed.context_parallel import ContextParallel, token_count
from ex4d.generate.diffusion.speed.followers import Followers
from ex4d.generate.diffusion.speed.rank import join_group, leave_group
from ex4d.generate.diffusion.speed.settings import Speed
from ex4d.generate.door import nobody
from shared_protocol.errors import UNAVAILABLE, Ex4dError

_HOOK: Final = "ex4d_leader"
_PATIENCE_S: Final = 1800.0  # for an exchange: the first one waits for other ranks to compile


@dataclass(frozen=True)
class Maker:
    """How another process gets the same transformer."""

    function: str  # "package.module:function", called as function(device, **arguments)
    arguments: Mapping[str, Any]  # JSON values


@contextmanager
def several_gpus(
    transformer: Any,
    speed: Speed,
    steps: int,
    maker: Maker,
    device: torch.device,
    *,
    waiting: Callable[[], None] = nobody,
) -> Iterator[None]:
    """While this lasts, passes of a transformer are shared by `speed.gpus` GPUs. With one, nothing is done.

    Args:
        transformer: loaded, with adapters and switches (`apply_speed`). Called with keyword arguments.
        speed: the switches; followers apply the same.
        steps: of the sampling loop.
        maker: loads the transformer in another process, with LoRAs in it and placed on the device it is given.
        device: this process's; the others take further ones of its kind.
        waiting: called about once a second while the others load; may raise to stop the work.

    Raises:
        Ex4dError: UNAVAILABLE where there are not as many GPUs, or no way to connect them; WORKER_DIED, or what it
            said, when a follower ended.
    """
    if speed.gpus == 1:
        yield
        return
    devices = _other_devices(device, speed.gpus)
    with tempfile.TemporaryDirectory(prefix="ex4d-ranks-") as folder:
        job: dict[str, Any] = {
            "store": str(Path(folder) / "store"),
            "backend": "nccl" if device.type == "cuda" else "gloo",
            "world": speed.gpus,
            "seconds": _PATIENCE_S,
            "function": maker.function,
            "arguments": dict(maker.arguments),
            "speed": speed.record(),
            "steps": steps,
            "attention": resolve_attention(speed.attention, device),
        }
        followers = Followers(job, devices)
        leader: _Leader | None = None
        try:
            followers.wait_ready(waiting)
            if device.type == "cuda":
                torch.cuda.set_device(device)
            join_group(job["backend"], job["store"], 0, speed.gpus, _PATIENCE_S)
            leader = _Leader(followers, ContextParallel(transformer, device, job["attention"]))
            HookRegistry.check_if_exists_or_initialize(transformer).register_hook(leader, _HOOK)
            yield
        except Exception as error:  # also one of connecting, before there is a leader
            if (fault := followers.fault(error)) is not None:
                raise fault from error
            raise
        finally:
            orderly = leader is not None and not leader.broken
            followers.stop(orderly)
            if leader is not None:
                leader.leave(transformer)
            if dist.is_initialized():
                leave_group(orderly)


class _Leader(ModelHook):  # type: ignore[misc]  # diffusers has no types
    """Sends what the transformer is called with, and when a window begins, to the followers."""

    _is_stateful = True  # so that it hears of contexts and of windows

    def __init__(self, followers: Followers, shared: ContextParallel) -> None:
        super().__init__()
        self._followers, self._shared = followers, shared
        self._state = StateManager(BaseState)
        self.broken = False  # a pass did not come to its end: followers may wait in the middle of it

    def new_forward(self, module: Any, *args: Any, **kwargs: Any) -> Any:
        self.broken = True
        try:
            self._send(module, kwargs)
            # Registered here and now, it comes after hooks that add to the patches for the length of a call.
            handle = module.patch_embedding.register_forward_hook(_send_patches)
            try:
                output = self.fn_ref.original_forward(*args, **kwargs)
            finally:
                handle.remove()
            self._followers.check()
        except Exception as error:
            if (fault := self._followers.fault(error)) is not None:
                raise fault from error
            raise
        self.broken = False
        return output

    def _send(self, module: Any, kwargs: Mapping[str, Any]) -> None:
        tensors = {name: value.contiguous() for name, value in kwargs.items() if isinstance(value, Tensor)}
        self._shared.expect(token_count(module, tensors["hidden_states"]))
        self._followers.tell(
            {
                "do": "pass",
                "context": self._context(),
                "tensors": [[name, list(x.shape), str(x.dtype).removeprefix("torch.")] for name, x in tensors.items()],
                "others": {name: value for name, value in kwargs.items() if name not in tensors},
            }
        )
        for tensor in tensors.values():
            dist.broadcast(tensor, src=0)

    def reset_state(self, module: Any) -> Any:
        self._state.reset()
        self._followers.tell({"do": "window"})
        return module

    def leave(self, transformer: Any) -> None:
        """Off the transformer, which is whole again."""
        HookRegistry.check_if_exists_or_initialize(transformer).remove_hook(_HOOK, recurse=False)
        self._shared.remove()

    def _context(self) -> str | None:
        try:
            return str(self._state.context.name)
        except ValueError:  # there is none
            return None


def _send_patches(_module: nn.Module, _inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
    embedded = embedded.contiguous()
    dist.broadcast(embedded, src=0)
    return embedded


def _other_devices(device: torch.device, gpus: int) -> list[str]:
    """Where the followers work.

    Raises:
        Ex4dError: UNAVAILABLE.
    """
    if device.type == "cpu":
        return ["cpu"] * (gpus - 1)
    count = torch.cuda.device_count() if device.type == "cuda" else 1
    if count < gpus:
        raise Ex4dError(
            UNAVAILABLE, f"There are {count} GPUs here, and {gpus} were asked for.", f"Set gpus to {count} or less."
        )
    if not dist.is_nccl_available():
        raise Ex4dError(UNAVAILABLE, "This PyTorch cannot connect GPUs: it has no NCCL.", "Set gpus to 1.")
    own = device.index or 0
    return [f"cuda:{index}" for index in range(count) if index != own][: gpus - 1]
