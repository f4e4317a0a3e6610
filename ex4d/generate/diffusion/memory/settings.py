# SPDX-License-Identifier: Apache-2.0
"""Options of memory that every generator with a diffusion model has."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ex4d.generate.diffusion.memory.profiles import PROFILES, Weights
from ex4d.settings import Setting, Value
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

_WEIGHTS: Final[Mapping[str, Weights]] = {"bf16": "bfloat16", "fp8": "float8", "int8": "int8"}
_GROUP = "Memory"

MEMORY_SETTINGS: Final = (
    Setting(
        "profile",
        "auto",
        "GB of the card that the model is held for; auto: the largest that fits, exact ones first.",
        label="Memory profile",
        choices=("auto", *(profile.name for profile in PROFILES)),
        group=_GROUP,
    ),
    Setting(
        "weights",
        "auto",
        "How the transformer's weights are kept; auto: as the profile has it. int8 is closer than fp8, and takes as "
        "much main memory as bf16 while it loads.",
        choices=("auto", *_WEIGHTS),
        group=_GROUP,
    ),
    Setting("gguf", "", "A GGUF file to take the transformer's weights from.", label="GGUF file", group=_GROUP),
    Setting(
        "vae_tiling",
        "auto",
        "Pictures in tiles between pixels and latents: less memory, not exact; auto: where it fits no other way.",
        label="VAE tiling",
        choices=("auto", "on", "off"),
        group=_GROUP,
    ),
)


@dataclass(frozen=True)
class MemoryWish:
    """What a user wants of memory."""

    profile: str  # "auto" or a name
    weights: Weights | None  # None: as the profile has it
    gguf: Path | None  # where weights is "gguf"
    vae_tiling: bool | None  # None: as it fits


def read_wish(values: Mapping[str, Value]) -> MemoryWish:
    """The wish in values of `MEMORY_SETTINGS`, which `ex4d.settings.read_settings` read; others are ignored.

    Raises:
        Ex4dError: NOT_FOUND for a GGUF file that is not there, BAD_INPUT for one together with another type.
    """
    wanted, file = str(values["weights"]), str(values["gguf"])
    weights = _WEIGHTS.get(wanted)
    gguf = Path(file).expanduser() if file else None
    if gguf is not None:
        if weights is not None:
            text = f"The weights cannot be {wanted} and those of {gguf} at once."
            raise Ex4dError(BAD_INPUT, text, "Leave one of them out: weights, or gguf.")
        if not gguf.is_file():
            raise Ex4dError(NOT_FOUND, f"There is no file {gguf}.", "Give the GGUF file of this very model.")
        weights = "gguf"
    tiling = {"on": True, "off": False}.get(str(values["vae_tiling"]))
    return MemoryWish(str(values["profile"]), weights, gguf, tiling)
