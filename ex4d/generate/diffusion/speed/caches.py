# SPDX-License-Identifier: Apache-2.0
"""Caches that leave out what can be guessed from earlier steps.

They keep one state for each prompt, told apart by `transformer.cache_context(name)`, and one window long.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FirstBlockCacheConfig, TaylorSeerCacheConfig
from diffusers.hooks import HookRegistry

from ex4d.generate.diffusion.speed.settings import FEW_STEPS, Speed
from shared_protocol.errors import UNSUPPORTED, Ex4dError

_WARM_UP = 3  # steps computed at the start, at least: the coarse look is settled there


def enable_cache(transformer: Any, speed: Speed, steps: int) -> tuple[str, str]:
    """Puts the cache that was asked for on a diffusers transformer.

    Args:
        transformer: `WanTransformer3DModel` or `WanVACETransformer3DModel`; blocks are compiled before.
        speed: has the cache and its numbers.
        steps: of the sampling loop.

    Returns:
        (the cache, a remark): "none" where there is none, with the reason when one was asked for.

    Raises:
        Ex4dError: UNSUPPORTED for a cache that would give wrong pictures with this model.
    """
    if speed.cache == "none":
        return "none", ""
    if not speed.remembers(steps):
        return "none", f"No cache: of {steps} steps, none can be guessed (more than {FEW_STEPS} are needed)."
    kind = resolve_cache(transformer, speed)
    if kind == "first-block":
        transformer.enable_cache(FirstBlockCacheConfig(threshold=speed.cache_threshold))
        return kind, ""
    # The lite mode predicts the last layer's output. Predicting each layer would keep 160 GB at 81 frames of 832x480
    # (120 layers, two orders, two prompts), and diffusers' default patterns match no layer of Wan's.
    transformer.enable_cache(
        TaylorSeerCacheConfig(
            cache_interval=speed.cache_interval,
            disable_cache_before_step=max(_WARM_UP, round(steps / 5)),
            disable_cache_after_step=steps - 1,
            max_order=1,
            taylor_factors_dtype=torch.float32,
            use_lite_mode=True,
        )
    )
    return kind, ""


def resolve_cache(transformer: Any, speed: Speed) -> str:
    """The cache that a setting means for a transformer.

    Raises:
        Ex4dError: UNSUPPORTED, see `enable_cache`.
    """
    # VACE adds hints between the blocks. A block that is left out gives back what went in, and the hints are added to
    # it once more, though the cached remainder has them already.
    hinted = hasattr(transformer, "vace_blocks")
    if speed.cache == "first-block" and hinted:
        raise Ex4dError(
            UNSUPPORTED,
            "The cache 'first-block' gives wrong pictures with a VACE model.",
            "Choose the cache auto or taylor.",
        )
    if speed.cache != "auto":
        return speed.cache
    return "taylor" if hinted or speed.gpus > 1 else "first-block"


def begin_window(transformer: Any) -> None:
    """Forgets what was cached: the next step is the first of another window."""
    HookRegistry.check_if_exists_or_initialize(transformer).reset_stateful_hooks()


def disable_cache(transformer: Any) -> None:
    """Takes the cache off, if there is one."""
    if transformer.is_cache_enabled:
        transformer.disable_cache()
