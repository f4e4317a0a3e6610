# SPDX-License-Identifier: Apache-2.0
"""A ground-truth set whose every pixel is known by a formula: a narrow board before a wall, seen from the side."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np

from ex4d.cameras import save_path
from ex4d.images import write_exr, write_png
from ex4d.values import F64, U8, Bool, CameraPath

SIDE, FOCAL, FRAMES = 48, 48.0, 3
BOARD, WALL = 2.0, 4.0  # depth
LEFT, RIGHT = -0.13, 0.08  # edges of the board, which reaches beyond the picture above and below
STEP = 0.37  # by which the new camera moves to the right in each frame
MOVE = "sideways"


def paint(x: F64, y: F64, z: F64) -> U8:
    """Smooth colours on both surfaces, [..., 3]."""
    shade = 60.0 * np.sin(2.0 * x) + 40.0 * np.cos(1.7 * y)
    return np.stack([128.0 + shade, 100.0 + 0.5 * shade + 10.0 * z, 90.0 - 0.6 * shade], -1).round().astype(np.uint8)


def view(eye: float, drift: float = 0.0) -> tuple[U8, F64, Bool, Bool]:
    """Colour, z, visible and certain as seen from (eye, 0, 0) along +z, with the board moved right by `drift`."""
    left, right = LEFT + drift, RIGHT + drift
    slope = (np.arange(SIDE) + 0.5 - SIDE / 2.0) / FOCAL
    s, t = np.meshgrid(slope, slope)
    at_board = eye + BOARD * s
    board = (at_board >= left) & (at_board <= right)
    z = np.where(board, BOARD, WALL)
    x, y = eye + z * s, z * t
    # Where the source's ray to the wall crosses the depth of the board, and where this view's ray is on its way there.
    end = BOARD * x / WALL
    inside = np.abs(x / z) <= SIDE / 2.0 / FOCAL
    visible = inside & (board | (end < left) | (end > right))
    behind = ~board & (np.minimum(at_board, end) <= right) & (np.maximum(at_board, end) >= left)
    return paint(x - np.where(board, drift, 0.0), y, z), z, visible, visible & ~behind


def path(step: float) -> CameraPath:
    poses = np.tile(np.eye(4), (FRAMES, 1, 1))
    poses[:, 0, 3] = step * np.arange(FRAMES)
    lens = np.tile([FOCAL, FOCAL, SIDE / 2.0, SIDE / 2.0], (FRAMES, 1))
    return CameraPath(poses, lens, SIDE, SIDE, Fraction(24))


def write_set(folder: Path, scenes: tuple[str, ...] = ("boards",), drift: float = 0.0) -> Path:
    """Writes the set and returns its folder. All its scenes are the same; the board moves by `drift` in each frame."""
    for scene in scenes:
        move = folder / scene / "moves" / MOVE
        move.mkdir(parents=True)
        save_path(folder / scene / "camera.json", path(0.0))
        save_path(move / "camera.json", path(STEP))
        for t in range(FRAMES):
            number = f"{t + 1:04d}"
            colour, z, _, _ = view(0.0, drift * t)
            write_png(folder / scene / "source" / f"{number}.png", colour)
            write_exr(folder / scene / "depth" / f"{number}.exr", {"Z": z})
            new, new_z, visible, certain = view(STEP * t, drift * t)
            write_png(move / "colour" / f"{number}.png", new)
            write_exr(move / "depth" / f"{number}.exr", {"Z": new_z})
            write_png(move / "visible" / f"{number}.png", visible.astype(np.uint8) * 255)
            write_png(move / "certain" / f"{number}.png", certain.astype(np.uint8) * 255)
    about = {
        "version": 1,
        "scenes": list(scenes),
        "seed": 5,
        "width": SIDE,
        "height": SIDE,
        "frames": FRAMES,
        "made_with": "formulas",
    }
    (folder / "set.json").write_text(json.dumps(about), encoding="utf-8")
    return folder
