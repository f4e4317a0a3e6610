# SPDX-License-Identifier: Apache-2.0
"""Reading the folders that the steps of `ex4d.pipeline` wrote."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from ex4d.cameras import load_path
from ex4d.contact_sheet import contact_sheet
from ex4d.files import TAKE
from ex4d.images import read_file, read_png
from ex4d.media.sequence import natural
from ex4d.memory import check_memory
from ex4d.scene import load_scene
from ex4d.values import Shot, ShotConditioning, SourceModel
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, SIZE_MISMATCH, Ex4dError

_SETTINGS = ("focal", "cx", "cy", "disparity_scale", "disparity_shift")  # of `SourceModel`, one number a frame each


def load_conditioning(scene_folder: Path, folder: Path) -> ShotConditioning:
    """What `render` wrote, with the scene it was rendered from.

    Raises:
        Ex4dError: a file is missing or broken, or the pictures do not fit the camera.
    """
    path = load_path(folder / "camera.json")
    source = _load_source_model(folder / "source_model.json")
    total = len(path.world_from_camera)
    if len(source.frame) != total:
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The camera in {folder} has {total} frames, the source mesh {len(source.frame)}.",
            "Render the conditioning again.",
        )
    check_memory(total * path.height * path.width * 4, f"{total} frames of {path.width}x{path.height}")
    colour = np.empty((total, path.height, path.width, 3), np.uint8)
    mask = np.empty((total, path.height, path.width), np.bool_)
    for index in range(total):
        number = f"{index + 1:04d}.png"
        picture, seen = read_png(folder / "colour" / number), read_png(folder / "mask" / number)
        if picture.shape != colour.shape[1:] or seen.shape != mask.shape[1:]:
            raise Ex4dError(
                SIZE_MISMATCH,
                f"Frame {index + 1} of the conditioning is {picture.shape[1]}x{picture.shape[0]}, "
                f"the camera {path.width}x{path.height}.",
                "Render the conditioning again.",
            )
        colour[index], mask[index] = picture, seen > 127
    coverage = mask.mean(axis=(1, 2), dtype=np.float64)
    return ShotConditioning(
        shot=Shot(load_scene(scene_folder), path, source),
        colour=colour,
        mask=mask,
        coverage=coverage,
        fps=path.fps,
        lead_in=_lead_in(folder / "coverage.json", total),
    )


def sheet(scene_folder: Path, conditioning_folder: Path, frames_folder: Path, output: Path) -> None:
    """The contact sheet of a finished re-shoot, from its folders.

    Raises:
        Ex4dError: NOT_FOUND where a folder is empty, and whatever reading and writing report.
    """
    colour, frames = pictures(conditioning_folder / "colour"), pictures(frames_folder)
    if not colour or not frames:
        raise Ex4dError(NOT_FOUND, f"There are no frames in {frames_folder if colour else conditioning_folder}.")
    lead_in = _lead_in(conditioning_folder / "coverage.json", len(colour))
    colour = colour[lead_in:]
    coverage = [float(read_png(path).mean()) / 255.0 for path in masks(conditioning_folder)]
    model = conditioning_folder / "source_model.json"
    shown = _load_source_model(model).frame.tolist()[lead_in:] if model.exists() else None
    made_by = _generator_of(frames_folder.parent / TAKE)
    scene = load_scene(scene_folder)
    contact_sheet(scene, colour, frames, output, coverage=coverage, source_frames=shown, made_by=made_by)


def pictures(folder: Path) -> list[Path]:
    """The PNG files of a folder in the order of their numbers, without hidden ones (other systems' and unfinished)."""
    return sorted((path for path in folder.glob("*.png") if not path.name.startswith(".")), key=natural)


def masks(conditioning_folder: Path) -> list[Path]:
    """The mask files of a shot's own frames, without those of its lead-in."""
    files = pictures(conditioning_folder / "mask")
    return files[_lead_in(conditioning_folder / "coverage.json", len(files)) :]


def _generator_of(take: Path) -> str:
    """Name of the generator in a side-car; "" where there is none that says so."""
    try:
        return str(json.loads(take.read_text("utf-8"))["generator"]["name"])
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return ""


def _lead_in(file: Path, total: int) -> int:
    """How many of a conditioning's frames are lead-in; 0 where its folder does not tell."""
    if not file.exists():
        return 0
    try:
        count = json.loads(read_file(file)).get("lead_in", 0)
    except (ValueError, AttributeError, RecursionError):
        count = -1
    if not (isinstance(count, int) and 0 <= count < total):
        raise Ex4dError(BAD_INPUT, f"{file} does not fit its frames.", "Render the conditioning again.")
    return count


def _load_source_model(file: Path) -> SourceModel:
    try:
        model = json.loads(read_file(file))
        return SourceModel(
            frame=np.asarray(model["frame"], np.int32),
            **{key: np.asarray(model[key], np.float64) for key in _SETTINGS},
        )
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        raise Ex4dError(
            BAD_INPUT, f"{file} does not describe a source mesh.", "Render the conditioning again."
        ) from error
