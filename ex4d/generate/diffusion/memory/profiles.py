# SPDX-License-Identifier: Apache-2.0
"""Memory profiles: where a model's weights lie, and in which type, for cards of different sizes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Weights = Literal["float32", "bfloat16", "float8", "int8", "gguf"]
# none: all on the GPU. model: the transformer is moved away while the autoencoder works. block, layer: the transformer
# lies in main memory, and a block or a layer at a time is on the GPU.
Offload = Literal["none", "model", "block", "layer"]

# What weights in a smaller type do to what the transformer predicts: root mean square of the difference to bfloat16
# over that of the prediction, by benchmarks/memory_prediction.py on a small model with random weights, where bfloat16
# itself is 0.7 % from float32.
_DEVIATIONS: Final = {
    "float8": "weights of the blocks rounded to 8 bits (e4m3): about 2.6 % per step",
    "int8": "weights of the blocks rounded to 8 bits, a scale per row: about 0.7 % per step",
    "gguf": "weights as the GGUF file has them: about 0.7 % per step for Q8_0, more for smaller ones",
}


@dataclass(frozen=True)
class Profile:
    """How a model is held in memory."""

    name: str
    card_gib: int  # the card it is made for: 832x480x81 of the 14B model fits there; 0: no card
    weights: Weights  # of the linear layers in the transformer's blocks; all else is bfloat16, or float32 on the CPU
    offload: Offload
    vae_tiling: bool  # the autoencoder works on parts of the picture, which are blended

    @property
    def exact(self) -> bool:
        """Whether the pixels are those of the model in its own types, all in one memory."""
        return self.weights in ("float32", "bfloat16") and not self.vae_tiling

    @property
    def deviation(self) -> str:
        """What is not exact, in words; empty where all is."""
        tiles = ["pictures coded in blended tiles of 256 pixels"] if self.vae_tiling else []
        return "; ".join([_DEVIATIONS[self.weights], *tiles] if self.weights in _DEVIATIONS else tiles)

    @property
    def stream(self) -> bool:
        """Whether the next block or layer is copied while this one works (on a GPU)."""
        return self.offload in ("block", "layer")


# Largest first.
PROFILES: Final = (
    Profile("48", 48, "bfloat16", "none", vae_tiling=False),
    Profile("40", 40, "bfloat16", "model", vae_tiling=False),
    Profile("24", 24, "bfloat16", "block", vae_tiling=False),
    Profile("16", 16, "float8", "block", vae_tiling=False),
    Profile("12", 12, "float8", "block", vae_tiling=True),
    Profile("8", 8, "float8", "layer", vae_tiling=True),
)
CPU: Final = Profile("cpu", 0, "float32", "none", vae_tiling=False)
