# SPDX-License-Identifier: Apache-2.0
"""Model folders of the released architectures with few, random weights: for tests, and for trying things without a GPU.

They are written by the real classes in the layouts that the released repositories have, so that they are loaded through
the very path that loads the real ones. The same seed writes the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPVisionConfig, CLIPVisionModel, T5TokenizerFast, UMT5Config, UMT5EncoderModel

HEADS, HEAD_DIM, LAYERS, FFN, TEXT_DIM, IMAGE_DIM = 4, 24, 3, 192, 64, 64
DIM = HEADS * HEAD_DIM
GEOMETRY_DIM = 32  # of the adapter's geometry encoder; 1024 in the released one

_WORDS = "4k ultra hd surround motion realistic tone panoramic shot wide angle view cinematic quality a red car"


def write_wan(folder: Path, layout: Literal["diffusers", "original"] = "diffusers", seed: int = 0) -> Path:
    """Wan2.1-I2V in small: transformer, VAE, prompt encoder, tokenizer and image encoder.

    Args:
        folder: is made; files in it are replaced.
        layout: of the repository for diffusers, or of Wan's own with the same weights: but for the transformer, these
            are pickles, as they are published.
        seed: of the weights.

    Returns:
        `folder`.
    """
    with _seeded(seed):
        transformer = WanTransformer3DModel(
            in_channels=36, image_dim=IMAGE_DIM, added_kv_proj_dim=DIM, num_layers=LAYERS, **_transformer()
        )
        vae, text_encoder, image_encoder = _vae(), _text_encoder(), _image_encoder()
    if layout == "original":
        return _write_originals(folder, transformer, vae, text_encoder, image_encoder)
    _write_parts(folder, transformer, vae, text_encoder)
    image_encoder.save_pretrained(folder / "image_encoder")
    _write_json(folder / "image_processor" / "preprocessor_config.json", _PREPROCESSOR)
    _write_index(
        folder,
        "WanImageToVideoPipeline",
        image_encoder=("transformers", "CLIPVisionModel"),
        image_processor=("transformers", "CLIPImageProcessor"),
        transformer=("diffusers", "WanTransformer3DModel"),
    )
    return folder


def write_vace(folder: Path, layout: Literal["diffusers", "original"] = "diffusers", seed: int = 0) -> Path:
    """Wan2.1-VACE in small: as `write_wan`, with no image encoder. Returns `folder`."""
    with _seeded(seed):
        transformer = WanVACETransformer3DModel(
            in_channels=16, vace_in_channels=96, vace_layers=[0, 2], num_layers=LAYERS, **_transformer()
        )
        vae, text_encoder = _vae(), _text_encoder()
    if layout == "original":
        return _write_originals(folder, transformer, vae, text_encoder, None)
    _write_parts(folder, transformer, vae, text_encoder)
    _write_index(folder, "WanVACEPipeline", transformer=("diffusers", "WanVACETransformer3DModel"))
    return folder


def write_adapter(path: Path, rank: int = 4, names: Literal["default", "plain"] = "default", seed: int = 1) -> Path:
    """An EX-4D checkpoint for the transformer of `write_wan`: one flat dict of LoRA and geometry encoder.

    Args:
        path: .safetensors, or .ckpt for what torch.save writes.
        rank: of the LoRA.
        names: with `.default` in the LoRA's names, as released, or without.
        seed: of the weights.

    Returns:
        `path`.
    """
    middle = ".default" if names == "default" else ""
    with _seeded(seed):
        tensors = _lora(rank, f"lora_A{middle}", f"lora_B{middle}")
        for layer, inputs in ((0, 2 * 16), (2, GEOMETRY_DIM), (4, GEOMETRY_DIM)):
            tensors[f"latent_encoder.{layer}.weight"] = torch.randn(GEOMETRY_DIM, inputs, 1, 1, 1) * 0.2
            tensors[f"latent_encoder.{layer}.bias"] = torch.randn(GEOMETRY_DIM) * 0.1
        tensors["latent_patch_embedding.weight"] = torch.randn(DIM, GEOMETRY_DIM, 1, 2, 2) * 0.1
        tensors["latent_patch_embedding.bias"] = torch.randn(DIM) * 0.1
    _save(path, tensors)
    return path


def write_lora(
    path: Path, style: Literal["diffusers", "comfy", "lightx2v"] = "diffusers", rank: int = 4, seed: int = 2
) -> Path:
    """A LoRA for the transformer of `write_wan`, named as one of the programs that publish them names it.

    Args:
        path: .safetensors.
        style: "diffusers" has its own module names under `transformer.`; "comfy" the original ones under
            `diffusion_model.`, with an alpha of half the rank for each; "lightx2v" the original ones bare, with
            differences of biases and norms.
        rank: of the LoRA.
        seed: of the weights.

    Returns:
        `path`.
    """
    with _seeded(seed):
        if style == "diffusers":
            tensors = {
                f"transformer.{_to_diffusers(name)}": value for name, value in _lora(rank, "lora_A", "lora_B").items()
            }
        elif style == "comfy":
            tensors = {f"diffusion_model.{k}": v for k, v in _lora(rank, "lora_down", "lora_up").items()}
            downs = [name for name in tensors if name.endswith(".lora_down.weight")]
            tensors |= {name.replace("lora_down.weight", "alpha"): torch.tensor(rank / 2) for name in downs}
        else:
            tensors = _lora(rank, "lora_down", "lora_up")
            for name in [name for name in tensors if name.endswith(".lora_up.weight")]:
                tensors[name.replace("lora_up.weight", "diff_b")] = torch.randn(tensors[name].shape[0]) * 0.01
            for block in range(LAYERS):
                tensors[f"blocks.{block}.self_attn.norm_q.diff"] = torch.zeros(DIM)
    _save(path, tensors)
    return path


def _transformer() -> dict[str, Any]:
    return {
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_DIM,
        "out_channels": 16,
        "text_dim": TEXT_DIM,
        "ffn_dim": FFN,
    }


def _vae() -> AutoencoderKLWan:
    return AutoencoderKLWan(base_dim=4)  # all else is the released one's


def _text_encoder() -> UMT5EncoderModel:
    config = UMT5Config(
        vocab_size=512,
        d_model=TEXT_DIM,
        d_kv=16,
        d_ff=96,
        num_layers=2,
        num_heads=4,
        feed_forward_proj="gated-gelu",
        dropout_rate=0.0,
    )
    return UMT5EncoderModel(config)


def _image_encoder() -> CLIPVisionModel:
    config = CLIPVisionConfig(
        hidden_size=IMAGE_DIM,
        intermediate_size=2 * IMAGE_DIM,
        num_hidden_layers=3,
        num_attention_heads=16,
        patch_size=14,
        image_size=224,
        hidden_act="gelu",
    )
    return CLIPVisionModel(config)


def _tokenizer() -> T5TokenizerFast:
    """Knows a few words, and every printable ASCII character; others become <unk>."""
    pieces = ["▁", *(f"▁{word}" for word in dict.fromkeys(_WORDS.split())), *map(chr, range(33, 127))]
    scores = [("<pad>", 0.0), ("</s>", 0.0), ("<unk>", 0.0)]
    scores += [(piece, -2.0 if len(piece) > 1 else -8.0) for piece in pieces]
    return T5TokenizerFast(vocab=scores, extra_ids=0, model_max_length=512)


def _lora(rank: int, down: str, up: str) -> dict[str, Tensor]:
    """Original module names of the transformer."""
    tensors = {}
    for block in range(LAYERS):
        sides = {f"{kind}_attn.{layer}": (DIM, DIM) for kind in ("self", "cross") for layer in "qkvo"}
        sides |= {"ffn.0": (DIM, FFN), "ffn.2": (FFN, DIM)}
        for layer, (inner, outer) in sides.items():
            tensors[f"blocks.{block}.{layer}.{down}.weight"] = torch.randn(rank, inner) * 0.2
            tensors[f"blocks.{block}.{layer}.{up}.weight"] = torch.randn(outer, rank) * 0.2
    return tensors


def _to_diffusers(name: str) -> str:
    for original, ours in (
        ("self_attn.", "attn1.to_"),
        ("cross_attn.", "attn2.to_"),
        (".to_o.", ".to_out.0."),
        ("ffn.0.", "ffn.net.0.proj."),
        ("ffn.2.", "ffn.net.2."),
    ):
        name = name.replace(original, ours)
    return name


def _write_originals(folder: Path, *networks: Any) -> Path:
    from scripts._tiny_originals import write_originals

    write_originals(folder, *networks)
    _tokenizer().save_pretrained(folder / "google" / "umt5-xxl")
    return folder


def _write_parts(folder: Path, transformer: Any, vae: AutoencoderKLWan, text_encoder: UMT5EncoderModel) -> None:
    transformer.save_pretrained(folder / "transformer", max_shard_size="1MB")  # several shards, as the released ones
    vae.save_pretrained(folder / "vae")
    text_encoder.save_pretrained(folder / "text_encoder")
    _tokenizer().save_pretrained(folder / "tokenizer")
    UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, num_train_timesteps=1000, flow_shift=3.0
    ).save_pretrained(folder / "scheduler")


def _write_index(folder: Path, pipeline: str, **parts: tuple[str, str]) -> None:
    known = {
        "scheduler": ("diffusers", "UniPCMultistepScheduler"),
        "text_encoder": ("transformers", "UMT5EncoderModel"),
        "tokenizer": ("transformers", "T5TokenizerFast"),
        "vae": ("diffusers", "AutoencoderKLWan"),
    }
    _write_json(folder / "model_index.json", {"_class_name": pipeline, **known, **parts})


_PREPROCESSOR = {
    "image_processor_type": "CLIPImageProcessor",
    "crop_size": {"height": 224, "width": 224},
    "size": {"shortest_edge": 224},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "resample": 3,
    "rescale_factor": 1 / 255,
}


def _save(path: Path, tensors: Mapping[str, Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".safetensors":
        save_file(dict(tensors), path)
    else:
        torch.save(dict(tensors), path)


def _write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
