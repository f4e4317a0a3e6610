# SPDX-License-Identifier: Apache-2.0
"""What the tensors of Wan's own files are called in diffusers' and transformers' classes.

The names are those of the public code (Wan-Video/Wan2.1, wan/modules): `model.py`, `vace_model.py`, `vae.py`, `t5.py`
and `clip.py`. Each rename is a `Rename` of `ex4d.models.weights`: a name that is not known comes back as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from ex4d.models.weights import Rename

_ATTENTION = {
    "q": "to_q",
    "k": "to_k",
    "v": "to_v",
    "o": "to_out.0",
    "k_img": "add_k_proj",
    "v_img": "add_v_proj",
    "norm_q": "norm_q",
    "norm_k": "norm_k",
    "norm_k_img": "norm_added_k",
}
_BLOCK = {
    "modulation": "scale_shift_table",
    "norm3": "norm2",  # norm1 and norm2 of the original have no weights
    "ffn.0": "ffn.net.0.proj",
    "ffn.2": "ffn.net.2",
    "before_proj": "proj_in",  # of VACE's own blocks
    "after_proj": "proj_out",
    **{f"self_attn.{name}": f"attn1.{ours}" for name, ours in _ATTENTION.items()},
    **{f"cross_attn.{name}": f"attn2.{ours}" for name, ours in _ATTENTION.items()},
}
_AROUND_BLOCKS = {
    "text_embedding.0": "condition_embedder.text_embedder.linear_1",
    "text_embedding.2": "condition_embedder.text_embedder.linear_2",
    "time_embedding.0": "condition_embedder.time_embedder.linear_1",
    "time_embedding.2": "condition_embedder.time_embedder.linear_2",
    "time_projection.1": "condition_embedder.time_proj",
    "img_emb.proj.0": "condition_embedder.image_embedder.norm1",
    "img_emb.proj.1": "condition_embedder.image_embedder.ff.net.0.proj",
    "img_emb.proj.3": "condition_embedder.image_embedder.ff.net.2",
    "img_emb.proj.4": "condition_embedder.image_embedder.norm2",
    "head.head": "proj_out",
    "head.modulation": "scale_shift_table",
}

_RESIDUAL = {
    "residual.0": "norm1",
    "residual.2": "conv1",
    "residual.3": "norm2",
    "residual.6": "conv2",
    "shortcut": "conv_shortcut",
}
_AROUND_VAE_BLOCKS = {
    "conv1": "conv_in",
    "head.0": "norm_out",
    "head.2": "conv_out",
    "middle.0": "mid_block.resnets.0",
    "middle.1": "mid_block.attentions.0",
    "middle.2": "mid_block.resnets.1",
}

_T5 = {
    "norm1": "layer.0.layer_norm",
    "attn": "layer.0.SelfAttention",
    "pos_embedding.embedding": "layer.0.SelfAttention.relative_attention_bias",
    "norm2": "layer.1.layer_norm",
    "ffn.gate.0": "layer.1.DenseReluDense.wi_0",
    "ffn.fc1": "layer.1.DenseReluDense.wi_1",
    "ffn.fc2": "layer.1.DenseReluDense.wo",
}

_CLIP = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.proj": "self_attn.out_proj",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_AROUND_CLIP_BLOCKS = {
    "cls_embedding": "embeddings.class_embedding",
    "pos_embedding": "embeddings.position_embedding.weight",
    "patch_embedding": "embeddings.patch_embedding",
    "pre_norm": "pre_layrnorm",
    "post_norm": "post_layernorm",
}


def transformer(name: str) -> str:
    """For `WanTransformer3DModel` and `WanVACETransformer3DModel`; whole names of tensors or of modules."""
    if found := re.fullmatch(r"((?:vace_)?blocks\.\d+\.)(.+)", name):
        return found[1] + _swap(found[2], _BLOCK)
    return _swap(name, _AROUND_BLOCKS)


def lora(name: str) -> str:
    """For a LoRA's tensor in peft's naming, with or without the name of an adapter (`.default`).

    `blocks.0.self_attn.q.lora_A.default.weight` → `blocks.0.attn1.to_q.lora_A.weight`.
    """
    found = re.fullmatch(r"(.+)\.lora_(A|B)(?:\.default)?\.weight", name)
    return f"{transformer(found[1])}.lora_{found[2]}.weight" if found else name


def vae(names: Iterable[str]) -> Rename:
    """For `AutoencoderKLWan`.

    The original counts the decoder's parts in one row. Diffusers groups them: what enlarges the picture ends a group.

    Args:
        names: all names of the file, which tell what each part is.
    """
    kinds: dict[int, bool] = {}  # part -> whether it enlarges
    for name in names:
        if found := re.match(r"decoder\.upsamples\.(\d+)\.(resample)?", name):
            kinds[int(found[1])] = kinds.get(int(found[1]), False) or found[2] is not None
    parts: dict[int, str] = {}
    group = place = 0
    for number in sorted(kinds):
        if kinds[number]:
            parts[number] = f"decoder.up_blocks.{group}.upsamplers.0."
            group, place = group + 1, 0
        else:
            parts[number] = f"decoder.up_blocks.{group}.resnets.{place}."
            place += 1

    def rename(name: str) -> str:
        if found := re.fullmatch(r"decoder\.upsamples\.(\d+)\.(.+)", name):
            return parts.get(int(found[1]), f"decoder.upsamples.{found[1]}.") + _swap(found[2], _RESIDUAL)
        if found := re.fullmatch(r"encoder\.downsamples\.(\d+\.)(.+)", name):
            return f"encoder.down_blocks.{found[1]}" + _swap(found[2], _RESIDUAL)
        if found := re.fullmatch(r"((?:en|de)coder\.)(middle\.[02])\.(.+)", name):
            return f"{found[1]}{_AROUND_VAE_BLOCKS[found[2]]}.{_swap(found[3], _RESIDUAL)}"
        if found := re.fullmatch(r"((?:en|de)coder\.)(.+)", name):
            return found[1] + _swap(found[2], _AROUND_VAE_BLOCKS)
        return _swap(name, {"conv1": "quant_conv", "conv2": "post_quant_conv"})

    return rename


def prompt_encoder(name: str) -> str:
    """For `UMT5EncoderModel`."""
    if found := re.fullmatch(r"blocks\.(\d+)\.(.+)", name):
        return f"encoder.block.{found[1]}." + _swap(found[2], _T5)
    return _swap(name, {"token_embedding": "shared", "norm": "encoder.final_layer_norm"})


def image_encoder(name: str) -> str | tuple[str, ...] | None:
    """For `CLIPVisionModel`: the text side and the projection of the original have no use."""
    if name == "log_scale" or name.startswith(("textual.", "visual.head")):
        return None
    if found := re.fullmatch(r"visual\.transformer\.(\d+)\.(.+)", name):
        block = f"encoder.layers.{found[1]}."
        if joint := re.fullmatch(r"attn\.to_qkv\.(weight|bias)", found[2]):
            return tuple(f"{block}self_attn.{side}_proj.{joint[1]}" for side in "qkv")
        return block + _swap(found[2], _CLIP)
    return _swap(name.removeprefix("visual."), _AROUND_CLIP_BLOCKS) if name.startswith("visual.") else name


def _swap(name: str, names: Mapping[str, str]) -> str:
    """`name` with the longest beginning that `names` knows, in whole components, replaced."""
    parts = name.split(".")
    for length in range(len(parts), 0, -1):
        if (ours := names.get(".".join(parts[:length]))) is not None:
            return ".".join([ours, *parts[length:]])
    return name
