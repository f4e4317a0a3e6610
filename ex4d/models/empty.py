# SPDX-License-Identifier: Apache-2.0
"""Networks as their classes build them from a config, without weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import diffusers
import torch
from accelerate import init_empty_weights
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from shared_protocol.errors import BAD_INPUT, Ex4dError

N = TypeVar("N")


def empty_network(name: str, config: Mapping[str, Any]) -> Any:
    """A network of a Wan model whose parameters are on the meta device.

    Args:
        name: "transformer", "vae", "text_encoder" or "image_encoder".
        config: of that part of an `ex4d.models.repository.Repository`.

    Raises:
        Ex4dError: BAD_INPUT for a config that its class makes no network of.
    """
    return without_weights(name, lambda: _built(name, dict(config)))


def without_weights(name: str, build: Callable[[], N]) -> N:
    """What `build` makes, with parameters on the meta device.

    Args:
        name: of the network, for messages.
        build: calls the class of the network with what its config.json holds.

    Raises:
        Ex4dError: BAD_INPUT where that fails.
    """
    try:
        # Constructors draw numbers for what they make: not from those that others count on.
        with torch.random.fork_rng(devices=[]), init_empty_weights():
            network = build()
        if isinstance(network, UMT5EncoderModel):
            network.tie_weights()  # names of one table of words, which building it without weights parts
    except Exception as error:  # each library has classes of its own for a config, or fails somewhere inside
        reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
        text = f"The config.json of the {name} cannot be used: {reason}."
        raise Ex4dError(BAD_INPUT, text, "Download it again.") from error
    return network


def _built(name: str, config: dict[str, Any]) -> Any:
    if name == "transformer":
        return getattr(diffusers, config.get("_class_name", "WanTransformer3DModel")).from_config(config)
    if name == "vae":
        return diffusers.AutoencoderKLWan.from_config(config)
    if name == "text_encoder":
        return UMT5EncoderModel(UMT5Config.from_dict(config))
    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))
