# SPDX-License-Identifier: Apache-2.0
"""Peak memory of a job, from the architecture, before anything is loaded.

What tensors take at the peak of each stage is written down from the code of diffusers' Wan classes, stage by stage;
`benchmarks/memory_prediction.py` compares it with what those classes allocate at full size. The constants lie at or
above that. Not seen there are what CUDA's libraries and the allocator take: `LIBRARIES` and `_MARGIN` stand for it.
The CUDA context is not counted: it is there before free memory is asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from ex4d.generate.diffusion.memory.profiles import Profile
from ex4d.generate.diffusion.memory.workload import Network, Workload

GIB: Final = 1 << 30
LIBRARIES: Final = GIB * 3 // 4  # kernels that are loaded when they are first used, and cuBLAS' and cuDNN's workspaces
PROCESS: Final = 3 * GIB  # of main memory: Python, CUDA's libraries, the shot's pictures
_MARGIN: Final = 1.1  # on activations: what the allocator cannot use because it is in pieces
TILE: Final = 256  # pixels: side of the autoencoder's tiles, and from one to the next (diffusers' own)
STRIDE: Final = 192

_LAYER_BYTES: Final = {"float32": 4.0, "bfloat16": 2.0, "float8": 1.0, "int8": 1.0}
# Bytes per value of the largest layer, while it works: float8 is copied to bfloat16 and back; int8 to bfloat16; a GGUF
# layer is unpacked through float32.
_UNPACKED: Final = {"float32": 0, "bfloat16": 0, "float8": 3, "int8": 4, "gguf": 12}
_CONTEXT: Final = 2 * (512 + 257)  # tokens of prompt and picture, as they come and as they are brought to its width
# Channels at full resolution, in multiples of the first level's, that the autoencoder holds at its peak: the layer that
# works and what each layer keeps of the frames before. 10 more for the workspace of the convolution.
_DECODE: Final = 53 + 10
_ENCODE: Final = 38 + 10


@dataclass(frozen=True)
class Prediction:
    """Peaks in bytes."""

    stages: Mapping[str, int]  # stage -> GPU memory
    ram: int  # main memory

    @property
    def gpu(self) -> int:
        """The highest of the stages."""
        return max(self.stages.values())

    @property
    def peak(self) -> str:
        """The stage that takes most of the GPU's memory."""
        return max(self.stages, key=self.stages.__getitem__)


def predict(profile: Profile, workload: Workload, *, on_gpu: bool = True) -> Prediction:
    """Peaks of a job in a profile. Without a GPU all of it is main memory."""
    if workload.fused and profile.weights not in ("float8", "gguf"):  # those keep their LoRAs beside them
        workload = replace(workload, adapters=0)
    network, work = workload.transformer, 4 if profile.weights == "float32" else 2
    layer = _layer_bytes(profile, workload)
    adapters = workload.adapters * work
    weights = network.total.size(layer, work) + adapters
    unpacked = network.largest_layer * _UNPACKED[profile.weights]
    beside = workload.geometry_encoder.values * work + workload.vae.values * workload.vae_bytes
    text, image = workload.text_encoder, workload.image_encoder.values * work
    beside += 0 if profile.stream else image
    resident, passing = _on_gpu(profile, network, layer, work, adapters)
    kept = (1 + workload.cached) * workload.tokens * network.width * work  # the geometry encoder's, and caches
    needed = {
        "encoding the pictures": _grown(encoding(workload, profile)),
        "painting": unpacked + kept + _grown(sampling(workload, work)),
        "developing the frames": _grown(decoding(workload, profile)),
    }
    prompts = _grown(text.values * work)
    ram = PROCESS + 2 * _video(workload)
    if not on_gpu:
        ram += max(prompts, weights + beside + max(needed.values()))
        return Prediction({"painting": 0}, ram)
    stages = {name: size + beside + (passing if name == "painting" else resident) for name, size in needed.items()}
    # The prompt encoder comes first. Where there is no room for all of it, a layer at a time is on the GPU.
    whole = not profile.stream and prompts <= max(stages.values())
    stages["reading the prompts"] = prompts if whole else _grown(text.largest_layer * work)
    in_ram = weights if profile.offload != "none" else 0
    if profile.weights == "int8":
        in_ram = network.total.size(2, work)  # loaded in bfloat16 first
    in_ram += image if profile.stream else 0
    ram += max(in_ram, 0 if whole else text.values * work)
    return Prediction({stage: LIBRARIES + size for stage, size in stages.items()}, ram)


