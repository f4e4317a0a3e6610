# SPDX-License-Identifier: Apache-2.0
"""Networks of a Wan repository, built empty and filled tensor by tensor."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLWan

from ex4d.generate.diffusion.memory import Profile, load_device, load_gguf, storage_for
from ex4d.generate.door import Progress
from ex4d.models.empty import empty_network
from ex4d.models.repository import Part, Repository
from ex4d.models.weights import load_into


def load_transformer(
    kind: Any,
    part: Part,
    profile: Profile,
    device: torch.device,
    gguf: Path | None,
    progress: Progress,
) -> Any:
    """A transformer of a diffusers class with the repository's weights, or those of a GGUF file, where they are loaded.

    Args:
        kind: `WanTransformer3DModel` or `WanVACETransformer3DModel`.
        part: of the repository.
        profile: how it is held in memory.
        device: where the work is done.
        gguf: a file to take the weights from instead, or None.
        progress: told about each tensor.

    Raises:
        Ex4dError: BAD_INPUT for files that do not fit.
    """
    if gguf is not None:
        return load_gguf(gguf, kind, part.config, compute_type(profile))
    transformer = empty_network("transformer", part.config)
    load_into(
        transformer,
        part.weights,
        part.rename,
        dtype=compute_type(profile),
        keep_float32=kind._keep_in_fp32_modules,  # what its class declares to need float32
        storage=storage_for(profile, transformer),
        device=load_device(profile, device),
        progress=lambda done, total: progress("Loading the model", done, total),
    )
    return transformer.requires_grad_(False)


def compute_type(profile: Profile) -> torch.dtype:
    """What networks compute in, in a memory profile."""
    return torch.float32 if profile.weights == "float32" else torch.bfloat16


def load_autoencoder(repository: Repository, *, dtype: torch.dtype, device: torch.device) -> AutoencoderKLWan:
    """The repository's autoencoder. Raises Ex4dError(BAD_INPUT) for files that do not fit."""
    part = repository.part("vae")
    vae = empty_network("vae", part.config)
    load_into(vae, part.weights, part.rename, dtype=dtype, device=device)
    return vae.requires_grad_(False)
