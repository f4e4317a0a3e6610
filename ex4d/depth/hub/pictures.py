# SPDX-License-Identifier: Apache-2.0
"""Frames as a network of transformers wants them, and its depth in the size of the frames again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers import AutoImageProcessor

from ex4d.depth.hub.families import ZOEDEPTH
from ex4d.depth.hub.load import quiet
from ex4d.values import U8
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError


class Pictures:
    """What transformers' own processor of the family does.

    Always by its variant on Pillow and numpy: the one on torchvision gives slightly other pixels, and which of the two
    it is would depend on what is installed.
    """

    def __init__(self, folder: Path, family: str, size: tuple[int, int] | None = None) -> None:
        """Reads preprocessor_config.json.

        Args:
            folder: of the model.
            family: of `families.family_of`.
            size: height and width that the network shall see, where that is another than the model's own.

        Raises:
            Ex4dError: UNAVAILABLE for a processor that needs torchvision, BAD_INPUT for a file that cannot be used.
        """
        self._family = family
        self._size = {} if size is None else {"size": {"height": size[0], "width": size[1]}, "keep_aspect_ratio": False}
        try:
            with quiet():
                self._processor: Any = AutoImageProcessor.from_pretrained(
                    folder, backend="pil", local_files_only=True, trust_remote_code=False
                )
        except ImportError as error:
            text = f"The pictures for {folder} are prepared by torchvision, which is not installed."
            raise Ex4dError(UNAVAILABLE, text, "pip install torchvision") from error
        except Exception as error:  # as many ways to fail as there are processors
            reason = " ".join(str(error).split())[:200].rstrip(".") or type(error).__name__
            text = f"{folder / 'preprocessor_config.json'} cannot be used: {reason}."
            raise Ex4dError(BAD_INPUT, text, "Download the model again.") from error

    def seen(self, frames: U8) -> Tensor:
        """[N, 3, h, w] float32 of [N, H, W, 3] frames."""
        prepared = self._processor(images=list(frames), return_tensors="pt", **self._size)
        pixels: Tensor = prepared["pixel_values"]
        return pixels

    def sized(self, output: Any, height: int, width: int) -> Tensor:
        """[N, H, W] float32 of what the network gave."""
        output.predicted_depth = output.predicted_depth.float()
        if self._family == ZOEDEPTH:  # transformers' function for it needs torchvision
            return _unpadded(output.predicted_depth, height, width)
        sizes = [(height, width)] * len(output.predicted_depth)
        found = self._processor.post_process_depth_estimation(output, target_sizes=sizes)
        return torch.stack([each["predicted_depth"] for each in found])


def _unpadded(depth: Tensor, height: int, width: int) -> Tensor:
    """ZoeDepth sees pictures with a border that mirrors them: sqrt(side / 2) * 3 pixels, cut to whole ones."""
    down, across = int(np.sqrt(height / 2) * 3), int(np.sqrt(width / 2) * 3)
    size = (height + 2 * down, width + 2 * across)
    large = functional.interpolate(depth[:, None], size=size, mode="bicubic", align_corners=False)[:, 0]
    return large[:, down : down + height, across : across + width]
