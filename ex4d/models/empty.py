# SPDX-License-Identifier: Apache-2.0
"""Networks as their classes build them from a config, without weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import diffusers
from transformers import CLIPVisionConfig, CLIPVisionModel, UMT5Config, UMT5EncoderModel

from ex4d.models.building import without_weights


def empty_network(name: str, config: Mapping[str, Any]) -> Any:
    """A network of a Wan model whose parameters are on the meta device.

    Args:
        name: "transformer", "vae", "text_encoder" or "image_encoder".
        config: of that part of an `ex4d.models.repository.Repository`.

    Raises:
        Ex4dError: BAD_INPUT for a config that its class makes no network of.
    """
    network = without_weights(name, lambda: _built(name, dict(config)))
    if isinstance(network, UMT5EncoderModel):
        network.tie_weights()  # names of one table of words, which building it without weights parts
    return network


def _built(name: str, config: dict[str, Any]) -> Any:
    if name == "transformer":
        return getattr(diffusers, config.get("_class_name", "WanTransformer3DModel")).from_config(config)
    if name == "vae":
        return diffusers.AutoencoderKLWan.from_config(config)
    if name == "text_encoder":
        return UMT5EncoderModel(UMT5Config.from_dict(config))
    return CLIPVisionModel(CLIPVisionConfig.from_dict(config))