def _on_gpu(profile: Profile, network: Network, layer: float, work: int, adapters: int) -> tuple[int, int]:
    """Bytes of the transformer's weights on the GPU: while the autoencoder works, and while it works itself."""
    if profile.offload == "block":  # the block that works, and the one that is copied meanwhile
        blocks = 2 * (network.block.size(layer, work) + adapters // max(network.blocks, 1))
        return 0, network.outside.size(layer, work) + blocks
    if profile.offload == "layer":
        return 0, 2 * round(network.largest_layer * layer)
    weights = network.total.size(layer, work) + adapters
    return (weights if profile.offload == "none" else 0), weights


def sampling(workload: Workload, work_bytes: int = 2) -> int:
    """Bytes of activations at the peak of the transformer's pass.

    Per token of W channels, F inside the feed-forward layer: either its input in float32, three times, beside the
    tokens; or, where that is more, the layer's inner values: before and after the activation, with a LoRA three times
    (the layer's, the LoRA's, and that scaled). A control branch holds one copy of the tokens for each of its blocks.
    """
    network = workload.transformer
    inner = (6 if workload.adapters else 4) * network.ffn
    held = (2 * network.hints + 3 * bool(network.hints)) * network.width
    per_token = max(23 * network.width, round(8.5 * network.width) + inner) + held
    prompt = 2 * _CONTEXT * network.width
    return (2 if workload.batched else 1) * (workload.tokens * per_token + prompt) * work_bytes // 2


def encoding(workload: Workload, profile: Profile) -> int:
    """Bytes of activations at the peak of the autoencoder's encoding: of a video that is there in float32."""
    pixels = workload.width * workload.height
    area = _tile(workload.width) * _tile(workload.height) if profile.vae_tiling else pixels
    given = 3 * workload.frames * pixels * (4 + (workload.vae_bytes if workload.vae_bytes < 4 else 0))
    return _ENCODE * workload.vae_base * workload.vae_bytes * area + given


def decoding(workload: Workload, profile: Profile) -> int:
    """Bytes of activations at the peak of the autoencoder's decoding, and of the way from there to 8 bits."""
    pixels = workload.width * workload.height
    frames = workload.frames + workload.before
    video = 3 * frames * pixels * workload.vae_bytes
    to_bytes = 3 * frames * pixels * 4 * 3  # float32: the video, and two steps of the arithmetic
    if not profile.vae_tiling:
        working = _DECODE * workload.vae_base * workload.vae_bytes * pixels
        return max(working + round(1.05 * video), to_bytes)
    working = _DECODE * workload.vae_base * workload.vae_bytes * _tile(workload.width) * _tile(workload.height)
    tiles = video * _overlap(workload.width) * _overlap(workload.height)  # all, before they are joined
    return max(working + round(tiles), round(tiles) + 3 * video, to_bytes)


def _layer_bytes(profile: Profile, workload: Workload) -> float:
    """Per value of a linear layer in the blocks."""
    if profile.weights != "gguf":
        return _LAYER_BYTES[profile.weights]
    return workload.gguf / workload.transformer.total.layers  # the rest of the file is little: a bit too much


def _video(workload: Workload) -> int:
    """Bytes of the window in float32."""
    return 3 * 4 * workload.frames * workload.width * workload.height


def _tile(side: int) -> int:
    return min(side, TILE)


def _overlap(side: int) -> float:
    """Pixels of all tiles along a side over those of the side."""
    return sum(min(TILE, side - start) for start in range(0, side, STRIDE)) / side


def _grown(activations: int) -> int:
    return round(activations * _MARGIN)
