# SPDX-License-Identifier: Apache-2.0
"""The way in: switches onto a transformer that is loaded, has its adapters, and is placed in memory."""

from __future__ import annotations

from typing import Any

import diffusers
import torch

from ex4d.generate.diffusion.speed.attention import resolve_attention, set_attention
from ex4d.generate.diffusion.speed.caches import begin_window, disable_cache, enable_cache
from ex4d.generate.diffusion.speed.compile import compile_blocks, compiled_bodies, uncompile_blocks
from ex4d.generate.diffusion.speed.settings import ATTENTION, DEVIATIONS, Speed

__all__ = ["apply_speed", "begin_window", "check_speed", "remove_speed"]


def check_speed(speed: Speed, device: torch.device) -> None:
    """Sees before anything is loaded whether what was asked for is here.

    Raises:
        Ex4dError: UNAVAILABLE for an attention that was named and does not work here.
    """
    resolve_attention(speed.attention, device)


def apply_speed(
    transformer: Any, speed: Speed, steps: int, device: torch.device | None = None, *, backend: str = "inductor"
) -> dict[str, Any]:
    """Puts the switches on a transformer.

    Args:
        transformer: `WanTransformer3DModel` or `WanVACETransformer3DModel`. LoRAs are in it and memory hooks on it; it
            is joined to other GPUs afterwards.
        speed: the switches.
        steps: of the sampling loop.
        device: where it works; its own where it is left out.
        backend: of `torch.compile`.

    Returns:
        What took effect, in JSON values: `attention`, `compile`, `cache`, `batched_cfg`, `notes` (what was asked for
        and did not, with reasons), `deviations` (from the exact result, in words), `versions`.

    Raises:
        Ex4dError: UNAVAILABLE for an attention that does not work here, UNSUPPORTED for a cache that the model does not
            bear.
    """
    device = transformer.device if device is None else device
    notes = []
    attention = resolve_attention(speed.attention, device)
    set_attention(transformer, attention)
    if speed.compile and (reason := compile_blocks(transformer, device, backend)):
        notes.append(f"Not compiled: {reason}.")
    compiled = any(True for _ in compiled_bodies(transformer))
    cache, remark = enable_cache(transformer, speed, steps)
    notes += [remark] if remark else []
    active = {
        "compile": compiled,
        "attention": attention != "exact",
        "batched_cfg": speed.batched_cfg,
        "fuse_loras": speed.fuse_loras,
        "first-block": cache == "first-block",
        "taylor": cache == "taylor",
        "distilled": speed.distilled,
    }
    return {
        "attention": ATTENTION[attention],
        "compile": compiled,
        "cache": cache,
        "batched_cfg": speed.batched_cfg,
        "notes": notes,
        "deviations": {name: text for name, text in DEVIATIONS.items() if active[name]},
        "versions": {"torch": torch.__version__, "diffusers": diffusers.__version__},
    }


def remove_speed(transformer: Any) -> None:
    """Takes off what `apply_speed` put on: the transformer computes exactly again."""
    disable_cache(transformer)
    uncompile_blocks(transformer)
    set_attention(transformer, "exact")
