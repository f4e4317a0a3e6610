# SPDX-License-Identifier: Apache-2.0
"""Rooms with boxes in them, seen by tracing rays: colour and depth are exact from any camera at any time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ex4d.cameras import standing_still
from ex4d.scene import build_scene
from ex4d.values import F32, F64, U8, CameraPath, Clip, DepthVideo, Intrinsics, Scene

FPS = Fraction(24)
LENS = Intrinsics(80, 60, 75.0, 75.0, 40.0, 30.0)


@dataclass(frozen=True)
class Box:
    """Sides along the axes. Its texture moves along with it, unless it slides."""

    centre: tuple[float, float, float]
    half: tuple[float, float, float]
    phase: float  # of its texture: another look for each box
    detail: float = 2.0  # of its texture, radians per unit of length at the coarsest
    slide: tuple[float, float, float] = (0.0, 0.0, 0.0)  # how far its texture is off its place

    def at(self, x: float, y: float, z: float) -> Box:
        """The box moved to another centre."""
        return Box((x, y, z), self.half, self.phase, self.detail, self.slide)


ROOM = Box((0.0, 0.0, 0.0), (4.0, 2.5, 8.0), 0.0, 1.0)  # seen from inside


def trace(boxes: list[Box], world_from_camera: F64, camera: Intrinsics) -> tuple[U8, F32]:
    """Colour [H, W, 3] and z-depth [H, W] of boxes within `ROOM`."""
    u, v = np.arange(camera.width) + 0.5, np.arange(camera.height) + 0.5
    ray = np.stack(np.broadcast_arrays((u - camera.cx) / camera.fx, ((v - camera.cy) / camera.fy)[:, None], 1.0), -1)
    ray = ray @ world_from_camera[:3, :3].T
    eye = world_from_camera[:3, 3]
    nearest = np.full(ray.shape[:2], np.inf)
    colour = np.zeros((*nearest.shape, 3))
    for box in [ROOM, *boxes]:
        with np.errstate(divide="ignore", invalid="ignore"):
            sides = (np.array(box.centre) + np.multiply.outer([-1.0, 1.0], box.half) - eye)[:, None, None] / ray
        enter, leave = sides.min(axis=0).max(axis=-1), sides.max(axis=0).min(axis=-1)
        t = leave if box is ROOM else enter
        hit = (enter < leave) & (t > 0.0) & (t < nearest)
        nearest = np.where(hit, t, nearest)
        at = eye + ray * np.where(hit, t, 0.0)[..., None] - box.centre - np.array(box.slide)
        colour = np.where(hit[..., None], _texture(at, box.phase, box.detail), colour)
    return np.clip(colour + 0.5, 0.0, 255.0).astype(np.uint8), nearest.astype(np.float32)


def _texture(at: F64, phase: float, detail: float) -> F64:
    x, y, z = np.moveaxis(at, -1, 0)
    waves = [
        np.sin(detail * x + phase) + 0.5 * np.cos(2.3 * detail * y + 1.7 * detail * z + 2.0 * phase),
        np.sin(detail * (y + 0.7 * z) + 3.0 * phase) + 0.5 * np.cos(1.9 * detail * x + phase),
        np.sin(detail * (0.6 * x - y) + 5.0 * phase) + 0.5 * np.cos(2.1 * detail * z - phase),
    ]
    return 127.5 + 75.0 * np.stack(waves, axis=-1)


def filmed(frames: list[list[Box]], poses: F64 | None = None, camera: Intrinsics = LENS) -> Scene:
    """A scene with exact depth: the boxes at each frame, seen from a camera at each frame (or from one that stands)."""
    path = standing_still(camera, len(frames), FPS)
    if poses is not None:
        path = CameraPath(poses, path.intrinsics, path.width, path.height, FPS)
    seen = [trace(boxes, pose, camera) for boxes, pose in zip(frames, path.world_from_camera, strict=True)]
    clip = Clip(np.stack([colour for colour, _ in seen]), FPS, "boxes")
    return build_scene(clip, DepthVideo(np.stack([z for _, z in seen]), "file", False), camera=path)
