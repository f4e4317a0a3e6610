# SPDX-License-Identifier: Apache-2.0
"""Networks with the weights of the reference files, built as the generator builds its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from _parity_book import Book, Item
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.latents import WanLatents
from ex4d.generate.wan.adapter import Adapter, add_adapter, read_adapter
from ex4d.generate.wan.condition import MASK_CHANNELS, mask_video
from ex4d.generate.wan.geometry_encoder import LATENT_CHANNELS
from ex4d.generate.wan.model import WanConditioned, WanModel
from ex4d.models import original_configs, original_names
from ex4d.models.weights import WeightFiles, load_into

DIT, ADAPTER, VAE_WEIGHTS = "dit_base_weights.safetensors", "ex4d_tiny.safetensors", "vae_weights.safetensors"
DIT_ABOUT = "wan_dit_ex4d.safetensors"  # whose metadata tell what shapes do not
TEXT_ROWS = 512
CPU = torch.device("cpu")


def tensor(item: Item, name: str, file: str | None = None) -> Tensor:
    """An input as a tensor of its own."""
    return torch.from_numpy(np.array(item.input(name, file)))


def autoencoder(item: Item, book: Book) -> AutoencoderKLWan:
    """The reference autoencoder, opened and filled as Wan's own file is."""
    weights = _weights(item, book, VAE_WEIGHTS)
    with init_empty_weights():
        vae = AutoencoderKLWan.from_config(original_configs.vae(weights))
    load_into(vae, weights, original_names.vae(weights), dtype=torch.float32)
    return vae


def transformer(item: Item, book: Book) -> WanTransformer3DModel:
    """The reference transformer, without adapter, filled as Wan's own files are."""
    weights = _weights(item, book, DIT)
    dim, channels = weights["patch_embedding.weight"].shape[:2]
    config = {  # as a config.json of Wan's own
        "model_type": "i2v",
        "dim": dim,
        "num_heads": int(book.metadata(DIT_ABOUT, "heads", "4")),
        "in_dim": channels,
        "out_dim": channels - MASK_CHANNELS - LATENT_CHANNELS,
        "freq_dim": weights["time_embedding.0.weight"].shape[1],
        "ffn_dim": weights["blocks.0.ffn.0.weight"].shape[0],
        "num_layers": 1 + max(int(name.split(".")[1]) for name in weights if name.startswith("blocks.")),
        "eps": 1e-6,
    }
    with init_empty_weights():
        model = WanTransformer3DModel.from_config(original_configs.transformer(config, weights))
    load_into(model, weights, original_names.transformer, dtype=torch.float32)
    return model


def adapter(item: Item, book: Book, model: WanTransformer3DModel) -> Adapter:
    """The reference checkpoint."""
    for name in book.names(ADAPTER):
        item.input(name, ADAPTER)
    return read_adapter(book.folder / ADAPTER, model)


def _weights(item: Item, book: Book, file: str) -> WeightFiles:
    """A file of weights, all of which what follows depends on."""
    for name in book.names(file):
        item.input(name, file)
    return WeightFiles([book.folder / file])


def prompt(item: Item, name: str, file: str | None = None) -> Tensor:
    """A prompt's rows, and zeros up to 512."""
    rows = tensor(item, name, file)
    return torch.nn.functional.pad(rows, (0, 0, 0, TEXT_ROWS - len(rows)))[None]


@torch.no_grad()
def answer(item: Item, book: Book, index: int, context: str, *, lora: bool, ray: bool, model: Any = None) -> Tensor:
    """What the transformer says at the reference input, [1, 16, t, h, w].

    Args:
        item: whose inputs are read.
        book: the reference files.
        index: which of the times.
        context: which prompt.
        lora: with the LoRA in it.
        ray: with the geometry tokens.
        model: a transformer that is there already.
    """
    model = model or transformer(item, book)
    if lora:
        add_adapter(model, adapter(item, book, model), 1.0)
    text = prompt(item, context)
    shown = WanConditioned(
        transformer=model,
        palette=LatentPalette(torch.zeros(17, 3)),
        colour=torch.empty(0),
        image=tensor(item, "y"),
        tokens=tensor(item, "ray_latent") if ray else torch.zeros(1, 1, 1, 1, 1),
        features=tensor(item, "clip_fea"),
        prompts=Prompts(text, text),
        batched=False,
    )
    return shown.predict(tensor(item, "x"), float(item.input("timesteps")[index]), "positive")


def shown_window(item: Item, book: Book) -> tuple[WanConditioned, WanLatents]:
    """The window of the reference run as our model sees it, and the autoencoder."""
    model = transformer(item, book)
    checkpoint = adapter(item, book, model)
    add_adapter(model, checkpoint, 1.0)
    coder = WanLatents(autoencoder(item, book))
    features = tensor(item, "clip_fea")
    prompts = Prompts(prompt(item, "context_positive"), prompt(item, "context_negative"))
    wan = WanModel(model, checkpoint.geometry, coder, lambda _: features, prompts, CPU, seed=0, batched=False)
    return wan.condition_on(tensor(item, "video"), mask_video(item.input("mask01")[0, 0] > 0)), coder


def inside(model: WanTransformer3DModel) -> dict[str, nn.Module]:
    """Modules by the names that the reference gives to what comes out of them (".input": goes in)."""
    embedder = model.condition_embedder
    return {
        "patch_embedding": model.patch_embedding,
        "time_embedding": embedder.time_embedder,
        "time_projection": embedder.time_proj,
        "text_embedding": embedder.text_embedder,
        "img_emb": embedder.image_embedder,
        "blocks.0.input": model.blocks[0],
        **{f"blocks.{index}.output": block for index, block in enumerate(model.blocks)},
        "head": model.proj_out,
    }


def unclamped(vae: AutoencoderKLWan, latents: Tensor) -> Tensor:
    """Decoded latents as they are before diffusers cuts them to -1..1."""
    kept: list[Tensor] = []
    handle = vae.decoder.register_forward_hook(lambda _module, _inputs, out: kept.append(out))
    WanLatents(vae).decode(latents)
    handle.remove()
    return torch.cat(kept, dim=2)
