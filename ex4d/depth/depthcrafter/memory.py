# SPDX-License-Identifier: Apache-2.0
"""How much memory the networks take at their peak. Needs no torch.

Weights are counted in the files. Activations were counted, storage by storage, with the published architecture run on
tensors without contents (`benchmarks/depthcrafter_memory.py`), and are the same number of bytes for every pixel at any
size and any length of a window:

* the denoiser holds at its peak 9600 bytes for each pixel of the latents of each frame: fifteen feature maps of its
  finest level, of 320 channels. Its feed-forward layers go frame by frame (`ex4d.depth.depthcrafter.unet`), or it would
  be 27; with one frame there is nothing to divide;
* the autoencoder's decoder holds 2048 bytes for each pixel of each frame of a chunk: eight maps of 128 channels; its
  encoder, which has float32 numbers and sees one frame at a time, 2560;
* in the middle of both, every pixel of the latents looks at every other one of its frame. Where no fused kernel is
  taken, that is two tables of float32.

What CUDA's libraries and the allocator take is not seen there: `_LIBRARIES` and `_MARGIN` stand for it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

from ex4d.depth.depthcrafter import files
from ex4d.models.weights import WeightFiles

WIDE = ("encoder", "quant_conv")  # parts of the autoencoder whose numbers are float32 whatever the precision
_DENOISER = 9600
_DENOISER_ALONE = 17_290  # with a window of one frame
_EMBEDDING = 2 * 1024  # of one frame: all frames get those of all, and all pixels those of the first frame
_LATENTS = 256  # what the sampler itself keeps for each pixel of the latents, float32
_DECODER = 2048
_ENCODER = 2560
_TABLES = 2 * 4
_SMALLER = 8  # times that the latents are smaller than the frame
_LIBRARIES = 600 * 2**20
_MARGIN = 1.1  # on activations: what the allocator cannot use because it is in pieces


def peak_bytes(weights: int, height: int, width: int, window: int, chunk: int) -> int:
    """Bytes at the peak, with 2 bytes for a number.

    Args:
        weights: what `weight_bytes` gives.
        height, width: at which the network sees frames, pixels.
        window: frames that are denoised at once.
        chunk: frames that are decoded at once.
    """
    return round(weights + _LIBRARIES + _MARGIN * activations(height, width, window, chunk))


def weight_bytes(depthcrafter: Path, svd: Path) -> int:
    """Bytes of all weights, with 2 bytes for a number, and 4 where they have to be float32.

    Raises:
        Ex4dError: NOT_FOUND or BAD_INPUT for files that are missing or broken.
    """
    half = WeightFiles([depthcrafter / files.UNET, svd / files.IMAGE_ENCODER])
    vae = WeightFiles([svd / files.VAE])
    numbers = sum(prod(header.shape) for header in (*half.values(), *vae.values()))
    wide = sum(prod(header.shape) for name, header in vae.items() if name.split(".")[0] in WIDE)
    return 2 * (numbers + wide)


def activations(height: int, width: int, window: int, chunk: int) -> int:
    """Bytes beside the weights at the peak. Arguments as of `peak_bytes`."""
    pixels = height * width
    cells = pixels // _SMALLER**2
    tables = _TABLES * cells**2
    denoising = (max(_DENOISER * window, _DENOISER_ALONE) + _EMBEDDING) * cells + _EMBEDDING * window**2
    decoding = min(chunk, window) * max(_DECODER * pixels, tables)
    encoding = max(_ENCODER * pixels, tables)
    return max(denoising, decoding, encoding) + _LATENTS * cells * window
