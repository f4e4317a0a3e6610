# SPDX-License-Identifier: GPL-3.0-or-later
"""Reads `scene.json`, the description of a reconstruction's folder. Plain Python, no Blender.

Beside it lie `source/0001.png` ... (the clip's pictures) and `mesh/0001.exr` ... (depth and validity, one texel per
vertex of the mesh).
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, VERSION, Ex4dError

FORMAT = 2
FIRST_PICTURE = "source/0001.png"
FIRST_MESH = "mesh/0001.exr"
DEPTH_PREVIEW = "depth_preview"  # folder with pictures of the depth, which older backends do not make


_LENS = ("fx", "fy", "cx", "cy")
_ORIGIN = {"model": str, "licence": str, "commercial_use": bool}  # of the depth
_LEAST_RANGE = 1.001  # far to near, for a flat clip
_RIGID = 1e-3  # how far a pose's axes may be from perpendicular and of length 1


@dataclass(frozen=True)
class SourceCamera:
    """The camera that took the clip, at each of its frames. The world is that camera at the first frame."""

    world_from_camera: tuple[tuple[float, ...], ...]  # 16 numbers each, row-major 4x4, OpenCV axes, scene units
    lens: tuple[tuple[float, ...], ...]  # fx, fy, cx, cy in pixels of the pictures

    @property
    def moves(self) -> bool:
        """Whether it stands elsewhere at any frame than at the first."""
        return any(pose != self.world_from_camera[0] for pose in self.world_from_camera)

    @property
    def zooms(self) -> bool:
        """Whether its lens changes over time."""
        return any(lens != self.lens[0] for lens in self.lens)


@dataclass(frozen=True)
class Known:
    """How well depth agrees with what was known of the shot."""

    source: str  # "points" | "measures" | "camera_height"
    count: int  # of what was compared
    agreeing: float  # share of it that agrees, 0..1
    residual: float  # median relative difference of depth, of what agrees


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
    camera: SourceCamera
    near: float  # distance of what is near in the clip, scene units: of its first percentile of depth
    far_depth: float  # and of what is far: of its 99th
    metric: bool = False  # depth is in metres, by the estimator
    model: str = ""  # that estimated the depth; "" = none did
    licence: str = ""  # of the model
    commercial_use: bool = True  # whether that licence allows it
    known: Known | None = None  # what depth was fitted to
    fit: str = ""  # what the backend says of that, or of how depth fits the source camera; "" = nothing to say


def read(folder: Path) -> SceneManifest:
    """Reads and checks the manifest of a reconstruction's folder, and that its sequences are all there.

    Raises:
        Ex4dError: NOT_FOUND (no manifest, or a frame is missing), VERSION (another format), BAD_INPUT (a value that
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
    version = data.get("version")
    if version != FORMAT:
        older = isinstance(version, int) and version < FORMAT
        raise Ex4dError(
            VERSION,
            f"{where} has format {version!r}; this extension reads format {FORMAT}.",
            "Reconstruct the clip again." if older else "Update the extension and the backend to the same version.",
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
            camera=_camera(data["camera"]["frames"]),
            **_range(data),
            metric=bool(data.get("metric", False)),
            **_origin(data.get("provenance", {})),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as e:
        raise Ex4dError(BAD_INPUT, f"{where} is incomplete or holds a wrong value ({e}).") from None
    positive = (manifest.width, manifest.height, *manifest.fps, manifest.frames)
    lengths = (manifest.focal, manifest.far, manifest.pivot, manifest.near, manifest.far_depth)
    if min(positive) < 1 or not all(math.isfinite(v) and v > 0.0 for v in lengths):
        raise Ex4dError(BAD_INPUT, f"{where} holds a size, rate, length or depth that is not above zero.")
    if not (math.isfinite(manifest.cx) and math.isfinite(manifest.cy)):
        raise Ex4dError(BAD_INPUT, f"{where} holds a principal point that is not a number.")
    _check_camera(manifest, where)
    return manifest


def to_dict(manifest: SceneManifest) -> dict[str, Any]:
    """A manifest in the layout of `scene.json`: what `from_dict` reads."""
    frames = [
        {"world_from_camera": [list(pose[row : row + 4]) for row in range(0, 16, 4)]}
        | dict(zip(_LENS, lens, strict=True))
        for pose, lens in zip(manifest.camera.world_from_camera, manifest.camera.lens, strict=True)
    ]
    value = asdict(manifest)
    depth = {key: value.pop(key) for key in _ORIGIN}
    provenance = {"depth": depth, "known": value.pop("known"), "source_camera": {"note": value.pop("fit")}}
    return {"version": FORMAT, **value, "camera": {"frames": frames}, "provenance": provenance}


def _range(data: dict[str, Any]) -> dict[str, float]:
    """What is near and far; folders of earlier releases do not tell, and have two distances that come close."""
    near, far = float(data.get("near") or data["pivot"]), float(data.get("far_depth") or data["far"])
    return {"near": near, "far_depth": far if far > near else near * _LEAST_RANGE}


def _origin(provenance: dict[str, Any]) -> dict[str, Any]:
    """Where the depth comes from."""
    depth, known, camera = (provenance.get(name) or {} for name in ("depth", "known", "source_camera"))
    told: dict[str, Any] = {key: kind(depth[key]) for key, kind in _ORIGIN.items() if key in depth}
    told["fit"] = str(known.get("note") or camera.get("note") or "")
    if known:
        told["known"] = Known(
            str(known["source"]), int(known["count"]), float(known["agreeing"]), float(known["residual"])
        )
    return told


def _camera(frames: Any) -> SourceCamera:
    poses = tuple(tuple(float(value) for row in frame["world_from_camera"] for value in row) for frame in frames)
    return SourceCamera(poses, tuple(tuple(float(frame[key]) for key in _LENS) for frame in frames))


def _check_camera(manifest: SceneManifest, where: str) -> None:
    camera = manifest.camera
    if len(camera.lens) != manifest.frames or any(len(pose) != 16 for pose in camera.world_from_camera):
        raise Ex4dError(BAD_INPUT, f"{where} does not hold a source camera for each of its {manifest.frames} frames.")
    poses = np.array(camera.world_from_camera).reshape(-1, 4, 4)
    lens = np.array(camera.lens)
    if not (np.isfinite(poses).all() and np.isfinite(lens).all() and (lens[:, :2] > 0.0).all()):
        raise Ex4dError(BAD_INPUT, f"{where} holds a source camera with values that are not numbers, or no lens.")
    axes = poses[:, :3, :3]
    off = np.abs(axes.transpose(0, 2, 1) @ axes - np.eye(3)).max()
    if off > _RIGID or (np.linalg.det(axes) < 0.0).any():
        raise Ex4dError(BAD_INPUT, f"{where} holds a source camera that is scaled, sheared or mirrored.")
