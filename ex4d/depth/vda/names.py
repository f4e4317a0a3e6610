# SPDX-License-Identifier: Apache-2.0
"""Names of published weights as our modules call them."""

from __future__ import annotations

IMAGE, HEAD = "pretrained.", "head."  # what the names of the image network and of the head start with

_WHOLE = {
    "cls_token": "embeddings.cls_token",
    "mask_token": "embeddings.mask_token",
    "pos_embed": "embeddings.position_embeddings",
}
_STARTS = {
    "patch_embed.proj.": "embeddings.patch_embeddings.projection.",
    "norm.": "layernorm.",
}
_IN_BLOCKS = {"ls1.gamma": "layer_scale1.lambda1", "ls2.gamma": "layer_scale2.lambda1"}


def rename(name: str) -> str | tuple[str, ...]:
    """The name of a tensor in `VideoDepthNetwork`; the three parts of queries, keys and values together have three."""
    if name.startswith(IMAGE):
        ours = image_names(name.removeprefix(IMAGE))
        return f"image.{ours}" if isinstance(ours, str) else tuple(f"image.{part}" for part in ours)
    return name.replace(".temporal_transformer.", ".").replace(".transformer_blocks.0.", ".")


def image_names(name: str) -> str | tuple[str, ...]:
    """The name of a tensor of the image network, without `IMAGE`, in transformers' DINOv2."""
    if name in _WHOLE:
        return _WHOLE[name]
    for start, ours in _STARTS.items():
        if name.startswith(start):
            return ours + name.removeprefix(start)
    if not name.startswith("blocks."):
        return name
    _, index, rest = name.split(".", 2)
    block = f"encoder.layer.{index}"
    if rest.startswith("attn.qkv."):
        kind = rest.removeprefix("attn.qkv.")
        return tuple(f"{block}.attention.{part}_proj.{kind}" for part in "qkv")
    return f"{block}.{_IN_BLOCKS.get(rest, rest.replace('attn.proj.', 'attention.o_proj.'))}"
