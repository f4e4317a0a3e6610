# SPDX-License-Identifier: Apache-2.0
"""Runs in the engine's environment: makes reconstructions, and says what the engine makes of them.

`engine_side.py COMMAND FOLDER ANSWER.npz`, with the request as JSON on stdin.
"""

from __future__ import annotations

import json
import sys
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.mesh import face_valid, faces, ray_positions, vertices
from ex4d.render import render_frame
from ex4d.scene import build_scene, load_scene, save_scene, scene_mesh
from ex4d.values import Clip, DepthVideo, Intrinsics, SourceModel


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
    scene = build_scene(clip, DepthVideo(z, "file", False), focal=request.get("focal"))
    save_scene(folder, scene, lambda _: None)
    return {}


def mesh(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Vertices, faces, validity and texture coordinates for each of the request's samples of the source mesh."""
    scene = load_scene(folder)
    source = _source(request["samples"])
    found = [scene_mesh(scene, source, t) for t in range(len(source.frame))]
    camera = scene.intrinsics
    u, v = ray_positions(camera.height, camera.width)
    grid = np.stack(np.meshgrid(u / camera.width, 1.0 - v / camera.height), axis=-1)
    return {
        "position": np.stack([vertices(m) for m in found]),
        "seen": np.stack([face_valid(m) for m in found]),
        "faces": faces(camera.height, camera.width),
        "uv": grid.reshape(-1, 2),
        "far": np.array(scene.far),
    }


def render(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Colour and mask of the request's samples: one camera each, with the mesh as it stands then."""
    scene = load_scene(folder)
    source = _source(request["samples"])
    answer = {}
    for t, sample in enumerate(request["samples"]):
        lens = Intrinsics(*request["sizes"][t], *(sample[key] for key in ("fx", "fy", "cx", "cy")))
        pose = np.array(sample["world_from_camera"]).reshape(4, 4)
        picture = scene.clip.frames[source.frame[t]]
        colour, mask, _ = render_frame(scene_mesh(scene, source, t), picture, pose, lens)
        answer[f"colour{t}"], answer[f"mask{t}"] = colour, mask
    return answer


def read(folder: Path, request: dict[str, Any]) -> dict[str, np.ndarray]:
    """Pixels of PNG files."""
    from ex4d.images import read_png

    return {f"picture{k}": read_png(Path(name)) for k, name in enumerate(request["files"])}


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
    command = {"make": make, "mesh": mesh, "render": render, "read": read, "sound": sound}[sys.argv[1]]
    np.savez(sys.argv[3], **command(Path(sys.argv[2]), json.load(sys.stdin)))
