# SPDX-License-Identifier: Apache-2.0
"""Attention over time, for each place of a picture by itself. Made of diffusers' parts."""

from __future__ import annotations

import torch
from diffusers.models.attention import FeedForward
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from ex4d.depth.vda.architecture import NORM_GROUPS, TIME_HEADS
from ex4d.depth.vda.memory import AT_ONCE, FRAMES_AT_ONCE


class _Times(nn.Module):
    """Holds the table of times, a sinusoid that is stored with the weights."""

    pe: Tensor  # [1, frames, channels]

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__()
        self.register_buffer("pe", torch.zeros(1, frames, channels))


class _AttentionOverTime(Attention):  # type: ignore[misc]
    """Self-attention of [places, T, channels] whose queries, keys and values all know the time."""

    def __init__(self, channels: int, frames: int) -> None:
        super().__init__(query_dim=channels, heads=TIME_HEADS, dim_head=channels // TIME_HEADS)
        self.pos_encoder = _Times(channels, frames)

    def forward(self, hidden: Tensor) -> Tensor:
        mixed: Tensor = super().forward(hidden + self.pos_encoder.pe[:, : hidden.shape[1]])
        return mixed


class OverTime(nn.Module):
    """Mixes the frames of a window, [T, channels, h, w] to the same shape: the only part that looks at several."""

    def __init__(self, channels: int, frames: int) -> None:
        """Layers with unset weights, for at most so many frames."""
        super().__init__()
        self._widest = 8 * channels  # numbers of the widest layer, for each place and frame
        self.norm = nn.GroupNorm(NORM_GROUPS, channels, eps=1e-6)
        self.proj_in = nn.Linear(channels, channels)
        self.attention_blocks = nn.ModuleList(_AttentionOverTime(channels, frames) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(channels) for _ in range(2))
        self.ff = FeedForward(channels, activation_fn="geglu")
        self.ff_norm = nn.LayerNorm(channels)
        self.proj_out = nn.Linear(channels, channels)

    def forward(self, maps: Tensor) -> Tensor:
        """[T, channels, h, w], the residual included."""
        # Each frame is normed by itself: over all of them, the numbers of one would depend on the others.
        normed = torch.cat(
            [self.norm(some.float()).to(maps.dtype).flatten(2) for some in torch.split(maps, FRAMES_AT_ONCE)]
        )  # [T, channels, places]
        mixed = torch.empty_like(normed)
        some = max(1, AT_ONCE // (self._widest * len(maps)))
        for start in range(0, normed.shape[2], some):
            places = slice(start, start + some)
            mixed[:, :, places] = self._mix(normed[:, :, places].permute(2, 0, 1)).permute(1, 2, 0)
        return maps + mixed.reshape(maps.shape)

    def _mix(self, places: Tensor) -> Tensor:
        """[places, T, channels]."""
        hidden = self.proj_in(places)
        for norm, attention in zip(self.norms, self.attention_blocks, strict=True):
            hidden = hidden + attention(norm(hidden.float()))
        mixed: Tensor = self.proj_out(hidden + self.ff(self.ff_norm(hidden.float())))
        return mixed
