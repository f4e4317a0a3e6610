# SPDX-License-Identifier: Apache-2.0
"""The files of the two published repositories that are used, by name. Needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

UNET_CONFIG, UNET = "config.json", "diffusion_pytorch_model.safetensors"
SCHEDULER = "scheduler/scheduler_config.json"
IMAGE_ENCODER_CONFIG, IMAGE_ENCODER = "image_encoder/config.json", "image_encoder/model.fp16.safetensors"
VAE_CONFIG, VAE = "vae/config.json", "vae/diffusion_pytorch_model.fp16.safetensors"
SVD = (SCHEDULER, IMAGE_ENCODER_CONFIG, IMAGE_ENCODER, VAE_CONFIG, VAE)


def deciding_files(depthcrafter: Path, svd: Path) -> Mapping[str, Path]:
    """Every file that decides the depth.

    Args:
        depthcrafter: folder of the denoiser.
        svd: folder of Stable Video Diffusion XT.
    """
    return {
        **{f"depthcrafter/{name}": depthcrafter / name for name in (UNET_CONFIG, UNET)},
        **{f"svd-xt/{name}": svd / name for name in SVD},
    }
