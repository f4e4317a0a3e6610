# SPDX-License-Identifier: Apache-2.0
"""The estimator `depth-pro`: metres, and the focal length. Needs no torch before it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from ex4d.depth.door import DepthRequest, Estimate, Gives, GivesInAll
from ex4d.depth.hub.families import DEPTH_PRO, seen_size
from ex4d.depth.hub.source import all_files, brought, count_numbers, described, published
from ex4d.depth.network import AUTO, DEVICE_SETTINGS, MODEL, Network, NetworkEstimator
from ex4d.mesh.lift import default_intrinsics
from ex4d.models.registry import MODELS
from ex4d.settings import Setting, Value
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

_NAME: Final = "depth-pro"
_GIVES: Final[Mapping[str, Gives]] = {_NAME: "metric"}
_PROBES: Final = 8  # frames whose field of view is asked for
_MIB: Final = 2**20


class DepthPro(NetworkEstimator):
    """Depth of each frame by itself, in metres."""

    name = _NAME
    label = "Depth Pro"
    licence = MODELS[_NAME].licence
    commercial_use = MODELS[_NAME].commercial_use
    gives: GivesInAll = "metric"
    steady = False
    uses_focal = True
    size = MODELS[_NAME].size
    settings = (
        Setting(
            MODEL,
            AUTO,
            "depth-pro, a folder with weights of this kind, or a repository that lies in the hub's cache (owner/name).",
            label="Model",
        ),
        *DEVICE_SETTINGS,
    )

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """See `NetworkEstimator.networks`."""
        model = str(values[MODEL])
        if model in (AUTO, _NAME):
            return published((_NAME,), _GIVES)
        found = brought(model, AUTO, _GIVES)
        if found.path is not None and (family := described(found.path).family) != DEPTH_PRO:
            text = f"{model} is no Depth Pro model but of the family {family}."
            raise Ex4dError(BAD_INPUT, text, "Choose the estimator depth-anything, with the same model.")
        return [found]

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """See `NetworkEstimator.peak`.

        Counted on the full-size network, without a GPU: 853 bytes a pixel of the 1536 x 1536 that it sees. Half of that
        again for what convolutions borrow, and 0.4 GiB for CUDA and its libraries.
        """
        place = self.where(network)
        tall, wide = seen_size(DEPTH_PRO, described(place).pictures, height, width)
        return int(2 * count_numbers(place) + 1.5 * 853 * tall * wide + 16 * height * width + 400 * _MIB)

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """See `NetworkEstimator.files`."""
        return all_files(place)

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """See `NetworkEstimator.run`.

        What the network gives is inverse depth for a lens as long as the picture is wide; depth is proportional to the
        focal length (Depth Pro, section 3.2; `post_process_depth_estimation` in transformers). A lens that is estimated
        anew for each frame would make the scene breathe: one is taken for the clip, the median over a few frames.
        """
        from ex4d.depth.hub.inverse import InverseDepth

        request.progress("Loading the depth model", 0, 1)
        frames = request.clip.frames
        total, height, width = frames.shape[:3]
        inverse = InverseDepth(place, described(place).pictures, rig)
        request.progress("Loading the depth model", 1, 1)
        kept: dict[int, Any] = {}  # what was estimated on the way to the focal length
        focal = request.focal
        if focal is None:
            focals = []
            probes = sorted({int(index) for index in np.linspace(0, total - 1, min(_PROBES, total)).round()})
            for done, index in enumerate(probes):
                kept[index], found = inverse.of(np.asarray(frames[index]))
                focals += [found] if found is not None else []
                request.progress("Estimating the focal length", done + 1, len(probes))
            focal = float(np.median(focals)) if focals else default_intrinsics(width, height, None).fx
            how = f"the median of {len(focals)} frames" if focals else "a guess, since this model tells none"
            request.note(f"depth for a focal length of {focal:.0f} pixels, {how}")
        for index in range(total):
            near = kept.pop(index) if index in kept else inverse.of(np.asarray(frames[index]))[0]
            z = inverse.metres(near, focal, height, width)
            request.progress("Estimating depth", index + 1, total)
            yield Estimate(z, "metric", focal=focal)
