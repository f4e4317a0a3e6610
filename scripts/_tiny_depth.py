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


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Random numbers from this seed, and as they were afterwards."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")
