# SPDX-License-Identifier: GPL-3.0-or-later
"""How an unfinished take looks, shown in the panel while its job runs.

The picture is an icon in Blender's memory, no data block: nothing of it is saved, and undo knows nothing of it.
"""

from __future__ import annotations

from typing import Any

import bpy.utils.previews
import numpy as np

_NAME = "EX-4D glimpse"

_icons: list[Any] = []  # the collection that holds it, while the extension is switched on
_of: list[str] = []  # job that it is of; empty = there is none


def show(job_id: str, width: int, height: int, rgb: bytes) -> None:
    """Show a picture in place of the one before.

    Args:
        job_id: of the job that it is of.
        width: pixels.
        height: pixels.
        rgb: width * height * 3 bytes, sRGB, row by row from the top.
    """
    pixels = np.ones((height, width, 4), np.float32)
    pixels[..., :3] = np.frombuffer(rgb, np.uint8).reshape(height, width, 3)[::-1] / np.float32(255.0)
    icons = _icons[0]
    icons.clear()
    icon = icons.new(_NAME)
    icon.image_size = (width, height)
    icon.image_pixels_float.foreach_set(pixels.ravel())
    _of[:] = [job_id]


def clear(job_id: str = "") -> None:
    """Take the picture away (only if it is of this job, where one is given)."""
    if _of and job_id in ("", _of[0]):
        _of.clear()
        _icons[0].clear()


def icon() -> Any:
    """The picture, as Blender keeps it for icons (`icon_id`, `image_size`); None where there is none."""
    return _icons[0][_NAME] if _of else None


def register() -> None:
    """Make room for it."""
    _icons.append(bpy.utils.previews.new())


def unregister() -> None:
    """Forget it."""
    _of.clear()
    while _icons:
        bpy.utils.previews.remove(_icons.pop())
