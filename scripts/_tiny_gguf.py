# SPDX-License-Identifier: Apache-2.0
"""The small transformer of `scripts._tiny_models` as a GGUF file, named and typed as those that people share."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gguf

from ex4d.models.weights import WeightFiles
from scripts._tiny_models import write_wan


def write_gguf(path: Path, seed: int = 0) -> Path:
    """Weights of `write_wan(..., seed)`: matrices of the blocks in Q8_0, the rest in float32.

    Returns:
        `path`.
    """
    writer = gguf.GGUFWriter(path, "wan")
    with tempfile.TemporaryDirectory() as folder:
        original = write_wan(Path(folder), layout="original", seed=seed)
        weights = WeightFiles(sorted(original.glob("diffusion_pytorch_model*.safetensors")))
        for name, tensor in weights.read(weights):
            values = tensor.float().numpy()
            if values.ndim == 2 and name.startswith("blocks."):
                kind = gguf.GGMLQuantizationType.Q8_0
                writer.add_tensor(name, gguf.quants.quantize(values, kind), raw_dtype=kind)
            else:
                writer.add_tensor(name, values.copy(), raw_shape=values.shape)
    path.parent.mkdir(parents=True, exist_ok=True)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path
