# SPDX-License-Identifier: Apache-2.0
"""A Wan repository whose weights are drawn at random when they are read: time and memory do not depend on the values.

Everything else is what a folder of files gives, so the generator loads it through its own code. The 14B model would be
33 GB of files.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from benchmarks.memory_prediction import I2V
from ex4d.generate.wan.adapter import checkpoint_shapes
from ex4d.models.repository import Part, Repository
from ex4d.models.weights import Header, WeightFiles

Configs = Mapping[str, Mapping[str, Any]]  # of the parts

# Wan2.1-I2V-14B; what is left out is diffusers' and transformers' own.
FULL: Configs = {
    "transformer": I2V,
    "vae": {"base_dim": 96},
    "text_encoder": {
        "vocab_size": 256384,
        "d_model": 4096,
        "d_kv": 64,
        "d_ff": 10240,
        "num_layers": 24,
        "num_heads": 64,
        "feed_forward_proj": "gated-gelu",
    },
    "image_encoder": {
        "hidden_size": 1280,
        "intermediate_size": 5120,
        "num_hidden_layers": 32,
        "num_attention_heads": 16,
        "patch_size": 14,
        "image_size": 224,
        "hidden_act": "gelu",
    },
}
GEOMETRY = 1024  # channels of the geometry encoder in EX-4D's checkpoint
DISTILLED_RANK = 64  # of the step-distilled LoRA


class RandomWeights(WeightFiles):
    """Tensors of these shapes, each drawn when it is read, and always the same."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], device: torch.device, dtype: torch.dtype) -> None:
        """They are drawn on `device`, which is where that is quick."""
        super().__init__(())
        kind = {torch.float32: "F32", torch.bfloat16: "BF16"}[dtype]  # as safetensors writes it
        self._headers = {name: Header(Path("random"), shape, kind) for name, shape in shapes.items()}
        self._device, self._dtype = device, dtype

    def __str__(self) -> str:
        return "random weights"

    def read(self, names: Collection[str]) -> Iterator[tuple[str, Tensor]]:
        """See `WeightFiles.read`."""
        for name in names:
            yield name, drawn(name, self[name].shape, self._device, self._dtype)


def drawn(name: str, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """Numbers of the size that a trained network has, so that nothing grows or fades on its way through it."""
    tensor = torch.empty(shape, device=device, dtype=dtype)
    leaf = name.rpartition(".")[2]
    if leaf == "gamma" or (leaf == "weight" and len(shape) == 1):  # of a norm
        return tensor.fill_(1.0)
    spread = 0.02 if leaf == "bias" or len(shape) < 2 else (shape[0] / tensor.numel()) ** 0.5
    generator = torch.Generator(device).manual_seed(zlib.crc32(name.encode()))
    return tensor.normal_(0.0, spread, generator=generator)


def random_repository(configs: Configs, tokenizer: Path, device: torch.device, dtype: torch.dtype) -> Repository:
    """Wan2.1-I2V of these sizes.

    Args:
        configs: of "transformer", "vae", "text_encoder" and "image_encoder".
        tokenizer: a file tokenizer.json with no more words than the text encoder's config says.
        device: where weights are drawn.
        dtype: as which they are drawn.
    """
    parts = {
        name: Part(config, RandomWeights(_shapes(empty(name, config)), device, dtype), str)
        for name, config in configs.items()
    }
    return Repository(tokenizer.parent, "diffusers", "i2v", "Wan2.1-I2V, random", tokenizer, parts, ())


def empty(name: str, config: Mapping[str, Any]) -> nn.Module:
    """A part's network without weights, with the names that its loader fills."""
    values = dict(config)
    with torch.device("meta"):
        if name == "transformer":
            transformer: nn.Module = WanTransformer3DModel.from_config(values)
            return transformer
        if name == "vae":
            vae: nn.Module = AutoencoderKLWan.from_config(values)
            return vae
        if name == "text_encoder":
            encoder: nn.Module = UMT5EncoderModel(UMT5Config.from_dict(values))
            return encoder
        clip = CLIPVisionModel(CLIPVisionConfig.from_dict(values))
    core: nn.Module = getattr(clip, "vision_model", clip)
    return core


def write_random_adapter(
    path: Path, configs: Configs, rank: int, hidden: int, device: torch.device, dtype: torch.dtype
) -> Path:
    """An EX-4D checkpoint for the repository's transformer, drawn on `device`. Returns `path`."""
    shapes = checkpoint_shapes(empty("transformer", configs["transformer"]), rank, hidden)
    save_file({name: _adapting(name, shape, device, dtype) for name, shape in shapes.items()}, path)
    return path


def write_random_lora(path: Path, configs: Configs, rank: int, device: torch.device, dtype: torch.dtype) -> Path:
    """A LoRA for the repository's transformer, named as LightX2V's step-distilled one. Returns `path`."""
    shapes = checkpoint_shapes(empty("transformer", configs["transformer"]), rank, 1)
    tensors = {}
    for name, shape in shapes.items():
        if ".lora_" in name:
            theirs = name.replace("lora_A", "lora_down").replace("lora_B", "lora_up")
            tensors[theirs] = _adapting(name, shape, device, dtype)
    save_file(tensors, path)
    return path


def _adapting(name: str, shape: tuple[int, ...], device: torch.device, dtype: torch.dtype) -> Tensor:
    """A LoRA's product is a tenth of what it is added to."""
    tensor = drawn(name, shape, device, torch.float32)
    return (tensor * 0.1 if ".lora_B." in name else tensor).to("cpu", dtype)


def _shapes(network: nn.Module) -> dict[str, tuple[int, ...]]:
    """Of all that a file of such a network holds; what has several names has the first."""
    saved = network.state_dict()
    shapes = {name: tuple(value.shape) for name, value in network.named_parameters()}
    buffers = {name: tuple(value.shape) for name, value in network.named_buffers() if name in saved}
    return shapes | buffers
