# SPDX-License-Identifier: Apache-2.0
"""What models there are: where they are published, what is needed of them, how large, under which licence.

Sizes are those that the hub's pages name; before a download starts, the hub tells the exact ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ex4d.models.depth_specs import DEPTH_SPECS
from ex4d.models.spec import ModelSpec
from shared_protocol.errors import BAD_INPUT, Ex4dError

_APACHE: Final = "Apache-2.0"
_BY_NC: Final = "CC BY-NC 4.0"
# Its repository on GitHub gives licences by size and does not name the metric files.
_VDA_METRIC: Final = (
    "The licence is read by size from the repository on GitHub (DepthAnything/Video-Depth-Anything), which names no "
    "metric models of their own; see the model's page. Trained on Virtual KITTI and IRS, which have terms of their own."
)
_WAN: Final = "wan-i2v-14b-480p"
_ENCODER_FILES: Final = (
    "model_index.json",
    "transformer/config.json",
    "vae/*",
    "text_encoder/*",
    "tokenizer/*",
    "image_encoder/*",
    "image_processor/*",
    "scheduler/*",
)
_VAE_AND_TEXT: Final = (
    "transformer/config.json",
    "vae/config.json",
    "vae/diffusion_pytorch_model*.safetensors",
    "text_encoder/config.json",
    "text_encoder/model*.safetensors",
    "tokenizer/tokenizer*.json",
)
_ENCODERS: Final = (*_VAE_AND_TEXT, "image_encoder/config.json", "image_encoder/model*.safetensors")
_TRANSFORMER: Final = "transformer/diffusion_pytorch_model*.safetensors"
_ORIGINAL_PICKLES: Final = (
    "Wan2.1_VAE.pth",
    "models_t5_umt5-xxl-enc-bf16.pth",
    "models_clip_open-clip-xlm-roberta-large-vit-huge-14.pth",
)


def _gguf(bits: str, kind: str, size: int, revision: str = "main") -> ModelSpec:
    file = f"wan2.1-i2v-14b-480p-{kind}.gguf"
    return ModelSpec(
        name=f"{_WAN}-{bits}",
        title=f"Wan2.1-I2V-14B-480P, transformer alone, {kind}",
        repository="city96/Wan2.1-I2V-14B-480P-gguf",
        revision=revision,
        files=(file,),
        needed=(file,),
        size=size,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator on small cards",
        notes=f"Needs {_WAN}-encoders too.",
        folder=f"{_WAN}-gguf",
    )


def _depth(
    name: str,
    title: str,
    repository: str,
    file: str,
    size: int,
    revision: str = "main",
    licence: str = _APACHE,
    commercial_use: bool = True,
    notes: str = "",
) -> ModelSpec:
    return ModelSpec(
        name=name,
        title=title,
        repository=repository,
        revision=revision,
        files=(file,),
        needed=(file,),
        size=size,
        licence=licence,
        commercial_use=commercial_use,
        used_for="depth",
        notes=notes,
        convert=(file,) if file.endswith(".pth") else (),
    )


_SPECS: Final = (
    ModelSpec(
        name=_WAN,
        title="Wan2.1-I2V-14B-480P, files of diffusers",
        repository="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        revision="b184e23a8a16b20f108f727c902e769e873ffc73",
        files=(*_ENCODER_FILES, "transformer/*"),
        needed=(*_ENCODERS, _TRANSFORMER),
        size=91_370_000_000,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator",
    ),
    ModelSpec(
        name=f"{_WAN}-encoders",
        title="Wan2.1-I2V-14B-480P without its transformer",
        repository="Wan-AI/Wan2.1-I2V-14B-480P-Diffusers",
        revision="b184e23a8a16b20f108f727c902e769e873ffc73",
        files=_ENCODER_FILES,
        needed=_ENCODERS,
        size=25_780_000_000,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator with a GGUF transformer",
        folder=_WAN,
    ),
    ModelSpec(
        name=f"{_WAN}-original",
        title="Wan2.1-I2V-14B-480P, original files",
        repository="Wan-AI/Wan2.1-I2V-14B-480P",
        revision="6b73f84e66371cdfe870c72acd6826e1d61cf279",
        files=("config.json", "diffusion_pytorch_model*", *_ORIGINAL_PICKLES, "google/umt5-xxl/*"),
        needed=(
            "config.json",
            "diffusion_pytorch_model*.safetensors",
            *_ORIGINAL_PICKLES,
            "google/umt5-xxl/tokenizer*.json",
        ),
        size=82_250_000_000,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator",
        notes=f"The same weights as {_WAN}, for who has them already.",
        convert=_ORIGINAL_PICKLES,
    ),
    _gguf("q8", "Q8_0", 18_100_000_000),
    _gguf("q4", "Q4_K_M", 11_341_184_384, revision="5a9ff59cf29e06024c25933ae48c1c6d418325e9"),
    _gguf("q3", "Q3_K_M", 8_590_000_000),
    ModelSpec(
        name="ex4d",
        title="EX-4D checkpoint: LoRA and geometry encoder",
        # Read in the README of tau-yihouxiang/EX-4D on GitHub; the file's name is in its generate.py.
        repository="yihouxiang/EX-4D",
        revision="main",
        files=("ex4d.ckpt",),
        needed=("ex4d.ckpt",),
        size=560_000_000,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator",
        notes="The licence is that of its repository on GitHub (tau-yihouxiang/EX-4D).",
        convert=("ex4d.ckpt",),
    ),
    ModelSpec(
        name="lightx2v-4step",
        title="Step-distilled LoRA for Wan2.1-I2V-14B-480P: 4 steps, no guidance",
        repository="lightx2v/Wan2.1-Distill-Loras",
        revision="27ae38da91014b947dd39cc3fa78b97cd7b386dd",
        files=("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",),
        needed=("wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors",),
        size=739_472_104,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan generator, faster",
    ),
    ModelSpec(
        name="wan-vace-1.3b",
        title="Wan2.1-VACE-1.3B, files of diffusers",
        repository="Wan-AI/Wan2.1-VACE-1.3B-diffusers",
        revision="ec4d2cb062b548996b179d493fdd05340de702a1",
        files=("model_index.json", "transformer/*", "vae/*", "text_encoder/*", "tokenizer/*", "scheduler/*"),
        needed=(*_VAE_AND_TEXT, _TRANSFORMER),
        size=19_040_000_000,
        licence=_APACHE,
        commercial_use=True,
        used_for="the wan-vace generator",
    ),
    _depth(
        "vda-small",
        "Video-Depth-Anything Small",
        "depth-anything/Video-Depth-Anything-Small",
        "video_depth_anything_vits.pth",
        116_000_000,
        revision="a396fdd839642f9bb4d08d54cae9fbf43ca13388",
    ),
    _depth(
        "vda-metric-small",
        "Video-Depth-Anything Small, in metres",
        "depth-anything/Metric-Video-Depth-Anything-Small",
        "metric_video_depth_anything_vits.pth",
        116_000_000,
        notes=_VDA_METRIC,
    ),
    _depth(
        "vda-base",
        "Video-Depth-Anything Base",
        "depth-anything/Video-Depth-Anything-Base",
        "video_depth_anything_vitb.pth",
        458_000_000,
        licence=_BY_NC,
        commercial_use=False,
    ),
    _depth(
        "vda-metric-base",
        "Video-Depth-Anything Base, in metres",
        "depth-anything/Metric-Video-Depth-Anything-Base",
        "metric_video_depth_anything_vitb.pth",
        458_000_000,
        licence=_BY_NC,
        commercial_use=False,
        notes=_VDA_METRIC,
    ),
    _depth(
        "vda-large",
        "Video-Depth-Anything Large",
        "depth-anything/Video-Depth-Anything-Large",
        "video_depth_anything_vitl.pth",
        1_540_000_000,
        revision="7aafbcb5c6af0bac741aad2b6471894fb4761afa",
        licence=_BY_NC,
        commercial_use=False,
    ),
    _depth(
        "vda-metric-large",
        "Video-Depth-Anything Large, in metres",
        "depth-anything/Metric-Video-Depth-Anything-Large",
        "metric_video_depth_anything_vitl.pth",
        1_540_000_000,
        licence=_BY_NC,
        commercial_use=False,
        notes=_VDA_METRIC,
    ),
    ModelSpec(
        name="depthcrafter",
        title="DepthCrafter, the depth of the public EX-4D code",
        repository="tencent/DepthCrafter",
        revision="c1a22b53f8abf80cd0b025adf29e637773229eca",
        files=("config.json", "diffusion_pytorch_model.safetensors", "LICENSE", "NOTICE"),
        needed=("config.json", "diffusion_pytorch_model.safetensors"),
        size=3_050_000_000,
        licence="DepthCrafter licence: academic, research and education purposes only",
        commercial_use=False,
        used_for="depth",
        notes="Needs svd-xt too.",
    ),
    ModelSpec(
        name="svd-xt",
        title="Stable Video Diffusion XT without its UNet",
        repository="stabilityai/stable-video-diffusion-img2vid-xt",
        revision="main",
        files=(
            "model_index.json",
            "feature_extractor/*",
            "scheduler/*",
            "image_encoder/config.json",
            "image_encoder/model.fp16.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
        ),
        needed=(
            "scheduler/scheduler_config.json",
            "image_encoder/config.json",
            "image_encoder/model.fp16.safetensors",
            "vae/config.json",
            "vae/diffusion_pytorch_model.fp16.safetensors",
        ),
        size=1_460_000_000,
        licence="Stability AI Community Licence: commercial use with conditions (registration, limit on revenue)",
        commercial_use=False,
        used_for="depth, with depthcrafter",
        notes="Its terms are accepted once on its page at huggingface.co.",
    ),
    *DEPTH_SPECS,
)
MODELS: Final[Mapping[str, ModelSpec]] = MappingProxyType({spec.name: spec for spec in _SPECS})


def model_spec(name: str) -> ModelSpec:
    """The model of this name.

    Raises:
        Ex4dError: BAD_INPUT, with the names that there are.
    """
    if name not in MODELS:
        raise Ex4dError(BAD_INPUT, f"There is no model named {name!r}.", f"There are: {', '.join(MODELS)}.")
    return MODELS[name]
