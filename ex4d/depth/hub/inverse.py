# SPDX-License-Identifier: Apache-2.0
"""Depth Pro on a frame: inverse depth for a lens as long as the picture is wide, and the lens itself.

Pictures are prepared here, by what preprocessor_config.json says: transformers' own code for it needs torchvision, and
is these same three steps on tensors.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import radians, tan
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ex4d.depth.hub.families import DEPTH_PRO, seen_size
from ex4d.depth.hub.load import load_network
from ex4d.values import F32, U8

if TYPE_CHECKING:
    from ex4d.depth.rig import Rig

_MODES = {2: "bilinear", 3: "bicubic"}  # of preprocessor_config.json: Pillow's numbers
_NARROWEST, _WIDEST = 3.0, 160.0  # degrees: beyond is no lens, and would leave depth without bounds
_LEAST, _MOST = 1e-4, 1e4  # of 1 / metres, as in transformers


class InverseDepth:
    """A loaded network."""

    def __init__(self, place: Path, pictures: Mapping[str, Any], rig: Rig) -> None:
        """Loads it.

        Args:
            place: its folder.
            pictures: what its preprocessor_config.json holds.
            rig: where it runs.

        Raises:
            Ex4dError: as `load_network`.
        """
        self._size = seen_size(DEPTH_PRO, pictures, 0, 0)
        self._mode = _MODES.get(int(pictures.get("resample", 2)), "bilinear")
        self._factor = float(pictures.get("rescale_factor", 1 / 255))
        self._mean, self._deviation = (
            torch.tensor(pictures.get(name, [0.5, 0.5, 0.5]), device=rig.device)[:, None, None]
            for name in ("image_mean", "image_std")
        )
        self._rig = rig
        self._network = rig.hold(load_network(place, rig.dtype))

    def of(self, frame: U8) -> tuple[Tensor, float | None]:
        """Inverse depth [h, w] on the CPU, and the focal length in pixels of the frame, where the network tells it.

        Args:
            frame: [H, W, 3].
        """
        with torch.inference_mode():
            pixels = torch.from_numpy(np.ascontiguousarray(frame)).to(self._rig.device).permute(2, 0, 1)
            pixels = (pixels.float() * self._factor - self._mean) / self._deviation
            seen = functional.interpolate(pixels[None], self._size, mode=self._mode)
            found = self._network(pixel_values=seen.to(self._rig.dtype))
            near = found.predicted_depth[0].float().cpu()
            if found.field_of_view is None:
                return near, None
            angle = min(max(float(found.field_of_view.reshape(-1)[0]), _NARROWEST), _WIDEST)
        return near, 0.5 * frame.shape[1] / tan(0.5 * radians(angle))

    def metres(self, near: Tensor, focal: float, height: int, width: int) -> F32:
        """z [H, W] for a focal length in pixels of the frame; no numbers where the network gave none."""
        if not torch.isfinite(near).all():  # which the limits below would hide
            return np.full((height, width), np.nan, np.float32)
        with torch.inference_mode():
            inverse = near[None, None] * (width / focal)
            inverse = functional.interpolate(inverse, (height, width), mode=self._mode)[0, 0]
            return np.asarray(1.0 / inverse.clamp(_LEAST, _MOST).numpy(), np.float32)
