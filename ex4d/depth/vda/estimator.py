# SPDX-License-Identifier: Apache-2.0
"""The estimator `video-depth-anything`. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from ex4d.depth.door import DepthRequest, Estimate, GivesInAll
from ex4d.depth.network import AUTO, DEVICE_SETTINGS, MODEL, Network, NetworkEstimator
from ex4d.depth.vda.architecture import read_architecture
from ex4d.depth.vda.choice import OUTPUTS, check_size, networks, usable
from ex4d.depth.vda.memory import peak
from ex4d.depth.vda.picture import network_size
from ex4d.models.registry import MODELS
from ex4d.models.weights import WeightFiles
from ex4d.settings import Setting, Value

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

_SIZE, _OUTPUT = "input_size", "output"
_NEAREST: Final = np.float32(1e-3)  # metres: the network ends at 0, which would be taken for no depth at all


class VideoDepthAnything(NetworkEstimator):
    """Depth that is steady over time, of 32 frames at once; in metres with the metric weights."""

    name = "video-depth-anything"
    label = "Video-Depth-Anything"
    licence = MODELS["vda-metric-small"].licence
    commercial_use = MODELS["vda-metric-small"].commercial_use
    gives: GivesInAll = "either"
    steady = True
    size = MODELS["vda-metric-small"].size
    packages = ("diffusers",)
    settings = (
        Setting(
            MODEL,
            AUTO,
            "The best model that is here, one by name (vda-metric-small, ...), or the path of a file of weights.",
            label="Model",
        ),
        Setting(
            _SIZE,
            518,
            "Pixels of the short side of what the network sees. Smaller takes less memory and time, and sees less.",
            label="Input size",
            least=28,
            most=2072,
        ),
        Setting(
            _OUTPUT,
            AUTO,
            "Depth in metres, or disparity; auto: the better one that is here, or what the name of a file says.",
            label="Output",
            choices=OUTPUTS,
            group="Network",
        ),
        *DEVICE_SETTINGS,
    )

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """See `NetworkEstimator.networks`."""
        return networks(str(values[MODEL]), str(values[_OUTPUT]))

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """See `NetworkEstimator.peak`."""
        weights = WeightFiles([self.where(network)])
        found = read_architecture(weights)
        size = network_size(height, width, int(values[_SIZE]), found.patch)
        return peak(weights, found, size, height * width)

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """See `NetworkEstimator.files`."""
        return {place.name: place}

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """See `NetworkEstimator.run`."""
        from ex4d.depth.vda.model import load_network
        from ex4d.depth.vda.stream import WindowRunner, clip_depth
        from ex4d.depth.vda.windows import Join

        weights = WeightFiles([place])
        found = read_architecture(weights)
        check_size(network, found)
        loaded = load_network(
            weights,
            found,
            dtype=rig.dtype,
            device=rig.device,
            progress=lambda done, total: request.progress("Loading the depth model", done, total),
        )
        frames, gives = request.clip.frames, network.nature.gives
        count, seen, done = len(frames), 0, 0

        def step(more: int) -> None:
            nonlocal seen
            seen += more
            # The image network and the head take their time in turn: half a frame each.
            request.progress("Estimating depth", (seen + done) // 2, count)

        runner = WindowRunner(rig.hold(loaded), frames, int(values[_SIZE]), step)
        join = Join(count, metric=gives == "metric", note=request.note)
        for depth in clip_depth(runner, join, count):
            done += 1
            step(0)
            yield Estimate(np.maximum(depth, _NEAREST) if gives == "metric" else depth, gives)

    def where(self, network: Network) -> Path:
        """See `NetworkEstimator.where`: the safetensors file. Raises UNAVAILABLE for what is not converted, too."""
        return usable(super().where(network))

    def smaller(self) -> str:
        """See `NetworkEstimator.smaller`."""
        return "Choose a smaller input_size or a smaller model, or close other programs."
