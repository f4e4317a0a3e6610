# SPDX-License-Identifier: Apache-2.0
"""Cameras of the ground-truth sets: the lens, poses of the preset moves, and rays, in the conventions of the engine.

OpenCV axes (x right, y down, z forward), `world_from_camera` [4, 4] float64, metres, pixel centres at +0.5. The world
is the source camera of the first frame. The engine's own module is not imported: it needs packages that Blender's
Python has not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from shared_protocol.moves import MOVES, eye_at, look_at

FPS = 24
PIVOT_PERCENTILE = 5.0  # of the first frame's depth, as the engine has it
_FOCAL = 500.0 / 512.0  # of the longest side: the engine's lens where none is known


@dataclass(frozen=True)
class Lens:
    """A pinhole with square pixels whose axis meets the picture's centre."""

    width: int
    height: int

    @property
    def focal(self) -> float:
        """Pixels."""
        return _FOCAL * max(self.width, self.height)

    @property
    def centre(self) -> tuple[float, float]:
        """Principal point, pixels."""
        return self.width / 2.0, self.height / 2.0

    def directions(self, pose: np.ndarray, oversampling: int = 1) -> np.ndarray:
        """Rays through the centres of the pixels, or of parts of them, in the world.

        Returns:
            [H * n, W * n, 3] float64, of length 1 along the camera's axis: what they are multiplied by is z-depth.
        """
        columns = (np.arange(self.width * oversampling) + 0.5) / oversampling
        rows = (np.arange(self.height * oversampling) + 0.5) / oversampling
        x, y = np.meshgrid((columns - self.centre[0]) / self.focal, (rows - self.centre[1]) / self.focal)
        return np.stack([x, y, np.ones_like(x)], axis=-1) @ pose[:3, :3].T


def move_poses(move: str, frames: int, pivot: float) -> np.ndarray:
    """Poses [T, 4, 4] of a preset move (`shared_protocol.moves`) around a point `pivot` metres away."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for k in range(frames):
        eye = eye_at(move, k / max(frames - 1, 1), pivot)
        poses[k, :3, :3] = np.array(look_at(eye, (0.0, 0.0, pivot))).T
        poses[k, :3, 3] = eye
    return poses


def path_value(lens: Lens, poses: np.ndarray) -> dict[str, Any]:
    """What stands in a camera.json, in the layout that the engine reads."""
    numbers = {"fx": lens.focal, "fy": lens.focal, "cx": lens.centre[0], "cy": lens.centre[1]}
    frames = [{"world_from_camera": pose.tolist(), **numbers} for pose in poses]
    return {"width": lens.width, "height": lens.height, "fps": [FPS, 1], "frames": frames}


__all__ = ["FPS", "MOVES", "PIVOT_PERCENTILE", "Lens", "move_poses", "path_value"]
