# SPDX-License-Identifier: Apache-2.0
"""Names of Wan's own files in the libraries' classes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from ex4d.models import original_names

Reference = Callable[[str], Path]


def table(file: Path) -> dict[str, str]:
    names: dict[str, str] = json.loads(file.read_text())
    return names


def test_transformer(reference: Reference) -> None:
    names = table(reference("golden/keymap_dit.json"))
    assert {name: original_names.transformer(name) for name in names} == names


def test_lora(reference: Reference) -> None:
    names = table(reference("golden/keymap_lora.json"))
    assert {name: original_names.lora(name) for name in names} == names
    assert {name: original_names.lora(name.replace(".default", "")) for name in names} == names


def test_vae(reference: Reference) -> None:
    names = table(reference("golden/keymap_vae.json"))
    rename = original_names.vae(names)
    assert {name: rename(name) for name in names} == names


def test_vae_with_one_block_and_two_steps() -> None:
    """Other counts than the released ones: groups end where the picture is enlarged."""
    names = [f"decoder.upsamples.{part}.residual.2.weight" for part in (0, 1, 3, 4, 6, 7)]
    names += ["decoder.upsamples.2.resample.1.bias", "decoder.upsamples.5.time_conv.weight"]
    names += ["decoder.upsamples.5.resample.1.weight"]
    rename = original_names.vae(reversed(names))
    assert [rename(name) for name in names] == [
        *(f"decoder.up_blocks.{group}.resnets.{place}.conv1.weight" for group in range(3) for place in range(2)),
        "decoder.up_blocks.0.upsamplers.0.resample.1.bias",
        "decoder.up_blocks.1.upsamplers.0.time_conv.weight",
        "decoder.up_blocks.1.upsamplers.0.resample.1.weight",
    ]


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("vace_blocks.3.before_proj.weight", "vace_blocks.3.proj_in.weight"),
        ("vace_blocks.3.after_proj.bias", "vace_blocks.3.proj_out.bias"),
        ("vace_blocks.11.cross_attn.o.bias", "vace_blocks.11.attn2.to_out.0.bias"),
        ("vace_patch_embedding.weight", "vace_patch_embedding.weight"),
    ],
)
def test_vace(name: str, ours: str) -> None:
    assert original_names.transformer(name) == ours


# Of both encoders: seen to give the public code's numbers (t5.py, clip.py) on random weights.
@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("token_embedding.weight", "shared.weight"),
        ("norm.weight", "encoder.final_layer_norm.weight"),
        ("blocks.12.norm1.weight", "encoder.block.12.layer.0.layer_norm.weight"),
        ("blocks.12.attn.o.weight", "encoder.block.12.layer.0.SelfAttention.o.weight"),
        (
            "blocks.0.pos_embedding.embedding.weight",
            "encoder.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        ),
        ("blocks.0.norm2.weight", "encoder.block.0.layer.1.layer_norm.weight"),
        ("blocks.0.ffn.gate.0.weight", "encoder.block.0.layer.1.DenseReluDense.wi_0.weight"),
        ("blocks.0.ffn.fc1.weight", "encoder.block.0.layer.1.DenseReluDense.wi_1.weight"),
        ("blocks.0.ffn.fc2.weight", "encoder.block.0.layer.1.DenseReluDense.wo.weight"),
    ],
)
def test_prompt_encoder(name: str, ours: str) -> None:
    assert original_names.prompt_encoder(name) == ours


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("visual.cls_embedding", "embeddings.class_embedding"),
        ("visual.pos_embedding", "embeddings.position_embedding.weight"),
        ("visual.patch_embedding.weight", "embeddings.patch_embedding.weight"),
        ("visual.pre_norm.bias", "pre_layrnorm.bias"),
        ("visual.post_norm.weight", "post_layernorm.weight"),
        ("visual.transformer.31.norm1.weight", "encoder.layers.31.layer_norm1.weight"),
        ("visual.transformer.31.attn.proj.bias", "encoder.layers.31.self_attn.out_proj.bias"),
        ("visual.transformer.0.mlp.0.weight", "encoder.layers.0.mlp.fc1.weight"),
        ("visual.transformer.0.mlp.2.bias", "encoder.layers.0.mlp.fc2.bias"),
        (
            "visual.transformer.7.attn.to_qkv.bias",
            tuple(f"encoder.layers.7.self_attn.{side}_proj.bias" for side in "qkv"),
        ),
        ("visual.head", None),
        ("textual.blocks.0.attn.q.weight", None),
        ("log_scale", None),
    ],
)
def test_image_encoder(name: str, ours: str | tuple[str, ...] | None) -> None:
    assert original_names.image_encoder(name) == ours


def test_a_name_that_is_not_known_stays() -> None:
    for rename in (original_names.transformer, original_names.lora, original_names.prompt_encoder):
        assert rename("model.diffusion.strange.weight") == "model.diffusion.strange.weight"
    assert original_names.vae([])("decoder.upsamples.4.strange.weight") == "decoder.upsamples.4.strange.weight"
    assert original_names.image_encoder("strange") == "strange"
