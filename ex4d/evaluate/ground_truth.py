# SPDX-License-Identifier: Apache-2.0
"""Reads ground-truth sets: scenes rendered from a source camera and from new cameras, with true visibility.

A set is a folder, as `scripts/ground_truth_scenes.py` writes it; pictures are counted from 0001:

    set.json                          "version" 1, "scenes" [names], "seed", "width", "height", "frames", "made_with"
    <scene>/source/0001.png …         the clip, 8-bit sRGB
    <scene>/depth/0001.exr …          its exact z-depth, channel Z
    <scene>/camera.json               the source camera (`ex4d.cameras.save_path`)
    <scene>/moves/<move>/camera.json  the new camera, one entry for each frame of the clip
    …/colour/0001.png …               what the new camera truly sees
    …/depth/0001.exr …                its z-depth there
    …/visible/0001.png …              0 or 255: the source camera sees that point in the same frame (ray cast)
    …/certain/0001.png …              0 or 255: visible, and the new camera's ray up to that point never passes behind a
                                      surface that the source camera saw
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d.cameras import load_path
from ex4d.images import read_exr, read_file, read_png
from ex4d.memory import check_memory
from ex4d.values import F32, U8, Bool, CameraPath
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, SIZE_MISMATCH, Ex4dError
from shared_protocol.moves import MOVES

SMALLEST_SIDE = 7  # pixels: the window of the structural similarity
_VERSION = 1
_AGAIN = "Make the set again with scripts/ground_truth_scenes.py."


@dataclass(frozen=True)
class GroundTruthSet:
    """What a set holds; its pictures are read scene by scene."""

    folder: Path
    scenes: tuple[str, ...]
    width: int  # of the source pictures
    height: int
    frames: int
    seed: int
    made_with: str

    def moves(self, scene: str) -> tuple[str, ...]:
        """Names of the moves that a scene was rendered with: presets in their usual order, then others.

        Raises:
            Ex4dError: NOT_FOUND when there are none.
        """
        folder = self.folder / scene / "moves"
        found = {entry.name for entry in folder.iterdir() if entry.is_dir()} if folder.is_dir() else set()
        if not found:
            raise Ex4dError(NOT_FOUND, f"Scene '{scene}' of {self.folder} has no moves.", _AGAIN)
        presets = [move for move in MOVES if move in found]
        return (*presets, *sorted(found.difference(presets)))

    def choose(self, scenes: Sequence[str], moves: Sequence[str]) -> list[tuple[str, tuple[str, ...]]]:
        """Scenes, each with its moves; all of them where nothing is asked for.

        Raises:
            Ex4dError: BAD_INPUT for a name that the set does not have.
        """
        for scene in scenes:
            if scene not in self.scenes:
                raise Ex4dError(
                    BAD_INPUT,
                    f"There is no scene '{scene}' in {self.folder}.",
                    f"Choose from: {', '.join(self.scenes)}.",
                )
        chosen = []
        for scene in scenes or self.scenes:
            has = self.moves(scene)
            for move in moves:
                if move not in has:
                    raise Ex4dError(
                        BAD_INPUT,
                        f"Scene '{scene}' of {self.folder} has no move '{move}'.",
                        f"Choose from: {', '.join(has)}.",
                    )
            chosen.append((scene, tuple(moves) or has))
        return chosen


@dataclass(frozen=True, eq=False)
class SceneTruth:
    """A clip with its exact depth and camera."""

    name: str
    colour: U8  # [T, H, W, 3] sRGB
    depth: F32  # [T, H, W] z-depth, > 0
    camera: CameraPath  # T frames of W x H


@dataclass(frozen=True, eq=False)
class MoveTruth:
    """What a new camera truly sees of a scene."""

    name: str
    camera: CameraPath  # T frames of w x h, in the world of the scene's camera
    colour: U8  # [T, h, w, 3] sRGB
    depth: F32  # [T, h, w] z-depth in the new camera, 0 where there is nothing
    visible: Bool  # [T, h, w] the source camera sees that point in the same frame
    certain: Bool  # [T, h, w] of these: the ray passes behind nothing that the source camera saw


def load_set(folder: Path) -> GroundTruthSet:
    """Reads `set.json`.

    Raises:
        Ex4dError: NOT_FOUND when there is none, BAD_INPUT when it is broken, of another version, or of pictures too
            small to be measured.
    """
    file = folder / "set.json"
    if not file.is_file():
        raise Ex4dError(
            NOT_FOUND, f"There is no ground-truth set in {folder}: set.json is missing.", "Check the path. " + _AGAIN
        )
    broken = f"{file} does not describe a ground-truth set of this version."
    try:
        value = json.loads(read_file(file))
        if value["version"] != _VERSION:
            raise Ex4dError(BAD_INPUT, broken, _AGAIN)
        scenes = tuple(str(name) for name in value["scenes"])
        width, height, frames, seed = (int(value[key]) for key in ("width", "height", "frames", "seed"))
        found = GroundTruthSet(folder, scenes, width, height, frames, seed, str(value.get("made_with", "")))
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise Ex4dError(BAD_INPUT, broken, _AGAIN) from error
    if not scenes or frames < 1 or any(Path(name).name != name for name in scenes):
        raise Ex4dError(BAD_INPUT, broken, _AGAIN)
    if min(width, height) < SMALLEST_SIDE:
        raise Ex4dError(
            BAD_INPUT,
            f"The pictures of {folder} are {width}x{height} pixels.",
            f"Each side must have at least {SMALLEST_SIDE} pixels to be measured.",
        )
    return found


def load_scene_truth(truth: GroundTruthSet, scene: str) -> SceneTruth:
    """Reads the source side of a scene.

    Raises:
        Ex4dError: NOT_FOUND or NOT_A_CLIP for a file that is missing or broken, SIZE_MISMATCH for one of another size,
            BAD_INPUT for depth that is not positive.
    """
    folder = truth.folder / scene
    camera = _camera(folder / "camera.json", truth.frames)
    if (camera.width, camera.height) != (truth.width, truth.height):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"{folder / 'camera.json'} is of {camera.width}x{camera.height} pixels, the set of "
            f"{truth.width}x{truth.height}.",
            _AGAIN,
        )
    size = (truth.frames, truth.height, truth.width)
    check_memory(int(np.prod(size)) * 7, f"The pictures of scene '{scene}'", "Make a set of fewer frames.")
    depth = _stack(folder / "depth", ".exr", size, _z, np.float32)
    bad = ~(np.isfinite(depth) & (depth > 0.0)).all(axis=(1, 2))
    if bad.any():
        raise Ex4dError(
            BAD_INPUT,
            f"{folder / 'depth' / f'{int(np.argmax(bad)) + 1:04d}.exr'} has depth that is not a positive number.",
            _AGAIN,
        )
    return SceneTruth(scene, _stack(folder / "source", ".png", (*size, 3), read_png, np.uint8), depth, camera)


def load_move_truth(truth: GroundTruthSet, scene: str, move: str) -> MoveTruth:
    """Reads what a new camera sees of a scene.

    Raises:
        Ex4dError: NOT_FOUND or NOT_A_CLIP for a file that is missing or broken, SIZE_MISMATCH for one of another size,
            BAD_INPUT for pixels that are certain and not visible.
    """
    folder = truth.folder / scene / "moves" / move
    camera = _camera(folder / "camera.json", truth.frames)
    size = (truth.frames, camera.height, camera.width)
    if min(size[1:]) < SMALLEST_SIDE:
        raise Ex4dError(
            BAD_INPUT, f"{folder / 'camera.json'} is of {camera.width}x{camera.height} pixels: too small.", _AGAIN
        )
    check_memory(int(np.prod(size)) * 9, f"The pictures of move '{move}'", "Make a set of fewer frames.")
    visible = _stack(folder / "visible", ".png", size, _mask, np.bool_)
    certain = _stack(folder / "certain", ".png", size, _mask, np.bool_)
    beyond = (certain & ~visible).any(axis=(1, 2))
    if beyond.any():
        raise Ex4dError(
            BAD_INPUT,
            f"{folder / 'certain' / f'{int(np.argmax(beyond)) + 1:04d}.png'} has pixels that are not visible.",
            _AGAIN,
        )
    return MoveTruth(
        move,
        camera,
        _stack(folder / "colour", ".png", (*size, 3), read_png, np.uint8),
        _stack(folder / "depth", ".exr", size, _z, np.float32),
        visible,
        certain,
    )


def _camera(file: Path, frames: int) -> CameraPath:
    path = load_path(file)
    if len(path.world_from_camera) != frames:
        raise Ex4dError(
            SIZE_MISMATCH, f"{file} has {len(path.world_from_camera)} frames, the set has {frames}.", _AGAIN
        )
    return path


def _stack(
    folder: Path, ending: str, shape: tuple[int, ...], read: Callable[[Path], NDArray[Any]], kind: type[np.generic]
) -> NDArray[Any]:
    """All pictures of a folder in one array of this shape and type."""
    out = np.empty(shape, kind)
    for index in range(shape[0]):
        file = folder / f"{index + 1:04d}{ending}"
        picture = read(file)
        if picture.shape != shape[1:]:
            raise Ex4dError(SIZE_MISMATCH, f"{file} is of shape {picture.shape}, and should be of {shape[1:]}.", _AGAIN)
        out[index] = picture
    return out


def _z(file: Path) -> F32:
    channels = read_exr(file)
    if "Z" not in channels:
        raise Ex4dError(BAD_INPUT, f"{file} has no channel Z.", _AGAIN)
    return channels["Z"]


def _mask(file: Path) -> Bool:
    return np.asarray(read_png(file) >= 128, np.bool_)
