# SPDX-License-Identifier: Apache-2.0
"""A tiny model in Wan's own files: its weights under the original names, in the original shapes, in pickles.

The names are those of the public code (Wan-Video/Wan2.1, wan/modules), listed here once more by how the code builds its
networks.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from itertools import product
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionModel, UMT5EncoderModel

from ex4d.models import original_names

PICKLES = (
    "Wan2.1_VAE.pth",
    "models_t5_umt5-xxl-enc-bf16.pth",
    "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
)
_BOTH = ("weight", "bias")


def write_originals(
    folder: Path,
    transformer: WanTransformer3DModel | WanVACETransformer3DModel,
    vae: AutoencoderKLWan,
    text_encoder: UMT5EncoderModel,
    image_encoder: CLIPVisionModel | None,
) -> None:
    """Writes all but the tokenizer. Without an image encoder it is VACE."""
    folder.mkdir(parents=True, exist_ok=True)
    config = transformer.config
    vace = {} if image_encoder else {"vace_layers": config.vace_layers, "vace_in_dim": config.vace_in_channels}
    _write_json(
        folder / "config.json",
        {
            "_class_name": "WanModel" if image_encoder else "VaceWanModel",
            "_diffusers_version": "0.30.0",
            "dim": config.num_attention_heads * config.attention_head_dim,
            "eps": config.eps,
            "ffn_dim": config.ffn_dim,
            "freq_dim": config.freq_dim,
            "in_dim": config.in_channels,
            "model_type": "i2v" if image_encoder else "vace",
            "num_heads": config.num_attention_heads,
            "num_layers": config.num_layers,
            "out_dim": config.out_channels,
            "text_len": 512,
            **vace,
        },
    )
    tensors = _named(transformer, transformer_names(config.num_layers), original_names.transformer)
    _write_shards(folder, tensors)
    names = list(vae_names())
    vae_file, text_file, image_file = (folder / name for name in PICKLES)
    torch.save(_named(vae, names, original_names.vae(names)), vae_file)
    torch.save(_named(text_encoder, prompt_names(2), original_names.prompt_encoder), text_file)
    if image_encoder:
        torch.save(_clip(image_encoder), image_file)


def transformer_names(layers: int) -> Iterator[str]:
    """Of `WanModel` for pictures to video, and what `VaceWanModel` has beside."""
    around = (
        "patch_embedding",
        "vace_patch_embedding",
        "text_embedding.0",
        "text_embedding.2",
        "time_embedding.0",
        "time_embedding.2",
    )
    around += ("time_projection.1", "head.head", *(f"img_emb.proj.{layer}" for layer in (0, 1, 3, 4)))
    yield from _joined(around, _BOTH)
    yield "head.modulation"
    linear = [f"self_attn.{name}" for name in "qkvo"]
    linear += [f"cross_attn.{name}" for name in ("q", "k", "v", "o", "k_img", "v_img")]
    linear += ["norm3", "ffn.0", "ffn.2", "before_proj", "after_proj"]
    for row, block in product(("blocks", "vace_blocks"), range(layers)):
        start = f"{row}.{block}."
        yield f"{start}modulation"
        yield from (start + name for name in _joined(linear, _BOTH))
        yield from (f"{start}self_attn.norm_{name}.weight" for name in "qk")
        yield from (f"{start}cross_attn.norm_{name}.weight" for name in ("q", "k", "k_img"))


def vae_names() -> Iterator[str]:
    """Of `WanVAE_` with four widths and two residual blocks for each, with shortcuts and steps in time everywhere."""
    residual = (*_joined(("residual.2", "residual.6", "shortcut"), _BOTH), "residual.0.gamma", "residual.3.gamma")
    resample = (*_joined(("resample.1", "time_conv"), _BOTH),)
    yield from _joined(("conv1", "conv2"), _BOTH)
    for side, row, count, steps in (
        ("encoder", "downsamples", 11, (2, 5, 8)),
        ("decoder", "upsamples", 15, (3, 7, 11)),
    ):
        yield from _joined((f"{side}.conv1", f"{side}.head.2"), _BOTH)
        yield f"{side}.head.0.gamma"
        yield from _joined((f"{side}.middle.0", f"{side}.middle.2"), residual)
        yield from _joined((f"{side}.middle.1.to_qkv", f"{side}.middle.1.proj"), _BOTH)
        yield f"{side}.middle.1.norm.gamma"
        for part in range(count):
            yield from _joined((f"{side}.{row}.{part}",), resample if part in steps else residual)


def prompt_names(layers: int) -> Iterator[str]:
    """Of `T5Encoder` with positions in every block."""
    yield from ("token_embedding.weight", "norm.weight")
    block = (*(f"attn.{name}" for name in "qkvo"), "norm1", "norm2", "ffn.gate.0", "ffn.fc1", "ffn.fc2")
    for number in range(layers):
        yield from (f"blocks.{number}.{name}.weight" for name in (*block, "pos_embedding.embedding"))


def _clip(model: CLIPVisionModel) -> dict[str, Tensor]:
    """Of `XLMRobertaCLIP`: queries, keys and values in one, axes of length 1 in front, and parts that nobody uses."""
    names = ["visual.cls_embedding", "visual.pos_embedding", "visual.patch_embedding.weight"]
    names += _joined(("visual.pre_norm", "visual.post_norm"), _BOTH)
    parts = ("norm1", "norm2", "attn.to_qkv", "attn.proj", "mlp.0", "mlp.2")
    layers = model.config.num_hidden_layers
    names += [f"visual.transformer.{number}.{name}" for number in range(layers) for name in _joined(parts, _BOTH)]
    tensors = _named(getattr(model, "vision_model", model), names, original_names.image_encoder)
    for name in ("visual.cls_embedding", "visual.pos_embedding"):
        tensors[name] = tensors[name].view(1, -1, model.config.hidden_size)
    unused = {"visual.head": torch.ones(4, 2), "log_scale": torch.tensor(4.6), "textual.norm.weight": torch.ones(3)}
    return tensors | unused


def _joined(starts: Iterable[str], ends: Iterable[str]) -> Iterator[str]:
    return (f"{start}.{end}" for start, end in product(starts, tuple(ends)))


def _named(model: Any, names: Iterable[str], rename: Callable[[str], Any]) -> dict[str, Tensor]:
    """The tensors of a model by those of the original names that stand for one it has.

    Raises:
        KeyError: a tensor has no original name.
    """
    state, tensors, named = model.state_dict(), {}, set()
    for name in names:
        ours = rename(name)
        ours = (ours,) if isinstance(ours, str) else ours
        if all(part in state for part in ours):
            tensors[name] = torch.cat([state[part] for part in ours]) if len(ours) > 1 else state[ours[0]].clone()
            named |= {state[part].data_ptr() for part in ours}
    if left := [name for name, tensor in state.items() if tensor.data_ptr() not in named]:
        raise KeyError(f"no original name for {left}")
    return tensors


def _write_shards(folder: Path, tensors: dict[str, Tensor]) -> None:
    names = list(tensors)
    table = {}
    for number, part in enumerate((names[::2], names[1::2]), start=1):
        file = f"diffusion_pytorch_model-{number:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in part}, folder / file)
        table |= dict.fromkeys(part, file)
    _write_json(folder / "diffusion_pytorch_model.safetensors.index.json", {"metadata": {}, "weight_map": table})


def _write_json(file: Path, value: object) -> None:
    file.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
