# SPDX-License-Identifier: Apache-2.0
"""Clip + depth → scene, and the scene as a folder of files (see "Files" in docs/architecture.md)."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d.cameras import FOCAL_RANGE, check_path, path_from_value, path_value
from ex4d.files import replacing
from ex4d.images import read_exr, read_file, read_png, write_exr, write_png
from ex4d.in_order import CORES, InOrder
from ex4d.lifting import Lifted, lifted
from ex4d.memory import check_memory
from ex4d.mesh.lift import NEAREST, adjust_depth
from ex4d.on_disk import FORGET_EVERY, forget
from ex4d.values import BORDER, F32, U8, Bool, CameraPath, Clip, DepthVideo, DWMesh, Intrinsics, Scene, SourceModel
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, SIZE_MISMATCH, Ex4dError

_VERSION = 2


def build_scene(
    clip: Clip,
    depth: DepthVideo,
    *,
    focal: float | None = None,
    camera: CameraPath | None = None,
    sharpen: bool = True,
) -> Scene:
    """Lifts every frame of a clip, and holds all of it in memory.

    Args:
        clip: the pictures.
        depth: their depth, of the same size and length.
        focal: focal length in pixels of `clip.frames`; None = 500/512 of the longest side.
        camera: the source camera at each frame, of the clip's size and length; None = it stands still, with `focal`.
        sharpen: make edges that were smeared in the depth sharp again.

    Raises:
        Ex4dError: SIZE_MISMATCH when clip, depth and camera differ in size or length, BAD_INPUT for depth that is not
            positive and finite, or all too near or too far, and for a camera that cannot be used.
    """
    own = replace(depth, z=depth.z.copy())
    made = lifted(clip, own, focal=focal, camera=camera, sharpen=sharpen)
    total, height, width = depth.z.shape
    mesh_depth = np.empty((total, height + 2 * BORDER, width + 2 * BORDER), np.float32)
    mesh_valid = np.empty((total, height + 2 * BORDER - 1, width + 2 * BORDER - 1, 2), np.bool_)
    for t in range(total):
        mesh_depth[t], mesh_valid[t] = made.mesh(t)
    told = {name: value for name, value in vars(made).items() if name not in ("clip", "z")}
    return Scene(clip, mesh_depth, mesh_valid, **told)


def scene_mesh(scene: Scene, source: SourceModel, t: int) -> DWMesh:
    """The source mesh at frame `t` of a shot, as the artist set it: focal length, principal point, disparity.

    Its axes are those of the source camera at that frame, whose pose is `scene.camera.world_from_camera[frame]`.

    Raises:
        Ex4dError: BAD_INPUT when the shot asks for a frame that the scene has not, or for a value that cannot be used.
    """
    index = int(source.frame[t])
    if not 0 <= index < len(scene.mesh_depth):
        raise Ex4dError(
            BAD_INPUT,
            f"Frame {t + 1} of the shot asks for source frame {index + 1}, the scene has {len(scene.mesh_depth)}.",
        )
    focal, cx, cy, scale, shift = (
        float(values[t])
        for values in (source.focal, source.cx, source.cy, source.disparity_scale, source.disparity_shift)
    )
    least, most = FOCAL_RANGE
    if not (least <= focal <= most and max(abs(cx), abs(cy)) <= most and np.isfinite([cx, cy, scale, shift]).all()):
        raise Ex4dError(BAD_INPUT, f"The source mesh of frame {t + 1} has settings that cannot be used.")
    camera = Intrinsics(scene.intrinsics.width, scene.intrinsics.height, focal, focal, cx, cy)
    lifted = scene.mesh_depth[index]
    adjusted = adjust_depth(lifted, scale, shift)
    if adjusted.min() < NEAREST:
        raise Ex4dError(
            BAD_INPUT,
            f"Scale and shift of the source mesh of frame {t + 1} bring it onto the camera itself.",
            "Make them smaller.",
        )
    return DWMesh(adjusted, scene.mesh_valid[index], camera, lifted)


def save_scene(
    folder: Path,
    scene: Scene | Lifted,
    on_file: Callable[[str], None],
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes a scene, frame by frame; `scene.json` last, so that a folder with it is whole.

    A file that is there already with the same content stays as it is, so a save that was interrupted goes on where it
    stopped. Each file is finished in one step. Of a scene that is lifted, no more is held in memory than the frames
    that are being written.

    Args:
        folder: made when missing.
        scene: what to write.
        on_file: called with each file's name, relative to `folder` with "/", when it is finished or was found so.
        provenance: goes into `scene.json` as it is.

    Raises:
        Ex4dError: DISK when a file cannot be written.
    """
    from ex4d.depth.preview import turbo  # loads the depth step, which loads the renderer's kernels, which load this

    clip = scene.clip

    def source(t: int) -> str:
        return _png(folder, f"source/{t + 1:04d}.png", clip.frames[t])

    def mesh(t: int) -> list[str]:
        name = f"mesh/{t + 1:04d}.exr"
        depth, valid = scene.mesh(t)
        channels = _mesh_channels(depth, valid)
        if not _same_exr(folder / name, channels):
            write_exr(folder / name, channels, durable=True)
        picture = turbo(depth[BORDER:-BORDER, BORDER:-BORDER], scene.near, scene.far_depth)
        return [name, _png(folder, f"depth_preview/{t + 1:04d}.png", picture)]

    def finished(names: str | list[str]) -> None:
        for name in [names] if isinstance(names, str) else names:
            on_file(name)

    with InOrder(finished, CORES + 2) as writing:  # some wait for the disk
        for t in range(len(clip.frames)):
            writing.add(partial(source, t))
            writing.add(partial(mesh, t))
            if t % FORGET_EVERY == 0:
                forget(clip.frames, scene.z if isinstance(scene, Lifted) else scene.mesh_depth)
    camera = scene.camera
    focal, _, cx, cy = (float(value) for value in camera.intrinsics[0])
    value = {
        "version": _VERSION,
        "name": clip.name,
        "width": camera.width,
        "height": camera.height,
        "fps": [clip.fps.numerator, clip.fps.denominator],
        "frames": len(clip.frames),
        "focal": focal,
        "cx": cx,
        "cy": cy,
        "far": scene.far,
        "pivot": scene.pivot,
        "near": scene.near,
        "far_depth": scene.far_depth,
        "metric": scene.metric,
        "estimator": scene.estimator,
        "draft": scene.draft,
        "camera": path_value(camera),
        "notes": list(scene.notes),
        "provenance": {**({"depth": dict(scene.facts)} if scene.facts else {}), **(provenance or {})},
    }
    with replacing(folder / "scene.json", durable=True) as part:
        part.write_text(json.dumps(value, indent=1), encoding="utf-8")
    on_file("scene.json")


