# SPDX-License-Identifier: Apache-2.0
"""Which Wan model a transformer's config describes. Several of them look alike and do not take the same input."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

Kind = Literal["i2v", "vace"]

TITLES: Mapping[str, str] = {"i2v": "Wan2.1-I2V-14B", "vace": "Wan2.1-VACE"}
_SIZES = {1536: "1.3B", 3072: "5B", 5120: "14B"}  # by width
_I2V_CHANNELS = 36  # latents, 4 channels of mask, latents of the picture


def recognise(config: Mapping[str, Any], two_transformers: bool) -> tuple[Kind | None, str]:
    """What it is.

    Args:
        config: of the transformer, as diffusers writes it.
        two_transformers: whether the model has one for high and one for low noise.

    Returns:
        The kind, None where it is none that is used here, and its name for a message.
    """
    name = str(config.get("_class_name", ""))
    heads, channels_each = config.get("num_attention_heads"), config.get("attention_head_dim")
    width = heads * channels_each if isinstance(heads, int) and isinstance(channels_each, int) else 0
    size = f"-{_SIZES[width]}" if width in _SIZES else ""
    channels = config.get("in_channels")
    if two_transformers:
        return None, "a Wan2.2 model with two transformers"
    if name == "WanVACETransformer3DModel":
        return "vace", f"Wan2.1-VACE{size}"
    if name != "WanTransformer3DModel":
        return None, f"a model of the class {name}" if name else "a model of an unknown class"
    if channels == 48:
        return None, "Wan2.2-TI2V-5B"
    if channels == 16:
        return None, f"the text-to-video model Wan2.1-T2V{size}"
    if channels != _I2V_CHANNELS:
        return None, f"a Wan model with {channels} input channels"
    if not config.get("image_dim"):
        return None, "Wan2.2-I2V, which sees no features of the picture"
    if config.get("pos_embed_seq_len"):
        return None, f"Wan2.1-FLF2V{size}, the model for first and last frame"
    if size in ("-1.3B", "-5B"):
        return None, f"a Wan2.1-I2V{size}; the EX-4D adapter is for 14B"
    return "i2v", f"Wan2.1-I2V{size}"
