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
from typing import Any

import torch

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
    _write_json(folder / "preprocessor_config.json", _HUB_PICTURES[family])
    return folder


_SEEN = {"do_normalize": True, "do_rescale": True, "do_resize": True, "rescale_factor": 1 / 255}
_IMAGENET = {"image_mean": [0.485, 0.456, 0.406], "image_std": [0.229, 0.224, 0.225]}
_HALVES = {"image_mean": [0.5, 0.5, 0.5], "image_std": [0.5, 0.5, 0.5]}
_HUB_PICTURES: dict[str, dict[str, Any]] = {
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


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from this seed, and as they were afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
