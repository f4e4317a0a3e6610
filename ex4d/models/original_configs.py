# SPDX-License-Identifier: Apache-2.0
"""What the networks in Wan's own files look like, in the words of diffusers' and transformers' classes.

Of the original files only the transformer comes with a config. What the others look like is in the shapes of their
tensors; what shapes cannot tell is constant in the public code (Wan-Video/Wan2.1, wan/modules).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from ex4d.models.weights import WeightFiles
from shared_protocol.errors import BAD_INPUT, Ex4dError

_CLIP_HEADS = 16  # `clip_xlm_roberta_vit_h_14` in clip.py
_T5_DISTANCE = 128  # `T5RelativeEmbedding` in t5.py


def transformer(config: Mapping[str, Any], weights: WeightFiles | None) -> dict[str, Any]:
    """Of `WanTransformer3DModel`, or `WanVACETransformer3DModel` where it has VACE's blocks.

    Args:
        config: config.json of the original.
        weights: tells the widths of prompt and image features; None: those of the released models.

    Raises:
        Ex4dError: BAD_INPUT for a config without what it needs.
    """
    try:
        heads = int(config["num_heads"])
        ours = {
            "patch_size": list(config.get("patch_size", (1, 2, 2))),
            "num_attention_heads": heads,
            "attention_head_dim": int(config["dim"]) // heads,
            "in_channels": config["in_dim"],
            "out_channels": config["out_dim"],
            "text_dim": _width(weights, "text_embedding.0.weight", 4096),
            "freq_dim": config["freq_dim"],
            "ffn_dim": config["ffn_dim"],
            "num_layers": config["num_layers"],
            "cross_attn_norm": config.get("cross_attn_norm", True),
            "qk_norm": "rms_norm_across_heads" if config.get("qk_norm", True) else None,
            "eps": config["eps"],
        }
    except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
        text = f"The config.json of the transformer cannot be used: {error!r}."
        raise Ex4dError(BAD_INPUT, text, "Download it again.") from error
    kind = config.get("model_type")
    if kind == "vace":
        layers = config.get("vace_layers") or list(range(0, config["num_layers"], 2))
        ours |= {"vace_layers": layers, "vace_in_channels": config.get("vace_in_dim", 96)}
    elif kind in ("i2v", "flf2v"):
        ours |= {"image_dim": _width(weights, "img_emb.proj.0.weight", 1280), "added_kv_proj_dim": config["dim"]}
        ours["pos_embed_seq_len"] = 2 * 257 if kind == "flf2v" else None
    return ours


def vae(weights: WeightFiles) -> dict[str, Any]:
    """Of `AutoencoderKLWan`, whose defaults have the means and deviations of the released latents.

    Raises:
        Ex4dError: BAD_INPUT for tensors of another network.
    """
    base = _shape(weights, "encoder.conv1.weight")[0]
    widths, blocks, times = [0], [0], []
    for part in range(_count(weights, r"encoder\.downsamples\.(\d+)\.")):
        name = f"encoder.downsamples.{part}."
        if f"{name}residual.2.weight" in weights:
            widths[-1], blocks[-1] = _shape(weights, f"{name}residual.2.weight")[0], blocks[-1] + 1
        else:
            times.append(f"{name}time_conv.weight" in weights)
            widths.append(0)
            blocks.append(0)
    if not base or any(width % base for width in widths) or len(set(blocks)) != 1:
        raise _other(weights, "autoencoder")
    return {
        "base_dim": base,
        "z_dim": _shape(weights, "conv2.weight")[0],
        "dim_mult": [width // base for width in widths],
        "num_res_blocks": blocks[0],
        "temperal_downsample": times,
    }


def prompt_encoder(weights: WeightFiles) -> dict[str, Any]:
    """Of `UMT5EncoderModel`.

    Raises:
        Ex4dError: BAD_INPUT for tensors of another network.
    """
    buckets, heads = _shape(weights, "blocks.0.pos_embedding.embedding.weight")
    inner, width = _shape(weights, "blocks.0.attn.q.weight")
    return {
        "vocab_size": _shape(weights, "token_embedding.weight")[0],
        "d_model": width,
        "d_kv": inner // max(heads, 1),
        "d_ff": _shape(weights, "blocks.0.ffn.fc1.weight")[0],
        "num_layers": _count(weights, r"blocks\.(\d+)\."),
        "num_heads": heads,
        "relative_attention_num_buckets": buckets,
        "relative_attention_max_distance": _T5_DISTANCE,
        "feed_forward_proj": "gated-gelu",
        "layer_norm_epsilon": 1e-6,
    }


def image_encoder(weights: WeightFiles) -> dict[str, Any]:
    """Of `CLIPVisionModel`.

    Raises:
        Ex4dError: BAD_INPUT for tensors of another network.
    """
    width, _, patch, _ = _shape(weights, "visual.patch_embedding.weight")
    tokens = _shape(weights, "visual.pos_embedding")[1]
    return {
        "hidden_size": width,
        "intermediate_size": _shape(weights, "visual.transformer.0.mlp.0.weight")[0],
        "num_hidden_layers": _count(weights, r"visual\.transformer\.(\d+)\."),
        "num_attention_heads": _CLIP_HEADS,
        "patch_size": patch,
        "image_size": round((tokens - 1) ** 0.5) * patch,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }


_AXES = {  # of the tensors that are asked for
    "encoder.conv1.weight": 5,
    "conv2.weight": 5,
    "blocks.0.pos_embedding.embedding.weight": 2,
    "blocks.0.attn.q.weight": 2,
    "visual.patch_embedding.weight": 4,
    "visual.pos_embedding": 3,
}


def _shape(weights: WeightFiles, name: str) -> tuple[int, ...]:
    if name not in weights or len(weights[name].shape) != _AXES.get(name, len(weights[name].shape) or 1):
        raise _other(weights, f"network: it has no '{name}'")
    return weights[name].shape


def _width(weights: WeightFiles | None, name: str, otherwise: int) -> int:
    return weights[name].shape[-1] if weights is not None and name in weights else otherwise


def _count(names: Iterable[str], pattern: str) -> int:
    return 1 + max((int(found[1]) for name in names if (found := re.match(pattern, name))), default=-1)


def _other(weights: WeightFiles, what: str) -> Ex4dError:
    return Ex4dError(BAD_INPUT, f"{weights} is not Wan's {what}.", "Download it again.")