def load_scene(folder: Path) -> Scene:
    """Reads what `save_scene` wrote, bit for bit.

    Raises:
        Ex4dError: NOT_FOUND for a missing file, BAD_INPUT or NOT_A_CLIP for a broken one.
    """
    if not (folder / "scene.json").is_file():
        raise Ex4dError(NOT_FOUND, f"There is no finished scene in {folder}.", "Reconstruct the clip again.")
    broken = f"{folder / 'scene.json'} is not a scene of this version."
    try:
        value = json.loads(read_file(folder / "scene.json"))
        if value["version"] != _VERSION:
            raise Ex4dError(BAD_INPUT, broken, "Reconstruct the clip again.")
        total, width, height = (int(value[key]) for key in ("frames", "width", "height"))
        camera = path_from_value(value["camera"])
        fps = Fraction(*(int(number) for number in value["fps"]))
        far, pivot = float(value["far"]), float(value["pivot"])
        near, far_depth = float(value.get("near", pivot)), float(value.get("far_depth", far))  # of earlier releases
        metric, facts = bool(value.get("metric", False)), dict(value["provenance"].get("depth", {}))
        name, estimator = (str(value[key]) for key in ("name", "estimator"))
        draft, notes = bool(value["draft"]), tuple(str(note) for note in value["notes"])
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, AttributeError) as error:
        raise Ex4dError(BAD_INPUT, broken, "Reconstruct the clip again.") from error
    check_path(camera)
    if (len(camera.world_from_camera), camera.height, camera.width) != (total, height, width):
        raise Ex4dError(BAD_INPUT, broken, "Reconstruct the clip again.")
    check_memory(
        total * (height + 2 * BORDER) * (width + 2 * BORDER) * 4, f"{total} frames of {width}x{height} of {name}"
    )
    frames = np.empty((total, height, width, 3), np.uint8)
    depth = np.empty((total, height + 2 * BORDER, width + 2 * BORDER), np.float32)
    valid = np.empty((total, height + 2 * BORDER - 1, width + 2 * BORDER - 1, 2), np.bool_)
    for t in range(total):
        picture = read_png(folder / f"source/{t + 1:04d}.png")
        channels = read_exr(folder / f"mesh/{t + 1:04d}.exr")
        if picture.shape != frames.shape[1:] or any(
            channel not in channels or channels[channel].shape != depth.shape[1:] for channel in "RGB"
        ):
            raise Ex4dError(
                SIZE_MISMATCH,
                f"Frame {t + 1} of the scene in {folder} has another size than the scene.",
                "Reconstruct the clip again.",
            )
        frames[t], depth[t] = picture, channels["R"]
        valid[t, ..., 0], valid[t, ..., 1] = channels["G"][:-1, :-1] > 0.5, channels["B"][:-1, :-1] > 0.5
    clip = Clip(frames, fps, name)
    return Scene(clip, depth, valid, camera, far, pivot, near, far_depth, estimator, draft, notes, metric, facts)


def _mesh_channels(depth: F32, valid: Bool) -> dict[str, NDArray[Any]]:
    lower, upper = np.zeros(depth.shape, np.float16), np.zeros(depth.shape, np.float16)  # exact for 0 and 1
    lower[:-1, :-1], upper[:-1, :-1] = valid[..., 0], valid[..., 1]
    return {"R": depth, "G": lower, "B": upper}


def _png(folder: Path, name: str, picture: U8) -> str:
    if not _same_png(folder / name, picture):
        write_png(folder / name, picture, durable=True)
    return name


def _same_png(path: Path, picture: U8) -> bool:
    try:
        return path.exists() and np.array_equal(read_png(path), picture)
    except Ex4dError:
        return False  # broken: it is written again


def _same_exr(path: Path, channels: Mapping[str, NDArray[Any]]) -> bool:
    try:
        found = read_exr(path) if path.exists() else {}
    except Ex4dError:
        return False
    return found.keys() == channels.keys() and all(np.array_equal(found[key], channels[key]) for key in channels)
