# SPDX-License-Identifier: Apache-2.0
"""Wan2.1-I2V with the EX-4D adapter as a `VideoModel`: it is shown a window once, then asked for velocities."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.guidance import Prompts, guided
from ex4d.generate.diffusion.latents import to_frames, to_video
from ex4d.generate.diffusion.model import LatentVideo, Window
from ex4d.generate.diffusion.speed.caches import begin_window
from ex4d.generate.wan.clip_input import clip_pixels
from ex4d.generate.wan.condition import first_frame, image_condition, mask_video
from ex4d.generate.wan.geometry_encoder import GeometryEncoder
from ex4d.upstream.frames import draw_kernels, erode, masked_colour


class WanModel:
    """`VideoModel` of EX-4D."""

    def __init__(
        self,
        transformer: WanTransformer3DModel,
        geometry: GeometryEncoder,
        vae: LatentVideo,
        image_features: Callable[[Tensor], Tensor],
        prompts: Prompts,
        device: torch.device,
        *,
        seed: int,
        batched: bool,
    ) -> None:
        """Takes networks that are loaded, placed and have their adapters.

        Args:
            transformer: with the LoRA in it.
            geometry: the geometry encoder, on `device`.
            vae: the autoencoder.
            image_features: CLIP: pixels [1, 3, 224, 224] → [1, 257, width].
            prompts: encoded.
            device: where latents live.
            seed: of the erosion of masks.
            batched: run positive and negative prompt in one pass.
        """
        self.vae, self.device = vae, device
        self._transformer, self._geometry, self._prompts = transformer, geometry, prompts
        self._image_features, self._seed, self._batched = image_features, seed, batched

    @torch.no_grad()
    def condition(self, window: Window) -> WanConditioned:
        """See `VideoModel.condition`. Finished frames are shown with a full mask, as the first always is."""
        frames = len(window.mask)
        kernels = draw_kernels(window.start + frames, self._seed)[window.start :]
        levels = erode(window.mask.astype("uint8"), kernels)
        levels[: window.finished] = 1
        mask = levels.astype(bool)
        video = to_video(masked_colour(window.colour, mask)).to(self.device)
        return self.condition_on(video, mask_video(mask).to(self.device))

    @torch.no_grad()
    def condition_on(self, video: Tensor, mask: Tensor) -> WanConditioned:
        """The same from what the networks get.

        Args:
            video: [1, 3, T, H, W] masked colour in -1..1.
            mask: [1, 3, T, H, W], see `mask_video`.
        """
        begin_window(self._transformer)
        picture = first_frame(video)
        image = image_condition(picture, video.shape[2], self.vae)
        colour = self.vae.encode(video)
        weight = self._geometry.latent_patch_embedding.weight
        tokens = self._geometry(
            colour.to(weight.device, weight.dtype), self.vae.encode(mask).to(weight.device, weight.dtype)
        )
        return WanConditioned(
            transformer=self._transformer,
            palette=LatentPalette.fit(colour, to_frames(video)),
            colour=colour,
            image=image,
            tokens=tokens,
            features=self._image_features(clip_pixels(picture)),
            prompts=self._prompts,
            batched=self._batched,
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class WanConditioned:
    """A window as the transformer sees it at every step."""

    transformer: WanTransformer3DModel
    palette: LatentPalette
    colour: Tensor  # [1, 16, t, h, w] latents of the masked colour
    image: Tensor  # [1, 20, t, h, w] of `image_condition`
    tokens: Tensor  # [1, width, t, h / 2, w / 2] of the geometry encoder
    features: Tensor  # [1, 257, width] of CLIP
    prompts: Prompts
    batched: bool

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        """See `ex4d.generate.diffusion.model.Conditioned.velocity`."""
        return guided(partial(self.predict, latents, timestep), cfg, self.batched)

    @torch.no_grad()
    def predict(self, latents: Tensor, timestep: float, which: str) -> Tensor:
        """The transformer's answer to one prompt or to both, [1 or 2, 16, t, h, w] float32.

        Args:
            latents: [1, 16, t, h, w].
            timestep: 0..1000.
            which: of the prompts, see `ex4d.generate.diffusion.guidance`.
        """
        text = self.prompts.of(which)
        count, dtype = len(text), self.transformer.dtype
        with self.transformer.cache_context(which), added_to_patches(self.transformer.patch_embedding, self.tokens):
            answer: Tensor = self.transformer(
                hidden_states=torch.cat([latents, self.image.to(latents)], dim=1)
                .to(dtype)
                .expand(count, -1, -1, -1, -1),
                timestep=torch.full((count,), timestep, device=latents.device),
                encoder_hidden_states=text.to(latents.device, dtype),
                encoder_hidden_states_image=self.features.to(latents.device, dtype).expand(count, -1, -1),
                return_dict=False,
            )[0]
        return answer.float()


@contextmanager
def added_to_patches(patch_embedding: nn.Module, tokens: Tensor) -> Iterator[None]:
    """While this lasts, geometry tokens are added to what the patch embedding gives, for every prompt alike."""

    def add(_module: nn.Module, _inputs: tuple[Tensor, ...], embedded: Tensor) -> Tensor:
        return embedded + tokens.to(embedded)

    handle = patch_embedding.register_forward_hook(add)
    try:
        yield
    finally:
        handle.remove()
