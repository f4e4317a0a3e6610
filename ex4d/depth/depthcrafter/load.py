# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter's published networks, loaded."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from diffusers import AutoencoderKLTemporalDecoder, EulerDiscreteScheduler, UNetSpatioTemporalConditionModel
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

from ex4d.depth.depthcrafter import files
from ex4d.depth.depthcrafter.memory import WIDE
from ex4d.depth.depthcrafter.unet import frame_by_frame, look_at_own_frame, tell_between_layers
from ex4d.depth.door import Progress
from ex4d.depth.rig import Rig
from ex4d.models.building import without_weights
from ex4d.models.repository import read_config
from ex4d.models.weights import WeightFiles, load_into
from shared_protocol.errors import BAD_INPUT, Ex4dError

N = TypeVar("N", bound=nn.Module)

_PHASE = "Loading the depth model"


class LoadedNetworks:
    """The networks of `ex4d.depth.depthcrafter.parts.Networks` as they are published, on a rig."""

    def __init__(
        self,
        unet: UNetSpatioTemporalConditionModel,
        vae: AutoencoderKLTemporalDecoder,
        image_encoder: CLIPVisionModelWithProjection,
        rig: Rig,
    ) -> None:
        self.device = rig.device
        self.scaling = float(vae.config.scaling_factor)
        self._dtype = rig.dtype
        self._unet, self._vae, self._image_encoder = rig.hold(unet), rig.hold(vae), rig.hold(image_encoder)

    def embed(self, pixels: Tensor) -> Tensor:
        """See `Networks`."""
        found: Tensor = self._image_encoder(pixels.to(self._dtype)).image_embeds
        return found.float()

    def encode(self, frames: Tensor) -> Tensor:
        """See `Networks`."""
        found: Tensor = self._vae.encode(frames.to(self._vae.quant_conv.weight.dtype)).latent_dist.mode()
        return found.float()

    def denoise(self, latents: Tensor, time: Tensor, embeddings: Tensor, about: Tensor) -> Tensor:
        """See `Networks`."""
        velocity: Tensor = self._unet(
            latents.to(self._dtype),
            time.to(self.device),
            encoder_hidden_states=embeddings.to(self._dtype),
            added_time_ids=about.to(self._dtype),
            return_dict=False,
        )[0]
        return velocity.float()

    def decode(self, latents: Tensor) -> Tensor:
        """See `Networks`."""
        frames: Tensor = self._vae.decode(latents.to(self._dtype), num_frames=len(latents)).sample
        return frames.float()

    def tell_between_layers(self, tell: Callable[[], None]) -> None:
        """Calls `tell` before each layer of the denoiser; what it raises ends its run."""
        tell_between_layers(self._unet, tell)


def load_networks(
    depthcrafter: Path, svd: Path, rig: Rig, progress: Progress
) -> tuple[LoadedNetworks, EulerDiscreteScheduler]:
    """Loads what the two repositories have, each tensor of the files into its place.

    Args:
        depthcrafter: folder of the denoiser: `config.json` and `diffusion_pytorch_model.safetensors`.
        svd: folder of Stable Video Diffusion XT, whose half-precision files are read.
        rig: where they run.
        progress: told while tensors are read.

    Raises:
        Ex4dError: NOT_FOUND or BAD_INPUT for files that are missing, broken, or of another model.
    """
    unet = build_unet(depthcrafter / files.UNET_CONFIG)
    _fill(unet, depthcrafter / files.UNET, rig, progress)
    config = read_config(svd / files.VAE_CONFIG)
    vae = without_weights("vae", lambda: AutoencoderKLTemporalDecoder.from_config(config))
    # Stable Video Diffusion says that its encoder overflows in half precision.
    wide = WIDE if vae.config.force_upcast else ()
    _fill(vae, svd / files.VAE, rig, progress, wide)
    about = read_config(svd / files.IMAGE_ENCODER_CONFIG)
    image_encoder = without_weights(
        "image encoder", lambda: CLIPVisionModelWithProjection(CLIPVisionConfig.from_dict(about))
    )
    _fill(image_encoder, svd / files.IMAGE_ENCODER, rig, progress)
    wanted, given = unet.config.cross_attention_dim, image_encoder.config.projection_dim
    if wanted != given:
        text = f"The image encoder in {svd} gives {given} numbers for a frame, the denoiser takes {wanted}."
        raise Ex4dError(BAD_INPUT, text, "Download svd-xt and depthcrafter again: ex4d models download.")
    steps = read_config(svd / files.SCHEDULER)
    scheduler: EulerDiscreteScheduler = without_weights("scheduler", lambda: EulerDiscreteScheduler.from_config(steps))
    return LoadedNetworks(unet, vae, image_encoder, rig), scheduler


def build_unet(config: Path) -> UNetSpatioTemporalConditionModel:
    """The denoiser without weights, from its config.json. Raises Ex4dError: NOT_FOUND, BAD_INPUT."""
    values = read_config(config)
    unet = without_weights("denoiser", lambda: UNetSpatioTemporalConditionModel.from_config(values))
    look_at_own_frame(unet)
    frame_by_frame(unet)
    return unet


def _fill(network: nn.Module, file: Path, rig: Rig, progress: Progress, wide: tuple[str, ...] = ()) -> None:
    load_into(
        network,
        WeightFiles([file]),
        _name,
        dtype=rig.dtype,
        keep_float32=wide,
        device=rig.device,
        progress=lambda done, total: progress(_PHASE, done, total),
    )


def _name(name: str) -> str | None:
    """In the files as in the classes, but for a table of CLIP's that says nothing."""
    return None if name.endswith(".position_ids") else name
