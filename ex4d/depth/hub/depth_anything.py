# SPDX-License-Identifier: Apache-2.0
"""The estimator `depth-anything`: Depth Anything V2, and other depth networks of transformers. Needs no torch yet."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ex4d.depth.door import DepthRequest, Estimate, Gives, GivesInAll
from ex4d.depth.hub.families import DEPTH_ANYTHING, DEPTH_PRO, OUTPUTS, seen_size
from ex4d.depth.hub.source import Described, all_files, brought, count_numbers, described, published
from ex4d.depth.network import AUTO, DEVICE_SETTINGS, MODEL, Network, NetworkEstimator
from ex4d.models.registry import MODELS
from ex4d.settings import Setting, Value
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    from torch import Tensor

    from ex4d.depth.rig import Rig

SMALL: Final = "depth-anything-small"
# What each of the registry's gives. Those in metres are for one kind of place each, so they are asked for by name.
_GIVES: Final[Mapping[str, Gives]] = {
    "depth-anything-large": "disparity",
    "depth-anything-base": "disparity",
    SMALL: "disparity",
    "depth-anything-indoor-small": "metric",
    "depth-anything-outdoor-small": "metric",
}
_SIZE, _OUTPUT = "input_size", "output"
_BATCH: Final = 4  # frames at once on a GPU
_NEAREST: Final = 1e-3  # metres, or a thousandth of the unit: below is no distance in front of a camera
_MIB: Final = 2**20


class DepthAnything(NetworkEstimator):
    """Depth of each frame by itself."""

    name = "depth-anything"
    label = "Depth Anything V2, and others of transformers"
    licence = MODELS[SMALL].licence
    commercial_use = MODELS[SMALL].commercial_use
    gives: GivesInAll = "either"
    steady = False
    size = MODELS[SMALL].size
    packages = ("PIL",)
    settings = (
        Setting(
            MODEL,
            AUTO,
            "The best model that is here, one by name (depth-anything-small, ...), a folder, or a repository that lies "
            "in the hub's cache (owner/name).",
            label="Model",
        ),
        Setting(
            _SIZE,
            0,
            "Pixels of the short side of what a Depth Anything network sees; 0: as it was trained. More shows finer "
            "edges, and takes more memory and time.",
            label="Input size",
            least=0,
            most=2072,
        ),
        Setting(
            _OUTPUT,
            AUTO,
            "What the numbers of a model mean that does not say it itself.",
            label="Output",
            choices=OUTPUTS,
            group="Network",
        ),
        *DEVICE_SETTINGS,
    )

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """See `NetworkEstimator.networks`."""
        model = str(values[MODEL])
        if model == AUTO:
            return published((name for name, gives in _GIVES.items() if gives == "disparity"), _GIVES)
        if model in _GIVES:
            return published((model,), _GIVES)
        return [brought(model, str(values[_OUTPUT]), _GIVES)]

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """See `NetworkEstimator.peak`."""
        place = self.where(network)
        about = described(place)
        tall, wide = _seen(about, height, width, values)
        return peak(about, count_numbers(place), tall * wide, height * width)

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """See `NetworkEstimator.files`."""
        return all_files(place)

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """See `NetworkEstimator.run`."""
        from ex4d.depth.hub.load import load_network
        from ex4d.depth.hub.pictures import Pictures

        request.progress("Loading the depth model", 0, 1)
        about = described(place)
        frames, gives = request.clip.frames, network.nature.gives
        total, height, width = frames.shape[:3]
        pictures = Pictures(place, about.family, _wished(about, height, width, values))
        loaded = rig.hold(load_network(place, rig.dtype))
        request.progress("Loading the depth model", 1, 1)
        batch = _BATCH if rig.device.type == "cuda" else 1
        for start in range(0, total, batch):
            some = np.asarray(frames[start : start + batch])
            for each in _estimated(loaded, pictures.seen(some).to(rig.device, rig.dtype), pictures, height, width):
                yield Estimate(each if gives == "disparity" else np.maximum(each, _NEAREST), gives)
            request.progress("Estimating depth", min(start + batch, total), total)


def peak(about: Described, weights: int, seen: int, frame: int) -> int:
    """Bytes, at 2 a number.

    Counted on the full-size networks (tensors alive, without a GPU): a Depth Anything head holds two layers of half its
    channels at the size that it sees, and some; others hold up to 1540 bytes a pixel. Half of that again for what
    convolutions borrow, and 0.4 GiB for CUDA and its libraries.

    Args:
        about: the model.
        weights: how many numbers they are.
        seen: pixels that the network sees.
        frame: pixels of the clip's frames.
    """
    each = 65 + 2.2 * int(about.config.get("fusion_hidden_size", 64)) if about.family == DEPTH_ANYTHING else 1600
    return int(2 * weights + _BATCH * (1.5 * each * seen + 16 * frame) + 400 * _MIB)


def _estimated(network: Any, seen: Tensor, pictures: Any, height: int, width: int) -> list[F32]:
    """[H, W] for each of a few frames."""
    import torch

    with torch.inference_mode():
        depth: Tensor = pictures.sized(network(pixel_values=seen), height, width)
        return list(depth.cpu().numpy())


def _seen(about: Described, height: int, width: int, values: Mapping[str, Value]) -> tuple[int, int]:
    return _wished(about, height, width, values) or seen_size(about.family, about.pictures, height, width)


def _wished(about: Described, height: int, width: int, values: Mapping[str, Value]) -> tuple[int, int] | None:
    """What the network shall see of a frame, where a person says it."""
    if about.family == DEPTH_PRO:
        text = "Depth Pro has an estimator of its own."
        raise Ex4dError(BAD_INPUT, text, "Choose the estimator depth-pro, with the same model.")
    side = int(values[_SIZE])
    if not side:
        return None
    if about.family != DEPTH_ANYTHING:
        text = f"A network of the family {about.family} has an input size of its own."
        raise Ex4dError(BAD_INPUT, text, "Leave input_size at 0.")
    patch = int(about.config.get("patch_size", 14))
    scale = side / min(height, width)
    return max(round(height * scale / patch), 1) * patch, max(round(width * scale / patch), 1) * patch
