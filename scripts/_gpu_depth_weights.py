# SPDX-License-Identifier: Apache-2.0
"""Depth models in the published sizes with random weights, written as they are published: nothing is fetched.

They are loaded by the estimators' own code. What a network computes with them is nothing, but takes the time and the
memory that it would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import save_file

from benchmarks.depthcrafter_memory import UNET, VAE
from scripts._gpu_weights import drawn
from scripts._tiny_depth import (
    HUB_PICTURES,
    SVD_SCHEDULER,
    vda_shapes,
    write_da3,
    write_depthcrafter,
    write_hub_model,
    write_vda,
)

Shapes = Mapping[str, tuple[int, ...]]

_VDA: Final[Mapping[str, Mapping[str, Any]]] = {
    "vits": {"width": 384, "depth": 12, "features": 64, "channels": (48, 96, 192, 384)},
    "vitl": {"width": 1024, "depth": 24, "features": 256, "channels": (256, 512, 1024, 1024)},
}
# The image network of each size of Depth Anything V2, and its head.
_ANYTHING: Final[Mapping[str, tuple[int, int, int, list[int], list[int], int]]] = {
    "small": (384, 6, 12, [9, 10, 11, 12], [48, 96, 192, 384], 64),
    "base": (768, 12, 12, [9, 10, 11, 12], [96, 192, 384, 768], 128),
    "large": (1024, 16, 24, [5, 12, 18, 24], [256, 512, 1024, 1024], 256),
}
_IMAGE_ENCODER: Final = {
    "hidden_size": 1280,
    "intermediate_size": 5120,
    "num_hidden_layers": 32,
    "num_attention_heads": 16,
    "patch_size": 14,
    "image_size": 224,
    "projection_dim": 1024,
    "hidden_act": "gelu",
}


def write_full(model: str, root: Path, device: torch.device) -> None:
    """Writes a model of the registry in its published size.

    Args:
        model: its name in `ex4d.models.registry.MODELS`.
        root: a folder of models.
        device: where its weights are drawn.
    """
    if model.startswith("vda"):
        size = "vits" if model.endswith("small") else "vitl"
        name = f"{'metric_' if 'metric' in model else ''}video_depth_anything_{size}.safetensors"
        _write(root / model / name, vda_shapes(**_VDA[size]), device, torch.float32)
    elif model.startswith("depth-anything"):
        _write_hub(root / model, anything(model.rpartition("-")[2]), 518, device, torch.float32)
    elif model == "depth-pro":
        _write_hub(root / model, depth_pro(), 1536, device, torch.float16)
    elif model == "depthcrafter":
        _write_crafter(root, device)
    else:
        write_da3(root / model, model)


def write_tiny(model: str, root: Path, device: torch.device) -> None:
    """The same model in small. Arguments as of `write_full`."""
    if model.startswith("vda"):
        file = write_vda(root / model, metric="metric" in model)
        if model.endswith("large"):
            file.rename(file.with_name(file.name.replace("vits", "vitl")))
    elif model == "depthcrafter":
        write_depthcrafter(root)
    elif model.startswith("da3"):
        write_da3(root / model, model)
    else:
        write_hub_model(root / model, "depth_pro" if model == "depth-pro" else "depth_anything")


def anything(size: str) -> Any:
    """The config of Depth Anything V2 "small", "base" or "large"."""
    from transformers import DepthAnythingConfig

    width, heads, layers, stages, necks, features = _ANYTHING[size]
    backbone = {
        "model_type": "dinov2",
        "image_size": 518,
        "patch_size": 14,
        "hidden_size": width,
        "num_attention_heads": heads,
        "num_hidden_layers": layers,
        "out_indices": stages,
        "reshape_hidden_states": False,
    }
    return DepthAnythingConfig(
        backbone_config=backbone, reassemble_hidden_size=width, neck_hidden_sizes=necks, fusion_hidden_size=features
    )


def depth_pro() -> Any:
    """The config of Depth Pro."""
    from transformers import DepthProConfig

    encoder = {"hidden_size": 1024, "num_attention_heads": 16, "num_hidden_layers": 24, "image_size": 384}
    encoder["use_mask_token"] = False
    encoders = {
        f"{name}_model_config": {**encoder, "model_type": "dinov2", "patch_size": 16}
        for name in ("image", "patch", "fov")
    }
    return DepthProConfig(use_fov_model=True, **encoders)


def hub_shapes(config: Any) -> Shapes:
    """Of all tensors of a depth network of transformers."""
    from transformers import AutoModelForDepthEstimation

    return _shapes(lambda: AutoModelForDepthEstimation.from_config(config))


def crafter_shapes() -> Mapping[str, Shapes]:
    """Of DepthCrafter's denoiser, and of what it takes of Stable Video Diffusion: by the files' places."""
    from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    return {
        "depthcrafter/diffusion_pytorch_model.safetensors": _shapes(lambda: UNetSpatioTemporalConditionModel(**UNET)),
        "svd-xt/vae/diffusion_pytorch_model.fp16.safetensors": _shapes(lambda: AutoencoderKLTemporalDecoder(**VAE)),
        "svd-xt/image_encoder/model.fp16.safetensors": _shapes(
            lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(**_IMAGE_ENCODER))
        ),
    }


def _write_crafter(root: Path, device: torch.device) -> None:
    for place, shapes in crafter_shapes().items():
        _write(root / place, shapes, device, torch.float16)
    configs = {
        "depthcrafter/config.json": UNET,
        "svd-xt/vae/config.json": VAE,
        "svd-xt/image_encoder/config.json": _IMAGE_ENCODER,
        "svd-xt/scheduler/scheduler_config.json": SVD_SCHEDULER,
    }
    for place, config in configs.items():
        (root / place).parent.mkdir(parents=True, exist_ok=True)
        (root / place).write_text(json.dumps(config), encoding="utf-8")


def _write_hub(folder: Path, config: Any, side: int, device: torch.device, dtype: torch.dtype) -> None:
    _write(folder / "model.safetensors", hub_shapes(config), device, dtype)
    config.save_pretrained(folder)
    pictures = {**HUB_PICTURES[config.model_type], "size": {"height": side, "width": side}}
    (folder / "preprocessor_config.json").write_text(json.dumps(pictures), encoding="utf-8")


def _write(file: Path, shapes: Shapes, device: torch.device, dtype: torch.dtype) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: drawn(name, shape, device, dtype).cpu() for name, shape in shapes.items()}
    save_file(tensors, file, metadata={"format": "pt"})


def _shapes(build: Callable[[], torch.nn.Module]) -> Shapes:
    with torch.device("meta"):
        return {name: tuple(value.shape) for name, value in build().state_dict().items() if value.is_floating_point()}
