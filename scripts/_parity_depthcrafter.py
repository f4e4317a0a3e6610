# SPDX-License-Identifier: Apache-2.0
"""Parity of DepthCrafter's windows, of EX-4D's conversion to depth, and of the denoiser with the public code.

For the windows the reference has stand-ins for the networks (formulas, and two matrices), which are plugged into our
own windows here. Sizes, window and overlap are read from the file.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _parity_book import Book, Item
from _parity_files import Array
from _parity_networks import tensor
from _tiny_depth import SVD_SCHEDULER
from diffusers import EulerDiscreteScheduler
from torch import Tensor
from torch.nn import functional

from ex4d.depth.depthcrafter.conversion import FARTHEST, normalised, one_channel, upstream_depth
from ex4d.depth.depthcrafter.load import build_unet
from ex4d.depth.depthcrafter.parts import Picture, Recipe
from ex4d.depth.depthcrafter.windows import Crafter
from ex4d.models.weights import WeightFiles, load_into

STITCHING, DENOISER, DEPTH = 1e-5, 1e-4, 1e-4
SURE = 1e-3  # normalised values above it are far enough from the end where depth runs off
_SCALING = 0.18215
_WEIGHTS = "weights."
_CHUNK = 8  # frames that are decoded at once, as the public code has it


class _StandIns:
    """The reference's stand-ins for networks; what they are given and what they give is kept."""

    device = torch.device("cpu")
    scaling = _SCALING

    def __init__(self, encoding: Tensor, decoding: Tensor, width: int) -> None:
        """Two matrices of channels, and how many numbers an embedding has."""
        self._encoding, self._decoding, self._width = encoding, decoding, width
        self.embeddings: list[Tensor] = []
        self.images: list[Tensor] = []
        self.inputs: list[Tensor] = []  # of the denoiser
        self.times: list[float] = []
        self.about: list[Tensor] = []

    def embed(self, pixels: Tensor) -> Tensor:
        """The means of a frame's three channels, over and over."""
        means = pixels.mean(dim=(2, 3))
        self.embeddings.append(means.repeat(1, -(-self._width // means.shape[1]))[:, : self._width])
        return self.embeddings[-1]

    def encode(self, frames: Tensor) -> Tensor:
        """Means of 8 x 8 pixels, their channels mixed."""
        self.images.append(torch.einsum("oc,nchw->nohw", self._encoding, functional.avg_pool2d(frames, 8)))
        return self.images[-1]

    def denoise(self, latents: Tensor, time: Tensor, embeddings: Tensor, about: Tensor) -> Tensor:
        """A formula of all that the denoiser is given but the time."""
        self.inputs.append(latents)
        self.times.append(float(time))
        self.about.append(about)
        noisy, images = latents.chunk(2, dim=2)
        return 0.6 * torch.tanh(noisy) + 0.3 * images + 0.05 * embeddings.mean(dim=-1)[:, :, None, None, None]

    def decode(self, latents: Tensor) -> Tensor:
        """Every number 8 x 8 times, channels mixed."""
        wide = latents.repeat_interleave(8, dim=2).repeat_interleave(8, dim=3)
        return torch.einsum("oc,nchw->nohw", self._decoding, wide)


class _Drawn:
    """Noise that was drawn for the reference."""

    def __init__(self, start: Tensor, frames: Tensor) -> None:
        self._start, self._frames = start, frames

    def latents(self, shape: tuple[int, ...]) -> Tensor:
        """As it was drawn, for windows of that very size."""
        return self._start.reshape(shape)

    def frame(self, index: int, shape: tuple[int, ...]) -> Tensor:
        """As it was drawn."""
        return self._frames[index].reshape(shape)


class _Watched(Crafter):
    """Windows that are kept when they are denoised, and latents when they are final."""

    def __init__(self, *parts: Any) -> None:
        super().__init__(*parts)
        self.windows: list[Tensor] = []
        self.final: list[Tensor] = []

    def sample(self, latents: Tensor, images: Tensor, embeddings: Tensor) -> Tensor:
        self.windows.append(super().sample(latents, images, embeddings))
        return self.windows[-1]

    def latents(self, count: int, picture: Picture) -> Iterator[Tensor]:
        for part in super().latents(count, picture):
            self.final.append(part)
            yield part


def check_windows(book: Book, file: str) -> None:
    """Encoding, windows, stitching and decoding of a clip, and depth of what comes out."""
    with book.item(file, "windows") as item:
        _compare_windows(item, book, file)
    kinds = sorted({name.split(".")[1] for name in book.names(file) if name.startswith("convert.")})
    for kind in kinds:
        with book.item(file, f"depth, {kind}") as item:
            shown = one_channel(item.input(f"convert.{kind}.frames"))
            share = normalised(shown, float(shown.min()), float(shown.max()))
            item.compare(f"convert.{kind}.normalised", share, STITCHING)
            given = book.read(file, f"convert.{kind}.depth")
            item.compare(f"convert.{kind}.depth", upstream_depth(share)[:, None], DEPTH, scale=_scale(share, given))


def _compare_windows(item: Item, book: Book, file: str) -> None:
    recipe = Recipe(
        window=int(book.metadata(file, "window", "110")),
        overlap=int(book.metadata(file, "overlap", "25")),
        steps=int(book.metadata(file, "steps", "5")),
        guidance=float(book.metadata(file, "guidance", "1.0")),
        chunk=_CHUNK,
    )
    width = book.shape(file, "video_embeddings")[-1]
    networks = _StandIns(tensor(item, "vae_encode_matrix"), tensor(item, "vae_decode_matrix"), width)
    noise = _Drawn(tensor(item, "initial_noise_unscaled"), tensor(item, "augment_noise"))
    scheduler = EulerDiscreteScheduler(**SVD_SCHEDULER)
    crafter = _Watched(networks, scheduler, recipe, noise, lambda _: None)
    video = tensor(item, "video").permute(0, 3, 1, 2)
    frames = torch.stack(list(crafter.frames(len(video), lambda index: video[index]))).permute(0, 2, 3, 1)

    item.compare("init_noise_sigma", float(scheduler.init_noise_sigma), units=4)
    item.compare("sigmas", scheduler.sigmas.numpy(), STITCHING, units=1)
    item.compare("timesteps", np.array(networks.times[: recipe.steps], np.float32), STITCHING)
    item.compare("added_time_ids", networks.about[0].numpy(), STITCHING, units=1)
    item.compare("video_embeddings", torch.cat(networks.embeddings).numpy(), STITCHING)
    item.compare("video_latents", torch.cat(networks.images).numpy(), STITCHING)
    for index, window in enumerate(crafter.windows):
        item.compare(f"window{index}.first_unet_input", networks.inputs[index * recipe.steps].numpy(), STITCHING)
        item.compare(f"window{index}.final_latents", window.numpy(), STITCHING)
    item.compare("latents_all", torch.cat(crafter.final)[None].numpy(), STITCHING)
    item.compare("frames_np", frames.numpy(), STITCHING)


def check_denoiser(book: Book, file: str) -> None:
    """The denoiser with small random weights, opened and filled as the published one is."""
    with book.item(file, "denoiser") as item, TemporaryDirectory() as folder:
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(json.loads(book.metadata(file, "config", "{}"))), encoding="utf-8")
        unet = build_unet(config)
        for name in book.names(file):
            if name.startswith(_WEIGHTS):
                item.input(name)
        load_into(unet, WeightFiles([book.folder / file]), _weight, dtype=torch.float32)
        with torch.no_grad():
            got = unet(
                tensor(item, "sample"),
                tensor(item, "timestep"),
                encoder_hidden_states=tensor(item, "encoder_hidden_states"),
                added_time_ids=tensor(item, "added_time_ids"),
            ).sample
        item.compare("out", got.numpy(), DENOISER)


def _weight(name: str) -> str | None:
    return name.removeprefix(_WEIGHTS) if name.startswith(_WEIGHTS) else None


def _scale(share: Array, depth: Array) -> Array:
    """What a difference of depth is measured by: the depth itself where it is sure, else all that depth can be."""
    return np.where(share[:, None] > SURE, depth, FARTHEST)
