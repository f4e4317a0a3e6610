# SPDX-License-Identifier: Apache-2.0
"""What memory depends on: the sizes of the networks, and of the window that is painted."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from ex4d.generate.diffusion.memory.storage import BLOCKS, block_layers

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Counts:
    """Numbers of values, by the type they are kept in."""

    layers: int = 0  # weights and biases of linear layers in blocks: in the type that the profile says
    other: int = 0  # in the type of the work
    float32: int = 0  # always

    def __add__(self, more: Counts) -> Counts:
        return Counts(self.layers + more.layers, self.other + more.other, self.float32 + more.float32)

    def size(self, layer_bytes: float, work_bytes: int) -> int:
        """Bytes, where a value of a block's layer takes `layer_bytes` and another `work_bytes`."""
        return round(self.layers * layer_bytes) + self.other * work_bytes + self.float32 * 4


@dataclass(frozen=True)
class Network:
    """A video transformer."""

    width: int  # channels of a token
    ffn: int  # channels inside the feed-forward layers
    hints: int  # tokens' copies that a control branch keeps for the blocks (VACE); else 0
    blocks: int  # of all kinds
    block: Counts  # the largest block
    total: Counts
    outside: Counts  # of the blocks
    largest_layer: int  # values of the largest linear layer in a block


@dataclass(frozen=True)
class Encoder:
    """A network that runs once, before the transformer."""

    values: int = 0
    largest_layer: int = 0


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A window, and the networks that paint it."""

    frames: int
    before: int = 0  # frames of the window before that are decoded once more with it
    width: int  # pixels, multiples of 16
    height: int
    transformer: Network
    vae: Encoder
    vae_base: int  # channels of the autoencoder's first level
    vae_bytes: int = 2  # per value of the autoencoder: 2 = bfloat16, 4 = float32
    text_encoder: Encoder = Encoder()
    image_encoder: Encoder = Encoder()
    geometry_encoder: Encoder = Encoder()
    adapters: int = 0  # values of all LoRAs
    fused: bool = False  # LoRAs are worked into the weights, where these are of a type that bears it
    batched: bool = False  # both prompts in one pass
    cached: int = 0  # copies of all tokens that a cache for speed keeps from step to step
    gguf: int = 0  # bytes of the GGUF file, where one is in use

    @property
    def tokens(self) -> int:
        """Of the window, for one prompt: patches of 1x2x2 latents, which are 4 frames of 16x16 pixels each."""
        return ((self.frames - 1) // 4 + 1) * (self.height // 16) * (self.width // 16)


def network(config: Mapping[str, Any]) -> Network:
    """Sizes of a transformer, from its config (diffusers', with `_class_name`), without its weights."""
    return _network(json.dumps(dict(config), sort_keys=True))


@lru_cache(maxsize=8)
def _network(config: str) -> Network:
    from ex4d.models.empty import empty_network

    transformer = empty_network("transformer", json.loads(config))
    layers = dict(block_layers(transformer))
    blocks = [
        _counts(transformer, f"{kind}.{i}.") for kind in BLOCKS for i in range(len(getattr(transformer, kind, ())))
    ]
    total = _counts(transformer, "")
    inside = sum(blocks, Counts())
    outside = Counts(total.layers - inside.layers, total.other - inside.other, total.float32 - inside.float32)
    return Network(
        width=transformer.config.num_attention_heads * transformer.config.attention_head_dim,
        ffn=transformer.config.ffn_dim,
        hints=len(getattr(transformer.config, "vace_layers", ())),
        blocks=len(blocks),
        block=max(blocks, key=lambda counts: counts.layers),
        total=total,
        outside=outside,
        largest_layer=max(_values(layer) for layer in layers.values()),
    )


def _counts(transformer: nn.Module, prefix: str) -> Counts:
    layers = {f"{name}." for name, _ in block_layers(transformer)}
    kept = set(getattr(transformer, "_keep_in_fp32_modules", None) or ())
    count = {"layers": 0, "other": 0, "float32": 0}
    for name, parameter in transformer.named_parameters():
        if not name.startswith(prefix):
            continue
        if f"{name.rpartition('.')[0]}." in layers:
            count["layers"] += parameter.numel()
        else:
            count["other" if kept.isdisjoint(name.split(".")) else "float32"] += parameter.numel()
    return Counts(**count)


def encoder(module: nn.Module) -> Encoder:
    """Sizes of a network that was built, with weights or on the meta device."""
    return Encoder(_values(module), max((_own(part) for part in module.modules()), default=0))


def _values(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _own(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters(recurse=False))


def encoder_of(config: Mapping[str, Any], name: str) -> Encoder:
    """Sizes of a part of a Wan model: "vae", "text_encoder" or "image_encoder", from its config."""
    return _encoder_of(json.dumps(dict(config), sort_keys=True), name)


@lru_cache(maxsize=8)
def _encoder_of(config: str, name: str) -> Encoder:
    from ex4d.models.empty import empty_network

    return encoder(empty_network(name, json.loads(config)))
