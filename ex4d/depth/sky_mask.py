# SPDX-License-Identifier: Apache-2.0
"""Sky that an artist painted or keyed: PNG or EXR files that are white where it is."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from ex4d.depth.match import check_size
from ex4d.images import read_exr_channel, read_png
from ex4d.media.sequence import expand
from ex4d.values import U8, Bool, Clip
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

_WHITE = 128  # level from which on a pixel is sky
_MATTES = ("y", "r", "a")  # channels of EXR files, the first that is there; or else the only one
_LISTED = 12  # channels that a message names


class SkyMask:
    """The masks of a clip, read one by one when they are asked for."""

    def __init__(self, files: Sequence[Path], clip: Clip, first: int) -> None:
        """Finds the files and reads the first.

        Args:
            files: one picture for all frames; or a folder or the files of a sequence, one for each frame of the shot.
            clip: what the masks belong to. They have its size, or the size that it came in.
            first: index of the clip's first frame within the shot; a sequence just as long as the clip starts with it.

        Raises:
            Ex4dError: NOT_FOUND, NOT_A_CLIP, SIZE_MISMATCH for too few masks or masks of another shape.
        """
        found, _ = expand(list(files))
        total, self._clip = len(clip.frames), clip
        if len(found) in (1, total):
            self._files = found * total if len(found) == 1 else found
        elif len(found) >= first + total:
            self._files = found[first : first + total]
        else:
            raise Ex4dError(
                SIZE_MISMATCH,
                f"There are {len(found)} sky masks; the clip's frames {first + 1} to {first + total} need "
                f"{first + total}.",
                "Give one for every frame, or a single one for all.",
            )
        self[0]

    def __len__(self) -> int:
        return len(self._files)

    def __getitem__(self, index: int) -> Bool:
        """[H, W] the sky of a frame. Raises Ex4dError as `__init__` does, and BAD_INPUT for a coloured picture."""
        path = self._files[index]
        mask = _matte(path) if path.suffix.lower() == ".exr" else _grey(path)
        check_size(self._clip, mask.shape[0], mask.shape[1], "sky mask")
        height, width = self._clip.frames.shape[1:3]
        if mask.shape != (height, width):
            mask = np.asarray(cv2.resize(mask, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
        return np.asarray(mask >= _WHITE, np.bool_)


def _grey(path: Path) -> U8:
    mask = read_png(path)
    if mask.ndim == 2:
        return mask
    if (mask != mask[..., :1]).any():
        raise Ex4dError(BAD_INPUT, f"{path.name} is a coloured picture.", "A mask is white where the sky is.")
    return mask[..., 0]


def _matte(path: Path) -> U8:
    """An EXR's values as they are, 0 to 1 in 8 bits."""

    def choose(names: Sequence[str]) -> str:
        lower = {name.lower(): name for name in names}
        found = next((lower[name] for name in _MATTES if name in lower), names[0] if len(names) == 1 else "")
        if not found:
            raise Ex4dError(
                BAD_INPUT, f"{path.name} has no mask, only: {', '.join(names[:_LISTED])}.", "A mask is in Y, R or A."
            )
        return found

    values, _ = read_exr_channel(path, choose)
    return np.asarray(np.round(np.clip(np.nan_to_num(values, nan=0.0), 0.0, 1.0) * 255.0), np.uint8)
