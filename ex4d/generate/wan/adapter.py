# SPDX-License-Identifier: Apache-2.0
"""The EX-4D checkpoint: a LoRA for the transformer and the weights of the geometry encoder, in one flat file.

The public code loads it without looking whether anything fits. Here a tensor that is missing, left over or misshapen is
an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from ex4d.generate.diffusion.memory import keep_adapter
from ex4d.generate.wan.geometry_encoder import GeometryEncoder
from ex4d.models import original_names
from ex4d.models.weights import WeightFiles, load_into
from shared_protocol.errors import BAD_INPUT, Ex4dError

NAME = "ex4d"  # of the LoRA among a transformer's adapters
_ENCODER = ("latent_encoder.", "latent_patch_embedding.")
# Linear layers of a block that the LoRA is for (LoraConfig of the public code: q, k, v, o, ffn.0, ffn.2).
_LAYERS = (*(f"{kind}.{layer}" for kind in ("self_attn", "cross_attn") for layer in "qkvo"), "ffn.0", "ffn.2")


@dataclass(frozen=True, eq=False)
class Adapter:
    """A checkpoint that was read and fits its model."""

    lora: Mapping[str, Tensor]  # names of diffusers' transformer: "blocks.0.attn1.to_q.lora_A.weight"; float32
    geometry: GeometryEncoder  # float32, on the CPU
    rank: int


def read_adapter(path: Path, transformer: WanTransformer3DModel) -> Adapter:
    """Reads a checkpoint, with or without `.default` in its names, of any rank.

    Args:
        path: a safetensors file.
        transformer: the model that it has to fit; may be on the meta device.

    Raises:
        Ex4dError: NOT_FOUND for no file, BAD_INPUT when it is broken, or a tensor is missing, left over or misshapen.
    """
    file = WeightFiles([path])
    hidden = file["latent_encoder.0.weight"].shape[0] if "latent_encoder.0.weight" in file else 0
    ranks = sorted({header.shape[0] for name, header in file.items() if ".lora_A." in name and header.shape})
    if not hidden or len(ranks) != 1 or ranks == [0]:
        has = f"LoRA tensors of ranks {ranks}" if hidden and ranks else "no LoRA or no geometry encoder"
        text = f"{path} is not an EX-4D checkpoint: it has {has}."
        raise Ex4dError(BAD_INPUT, text, "Give the one that `ex4d models download ex4d` brings.")
    whole = _places(checkpoint_shapes(transformer, ranks[0], hidden))
    load_into(whole, file, lambda name: re.sub(r"\.default\.weight$", ".weight", name), dtype=torch.float32)
    tensors = whole.state_dict()
    with torch.device("meta"):
        geometry = GeometryEncoder(hidden, _width(transformer))
    encoder = {name: value for name, value in tensors.items() if name.startswith(_ENCODER)}
    geometry.load_state_dict(encoder, assign=True)
    lora = {original_names.lora(name): value for name, value in tensors.items() if name not in encoder}
    return Adapter(lora, geometry.requires_grad_(False).eval(), ranks[0])


def add_adapter(
    transformer: WanTransformer3DModel, adapter: Adapter, strength: float, dtype: torch.dtype = torch.float32
) -> None:
    """Puts the LoRA into the transformer, unmerged, in the type of the work.

    The checkpoint does not tell alpha; the public code sets it to the rank, which makes the scale 1.
    """
    transformer.load_lora_adapter(dict(adapter.lora), prefix=None, adapter_name=NAME)
    transformer.set_adapters([NAME], [strength])
    keep_adapter(transformer, NAME, adapter.lora, dtype)


def checkpoint_shapes(transformer: WanTransformer3DModel, rank: int, hidden: int) -> dict[str, tuple[int, ...]]:
    """Names, without `.default`, and shapes of all tensors that a checkpoint for this model has.

    Args:
        transformer: the model; may be on the meta device.
        rank: of the LoRA.
        hidden: channels inside the geometry encoder.
    """
    with torch.device("meta"):
        geometry = GeometryEncoder(hidden, _width(transformer))
    shapes = {name: tuple(value.shape) for name, value in geometry.state_dict().items()}
    for block in range(transformer.config.num_layers):
        for layer in _LAYERS:
            name = f"blocks.{block}.{layer}"
            linear = transformer.get_submodule(original_names.transformer(name))
            shapes[f"{name}.lora_A.weight"] = (rank, linear.in_features)
            shapes[f"{name}.lora_B.weight"] = (linear.out_features, rank)
    return shapes


def _places(shapes: Mapping[str, tuple[int, ...]]) -> nn.Module:
    """A module with parameters of these names, without values."""
    root = nn.Module()
    for name, shape in shapes.items():
        owner, (*path, leaf) = root, name.split(".")
        for part in path:
            if not hasattr(owner, part):
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, nn.Parameter(torch.empty(shape, device="meta"), requires_grad=False))
    return root


def _width(transformer: WanTransformer3DModel) -> int:
    return int(transformer.config.num_attention_heads * transformer.config.attention_head_dim)
