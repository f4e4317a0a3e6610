# SPDX-License-Identifier: Apache-2.0
"""Compiling the blocks of a transformer."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from typing import Any

import torch
from torch import nn

from shared_protocol.errors import UNAVAILABLE, Ex4dError


class CompiledBody:
    """A block's forward, compiled on its first call."""

    def __init__(self, plain: Callable[..., Any], backend: str) -> None:
        self.plain = plain
        self._compiled = torch.compile(plain, backend=backend)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return self._compiled(*args, **kwargs)
        except torch._dynamo.exc.TorchDynamoException as error:  # has no public name
            text = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
            raise Ex4dError(
                UNAVAILABLE, f"The model could not be compiled: {text[:200]}", "Set compile to off."
            ) from error


def compile_blocks(transformer: Any, device: torch.device, backend: str = "inductor") -> str:
    """Compiles the bodies of a diffusers model's repeated blocks, inside whatever hooks they have.

    diffusers' `compile_repeated_blocks` compiles a block with the hooks around it. Caches and offloading are such
    hooks, and each has a state of its own: with a first-block cache, 12 blocks became 9 graphs, and the rest was not
    compiled at all. The bodies are all alike, and become one graph.

    Args:
        transformer: a model with `_repeated_blocks`; memory hooks are on it, caches come after.
        device: where the blocks work.
        backend: of `torch.compile`.

    Returns:
        What stood in the way, in words, with nothing compiled; "" when it is done.
    """
    reason = _hindrance(device) if backend == "inductor" else ""
    blocks = [module for module in transformer.modules() if type(module).__name__ in transformer._repeated_blocks]
    if any(_hooked_inside(block) for block in blocks):
        reason = "layers are cast or moved one by one, which cannot be compiled"
    if not reason:
        for holder, name in map(_body, blocks):
            setattr(holder, name, CompiledBody(getattr(holder, name), backend))
    return reason


def uncompile_blocks(transformer: Any) -> None:
    """Takes back what `compile_blocks` did. Hooks that came after it have to be gone."""
    for block in transformer.modules():
        holder, name = _body(block)
        body = getattr(holder, name)
        if isinstance(body, CompiledBody):
            setattr(holder, name, body.plain)


def compiled_bodies(transformer: Any) -> Iterator[nn.Module]:
    """The blocks whose bodies are compiled."""
    for block in transformer.modules():
        holder, name = _body(block)
        if isinstance(getattr(holder, name), CompiledBody):
            yield block


def _body(block: nn.Module) -> tuple[Any, str]:
    """Object and attribute that hold the block's forward inside all of diffusers' hooks."""
    registry = getattr(block, "_diffusers_hook", None)
    if registry is None or not registry._fn_refs:
        return block, "forward"
    innermost = registry._fn_refs[0]
    return innermost, "forward" if innermost.original_forward is None else "original_forward"


def _hooked_inside(block: nn.Module) -> bool:
    inner = (getattr(module, "_diffusers_hook", None) for module in block.modules() if module is not block)
    return any(registry is not None and registry.hooks for registry in inner)


def _hindrance(device: torch.device) -> str:
    """What torch.compile's own backend lacks here."""
    if device.type == "cuda":
        return "" if find_spec("triton") else "the Python package 'triton' is not installed"
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "cl")
    return "" if any(name and shutil.which(name) for name in compilers) else "there is no C++ compiler"
