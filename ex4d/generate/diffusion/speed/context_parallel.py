# SPDX-License-Identifier: Apache-2.0
"""One step shared by several processes: each holds a part of the tokens, and attention exchanges heads (Ulysses).

Everything here is called by all ranks alike, at the same point of their work.
"""

from __future__ import annotations

import warnings
from typing import Any

import torch
import torch.distributed as dist
from diffusers import ContextParallelConfig, ParallelConfig, WanTransformer3DModel
from diffusers.hooks import apply_context_parallel
from diffusers.hooks.context_parallel import remove_context_parallel
from torch.distributed.device_mesh import init_device_mesh

from ex4d.generate.diffusion.speed.attention import set_attention
from shared_protocol.errors import UNSUPPORTED, Ex4dError


class ContextParallel:
    """A transformer whose tokens are divided among the ranks of torch.distributed."""

    def __init__(self, transformer: Any, device: torch.device, attention: str) -> None:
        """Divides it. diffusers' `enable_parallelism` does the same, but takes ranks for GPU numbers.

        Args:
            transformer: `WanTransformer3DModel` or `WanVACETransformer3DModel`, the same on all ranks. Caches are on it
                already: they keep what a rank computed itself.
            device: of this rank.
            attention: a key of `ATTENTION`.

        Raises:
            Ex4dError: UNAVAILABLE for an attention that cannot be divided.
        """
        # diffusers calls what PyTorch is about to rename.
        warnings.filterwarnings("ignore", category=FutureWarning, module=r"diffusers\.")
        world = dist.get_world_size()
        self._transformer, self._heads = transformer, transformer.config.num_attention_heads
        self._config = ContextParallelConfig(ulysses_degree=world)
        parallel = ParallelConfig(context_parallel_config=self._config)
        mesh = init_device_mesh(device.type, (1, world), mesh_dim_names=("ring", "ulysses"))
        parallel.setup(dist.get_rank(), world, device, mesh=mesh)
        self._plan = _plan(transformer)
        self._set_config(parallel)
        set_attention(transformer, attention)  # refuses what cannot be divided, now that it knows
        apply_context_parallel(transformer, self._config, self._plan)

    def expect(self, tokens: int) -> None:
        """Is told before each pass how many tokens there are: uneven shares take a little more talk between ranks.

        Raises:
            Ex4dError: UNSUPPORTED for uneven shares on the CPU, whose library (Gloo) exchanges equal ones alone.
        """
        world = self._config.ulysses_degree
        if tokens % world and dist.get_backend() == "gloo":
            text = f"{tokens} tokens cannot be shared by {world} processes on the CPU, since the shares are uneven."
            raise Ex4dError(UNSUPPORTED, text, "Set gpus to 1, or choose another size of the picture.")
        self._config.ulysses_anything = bool(tokens % world or self._heads % world)

    def remove(self) -> None:
        """The transformer is whole again."""
        remove_context_parallel(self._transformer, self._plan)
        self._set_config(None)

    def _set_config(self, config: ParallelConfig | None) -> None:
        for module in self._transformer.modules():
            if hasattr(getattr(module, "processor", None), "_parallel_config"):
                module.processor._parallel_config = config


def token_count(transformer: Any, hidden_states: torch.Tensor) -> int:
    """Tokens of latents [count, channels, t, h, w]."""
    count = 1
    for length, patch in zip(hidden_states.shape[2:], transformer.config.patch_size, strict=True):
        count *= length // patch
    return count


def _plan(transformer: Any) -> dict[str, Any]:
    """Where tokens are divided and gathered."""
    # Wan2.1 has one timestep for all tokens, so that there is nothing to divide at the model's own input.
    plan = {place: what for place, what in WanTransformer3DModel._cp_plan.items() if place != ""}
    if hasattr(transformer, "vace_blocks"):
        # diffusers has no plan for VACE. Later ones of its blocks get what the one before gives, divided already.
        share = plan["blocks.0"]["hidden_states"]
        plan["vace_blocks.0"] = {"hidden_states": share, "control_hidden_states": share}
    return plan
