# SPDX-License-Identifier: Apache-2.0
"""Small transformers with random weights for the tests of speed."""

from __future__ import annotations

import threading
from typing import Any

import torch
from diffusers import WanTransformer3DModel, WanVACETransformer3DModel
from torch import Tensor

from shared_protocol.errors import NOT_FOUND, Ex4dError

BLOCKS = 4
SHAPE = {
    "num_attention_heads": 4,
    "attention_head_dim": 24,
    "out_channels": 16,
    "text_dim": 64,
    "ffn_dim": 192,
    "num_layers": BLOCKS,
}
LATENTS = torch.randn(1, 16, 2, 8, 8, generator=torch.Generator().manual_seed(5))


def small_wan(device: str = "cpu") -> WanTransformer3DModel:
    """The architecture of Wan2.1-I2V; the same weights at every call."""
    torch.manual_seed(3)
    transformer = WanTransformer3DModel(in_channels=36, image_dim=64, added_kv_proj_dim=96, **SHAPE)
    return transformer.to(device).eval()


def small_vace(device: str = "cpu") -> WanVACETransformer3DModel:
    """The architecture of Wan2.1-VACE."""
    torch.manual_seed(3)
    transformer = WanVACETransformer3DModel(in_channels=16, vace_in_channels=96, vace_layers=[0, 2], **SHAPE)
    return transformer.to(device).eval()


@torch.no_grad()
def ask(
    transformer: Any,
    timestep: float,
    context: str = "positive",
    seed: int = 0,
    size: tuple[int, int, int] = (2, 8, 8),
) -> Tensor:
    """The transformer's answer to inputs drawn with a seed."""
    draw = torch.Generator().manual_seed(seed)
    inputs = {"encoder_hidden_states": torch.randn(1, 512, 64, generator=draw)}
    if isinstance(transformer, WanVACETransformer3DModel):
        inputs["hidden_states"] = torch.randn(1, 16, *size, generator=draw)
        inputs["control_hidden_states"] = torch.randn(1, 96, *size, generator=draw)
    else:
        inputs["hidden_states"] = torch.randn(1, 36, *size, generator=draw)
        inputs["encoder_hidden_states_image"] = torch.randn(1, 257, 64, generator=draw)
    with transformer.cache_context(context):
        answer: Tensor = transformer(timestep=torch.tensor([timestep]), return_dict=False, **inputs)[0]
    return answer


class Count:
    """Counts blocks whose inside is run, and remembers the batch that they saw."""

    def __init__(self, transformer: Any) -> None:
        self.blocks, self.batch = 0, 0
        for block in transformer.blocks:
            block.attn1.register_forward_pre_hook(self._add)

    def _add(self, _module: Any, inputs: tuple[Tensor, ...]) -> None:
        self.blocks += 1
        self.batch = len(inputs[0])

    def taken(self) -> int:
        """How many since this was last asked."""
        count, self.blocks = self.blocks, 0
        return count


def endless(_device: str) -> None:
    """A maker that never comes back."""
    threading.Event().wait()


def no_weights(_device: str) -> None:
    """What a transformer's maker does where there is nothing to load."""
    raise Ex4dError(NOT_FOUND, "No weights.")
