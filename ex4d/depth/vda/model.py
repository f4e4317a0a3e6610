# SPDX-License-Identifier: Apache-2.0
"""The whole network, built from a published file of weights and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from accelerate import init_empty_weights
from torch import Tensor, nn

from ex4d.depth.vda.architecture import Architecture
from ex4d.depth.vda.head import DepthHead, Grid
from ex4d.depth.vda.image_network import ImageNetwork
from ex4d.depth.vda.names import rename
from ex4d.models.building import building
from ex4d.models.weights import WeightFiles, load_into

# In half precision these keep float32: norms, what is summed up over the blocks (so that the sums have it too), and the
# last two convolutions. It is what automatic mixed precision makes of the published code.
_FLOAT32 = (
    *("cls_token", "position_embeddings", "norm1", "norm2", "layernorm", "lambda1"),
    *("norm", "norms", "ff_norm", "pe", "output_conv2"),
)

Tokens = tuple[Tensor, ...]  # what the four blocks say of a frame, each [patches, width]


class VideoDepthNetwork(nn.Module):
    """Depth of up to 32 frames at once."""

    def __init__(self, architecture: Architecture) -> None:
        """Layers with unset weights."""
        super().__init__()
        self.architecture = architecture
        self.precision = torch.float32  # that it reckons in, where nothing asks for more
        self.image = ImageNetwork(architecture)
        self.head = DepthHead(architecture)

    @torch.no_grad()
    def look(self, pictures: Tensor) -> list[Tokens]:
        """What the image network says of each picture.

        Args:
            pictures: [n, 3, height, width] float32, of `ex4d.depth.vda.picture`.
        """
        with self._mixed_precision(pictures.device):
            levels = [level[:, 1:].to(self.precision) for level in self.image.tokens(pictures)]
        # Copies, not views: a frame that is done with must not keep its neighbours in memory.
        return [tuple(level[index].clone() for level in levels) for index in range(len(pictures))]

    @torch.no_grad()
    def mix(self, tokens: Sequence[Tokens], grid: Grid) -> Tensor:
        """All frames of a window looked at together; for `depth`."""
        with self._mixed_precision(tokens[0][0].device):
            return self.head.mix([frame[2] for frame in tokens], [frame[3] for frame in tokens], grid)

    @torch.no_grad()
    def depth(self, tokens: Sequence[Tokens], mixed: Tensor, grid: Grid) -> Tensor:
        """Depth of some frames of a window.

        Args:
            tokens: of these frames.
            mixed: [n, ...], what `mix` gave for them.
            grid: of the patches.

        Returns:
            [n, height, width] float32 of the network's pictures, >= 0: disparity up to a scale and a shift, or metres.
        """
        with self._mixed_precision(mixed.device):
            first, second = (torch.stack([frame[level] for frame in tokens]) for level in (0, 1))
            return self.head.finish(first, second, mixed, grid)

    def _mixed_precision(self, device: torch.device) -> torch.autocast:
        half = self.precision != torch.float32
        return torch.autocast(device.type, self.precision if half else None, enabled=half)


def load_network(
    weights: WeightFiles,
    architecture: Architecture,
    *,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
) -> VideoDepthNetwork:
    """The network of a published file.

    Args:
        weights: under their published names.
        architecture: of `read_architecture`.
        dtype: to reckon in: float32, float16 or bfloat16.
        device: where it goes.
        progress: called with (tensors that are there, all of them); it may raise.

    Raises:
        Ex4dError: BAD_INPUT, for tensors that are missing, not known, or of another shape.
    """
    with building(), init_empty_weights():
        network = VideoDepthNetwork(architecture)
    load_into(network, weights, rename, dtype=dtype, keep_float32=_FLOAT32, device=device, progress=progress)
    network.precision = dtype
    return network
