# SPDX-License-Identifier: Apache-2.0
"""Which Video-Depth-Anything a file of weights is. It has no config: the tensors' shapes tell. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import isqrt

from ex4d.models.weights import WeightFiles
from shared_protocol.errors import BAD_INPUT, Ex4dError

FRAMES = 32  # that the network sees at once
TIME_HEADS = 8  # of attention over time
NORM_GROUPS = 32  # of the norm before it

_TIME = "head.motion_modules.0.temporal_transformer.transformer_blocks.0.attention_blocks.0.pos_encoder.pe"
_HINT = "Take a file of Video-Depth-Anything as it is published (video_depth_anything_vits.pth, ...)."


@dataclass(frozen=True)
class Architecture:
    """Sizes of a network."""

    width: int  # numbers for each patch of a picture
    depth: int  # blocks of the image network
    heads: int  # of its attention
    blocks: tuple[int, ...]  # of these four, from 0, the head gets what they give
    features: int  # channels of the head
    channels: tuple[int, ...]  # of its four levels, before they come together
    patch: int  # pixels
    grid: int  # the table of positions is for a square of so many patches
    frames: int  # rows of the table of times

    @property
    def name(self) -> str:
        """Small, Base or Large, as published; "" for another size."""
        return _NAMES.get((self.width, self.depth), "")


_NAMES = {(384, 12): "Small", (768, 12): "Base", (1024, 24): "Large"}
_LARGE_BLOCKS = (4, 11, 17, 23)  # the published Large; others divide their blocks evenly


def read_architecture(weights: WeightFiles, heads: int = 0, blocks: tuple[int, ...] = ()) -> Architecture:
    """The sizes of a network, from the shapes of its weights.

    Two numbers leave no trace in shapes. Unless they are given, heads are 64 wide, as in every published size (16 in a
    network whose width is no multiple of 64), and the four blocks are those of the published sizes.

    Args:
        weights: under their published names.
        heads: of the image network's attention; 0 = as above.
        blocks: that the head looks at, from 0; () = as above.

    Raises:
        Ex4dError: BAD_INPUT for weights of something else.
    """

    def shape(name: str, axes: int) -> tuple[int, ...]:
        if name not in weights or len(weights[name].shape) != axes:
            raise Ex4dError(BAD_INPUT, f"{weights} is no Video-Depth-Anything: it has no '{name}'.", _HINT)
        return weights[name].shape

    width = shape("pretrained.cls_token", 3)[2]
    depth = sum(name.startswith("pretrained.blocks.") and name.endswith(".norm1.weight") for name in weights)
    places = shape("pretrained.pos_embed", 3)[1] - 1
    found = Architecture(
        width=width,
        depth=depth,
        heads=heads or (width // 64 if width % 64 == 0 else width // 16),
        blocks=blocks or tuple(depth * (part + 1) // 4 - 1 for part in range(4)),
        features=shape("head.scratch.layer1_rn.weight", 4)[0],
        channels=tuple(shape(f"head.projects.{level}.weight", 4)[0] for level in range(4)),
        patch=shape("pretrained.patch_embed.proj.weight", 4)[2],
        grid=isqrt(places),
        frames=shape(_TIME, 3)[1],
    )
    if found.name == "Large" and not blocks:
        found = replace(found, blocks=_LARGE_BLOCKS)
    over_time = (found.features, *found.channels[2:])
    if (
        found.grid**2 != places
        or not found.heads
        or found.width % found.heads
        or found.depth < 4
        or found.frames < FRAMES
        or not all(channels % NORM_GROUPS == 0 for channels in over_time)
    ):
        raise Ex4dError(BAD_INPUT, f"{weights} has sizes that no Video-Depth-Anything has: {found}.", _HINT)
    return found
