# SPDX-License-Identifier: Apache-2.0
"""What Video-Depth-Anything is said to take, against what the published sizes allocate. Nothing is computed for it."""

from __future__ import annotations

from math import prod
from pathlib import Path

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from vda_cases import write_sparse

from benchmarks._live_memory import LiveMemory
from ex4d.depth.vda.architecture import Architecture, read_architecture
from ex4d.depth.vda.memory import FRAMES_AT_ONCE, peak
from ex4d.depth.vda.model import VideoDepthNetwork
from ex4d.models.weights import WeightFiles
from scripts._tiny_depth import vda_shapes

SMALL = {"width": 384, "depth": 12, "features": 64, "channels": (48, 96, 192, 384)}
LARGE = {"width": 1024, "depth": 24, "features": 256, "channels": (256, 512, 1024, 1024)}
GIB = 2**30


def counted(architecture: Architecture, size: tuple[int, int], dtype: torch.dtype) -> int:
    """Bytes that the tensors of one window take at most."""
    grid = (size[0] // 14, size[1] // 14)
    with torch.device("meta"):
        network = VideoDepthNetwork(architecture)
    network.precision = dtype
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        network.to_empty(device="cpu").eval()
        with LiveMemory([*network.parameters(), *network.buffers()]) as live:
            shape = (grid[0] * grid[1], architecture.width)
            tokens = [tuple(torch.zeros(shape, dtype=dtype) for _ in range(4)) for _ in range(32 - FRAMES_AT_ONCE)]
            tokens += network.look(torch.zeros(FRAMES_AT_ONCE, 3, *size))  # the last few of a window
            mixed = network.mix(tokens, grid)
            network.depth(tokens[:FRAMES_AT_ONCE], mixed[:FRAMES_AT_ONCE], grid)
    return live.peak


@pytest.mark.parametrize(
    ("sizes", "size", "dtype"), [(SMALL, (280, 504), torch.float32), (LARGE, (518, 924), torch.float16)]
)
def test_memory_is_told_before_and_never_too_low(
    tmp_path: Path, sizes: dict, size: tuple[int, int], dtype: torch.dtype
) -> None:
    shapes = vda_shapes(**sizes)
    weights = WeightFiles([write_sparse(tmp_path / "a.safetensors", shapes)])
    found = read_architecture(weights)
    wide = 2 if dtype == torch.float32 else 1
    told = wide * peak(weights, found, size, size[0] * size[1])
    taken = wide * 2 * sum(map(prod, shapes.values())) + counted(found, size, dtype)
    assert taken < told < 1.7 * taken + wide * 0.4 * GIB


def test_the_small_one_fits_a_small_card(tmp_path: Path) -> None:
    weights = WeightFiles([write_sparse(tmp_path / "a.safetensors", vda_shapes(**SMALL))])
    assert peak(weights, read_architecture(weights), (518, 924), 1920 * 1080) < 2 * GIB
