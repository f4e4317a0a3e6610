# SPDX-License-Identifier: Apache-2.0
"""The estimator `depthcrafter`. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from ex4d.depth.depthcrafter import files
from ex4d.depth.depthcrafter.conversion import normalised, one_channel, upstream_depth
from ex4d.depth.depthcrafter.frame_size import UNIT, network_size
from ex4d.depth.depthcrafter.memory import peak_bytes, weight_bytes
from ex4d.depth.door import DepthRequest, Estimate, Gives, GivesInAll, Nature
from ex4d.depth.network import AUTO, DEVICE_SETTINGS, MODEL, Network, NetworkEstimator, of_registry
from ex4d.models.places import need_model
from ex4d.models.registry import MODELS
from ex4d.on_disk import disk_array, forget, workspace
from ex4d.settings import Setting, Value
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

if TYPE_CHECKING:
    from torch import Tensor

    from ex4d.depth.rig import Rig

_MODEL, _SVD = "depthcrafter", "svd-xt"
_FORGET_EVERY = 16  # frames


class DepthCrafterDepth(NetworkEstimator):
    """Relative disparity by diffusion; or depth just as the public EX-4D code has it."""

    name = "depthcrafter"
    label = "DepthCrafter (research only)"
    licence = "; ".join(MODELS[name].licence for name in (_MODEL, _SVD))
    commercial_use = False
    gives: GivesInAll = "either"  # which, the conversion says
    steady = True
    size = MODELS[_MODEL].size + MODELS[_SVD].size
    packages = ("diffusers",)
    settings = (
        Setting(
            MODEL,
            AUTO,
            "auto: the published weights; or a folder with config.json and diffusion_pytorch_model.safetensors.",
            label="Model",
        ),
        Setting(
            "max_res",
            1024,
            f"Pixels of the longer side as the network sees it; both are multiples of {UNIT}.",
            label="Resolution",
            least=UNIT,
            most=4096,
        ),
        Setting("steps", 5, "Steps of denoising.", label="Steps", least=1, most=100),
        Setting("seed", 42, "Where the random numbers begin.", label="Seed", least=0, most=2**32 - 1),
        Setting(
            "conversion",
            "relative",
            "relative: disparity that is scaled and shifted; upstream: depth in the units of the public EX-4D code.",
            label="Conversion",
            choices=("relative", "upstream"),
        ),
        Setting(
            "window",
            110,
            "Frames that are looked at together: fewer take less memory; it was trained with 110 at most.",
            label="Window",
            least=1,
            most=1000,
            group="Network",
        ),
        Setting(
            "overlap",
            25,
            "Frames that a window shares with the one before; fewer than the window has.",
            label="Overlap",
            least=0,
            most=999,
            group="Network",
        ),
        Setting(
            "guidance",
            1.0,
            "Above 1, each step is done twice, and the difference that the frames make is exaggerated.",
            label="Guidance",
            least=1.0,
            most=20.0,
            group="Network",
        ),
        Setting(
            "chunk",
            8,
            "Frames that are decoded together: fewer take less memory.",
            label="Decoded together",
            least=1,
            most=1000,
            group="Network",
        ),
        *DEVICE_SETTINGS,
    )

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        """See `NetworkEstimator`."""
        window, overlap = int(values["window"]), int(values["overlap"])
        if overlap >= window:
            text = f"Windows of {window} frames cannot overlap by {overlap}."
            raise Ex4dError(BAD_INPUT, text, f"Give an overlap of {window - 1} at most, or a larger window.")
        gives: Gives = "depth" if values["conversion"] == "upstream" else "disparity"
        published = of_registry(_MODEL, gives, steady=True, needs=(_SVD,))
        model = str(values[MODEL])
        return [published if model in (AUTO, _MODEL) else _given(model, published)]

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        """See `NetworkEstimator`; for a clip that is at least as long as the window."""
        size = network_size(height, width, int(values["max_res"]))
        weights = weight_bytes(self.where(network), need_model(_SVD))
        return peak_bytes(weights, *size, int(values["window"]), int(values["chunk"]))

    def smaller(self) -> str:
        """See `NetworkEstimator`."""
        return (
            "Close other programs, or choose a smaller resolution (max_res 640), a smaller window (window 50) and "
            "fewer frames that are decoded together (chunk 4)."
        )

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        """See `NetworkEstimator`."""
        return files.deciding_files(place, need_model(_SVD))

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """See `NetworkEstimator`. A clip that is shorter than the window takes less memory."""
        _, values = self.chosen(request.options, request.commercial)
        window = min(int(values["window"]), len(request.clip.frames))
        overlap = min(int(values["overlap"]), window - 1)
        return super().frames(replace(request, options={**values, "window": window, "overlap": overlap}))

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        """See `NetworkEstimator`."""
        from ex4d.depth.depthcrafter.load import load_networks
        from ex4d.depth.depthcrafter.parts import Recipe, Seeded
        from ex4d.depth.depthcrafter.windows import Crafter, work

        recipe = Recipe(
            window=int(values["window"]),
            overlap=int(values["overlap"]),
            steps=int(values["steps"]),
            guidance=float(values["guidance"]),
            chunk=int(values["chunk"]),
        )
        clip = request.clip.frames
        done, total = 0, work(len(clip), recipe)

        def tell(more: int) -> None:
            nonlocal done
            done += more
            request.progress("Estimating depth", done, total)

        networks, scheduler = load_networks(place, need_model(_SVD), rig, request.progress)
        networks.tell_between_layers(lambda: tell(0))
        crafter = Crafter(networks, scheduler, recipe, Seeded(int(values["seed"])), tell)
        size = network_size(clip.shape[1], clip.shape[2], int(values["max_res"]))
        upstream = values["conversion"] == "upstream"

        def picture(index: int) -> Tensor:
            import torch

            frame = _resized(clip[index], size, smooth=not upstream)
            if (index + 1) % _FORGET_EVERY == 0:
                forget(clip)
            return torch.from_numpy(np.ascontiguousarray(frame.transpose(2, 0, 1))).float() / 255.0

        shown = (one_channel(frame.permute(1, 2, 0).numpy()) for frame in crafter.frames(len(clip), picture))
        if upstream:
            yield from _as_upstream(shown, (len(clip), *size), clip.shape[1:3])
        else:
            for values_of_frame in shown:
                yield Estimate(_resized(values_of_frame, clip.shape[1:3]), "disparity")


def _as_upstream(shown: Iterable[F32], shape: tuple[int, ...], size: tuple[int, ...]) -> Iterator[Estimate]:
    """Depth that depends on what is nearest and furthest in the whole clip, which lies on the disk meanwhile.

    Args:
        shown: what the network made of the frames.
        shape: [T, h, w] of that.
        size: [H, W] of the clip.
    """
    with workspace() as folder:
        kept = disk_array(folder, "disparity", shape, np.float32)
        low, high = np.inf, -np.inf
        for index, values in enumerate(shown):
            kept[index] = values
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            if (index + 1) % _FORGET_EVERY == 0:
                forget(kept)
        for index in range(len(kept)):
            share = normalised(kept[index], low, high)
            yield Estimate(upstream_depth(_resized(share, size)), "depth")
            if (index + 1) % _FORGET_EVERY == 0:
                forget(kept)


def _resized(values: F32, size: tuple[int, ...], smooth: bool = True) -> F32:
    """[H, W] or [H, W, 3] in another size; `smooth`: every pixel counts where it becomes smaller."""
    height, width = size
    if values.shape[:2] == (height, width):
        return values
    smaller = smooth and height * width < values.shape[0] * values.shape[1]
    how = cv2.INTER_AREA if smaller else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(values, (width, height), interpolation=how), values.dtype)


def _given(place: str, published: Network) -> Network:
    """Weights of somebody's own, with all else as published."""
    folder = Path(place).expanduser()
    missing = [name for name in (files.UNET_CONFIG, files.UNET) if not (folder / name).is_file()]
    if missing:
        text = f"{folder} is no folder of DepthCrafter: it has no {' and no '.join(missing)}."
        raise Ex4dError(NOT_FOUND, text, f"Give a folder that has them, or leave the model out: {_MODEL} is published.")
    size = sum((folder / name).stat().st_size for name in (files.UNET_CONFIG, files.UNET)) + MODELS[_SVD].size
    licence = f"unknown, of {folder}; {MODELS[_SVD].licence}"
    nature: Nature = replace(published.nature, model=place, licence=licence, size=size)
    return Network(place, nature, (_SVD,), folder)
