# SPDX-License-Identifier: Apache-2.0
"""Networks with the weights of the reference files, built as the generator builds its own."""

from __future__ import annotations

import ast
import re
from typing import Any

import numpy as np
import torch
from _parity_book import Book, Item
from diffusers import AutoencoderKLWan, WanTransformer3DModel
from torch import Tensor, nn

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.latents import WanLatents
from ex4d.generate.wan.adapter import Adapter, add_adapter, read_adapter
from ex4d.generate.wan.condition import mask_video
from ex4d.generate.wan.model import WanConditioned, WanModel
from ex4d.models import original_names

DIT, ADAPTER, VAE_WEIGHTS = "dit_base_weights.safetensors", "ex4d_tiny.safetensors", "vae_weights.safetensors"
DIT_ABOUT, VAE_ABOUT = "wan_dit_ex4d.safetensors", "wan_vae.safetensors"  # whose metadata tell what shapes do not
TEXT_ROWS = 512
CPU = torch.device("cpu")


def tensor(item: Item, name: str, file: str | None = None) -> Tensor:
    """An input as a tensor of its own."""
    return torch.from_numpy(np.array(item.input(name, file)))


def autoencoder(item: Item, book: Book) -> AutoencoderKLWan:
    """The reference autoencoder."""
    about = {
        key: ast.literal_eval(re.sub(r"\b(true|false)\b", lambda found: found[0].title(), text))
        for key in ("dim", "dim_mult", "num_res_blocks", "temperal_downsample", "z_dim")
        if (text := book.metadata(VAE_ABOUT, key, ""))
    }
    about["base_dim"] = about.pop("dim")
    vae = AutoencoderKLWan(**about)
    given = {name: tensor(item, name, VAE_WEIGHTS) for name in book.names(VAE_WEIGHTS)}
    rename = original_names.vae(given)
    vae.load_state_dict({str(rename(name)): value for name, value in given.items()})
    return vae.eval()


def transformer(item: Item, book: Book) -> WanTransformer3DModel:
    """The reference transformer, without adapter."""
    given = {name: tensor(item, name, DIT) for name in book.names(DIT)}
    dim, channels = given["patch_embedding.weight"].shape[:2]
    heads = int(book.metadata(DIT_ABOUT, "heads", "4"))
    model = WanTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=dim // heads,
        in_channels=channels,
        text_dim=given["text_embedding.0.weight"].shape[1],
        freq_dim=given["time_embedding.0.weight"].shape[1],
        ffn_dim=given["blocks.0.ffn.0.weight"].shape[0],
        num_layers=1 + max(int(name.split(".")[1]) for name in given if name.startswith("blocks.")),
        image_dim=given["img_emb.proj.1.weight"].shape[1],
        added_kv_proj_dim=dim,
    )
    model.load_state_dict({original_names.transformer(name): value for name, value in given.items()})
    return model.eval()


def adapter(item: Item, book: Book, model: WanTransformer3DModel) -> Adapter:
    """The reference checkpoint."""
    for name in book.names(ADAPTER):
        item.input(name, ADAPTER)
    return read_adapter(book.folder / ADAPTER, model)


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
