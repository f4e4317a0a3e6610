# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter's denoiser: that of Stable Video Diffusion, which looks at each frame's own image embedding.

diffusers' class takes one embedding for a clip and repeats it for every frame. What is repeated may as well be a list
of all frames' embeddings: before a block looks at them, each frame is left with its own.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from diffusers import UNetSpatioTemporalConditionModel
from diffusers.models.transformers.transformer_temporal import TransformerSpatioTemporalModel
from diffusers.models.unets.unet_3d_blocks import SpatioTemporalResBlock
from torch import Tensor, nn

_EMBEDDINGS = "encoder_hidden_states"


def look_at_own_frame(unet: UNetSpatioTemporalConditionModel) -> None:
    """From now on the network takes `encoder_hidden_states` [B, T, C], one row for each of the frames."""
    for block in _blocks(unet):
        if getattr(block, "has_cross_attention", False):
            block.register_forward_pre_hook(_own_row, with_kwargs=True)


def frame_by_frame(unet: UNetSpatioTemporalConditionModel) -> None:
    """The widest layers take one frame after the other: 5/9 of the memory, the same numbers."""
    unet.enable_forward_chunking(1, dim=0)


def tell_between_layers(unet: UNetSpatioTemporalConditionModel, tell: Callable[[], None]) -> None:
    """Calls `tell` before each layer of the network; what it raises ends the run of the network."""

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        tell()

    for module in unet.modules():
        if isinstance(module, (TransformerSpatioTemporalModel, SpatioTemporalResBlock)):
            module.register_forward_pre_hook(before)


def _blocks(unet: UNetSpatioTemporalConditionModel) -> tuple[nn.Module, ...]:
    return (*unet.down_blocks, unet.mid_block, *unet.up_blocks)


def _own_row(
    module: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Of [B * T, T, C], every frame with all rows, the rows that are the frames' own: [B * T, 1, C]."""
    every: Tensor = named[_EMBEDDINGS]
    frames = every.shape[1]
    own = every.reshape(-1, frames, frames, every.shape[2]).diagonal(dim1=1, dim2=2).transpose(1, 2)
    return inputs, {**named, _EMBEDDINGS: own.flatten(0, 1)[:, None]}
