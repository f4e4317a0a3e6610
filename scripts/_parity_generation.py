# SPDX-License-Identifier: Apache-2.0
"""Parity of the generator's parts with reference numbers of the public code, on small random weights.

Tolerances are largest absolute differences in float32; results have a standard deviation of about 1. Sizes are read
from the weights' own shapes, and from the files' metadata where shapes do not tell.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from _parity_book import Book
from _parity_networks import (
    ADAPTER,
    adapter,
    answer,
    autoencoder,
    inside,
    shown_window,
    tensor,
    transformer,
    unclamped,
)
from diffusers import WanTransformer3DModel
from safetensors.numpy import load_file
from torch import Tensor, nn

from ex4d.generate.diffusion.guidance import NEGATIVE, POSITIVE
from ex4d.generate.diffusion.latents import WanLatents, latent_size, to_frames
from ex4d.generate.diffusion.pin import window_noise
from ex4d.generate.diffusion.sampler import sample
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.diffusion.windows import plan_windows
from ex4d.generate.wan.adapter import checkpoint_shapes
from ex4d.generate.wan.clip_input import clip_pixels
from ex4d.generate.wan.condition import first_frame, image_condition, mask_video
from ex4d.models import original_names
from ex4d.models.convert import convert

# What the names of results say of the transformer: whether it has the LoRA, and the geometry tokens.
_KINDS = {"base": (False, False), "ray": (False, True), "lora": (True, False), "lora_ray": (True, True)}
TRANSFORMER, VAE, ENCODER, LATENTS, CLIP, SCHEDULER, LEVELS = 1e-4, 2e-5, 1e-5, 2e-4, 1e-5, 1e-4, 1.0


def check_scheduler(book: Book, file: str) -> None:
    """Noise levels and Euler steps."""
    counts = sorted({int(found[1]) for name in book.names(file) if (found := re.match(r"n(\d+)\.", name))})
    shift = float(book.metadata(file, "shift", "5"))
    for count in counts:
        with book.item(file, f"{count} steps") as item:
            levels = Schedule(count, shift)
            item.compare(f"n{count}.sigmas", np.array([levels.sigma(k) for k in range(count)]), SCHEDULER)
            item.compare(f"n{count}.timesteps", np.array([levels.timestep(k) for k in range(count)]), SCHEDULER)
            latents, velocity = (tensor(item, f"n{count}.{name}") for name in ("sample", "model_output"))
            for name, step in (("first", 0), ("mid", count // 2), ("last", count - 1)):
                got = Schedule(count, shift, start=step).advance(step, latents, velocity)
                item.compare(f"n{count}.step_{name}", got.numpy(), SCHEDULER)


def check_clip(book: Book, file: str) -> None:
    """What CLIP gets of the first frame."""
    with book.item(file, "pixels for CLIP") as item:
        item.compare("pixel_values_every_2nd", clip_pixels(tensor(item, "image"))[..., ::2, ::2].numpy(), CLIP)


def check_encoder(book: Book, file: str) -> None:
    """The geometry encoder, and what the mask looks like that it is given."""
    with book.item(file, "geometry encoder") as item:
        geometry = adapter(item, book, transformer(item, book)).geometry
        with torch.no_grad():
            tokens = geometry(tensor(item, "video_latent"), tensor(item, "mask_latent"))
        item.compare("ray_latent", tokens.numpy(), ENCODER)
    with book.item(file, "mask mapped twice") as item:
        both = mask_video(np.array([[[False, True]]]))[0, 0].flatten()
        item.compare("mask_passed_to_vae_values", np.sort(both.numpy()))


def check_vae(book: Book, file: str) -> None:
    """The autoencoder."""
    with book.item(file, "statistics of latents") as item:
        vae = autoencoder(item, book)
        item.compare("mean", np.array(vae.config.latents_mean), VAE)
        item.compare("std", np.array(vae.config.latents_std), VAE)
    for clip in sorted({name.split(".")[0] for name in book.names(file) if name.startswith("clip")}):
        with book.item(file, f"{clip}, encoded") as item:
            vae = autoencoder(item, book)
            coder, video = WanLatents(vae), tensor(item, f"{clip}.video")
            encoded = coder.encode(video)
            item.compare(f"{clip}.encoded", encoded.numpy(), VAE)
            with torch.no_grad():
                item.compare(f"{clip}.mean_raw", vae.encode(video).latent_dist.mean.numpy(), VAE)
            item.compare(f"{clip}.roundtrip", coder.decode(encoded).numpy(), VAE)
        with book.item(file, f"{clip}, decoded") as item:
            vae = autoencoder(item, book)
            latents = tensor(item, f"{clip}.z")
            item.compare(f"{clip}.decoded", WanLatents(vae).decode(latents).numpy(), VAE)
            if f"{clip}.decoded_unclamped" in book.names(file):
                item.compare(f"{clip}.decoded_unclamped", unclamped(vae, latents).numpy(), VAE)


def check_transformer(book: Book, file: str) -> None:
    """The transformer at each time, with and without LoRA and geometry tokens, and what goes on inside."""
    with book.item(file, "times") as item:
        for kind, index in product(_KINDS, range(len(item.input("timesteps")))):
            _check_answer(book, file, f"out.{kind}.t{index}", kind, "context", index)
    for name in book.names(file):
        if found := re.fullmatch(r"out\.(\w+)\.ctx(\w+)\.t(\d+)", name):
            _check_answer(book, file, name, found[1], f"context_{found[2]}", int(found[3]))
    runs = (re.match(r"mid\.(\w+)\.t(\d+)\.", name) for name in book.names(file))
    for kind, index in sorted({(found[1], int(found[2])) for found in runs if found}):
        _check_inside(book, file, kind, index)


def _check_answer(book: Book, file: str, name: str, kind: str, context: str, index: int) -> None:
    with book.item(file, f"{kind}, {context}, time {index}") as item:
        lora, ray = _KINDS[kind]
        item.compare(name, answer(item, book, index, context, lora=lora, ray=ray).numpy(), TRANSFORMER)


def _check_inside(book: Book, file: str, kind: str, index: int) -> None:
    with book.item(file, f"inside of {kind}, time {index}") as item:
        lora, ray = _KINDS[kind]
        model = transformer(item, book)
        seen: dict[str, Tensor] = {}
        handles = [
            (
                module.register_forward_pre_hook(_keep_input(seen, name))
                if name.endswith(".input")
                else module.register_forward_hook(_keep_output(seen, name))
            )
            for name, module in inside(model).items()
        ]
        answer(item, book, index, "context", lora=lora, ray=ray, model=model)
        for handle in handles:
            handle.remove()
        prefix = f"mid.{kind}.t{index}."
        for name in (name for name in book.names(file) if name.startswith(prefix)):
            got = seen[name.removeprefix(prefix)]
            rows = book.shape(file, name)[1] if got.ndim == 3 else None
            item.compare(name, (got if rows is None else got[:, :rows]).numpy(), TRANSFORMER)


def check_loop(book: Book, file: str) -> None:
    """The whole run: conditions, every step on the reference's own latents, and the loop on ours."""
    steps = int(book.metadata(file, "steps", "4"))
    cfg, shift = float(book.metadata(file, "cfg", "5")), float(book.metadata(file, "shift", "5"))
    seed = int(book.metadata(file, "seed", "0"))
    with book.item(file, "first frame in whole levels") as item:
        video = tensor(item, "video")
        item.compare("first_frame_quantised", first_frame(video).numpy(), ENCODER)
        frames, height, width = video.shape[2:]
        size = latent_size(frames, height, width)
        item.compare("seq_len", np.array(size[0] * size[1] * size[2] // 4))
        item.compare("noise", window_noise(seed, plan_windows(frames, frames, 5), 0, *size[1:]).numpy())
        exact = image_condition(video[:, :, 0], frames, WanLatents(autoencoder(item, book)))
        item.compare("y_without_uint8_roundtrip", exact.numpy(), ENCODER)
    with book.item(file, "levels") as item:
        levels = Schedule(steps, shift)
        item.compare("sigmas", np.array([levels.sigma(step) for step in range(steps)]), SCHEDULER)
        item.compare("timesteps", np.array([levels.timestep(step) for step in range(steps)]), SCHEDULER)
    with book.item(file, "conditions") as item:
        shown, vae = shown_window(item, book)
        item.compare("y", shown.image.numpy(), ENCODER)
        item.compare("video_latent", shown.colour.numpy(), ENCODER)
        item.compare("mask_latent", vae.encode(mask_video(item.input("mask01")[0, 0] > 0)).numpy(), ENCODER)
        item.compare("ray_latent", shown.tokens.numpy(), ENCODER)
    for step in range(steps):
        with book.item(file, f"step {step} on the reference's latents") as item:
            shown, _ = shown_window(item, book)
            latents, time = tensor(item, f"step{step}.latents_in"), Schedule(steps, shift).timestep(step)
            for which in (POSITIVE, NEGATIVE):
                item.compare(f"step{step}.pred_{which}", shown.predict(latents, time, which).numpy(), TRANSFORMER)
    with book.item(file, "the whole loop") as item:
        shown, vae = shown_window(item, book)
        on_the_way: dict[int, Tensor] = {}
        frames, size = item.input("mask01").shape[2], shown.colour.shape[-2:]
        noise = window_noise(seed, plan_windows(frames, frames, 5), 0, *size)
        final = sample(
            shown,
            noise,
            Schedule(steps, shift),
            cfg,
            after_step=lambda step, latents, _: on_the_way.update({step: latents}),
        )
        for step in range(1, steps):
            item.compare(f"step{step}.latents_in", on_the_way[step - 1].numpy(), LATENTS)
        item.compare("step0.latents_in", noise.numpy())
        item.compare("latents_final", final.numpy(), LATENTS)
        if "decoded" in book.names(file):
            decoded = vae.decode(final)
            item.compare("decoded", decoded.numpy(), LATENTS)
            item.compare("frames_uint8", to_frames(decoded), LEVELS)


def check_checkpoint(book: Book, file: str) -> None:
    """The checkpoint as torch writes it: converted once, it holds what the safetensors file does."""
    with book.item(file, "converted") as item:
        expected = {name: item.input(name, ADAPTER).tobytes() for name in book.names(ADAPTER)}
        with TemporaryDirectory() as folder:
            kept = convert(book.folder / file, Path(folder) / "converted.safetensors")
            item.compare_entries(expected, {name: value.tobytes() for name, value in load_file(kept).items()})


def check_expected_keys(book: Book, file: str) -> None:
    """Names and shapes that the released checkpoint is expected to have."""
    with book.item(file, "14B, rank 16") as item:
        with torch.device("meta"):
            model = WanTransformer3DModel(in_channels=36, image_dim=1280, added_kv_proj_dim=5120)
        expected = {name.replace(".default", ""): tuple(shape) for name, shape in _json(book, file).items()}
        item.compare_entries(expected, checkpoint_shapes(model, rank=16, hidden=1024))


def check_transformer_names(book: Book, file: str) -> None:
    """The transformer's original names in diffusers."""
    with book.item(file, "names") as item:
        expected = _json(book, file)
        item.compare_entries(expected, {name: original_names.transformer(name) for name in expected})


def check_lora_names(book: Book, file: str) -> None:
    """The LoRA's names in diffusers."""
    with book.item(file, "names") as item:
        expected = _json(book, file)
        item.compare_entries(expected, {name: original_names.lora(name) for name in expected})


def check_vae_names(book: Book, file: str) -> None:
    """The autoencoder's original names in diffusers."""
    with book.item(file, "names") as item:
        expected = _json(book, file)
        rename = original_names.vae(expected)
        item.compare_entries(expected, {name: rename(name) for name in expected})


def _json(book: Book, file: str) -> dict[str, Any]:
    entries: dict[str, Any] = json.loads((book.folder / file).read_text("utf-8"))
    return entries


def _keep_input(kept: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def keep(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        kept[name] = inputs[0]

    return keep


def _keep_output(kept: dict[str, Tensor], name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
    def keep(_module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        kept[name] = output

    return keep
