# SPDX-License-Identifier: Apache-2.0
"""Runs in the engine's environment: makes reconstructions, and says what the engine makes of them.

`engine_side.py COMMAND FOLDER ANSWER.npz`, with the request as JSON on stdin.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ex4d.cameras import camera_from_world, load_path, static_source
from ex4d.mesh import face_valid, faces, ray_positions
from ex4d.mesh.edges import EDGE_RATIO
from ex4d.mesh.surface import bounded, closed
from ex4d.render import render_frame
from ex4d.scene import build_scene, load_scene, save_scene, scene_mesh
from ex4d.values import CameraPath, Clip, DepthVideo, Intrinsics, SourceModel


def make(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """A clip and its depth: a tilted wavy wall, a box before it that moves one pixel a frame, a few pixels of noise."""
    width, height, total = request["width"], request["height"], request["frames"]
    draw = np.random.default_rng(7)
    rows, columns = np.mgrid[:height, :width]
    z = np.empty((total, height, width), np.float32)
    frames = np.empty((total, height, width, 3), np.uint8)
    for t in range(total):
        z[t] = 4.0 + 0.02 * columns + 0.01 * rows + 0.1 * np.sin(rows / 5.0 + t)
        frames[t, ..., 0] = columns * 255 // width
        frames[t, ..., 1] = rows * 255 // height
        frames[t, ..., 2] = ((rows // 6 + columns // 6) % 2) * 160 + 10 * t
        box = np.s_[t, height // 4 : height // 2, width // 4 + t : width // 2 + t]
        z[box] = 2.0
        frames[box] = (250, 210, 40)
        stray = draw.integers(0, (height, width), (6, 2))
        z[t, stray[:, 0], stray[:, 1]] *= 1.3
    clip = Clip(frames, Fraction(*request["fps"]), "tiny")
    camera = None
    if request.get("moving"):
        camera = CameraPath(_handheld(total), _zoom(width, height, total), width, height, clip.fps)
    scene = build_scene(clip, DepthVideo(z, "file", False), focal=request.get("focal"), camera=camera)
    save_scene(folder, scene, lambda _: None)
    return {}


def _handheld(total: int) -> np.ndarray:
    """Poses that walk, turn and roll away from the identity, the last by more than half a turn of the roll."""
    poses = np.tile(np.eye(4), (total, 1, 1))
    for t in range(total):
        pan, roll = 0.1 * t, 0.75 * t
        about_y = np.array([[np.cos(pan), 0, np.sin(pan)], [0, 1, 0], [-np.sin(pan), 0, np.cos(pan)]])
        about_z = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]])
        poses[t, :3, :3], poses[t, :3, 3] = about_y @ about_z, (0.3 * t, -0.05 * t, 0.1 * t)
    return poses


def _zoom(width: int, height: int, total: int) -> np.ndarray:
    lens = [(60.0 + 3.0 * t, 60.0 + 3.0 * t, width / 2 + 0.5 * t, height / 2 - 0.25 * t) for t in range(total)]
    return np.array(lens)


def path(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """A camera path file, as the engine reads it."""
    found = load_path(Path(request["file"]))
    size_and_rate = [found.width, found.height, found.fps.numerator, found.fps.denominator]
    return {"poses": found.world_from_camera, "lens": found.intrinsics, "size_and_rate": np.array(size_and_rate)}


def mesh(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Triangles [F, 3, 3], whether each was seen, and texture coordinates, for each sample of the source mesh."""
    scene = load_scene(folder)
    source = _source(request["samples"])
    answer = {}
    for t in range(len(source.frame)):
        found = scene_mesh(scene, source, t)
        surface = bounded(found) if request.get("geometry") == "bounded" else closed(found)
        drawn = surface.faces[(surface.faces != surface.faces[:, :1]).any(axis=1)]  # others have no area
        corners, lens = surface.points[drawn], found.intrinsics
        u = corners[..., 0] / corners[..., 2] * lens.fx + lens.cx
        v = corners[..., 1] / corners[..., 2] * lens.fy + lens.cy
        answer[f"corners{t}"] = corners
        answer[f"seen{t}"] = surface.valid[(surface.faces != surface.faces[:, :1]).any(axis=1)]
        answer[f"uv{t}"] = np.stack([u / lens.width, 1.0 - v / lens.height], axis=-1)
    return answer


