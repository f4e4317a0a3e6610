# SPDX-License-Identifier: Apache-2.0
"""The estimator `da3`: depth, lens and camera of several frames at once. Needs no torch before it works."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

import cv2
import numpy as np

from ex4d.depth.da3.join import Window, joined, plan
from ex4d.depth.da3.models import CONFIG, KINDS, WEIGHTS, Kind, kind_of, networks
from ex4d.depth.da3.picture import seen, seen_sizes
from ex4d.depth.door import DepthRequest, Estimate, GivesInAll
from ex4d.depth.network import AUTO, DEVICE_SETTINGS, MODEL, Network, NetworkEstimator, is_wide
from ex4d.mesh.lift import default_intrinsics
from ex4d.models.registry import MODELS
from ex4d.models.weights import WeightFiles
from ex4d.settings import Setting, Value
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

_NAME: Final = "da3-base"
_SIDE, _WINDOW, _OVERLAP = "long_side", "window", "overlap"
_CANONICAL: Final = 300.0  # pixels of focal length at which the metric model's numbers are metres (the package's FAQ)
_SHORTEST, _LONGEST = 0.1, 100.0  # focal length over the picture's long side: beyond is no lens
_MIB: Final = 2**20


class DepthAnything3(NetworkEstimator):
    """Depth of many frames at once that fits together, with focal length and camera; or of single frames in metres."""

    name = "da3"
    label = "Depth Anything 3"
    licence = MODELS[_NAME].licence
    commercial_use = MODELS[_NAME].commercial_use
    gives: GivesInAll = "either"
    steady = True
    uses_focal = True  # of the metric model
    size = MODELS[_NAME].size
    packages = ("depth_anything_3", "einops", "omegaconf", "addict")
    install = "pip install einops omegaconf addict && pip install --no-deps depth-anything-3"
    half = "bfloat16"  # as the package itself
    settings = (
        Setting(
            MODEL,
            AUTO,
            f"The best model that is here, one by name ({', '.join(KINDS)}), or the folder of one.",
            label="Model",
        ),
        Setting(
            _SIDE,
            504,
            "Pixels of the long side of what the network sees. More shows finer edges, and takes more memory and time.",
            label="Long side",
            least=56,
            most=2016,
        ),
        Setting(
            _WINDOW,
            32,
            "Frames that are seen at once. More of them fit together better, and take more memory.",
            label="Frames at once",
            least=2,
            most=512,
            group="Network",
        ),
        Setting(
            _OVERLAP,
            8,
            "Frames that are seen twice where a longer clip is put together.",
            label="Overlap",
            least=1,
            most=256,
            group="Network",
        ),
        *DEVICE_SETTINGS,
    )

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """See `NetworkEstimator.networks`."""
        if int(values[_OVERLAP]) >= int(values[_WINDOW]):
            text = f"An overlap of {values[_OVERLAP]} frames leaves nothing of {values[_WINDOW]} frames at once."
            raise Ex4dError(BAD_INPUT, text, "Choose a smaller overlap.")
        return networks(str(values[MODEL]))

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """See `NetworkEstimator.peak`."""
        place = self.where(network)
        _, (tall, wide) = seen_sizes(height, width, int(values[_SIDE]))
        numbers = sum(int(np.prod(header.shape)) for header in WeightFiles([place / WEIGHTS]).values())
        kind, in_float32 = kind_of(network, place), is_wide(values)
        found = peak(kind, numbers, int(values[_WINDOW]) if kind.views else 1, tall * wide, wide=in_float32)
        return found // 2 if in_float32 else found  # which is doubled for float32

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """See `NetworkEstimator.files`."""
        return {name: place / name for name in (CONFIG, WEIGHTS)}

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """See `NetworkEstimator.run`."""
        from ex4d.depth.da3.network import load_network, look

        kind = kind_of(network, place)
        loaded = rig.hold(
            load_network(kind, place, lambda done, total: request.progress("Loading the depth model", done, total))
        )
        frames, side = request.clip.frames, int(values[_SIDE])
        total, height, width = frames.shape[:3]
        spans = plan(total, *((int(values[_WINDOW]), int(values[_OVERLAP])) if kind.views else (1, 0)))

        def windows() -> Iterator[Window]:
            for done, span in enumerate(spans):
                request.progress("Estimating depth", span.start if done else 0, total)
                yield look(loaded, np.stack([seen(np.asarray(frames[index]), side) for index in span]), rig)

        _, size = seen_sizes(height, width, side)
        metres = 1.0
        if kind.gives == "metric":
            focal = request.focal
            if focal is None:
                focal = default_intrinsics(width, height, None).fx
                request.note(f"depth for a focal length of {focal:.0f} pixels, a guess: this model needs to be told")
            metres = focal * (size[0] / height + size[1] / width) / 2 / _CANONICAL
        done = 0
        for window in joined(spans, windows()):
            for index in range(len(window.depth)):
                done += 1
                yield _estimate(window, index, kind, metres, (height, width))
        request.progress("Estimating depth", done, total)

    def smaller(self) -> str:
        """See `NetworkEstimator.smaller`."""
        return "Choose a smaller window or long_side, a smaller model, or close other programs."


def peak(kind: Kind, weights: int, frames: int, pixels: int, *, wide: bool) -> int:
    """Bytes.

    Counted on the full-size networks (tensors alive, without a GPU). Weights are kept in float32, and once more in 16
    bits where it computes in these. Tokens of all frames are alive at once; the head, always in float32, takes eight
    frames at a time. A third of that again for what convolutions borrow, and 0.4 GiB for CUDA and its libraries.

    Args:
        kind: of the model.
        weights: how many numbers they are.
        frames: at once.
        pixels: of what it sees of each.
        wide: whether it computes in float32.
    """
    tokens = 40 + (0.64 if wide else 0.32) * kind.width
    each = frames * tokens + min(frames, 8) * 5 * kind.features
    return int((4 if wide else 6) * weights + 1.33 * each * pixels + 400 * _MIB)


def _estimate(window: Window, index: int, kind: Kind, metres: float, frame: tuple[int, int]) -> Estimate:
    height, width = frame
    tall, wide = window.depth.shape[1:]
    z = cv2.resize(window.depth[index] * np.float32(metres), (width, height), interpolation=cv2.INTER_LINEAR)
    sky = None
    if window.sky is not None:
        there = window.sky[index].astype(np.uint8)
        sky = cv2.resize(there, (width, height), interpolation=cv2.INTER_NEAREST_EXACT) > 0
    focal = None
    if window.focal is not None:
        across, down = window.focal[index]
        focal = float(across * width / wide + down * height / tall) / 2
        if not _SHORTEST <= focal / max(height, width) <= _LONGEST:
            focal = None
    return Estimate(
        np.asarray(z, np.float32),
        kind.gives,
        sky=None if sky is None else np.asarray(sky, np.bool_),
        focal=focal,
        world_from_camera=None if window.poses is None else window.poses[index],
    )
