# SPDX-License-Identifier: GPL-3.0-or-later
"""Camera paths as JSON, in the engine's layout. Plain Python, no Blender."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

SUFFIXES = frozenset({".json", ".npz"})  # of files that the backend reads; only the first is written here


@dataclass(frozen=True)
class Pose:
    """A camera at one frame."""

    world_from_camera: tuple[float, ...]  # 16 numbers, row-major 4x4, OpenCV axes
    lens: tuple[float, float, float, float]  # fx, fy, cx, cy in pixels


def to_json(poses: Sequence[Pose], size: tuple[int, int], fps: tuple[int, int]) -> bytes:
    """The file's content.

    Args:
        poses: one for each frame.
        size: width and height of the picture that the lens is for, pixels.
        fps: frames per second as (numerator, denominator).
    """
    frames = [
        {
            "world_from_camera": [pose.world_from_camera[row : row + 4] for row in range(0, 16, 4)],
            **dict(zip(("fx", "fy", "cx", "cy"), pose.lens, strict=True)),
        }
        for pose in poses
    ]
    value = {"width": size[0], "height": size[1], "fps": fps, "frames": frames}
    return json.dumps(value, indent=1).encode("utf-8")
