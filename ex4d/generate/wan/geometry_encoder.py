# SPDX-License-Identifier: Apache-2.0
"""EX-4D's geometry encoder: latents of the masked colour and of the mask → tokens that are added to the video's.

The layers and their order are those of the public EX-4D code (its CamVidEncoder), whose weights are loaded into them.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

LATENT_CHANNELS = 16  # of colour, and as many of the mask


class GeometryEncoder(nn.Module):
    """Three 1x1x1 convolutions with SiLU between, then one convolution per patch of 1x2x2 latents."""

    def __init__(self, hidden: int, width: int) -> None:
        """Layers with unset weights.

        Args:
            hidden: channels between the convolutions (1024 in the released checkpoint).
            width: channels of the transformer's tokens (5120 in the 14B model).
        """
        super().__init__()
        self.latent_encoder = nn.Sequential(
            nn.Conv3d(2 * LATENT_CHANNELS, hidden, 1),
            nn.SiLU(),
            nn.Conv3d(hidden, hidden, 1),
            nn.SiLU(),
            nn.Conv3d(hidden, hidden, 1),
        )
        self.latent_patch_embedding = nn.Conv3d(hidden, width, (1, 2, 2), (1, 2, 2))

    def forward(self, colour: Tensor, mask: Tensor) -> Tensor:
        """Geometry tokens.

        Args:
            colour: [B, 16, t, h, w] normalised latents of the masked colour video.
            mask: [B, 16, t, h, w] normalised latents of the mask video.

        Returns:
            [B, width, t, h / 2, w / 2], laid out like the output of the transformer's patch embedding.
        """
        tokens: Tensor = self.latent_patch_embedding(self.latent_encoder(torch.cat([colour, mask], dim=1)))
        return tokens
