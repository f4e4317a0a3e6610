# SPDX-License-Identifier: Apache-2.0
"""Networks of a Wan repository, built empty and filled tensor by tensor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan

from ex4d.models.repository import Part, Repository
from ex4d.models.weights import load_into

Progress = Callable[[str, int, int], None]


def load_transformer(
    kind: Any,
    part: Part,
    *,
    dtype: torch.dtype,
    storage: Callable[[Any], Callable[[str], torch.dtype | None] | None],
    device: torch.device,
    progress: Progress,
) -> Any:
    """A transformer of a diffusers class with the repository's weights.

    Args:
        kind: `WanTransformer3DModel` or `WanVACETransformer3DModel`.
        part: of the repository.
        dtype: that it computes in; what its class declares to need float32 is kept in that.
        storage: from the empty transformer to smaller types for some tensors (`ex4d.models.weights.load_into`).
        device: where the weights go.
        progress: told about each tensor.

    Raises:
        Ex4dError: BAD_INPUT for files that do not fit.
    """
    with init_empty_weights():
        transformer = kind.from_config(dict(part.config))
    load_into(
        transformer,
        part.weights,
        part.rename,
        dtype=dtype,
        keep_float32=kind._keep_in_fp32_modules,
        storage=storage(transformer),
        device=device,
        progress=lambda done, total: progress("Loading the model", done, total),
    )
    return transformer.requires_grad_(False)


def load_autoencoder(repository: Repository, *, dtype: torch.dtype, device: torch.device) -> AutoencoderKLWan:
    """The repository's autoencoder. Raises Ex4dError(BAD_INPUT) for files that do not fit."""
    part = repository.part("vae")
    with init_empty_weights():
        vae = AutoencoderKLWan.from_config(dict(part.config))
    load_into(vae, part.weights, part.rename, dtype=dtype, device=device)
    return vae.requires_grad_(False)
