# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads `scene.json`, the description of a reconstruction's folder. Plain Python, no Blender.

Beside it lie `source/0001.png` ... (the clip's pictures) and `mesh/0001.exr` ... (depth and validity, one texel per
vertex of the mesh).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, VERSION, Ex4dError

FORMAT = 1
FIRST_PICTURE = "source/0001.png"
FIRST_MESH = "mesh/0001.exr"


@dataclass(frozen=True)
class SceneManifest:
    """A reconstruction: what is needed to build it in Blender."""

    name: str
    width: int  # of the pictures
    height: int
    fps: tuple[int, int]
    frames: int
    focal: float  # pixels
    cx: float
    cy: float
    far: float  # depth of the skirt and the back, scene units
    pivot: float  # distance that preset moves turn around, scene units
    estimator: str
    draft: bool  # the depth is a guess from cues in the picture
    notes: tuple[str, ...]


def read(folder: Path) -> SceneManifest:
    """Reads and checks the manifest of a reconstruction's folder, and that its sequences are all there.

    Raises:
        Ex4dError: NOT_FOUND (no manifest, or a frame is missing), VERSION (a newer format), BAD_INPUT (a value that
            cannot be used).
    """
    path = folder / "scene.json"
    try:
        data = json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        raise Ex4dError(NOT_FOUND, f"{folder} holds no reconstruction (scene.json is missing).") from None
    except OSError as e:
        raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {e.strerror}.") from None
    except ValueError:
        raise Ex4dError(BAD_INPUT, f"{path} is not valid JSON.", "Reconstruct the clip again.") from None
    manifest = from_dict(data, str(path))
    for number in range(1, manifest.frames + 1):
        for name in (f"source/{number:04d}.png", f"mesh/{number:04d}.exr"):
            if not (folder / name).is_file():
                raise Ex4dError(NOT_FOUND, f"{folder / name} is missing.", "Reconstruct the clip again.")
    return manifest


def from_dict(data: Any, where: str) -> SceneManifest:
    """Checks the values of a manifest.

    Args:
        data: what JSON gave.
        where: what it was read from, for messages.

    Raises:
        Ex4dError: VERSION, BAD_INPUT.
    """
    if not isinstance(data, dict):
        raise Ex4dError(BAD_INPUT, f"{where} does not describe a reconstruction.")
    if data.get("version") != FORMAT:
        raise Ex4dError(
            VERSION,
            f"{where} has format {data.get('version')!r}; this extension reads format {FORMAT}.",
            "Update the extension and the backend to the same version.",
        )
    try:
        numerator, denominator = data["fps"]
        manifest = SceneManifest(
            name=str(data.get("name", "")),
            width=int(data["width"]),
            height=int(data["height"]),
            fps=(int(numerator), int(denominator)),
            frames=int(data["frames"]),
            focal=float(data["focal"]),
            cx=float(data["cx"]),
            cy=float(data["cy"]),
            far=float(data["far"]),
            pivot=float(data["pivot"]),
            estimator=str(data.get("estimator", "")),
            draft=bool(data.get("draft", False)),
            notes=tuple(str(note) for note in data.get("notes", ())),
        )
    except (KeyError, TypeError, ValueError) as e:
        raise Ex4dError(BAD_INPUT, f"{where} is incomplete or holds a wrong value ({e}).") from None
    positive = (manifest.width, manifest.height, *manifest.fps, manifest.frames)
    lengths = (manifest.focal, manifest.far, manifest.pivot)
    if min(positive) < 1 or not all(math.isfinite(v) and v > 0.0 for v in lengths):
        raise Ex4dError(BAD_INPUT, f"{where} holds a size, rate, length or depth that is not above zero.")
    if not (math.isfinite(manifest.cx) and math.isfinite(manifest.cy)):
        raise Ex4dError(BAD_INPUT, f"{where} holds a principal point that is not a number.")
    return manifest
