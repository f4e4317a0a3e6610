# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter's predicted memory against what its networks allocate, on any machine: no GPU and no weights are needed.

The published architecture runs under `FakeTensorMode`, where tensors have sizes and no contents, and what is alive is
counted. Then the prediction for whole jobs is printed. Ends with status 1 where a prediction lies below the count.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

import torch
from diffusers import AutoencoderKLTemporalDecoder
from torch._subclasses.fake_tensor import FakeTensorMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from benchmarks._live_memory import LiveMemory
from ex4d.depth.depthcrafter.load import build_unet
from ex4d.depth.depthcrafter.memory import WIDE, activations, peak_bytes
from ex4d.depth.network import GIB

SIZES = ((110, 576, 1024), (49, 576, 1024), (20, 320, 576), (2, 576, 1024), (1, 576, 1024))  # frames, height, width
# tencent/DepthCrafter, config.json: what is not said has diffusers' own default, which is the same.
UNET = {
    "block_out_channels": [320, 640, 1280, 1280],
    "cross_attention_dim": 1024,
    "num_attention_heads": [5, 10, 20, 20],
    "layers_per_block": 2,
}
# stabilityai/stable-video-diffusion-img2vid-xt, vae/config.json
VAE = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "layers_per_block": 2,
}
# Numbers of the published weights; the autoencoder's encoder again, which is float32.
WEIGHTS = 2 * (1_524_623_082 + 632_076_800 + 97_742_847) + 2 * 34_163_664


def count_denoising(frames: int, height: int, width: int) -> int:
    """Bytes at the peak of one run of the denoiser, beside its weights."""
    with tempfile.TemporaryDirectory() as folder, torch.device("meta"):
        config = Path(folder) / "config.json"
        config.write_text(json.dumps(UNET), encoding="utf-8")
        unet = build_unet(config).half()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        unet.to_empty(device="cpu").eval()
        latents = torch.zeros(1, frames, 8, height // 8, width // 8, dtype=torch.float16)
        embeddings = torch.zeros(1, frames, 1024, dtype=torch.float16)
        about = torch.zeros(1, 3, dtype=torch.float16)
        with LiveMemory([*unet.parameters(), latents, embeddings, about]) as live:
            unet(latents, torch.tensor(0.5), encoder_hidden_states=embeddings, added_time_ids=about)
    return live.peak


def count_autoencoder(frames: int, height: int, width: int, *, encode: bool) -> int:
    """Bytes at the peak of the autoencoder, beside its weights."""
    with torch.device("meta"):
        vae = AutoencoderKLTemporalDecoder(**VAE).half()
    for name in WIDE:
        vae.get_submodule(name).float()
    with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
        vae.to_empty(device="cpu").eval()
        given = (
            torch.zeros(frames, 3, height, width)
            if encode
            else torch.zeros(frames, 4, height // 8, width // 8, dtype=torch.float16)
        )
        with LiveMemory([*vae.parameters(), given]) as live:
            vae.encode(given) if encode else vae.decode(given, num_frames=frames)
    return live.peak


def main() -> int:
    """See the module."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.parse_args()
    good = True
    print(f"{'activations of':34} {'counted':>9} {'predicted':>9}  ratio")

    def row(name: str, counted: int, predicted: int) -> None:
        nonlocal good
        good &= predicted >= counted
        print(f"{name:34} {counted / GIB:9.3f} {predicted / GIB:9.3f}  {predicted / counted:5.2f}", flush=True)

    for frames, height, width in SIZES:
        size = f"{frames} x {width}x{height}"
        row(f"denoising {size}", count_denoising(frames, height, width), activations(height, width, frames, 1))
    for chunk, height, width in ((8, 576, 1024), (4, 320, 576), (1, 576, 1024)):
        size = f"{chunk} x {width}x{height}"
        counted = count_autoencoder(chunk, height, width, encode=False)
        row(f"decoding {size}", counted, activations(height, width, chunk, chunk))
    row("encoding 1 x 1024x576", count_autoencoder(1, 576, 1024, encode=True), activations(576, 1024, 1, 1))

    print("\nGiB for whole jobs, without the CUDA context")
    for window, height, width, chunk in (
        (110, 576, 1024, 8),
        (49, 576, 1024, 8),
        (50, 576, 1024, 4),
        (110, 384, 640, 8),
        (110, 320, 512, 8),
    ):
        peak = peak_bytes(WEIGHTS, height, width, window, chunk) / GIB
        print(f"window {window:3}, {width}x{height}, decoded together {chunk}: {peak:5.1f}")
    return 0 if good else 1


if __name__ == "__main__":
    raise SystemExit(main())