def rules(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Numbers that the mesh is made by."""
    return {"rules": np.array([EDGE_RATIO])}


def render(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Colour and mask of the request's samples: one camera each, with the mesh as it stands then."""
    scene = load_scene(folder)
    source = _source(request["samples"])
    answer = {}
    for t, sample in enumerate(request["samples"]):
        lens = Intrinsics(*request["sizes"][t], *(sample[key] for key in ("fx", "fy", "cx", "cy")))
        given = np.array(sample["world_from_camera"]).reshape(4, 4)
        pose = camera_from_world(scene.camera.world_from_camera[source.frame[t]]) @ given
        picture = scene.clip.frames[source.frame[t]]
        found = scene_mesh(scene, source, t)
        colour, mask, z = render_frame(found, picture, pose, lens, geometry=request.get("geometry", "closed"))
        answer[f"colour{t}"], answer[f"mask{t}"] = colour, mask
        answer[f"linear{t}"] = _linear(picture, z, pose, lens, found.intrinsics)
    return answer


def _linear(picture: np.ndarray, z: np.ndarray, pose: np.ndarray, lens: Intrinsics, source: Intrinsics) -> np.ndarray:
    """The source picture at each pixel's place, as Blender's "Linear" has it: the engine is sharper."""
    v, u = np.mgrid[: z.shape[0], : z.shape[1]] + 0.5
    seen = np.where(z > 0.0, z, 1.0)
    point = np.stack([(u - lens.cx) / lens.fx * seen, (v - lens.cy) / lens.fy * seen, seen], -1)
    x, y, depth = np.moveaxis(point @ pose[:3, :3].T + pose[:3, 3], -1, 0)
    at = (source.fx * x / depth + source.cx - 0.5, source.fy * y / depth + source.cy - 0.5)
    across, down = (values.astype(np.float32) for values in at)
    exact = picture.astype(np.float32)  # with 8-bit pictures OpenCV rounds places to a 32nd of a pixel
    return cv2.remap(exact, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def read(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pixels of PNG files."""
    from ex4d.images import read_png

    return {f"picture{k}": read_png(Path(name)) for k, name in enumerate(request["files"])}


def export(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Exports the scene to the folder `to`, and says what stands in the files.

    With `moving` the source camera travels, turns and zooms, the mesh is dragged, and there is a new, upright camera.
    """
    from ex4d.export.command import KINDS
    from ex4d.export.posed import posed_mesh
    from ex4d.export.shot import ExportShot
    from ex4d.export.shot import export as write

    scene = load_scene(folder)
    total, camera = len(scene.clip.frames), scene.intrinsics
    new = None
    if request["moving"]:
        scene = replace(scene, camera=_travelling(total, camera.width, camera.height, 1.05))
        new = replace(_travelling(total, 30, 50, 0.9), fps=scene.clip.fps)
    source = static_source(scene, total)
    if request["moving"]:
        source = replace(source, disparity_scale=np.linspace(1.0, 1.3, total))
    shot = ExportShot(scene, source, new)
    write(Path(request["to"]), shot, KINDS, lambda *_: None, first_frame=request["first_frame"])
    posed = [posed_mesh(scene, source, t) for t in range(total)]
    pictures = [np.pad(p.picture, ((2, 2), (2, 2), (0, 0)), mode="edge").reshape(-1, 3) for p in posed]
    u, v = ray_positions(camera.height, camera.width)
    grid = np.stack(np.meshgrid(u / camera.width, 1.0 - v / camera.height), axis=-1)
    answer = {
        "position": np.stack([p.points() for p in posed]),
        "seen": np.stack([face_valid(p.mesh) for p in posed]),
        "faces": faces(camera.height, camera.width),
        "colour": np.stack(pictures),
        "uv": grid.reshape(-1, 2),
    }
    for name, path in shot.cameras().items():
        answer |= {f"{name} pose": path.world_from_camera, f"{name} lens": path.intrinsics}
        answer[f"{name} size"] = np.array([path.width, path.height])
    return answer


def _travelling(frames: int, width: int, height: int, zoom: float) -> CameraPath:
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t in range(frames):
        poses[t, :3, :3] = cv2.Rodrigues(np.array([0.02, -0.05, 0.1]) * t)[0]
        poses[t, :3, 3] = 0.2 * t, -0.1 * t, 0.3 * t
    focal = 50.0 * zoom ** np.arange(frames)
    lens = np.stack([focal, focal, width / 2.0 + 3.0 - np.arange(frames), np.full(frames, height / 2.0 - 4.0)], axis=1)
    return CameraPath(poses, lens, width, height, Fraction(24))


def sound(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """An mp4 that holds sound and no picture."""
    import subprocess

    import imageio_ffmpeg

    tone = ["-f", "lavfi", "-i", "sine=frequency=440:duration=1"]
    subprocess.run(
        [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *tone, request["file"]], check=True, timeout=60
    )
    return {}


def _source(samples: list[dict[str, Any]]) -> SourceModel:
    columns = ("source_focal", "source_cx", "source_cy", "disparity_scale", "disparity_shift")
    values = [np.array([sample[key] for sample in samples], np.float64) for key in columns]
    return SourceModel(np.array([sample["source_frame"] for sample in samples], np.int32), *values)


if __name__ == "__main__":
    commands = (make, path, mesh, rules, render, read, export, sound)
    command = {one.__name__: one for one in commands}[sys.argv[1]]
    np.savez(sys.argv[3], **command(Path(sys.argv[2]), json.load(sys.stdin)))
