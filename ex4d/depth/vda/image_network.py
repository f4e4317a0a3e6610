# SPDX-License-Identifier: Apache-2.0
"""The part that sees single frames: transformers' DINOv2, with positions resampled as its authors' own code does."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate
from transformers import Dinov2Config, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from ex4d.depth.vda.architecture import Architecture

_OFFSET = 0.1  # patches: DINOv2's code adds it to each side so that rounding loses no row


class _Embeddings(Dinov2Embeddings):  # type: ignore[misc]
    """Patches of a picture as tokens, with their places."""

    def interpolate_pos_encoding(self, embeddings: Tensor, height: int, width: int) -> Tensor:
        """[1, 1 + patches, width] positions for a picture of so many pixels.

        The weights were trained with a table that is stretched by (patches + 0.1) / table, where transformers stretches
        it by patches / table: off by up to a tenth of a patch, and far more than rounding in the result.
        Source: facebookresearch/dinov2, `DinoVisionTransformer.interpolate_pos_encoding`.
        """
        table: Tensor = self.position_embeddings
        side = round((table.shape[1] - 1) ** 0.5)
        rows, columns = (size // self.config.patch_size for size in (height, width))
        if rows == columns == side:
            return table
        places = table[:, 1:].float().reshape(1, side, side, -1).permute(0, 3, 1, 2)
        factors = [(rows + _OFFSET) / side, (columns + _OFFSET) / side]
        places = interpolate(places, scale_factor=factors, mode="bicubic", align_corners=False)
        return torch.cat([table[:, :1], places.flatten(2).transpose(1, 2).to(table.dtype)], dim=1)


class ImageNetwork(Dinov2Model):  # type: ignore[misc]
    """DINOv2 that gives what several of its blocks made of a picture."""

    def __init__(self, architecture: Architecture) -> None:
        """Layers with unset weights."""
        super().__init__(
            Dinov2Config(
                hidden_size=architecture.width,
                num_hidden_layers=architecture.depth,
                num_attention_heads=architecture.heads,
                image_size=architecture.grid * architecture.patch,
                patch_size=architecture.patch,
                layer_norm_eps=1e-6,
                attn_implementation="sdpa",
            )
        )
        self.embeddings = _Embeddings(self.config)
        self.blocks = architecture.blocks

    def tokens(self, pictures: Tensor) -> list[Tensor]:
        """What the chosen blocks say of pictures, through the last norm.

        Args:
            pictures: [B, 3, height, width], sides multiples of the patch.

        Returns:
            For each block [B, 1 + patches, width]: one of the whole picture, then those of the patches, row by row.
        """
        hidden = self.embeddings(pictures)
        found = []
        # Block by block: `Dinov2Backbone` would keep what all of them gave, six times as much as is needed.
        for index, layer in enumerate(self.encoder.layer):
            hidden = layer(hidden)
            if index in self.blocks:
                found.append(self.layernorm(hidden))
            if len(found) == len(self.blocks):
                break
        return found
