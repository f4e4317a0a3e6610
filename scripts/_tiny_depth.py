# SPDX-License-Identifier: Apache-2.0
"""Depth models of the released architectures with few, random weights: for tests, and for trying things without a GPU.

They are written by the real classes in the layouts that the released repositories have, so that they are loaded through
the very path that loads the real ones. The same seed writes the same numbers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file

# What Stable Video Diffusion XT publishes as its scheduler's config.
SVD_SCHEDULER: dict[str, Any] = {
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "beta_start": 0.00085,
    "interpolation_type": "linear",
    "num_train_timesteps": 1000,
    "prediction_type": "v_prediction",
    "sigma_max": 700.0,
    "sigma_min": 0.002,
    "steps_offset": 1,
    "timestep_spacing": "leading",
    "timestep_type": "continuous",
    "use_karras_sigmas": True,
}


def write_depthcrafter(folder: Path, seed: int = 0) -> Path:
    """DepthCrafter and what it takes of Stable Video Diffusion, in small, as the two repositories are published.

    Args:
        folder: a folder of models: `depthcrafter` and `svd-xt` are made in it; files in them are replaced.
        seed: of the weights.

    Returns:
        `folder`.
    """
    from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
    from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

    width = 16  # of an image embedding
    with _seeded(seed):
        unet = UNetSpatioTemporalConditionModel(
            down_block_types=("CrossAttnDownBlockSpatioTemporal", "DownBlockSpatioTemporal"),
            up_block_types=("UpBlockSpatioTemporal", "CrossAttnUpBlockSpatioTemporal"),
            block_out_channels=(32, 64),
            addition_time_embed_dim=32,
            projection_class_embeddings_input_dim=96,
            layers_per_block=1,
            cross_attention_dim=width,
            num_attention_heads=(2, 4),
        )
        vae = AutoencoderKLTemporalDecoder(
            down_block_types=("DownEncoderBlock2D",) * 4, block_out_channels=(32,) * 4, layers_per_block=1
        )
        image_encoder = CLIPVisionModelWithProjection(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=2 * width,
                num_attention_heads=2,
                num_hidden_layers=2,
                patch_size=56,
                projection_dim=width,
                hidden_act="gelu",
            )
        )
    crafter, svd = folder / "depthcrafter", folder / "svd-xt"
    unet.half().save_pretrained(crafter)
    config = json.loads((crafter / "config.json").read_text(encoding="utf-8"))
    config["_class_name"] = "DiffusersUNetSpatioTemporalConditionModelDepthCrafter"
    _write_json(crafter / "config.json", config)
    vae.half().save_pretrained(svd / "vae", variant="fp16")
    image_encoder.half().save_pretrained(svd / "image_encoder", variant="fp16")
    EulerDiscreteScheduler(**SVD_SCHEDULER).save_pretrained(svd / "scheduler")
    return folder


def write_hub_model(folder: Path, family: str = "depth_anything", seed: int = 0, **config: Any) -> Path:
    """A depth network of transformers in small, as the hub's repositories have them.

    Args:
        folder: is made; files in it are replaced.
        family: transformers' type of model: depth_anything, depth_pro, dpt, glpn or zoedepth.
        seed: of the weights.
        config: what of its config.json is to be otherwise.

    Returns:
        `folder`.
    """
    from transformers import AutoModelForDepthEstimation

    with _seeded(seed):
        network = AutoModelForDepthEstimation.from_config(_hub_config(family, config))
        for name, parameter in network.named_parameters():  # fresh ones may give the same everywhere
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.2)
            elif name.endswith("bias"):
                torch.nn.init.uniform_(parameter, 0.0, 0.3)
    network.save_pretrained(folder)
    _write_json(folder / "preprocessor_config.json", HUB_PICTURES[family])
    return folder


def write_da3(folder: Path, architecture: str = "da3-small", seed: int = 0) -> Path:
    """A model of the package depth-anything-3 with random weights, which must be installed. It has no smaller ones.

    Args:
        folder: is made; files in it are replaced.
        architecture: the package's name for it.
        seed: of the weights.

    Returns:
        `folder`.
    """
    from depth_anything_3.cfg import create_object, load_config
    from depth_anything_3.registry import MODEL_REGISTRY
    from depth_anything_3.utils.logger import logger
    from safetensors.torch import save_file

    logger.level = 0
    with _seeded(seed):
        network = create_object(load_config(MODEL_REGISTRY[architecture]))
        tensors: dict[int, tuple[str, torch.Tensor]] = {}  # what several names share is saved once, as published
        for name, tensor in network.state_dict(keep_vars=True).items():
            noise = 0.02 * torch.randn_like(tensor) if tensor.is_floating_point() else 0
            tensors.setdefault(id(tensor), (f"model.{name}", tensor.detach() + noise))
    folder.mkdir(parents=True, exist_ok=True)
    save_file(dict(tensors.values()), folder / "model.safetensors")
    _write_json(folder / "config.json", {"model_name": architecture})
    return folder


_SEEN = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
HUB_PICTURES: dict[str, dict[str, Any]] = {
    "depth_anything": {
        **_SEEN,
        **_IMAGENET,
        "image_processor_type": "DPTImageProcessor",
        "ensure_multiple_of": 14,
        "keep_aspect_ratio": True,
        "resample": 3,
        "size": {"height": 42, "width": 42},
    },
    "dpt": {
        **_SEEN,
        **_HALVES,
        "image_processor_type": "DPTImageProcessor",
        "resample": 3,
        "size": {"height": 32, "width": 32},
    },
    "zoedepth": {
        **_SEEN,
        **_HALVES,
        "image_processor_type": "ZoeDepthImageProcessor",
        "do_pad": True,
        "ensure_multiple_of": 16,
        "keep_aspect_ratio": True,
        "resample": 2,
        "size": {"height": 32, "width": 48},
    },
    "glpn": {
        "image_processor_type": "GLPNImageProcessor",
        "do_rescale": True,
        "do_resize": True,
        "resample": 2,
        "size_divisor": 32,
    },
    "depth_pro": {
        **_SEEN,
        **_HALVES,
        "image_processor_type": "DepthProImageProcessorFast",
        "resample": 2,
        "size": {"height": 64, "width": 64},
    },
}


def _hub_config(family: str, more: dict[str, Any]) -> Any:
    from transformers import DepthAnythingConfig, DepthProConfig, DPTConfig, GLPNConfig, ZoeDepthConfig

    vision: dict[str, Any] = {"hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 4}
    stages = {"out_indices": [1, 2, 3, 4], "reshape_hidden_states": False}
    neck: dict[str, Any] = {"neck_hidden_sizes": [8, 8, 8, 8], "fusion_hidden_size": 8}
    if family == "depth_anything":
        backbone = {**vision, **stages, "model_type": "dinov2", "image_size": 42, "patch_size": 14}
        values = {**neck, "backbone_config": backbone, "reassemble_hidden_size": 16, "head_hidden_size": 8}
        return DepthAnythingConfig(**{**values, **more})
    if family == "dpt":
        values = {**vision, **neck, "intermediate_size": 32, "image_size": 32, "patch_size": 16, "is_hybrid": False}
        return DPTConfig(**{**values, "backbone_out_indices": [0, 1, 2, 3], **more})
    if family == "zoedepth":
        backbone = {
            **vision,
            **stages,
            "model_type": "beit",
            "image_size": 32,
            "patch_size": 16,
            "intermediate_size": 32,
        }
        backbone |= {"intermediate_size": 32, "use_relative_position_bias": True}
        values = {**neck, "backbone_config": backbone, "bottleneck_features": 8, "num_attractors": [4, 4, 2, 1]}
        return ZoeDepthConfig(**{**values, "num_relative_features": 8, "bin_embedding_dim": 8, **more})
    if family == "glpn":
        values = {"hidden_sizes": [8, 8, 16, 16], "depths": [1, 1, 1, 1], "num_attention_heads": [1, 1, 2, 2]}
        return GLPNConfig(**{**values, "decoder_hidden_size": 8, **more})
    encoder = {**vision, "model_type": "dinov2", "image_size": 16, "patch_size": 8}
    values = {
        "fusion_hidden_size": 8,
        "patch_size": 16,
        "intermediate_hook_ids": [3, 1],
        "intermediate_feature_dims": [8, 8],
        "scaled_images_feature_dims": [8, 8, 8],
        "merge_padding_value": 0,
        "use_fov_model": True,
        "num_fov_head_layers": 1,
    }
    encoders = {f"{name}_model_config": dict(encoder) for name in ("image", "patch", "fov")}
    return DepthProConfig(**{**values, **encoders, **more})


def write_vda(
    folder: Path, metric: bool = False, seed: int = 0, kind: Literal["safetensors", "pth"] = "safetensors"
) -> Path:
    """Video-Depth-Anything in small, one file as it is published: a flat table of tensors under their original names.

    Args:
        folder: is made; a file of that name in it is replaced.
        metric: under the name of the weights in metres. The tensors are the same.
        seed: of the weights.
        kind: "pth", as it is published, or what `ex4d models convert` makes of it.

    Returns:
        The file.
    """
    file = folder / f"{'metric_' if metric else ''}video_depth_anything_vits.{kind}"
    folder.mkdir(parents=True, exist_ok=True)
    with _seeded(seed):
        tensors = {name: _vda_values(name, shape) for name, shape in vda_shapes().items()}
    if kind == "safetensors":
        save_file(tensors, file)
    else:
        torch.save(tensors, file)
    return file


def vda_shapes(
    width: int = 64, depth: int = 4, features: int = 32, channels: tuple[int, ...] = (16, 24, 32, 32)
) -> dict[str, tuple[int, ...]]:
    """Original names of Video-Depth-Anything's tensors, and their shapes in a network of these sizes."""
    shapes: dict[str, tuple[int, ...]] = {}

    def add(name: str, *shape: int, bias: bool = True) -> None:
        """A layer: its weight, and a bias for each of its outputs."""
        shapes[f"{name}.weight"] = shape
        if bias:
            shapes[f"{name}.bias"] = shape[:1]

    image, time = "pretrained", 32
    shapes |= {f"{image}.cls_token": (1, 1, width), f"{image}.mask_token": (1, width)}
    shapes[f"{image}.pos_embed"] = (1, 37 * 37 + 1, width)
    add(f"{image}.patch_embed.proj", width, 3, 14, 14)
    add(f"{image}.norm", width)
    for block in (f"{image}.blocks.{index}" for index in range(depth)):
        shapes |= {f"{block}.{scale}.gamma": (width,) for scale in ("ls1", "ls2")}
        add(f"{block}.norm1", width)
        add(f"{block}.norm2", width)
        add(f"{block}.attn.qkv", 3 * width, width)
        add(f"{block}.attn.proj", width, width)
        add(f"{block}.mlp.fc1", 4 * width, width)
        add(f"{block}.mlp.fc2", width, 4 * width)
    for level, each in enumerate(channels):
        add(f"head.projects.{level}", each, width, 1, 1)
        add(f"head.scratch.layer{level + 1}_rn", features, each, 3, 3, bias=False)
        for unit in (f"head.scratch.refinenet{level + 1}.resConfUnit{number}" for number in (1, 2)):
            add(f"{unit}.conv1", features, features, 3, 3)
            add(f"{unit}.conv2", features, features, 3, 3)
        add(f"head.scratch.refinenet{level + 1}.out_conv", features, features, 1, 1)
    for level, size in ((0, 4), (1, 2), (3, 3)):
        add(f"head.resize_layers.{level}", channels[level], channels[level], size, size)
    add("head.scratch.output_conv1", features // 2, features, 3, 3)
    add("head.scratch.output_conv2.0", 32, features // 2, 3, 3)
    add("head.scratch.output_conv2.2", 1, 32, 1, 1)
    for index, each in enumerate((*channels[2:], features, features)):
        module = f"head.motion_modules.{index}.temporal_transformer"
        block = f"{module}.transformer_blocks.0"
        add(f"{module}.norm", each)
        add(f"{module}.proj_in", each, each)
        add(f"{module}.proj_out", each, each)
        for number in range(2):
            attention = f"{block}.attention_blocks.{number}"
            shapes[f"{attention}.pos_encoder.pe"] = (1, time, each)
            for part in ("to_q", "to_k", "to_v"):
                add(f"{attention}.{part}", each, each, bias=False)
            add(f"{attention}.to_out.0", each, each)
            add(f"{block}.norms.{number}", each)
        add(f"{block}.ff_norm", each)
        add(f"{block}.ff.net.0.proj", 8 * each, each)
        add(f"{block}.ff.net.2", each, 4 * each)
    return shapes


def _vda_values(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Random numbers that keep what goes through the network about as large as it is."""
    if name.endswith(".pe"):
        rows, channels = shape[1:]
        turns = torch.arange(rows)[:, None] * 10000.0 ** (-torch.arange(0, channels, 2) / channels)
        return torch.stack([turns.sin(), turns.cos()], dim=-1).reshape(shape)
    if name == "head.scratch.output_conv2.2.bias":
        return torch.full(shape, 2.0)  # depth that is above zero nearly everywhere
    if name.endswith(".weight") and len(shape) > 1:
        size = 0.2 if name == "head.scratch.output_conv2.2.weight" else 1.0
        return size * torch.randn(shape) / (torch.Size(shape).numel() / shape[0]) ** 0.5
    middle = 1.0 if "norm" in name and name.endswith(".weight") else 0.5 if name.endswith(".gamma") else 0.0
    return middle + 0.1 * torch.randn(shape)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from this seed, and as they were afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
