# SPDX-License-Identifier: Apache-2.0
"""Clips and weights for tests of Video-Depth-Anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from fractions import Fraction
from math import prod
from pathlib import Path

import numpy as np

from ex4d.values import Clip


def moving_clip(count: int, height: int = 36, width: int = 48, seed: int = 0) -> Clip:
    """A textured ground that pans, with a square that goes the other way."""
    noise = np.random.default_rng(seed).integers(0, 255, (height, width + count, 3), np.uint8)
    frames = np.stack([noise[:, index : index + width] for index in range(count)])
    for index, frame in enumerate(frames):
        left = (3 * index) % (width - 8)
        frame[8:20, left : left + 8] = (200, 40, 40)
    return Clip(frames, Fraction(24), "pan")


def write_sparse(file: Path, shapes: Mapping[str, tuple[int, ...]]) -> Path:
    """A safetensors file of zeros, float32, that takes no room on the disk however large its tensors are."""
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 4 * prod(shape)
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    told = json.dumps(header).encode()
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("wb") as opened:
        opened.write(len(told).to_bytes(8, "little") + told)
        opened.truncate(8 + len(told) + end)
    return file
