# SPDX-License-Identifier: Apache-2.0
"""Wan2.1-VACE as a `VideoModel`: it is shown a window once, then asked for velocities."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from diffusers import WanVACETransformer3DModel
from torch import Tensor

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.guidance import Prompts, guided
from ex4d.generate.diffusion.model import LatentVideo, Window
from ex4d.generate.diffusion.speed.caches import begin_window
from ex4d.generate.vace.condition import LATENTS, control, kept, reference_latents, with_reference
from ex4d.values import U8

_REFERENCE_SEED = 0x56414345  # of the noise over a reference, which is the same for every shot
_GREY = np.uint8(128)  # what is to be painted looks like


@dataclass(frozen=True, eq=False)
class Showing:
    """How windows are shown to the network."""

    scale: float = 1.0  # how strongly it keeps to what it is shown; it was trained with 1
    edge: int = 0  # pixels, see `ex4d.generate.vace.condition.kept`
    batched: bool = False  # both prompts in one pass
    reference: U8 | None = None  # [h, w, 3] sRGB of any size: a picture of the same scene to keep to


class VaceModel:
    """`VideoModel` of a `WanVACETransformer3DModel`, of any size."""

    def __init__(
        self,
        transformer: WanVACETransformer3DModel,
        vae: LatentVideo,
        prompts: Prompts,
        device: torch.device,
        showing: Showing,
    ) -> None:
        """Takes networks that are loaded and placed.

        Args:
            transformer: the network.
            vae: the autoencoder.
            prompts: encoded.
            device: where latents live.
            showing: how windows are shown to the network.
        """
        self.vae, self.device = vae, device
        self._transformer, self._prompts, self._showing = transformer, prompts, showing

    @torch.no_grad()
    def condition(self, window: Window) -> VaceConditioned:
        """See `VideoModel.condition`."""
        begin_window(self._transformer)
        showing = self._showing
        keep = kept(window, showing.edge)
        channels = control(window.colour, keep, self.vae)
        palette = LatentPalette.fit(channels[:, :LATENTS], np.where(keep[..., None], window.colour, _GREY))
        reference = None
        if showing.reference is not None:
            height, width = keep.shape[1:]
            reference = Reference.of(reference_latents(showing.reference, height, width, self.vae).to(self.device))
            channels = with_reference(channels, reference.latents)
        return VaceConditioned(
            palette=palette,
            transformer=self._transformer,
            control=channels.to(self.device),
            scale=showing.scale,
            prompts=self._prompts,
            batched=showing.batched,
            reference=reference,
        )


@dataclass(frozen=True, eq=False)
class Reference:
    """A latent frame that is known, and noise over it."""

    latents: Tensor  # [1, 16, 1, h, w]
    noise: Tensor

    @classmethod
    def of(cls, latents: Tensor) -> Reference:
        """Draws the noise, on the CPU: the same on every machine."""
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(_REFERENCE_SEED))
        return cls(latents, noise.to(latents))

    def at(self, sigma: float) -> Tensor:
        """[1, 16, 1, h, w] at a noise level."""
        return (1.0 - sigma) * self.latents + sigma * self.noise


@dataclass(frozen=True, eq=False, kw_only=True)
class VaceConditioned:
    """A window as the transformer sees it at every step."""

    palette: LatentPalette
    transformer: WanVACETransformer3DModel
    control: Tensor  # [1, 96, t, h, w]; [1, 96, 1 + t, h, w] with a reference
    scale: float
    prompts: Prompts
    batched: bool
    # The public code paints the reference anew along with the frames, and throws it away. Since it is known, it is put
    # in its place at each noise level instead: the loop need not know of it, nor a run that goes on keep it.
    reference: Reference | None = None

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        """See `ex4d.generate.diffusion.model.Conditioned.velocity`."""
        shown = latents
        if self.reference is not None:
            shown = torch.cat([self.reference.at(timestep / 1000.0), latents], dim=2)
        velocity = guided(partial(self._predict, shown, timestep), cfg, self.batched)
        return velocity[:, :, -latents.shape[2] :]

    @torch.no_grad()
    def _predict(self, latents: Tensor, timestep: float, which: str) -> Tensor:
        text = self.prompts.of(which)
        count, device, dtype = len(text), latents.device, self.transformer.dtype
        layers = len(self.transformer.config.vace_layers)
        with self.transformer.cache_context(which):
            answer: Tensor = self.transformer(
                hidden_states=latents.to(dtype).expand(count, -1, -1, -1, -1),
                timestep=torch.full((count,), timestep, device=device),
                encoder_hidden_states=text.to(device, dtype),
                control_hidden_states=self.control.to(dtype).expand(count, -1, -1, -1, -1),
                control_hidden_states_scale=torch.full((layers,), self.scale, device=device, dtype=dtype),
                return_dict=False,
            )[0]
        return answer.float()
