# SPDX-License-Identifier: Apache-2.0
"""A whole `ex4d recon` against the rendering that is in it.

    python benchmarks/end_to_end.py [--frames 49] [--size 1024x576] [--cam 60]

Makes a moving picture with its depth in a temporary folder (a movie and an npz, as artists bring them), runs the
command on it (read, lift, faces, render, write pictures, masks and movies), and renders the same frames once more in
the same way, with everything in memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import tempfile
import time
from fractions import Fraction
from pathlib import Path
from statistics import median

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._scene import depth_and_picture
from benchmarks._timing import machine
from ex4d.cameras import preset_path, static_source
from ex4d.cli import main as ex4d
from ex4d.clip import write_video
from ex4d.render import render_conditioning
from ex4d.scene import load_scene
from ex4d.values import Shot

GOAL = 2.0  # times the rendering


def main() -> int:
    """Prints both times and their ratio; 0 where the goal is met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=49)
    parser.add_argument("--size", default="1024x576", help="WIDTHxHEIGHT, even numbers")
    parser.add_argument("--cam", default="60", help="a preset move")
    parser.add_argument("--repetitions", type=int, default=3, help="of both, in turns (default 3)")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    print(f"{machine()}\n{arguments.frames} frames of {width}x{height}, cam {arguments.cam}")
    with tempfile.TemporaryDirectory(prefix="ex4d-bench-") as name:
        folder = Path(name)
        command = _material(folder, width, height, arguments.frames)
        command += ["--cam", arguments.cam]
        _everything([*command, "--num_frames", "2", "--output_dir", str(folder / "warm")])  # compiles, once for all
        all_in, alone = [], []
        for turn in range(arguments.repetitions):
            out = folder / f"out{turn}"
            all_in.append(_everything([*command, "--output_dir", str(out)]))
            alone.append(_rendering(out / "scene", arguments.cam))
    ratio = median(all_in) / median(alone)
    print(f"everything {median(all_in):.2f} s, rendering alone {median(alone):.2f} s (medians of {len(alone)})")
    print(f"ratio {ratio:.2f} (goal {GOAL:g}: {'met' if ratio <= GOAL else 'MISSED'})")
    return 0 if ratio <= GOAL else 1


def _material(folder: Path, width: int, height: int, frames: int) -> list[str]:
    """Writes the clip and its depth; the start of a command line that reads them."""
    pairs = [depth_and_picture(width, height, k / frames) for k in range(frames)]
    write_video(folder / "clip.mp4", [picture for _, picture in pairs], Fraction(24))
    np.savez(folder / "depth.npz", depth=np.stack([depth for depth, _ in pairs]))
    return ["recon", "--input_video", str(folder / "clip.mp4"), "--depth", str(folder / "depth.npz")]


def _everything(command: list[str]) -> float:
    start = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        if ex4d(command) != 0:
            raise SystemExit(f"ex4d {' '.join(command)} failed")
    return time.perf_counter() - start


def _rendering(scene_folder: Path, cam: str) -> float:
    scene = load_scene(scene_folder)
    total = len(scene.clip.frames)
    path = preset_path(cam, total, scene.pivot, scene.intrinsics, scene.clip.fps)
    source = static_source(scene, total)
    start = time.perf_counter()
    render_conditioning(Shot(scene, path, source))
    return time.perf_counter() - start


if __name__ == "__main__":
    sys.exit(main())
