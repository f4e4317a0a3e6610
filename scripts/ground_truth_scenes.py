# SPDX-License-Identifier: GPL-3.0-or-later
"""Makes sets of ground truth in Blender: what a source camera sees, and what new cameras see of it.

    .venv-blender/bin/python scripts/ground_truth_scenes.py --out DIR
    blender -b --python scripts/ground_truth_scenes.py -- --out DIR

DIR/set.json                            scenes, moves, size, frames, seed; written last
DIR/SCENE/source/0001.png ...           the source camera's pictures, 8-bit sRGB
DIR/SCENE/depth/0001.exr ...            its z-depth in metres, channel Z
DIR/SCENE/camera.json                   its path
DIR/SCENE/moves/MOVE/camera.json        a new camera's path
DIR/SCENE/moves/MOVE/colour, depth      what it sees
DIR/SCENE/moves/MOVE/visible/0001.png   255 where the source camera sees the same point in the same frame
DIR/SCENE/moves/MOVE/certain/0001.png   255 where, besides, the new camera's ray never passes behind a surface that
                                        the source camera saw

Depth and masks are worked out at pixel centres by ray cast against the scene's triangles; pictures are rendered with
Cycles, a pixel being a Blackman-Harris filter 1.5 pixels wide, from colours that do not depend on the view. The world
is the source camera of the first frame, in OpenCV axes. The same numbers make the same set.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import bpy
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
import _truth_files as files
from _truth_cameras import MOVES, PIVOT_PERCENTILE, Lens, move_poses, path_value
from _truth_outdoors import figure, street
from _truth_rays import Source, Surfaces, View
from _truth_rooms import still_life, tracking
from _truth_stage import Stage, empty_stage, time_of

SCENES: dict[str, Callable[[Stage], None]] = {
    "still_life": still_life,
    "figure": figure,
    "street": street,
    "tracking": tracking,
}
VERSION = 1
_ELBOW_ROOM = 0.12  # metres that every camera keeps from every surface
_FROM_BEHIND = 1e-3  # share of rays; one that runs exactly through an edge may meet either side of it
_ATTEMPTS = 50


class BadSceneError(Exception):
    """A camera would stand in something."""


def make_set(
    out: Path, scenes: list[str], moves: list[str], lens: Lens, frames: int, seed: int, samples: int,
    say: Callable[[str], None] = lambda line: None,
) -> None:  # fmt: skip
    """Writes a whole set into an empty or missing folder; `set.json` comes last."""
    for name in scenes:
        make_scene(out / name, name, moves, lens, frames, seed, samples, say)
    files.write_json(
        out / "set.json",
        {"version": VERSION, "scenes": scenes, "moves": moves, "seed": seed, "width": lens.width,
         "height": lens.height, "frames": frames, "samples": samples,
         "made_with": f"Blender {bpy.app.version_string.split()[0]}, Cycles"},
    )  # fmt: skip


def make_scene(
    out: Path, name: str, moves: list[str], lens: Lens, frames: int, seed: int, samples: int,
    say: Callable[[str], None] = lambda line: None,
) -> None:  # fmt: skip
    """Writes one scene's source and moves."""
    stage, paths = set_up(name, moves, lens, frames, seed, samples)
    poses = stage.source_poses(frames)
    files.write_json(out / "camera.json", path_value(lens, poses))
    for move, path in paths.items():
        files.write_json(out / "moves" / move / "camera.json", path_value(lens, path))
    source = surfaces = None
    for k in range(frames):
        began = time.monotonic()
        number = f"{k + 1:04d}"
        picture, depth = out / "source" / f"{number}.png", out / "depth" / f"{number}.exr"
        stage.to_time(time_of(k, frames))
        if surfaces is None or not stage.still:
            surfaces = stage.surfaces()
            source = Source(surfaces, lens, poses[k])
            _check(source, name, k)
            stage.render(picture, poses[k])
            files.write_depth(depth, source.depth)
        else:
            for file in (picture, depth):
                with files.replacing(file) as part:
                    shutil.copyfile(file.with_stem("0001"), part)
        for move, path in paths.items():
            folder = out / "moves" / move
            view = View(surfaces, lens, path[k])
            _check(view, name, k)
            visible = source.visible(view)
            stage.render(folder / "colour" / f"{number}.png", path[k])
            files.write_depth(folder / "depth" / f"{number}.exr", view.z)
            files.write_mask(folder / "visible" / f"{number}.png", visible)
            files.write_mask(folder / "certain" / f"{number}.png", source.certain(view, visible))
        say(f"{name}: frame {k + 1} of {frames}, {time.monotonic() - began:.1f} s")


def set_up(
    name: str, moves: list[str], lens: Lens, frames: int, seed: int, samples: int
) -> tuple[Stage, dict[str, np.ndarray]]:
    """A scene in which all cameras stand free, and each move's poses [T, 4, 4]. Scenes where they do not are drawn
    again.

    Raises:
        BadSceneError: none was found.
    """
    for attempt in range(_ATTEMPTS):
        stage = empty_stage(lens, samples, random.Random(f"{seed} {name} {attempt}"))  # noqa: S311 - looks, not secrets
        SCENES[name](stage)
        stage.to_time(0.0)
        first = View(stage.surfaces(), lens, np.eye(4))
        pivot = float(np.percentile(first.z.astype(np.float32), PIVOT_PERCENTILE))
        paths = {move: move_poses(move, frames, pivot) for move in moves}
        if _all_free(stage, stage.source_poses(frames), paths, frames):
            return stage, paths
    raise BadSceneError(f"No {name} of seed {seed} leaves room for every camera.")


def _all_free(stage: Stage, poses: np.ndarray, paths: dict[str, np.ndarray], frames: int) -> bool:
    around = np.random.default_rng(0).normal(size=(24, 3))
    for k in range(frames):
        stage.to_time(time_of(k, frames))
        surfaces = stage.surfaces()
        for path in (poses, *paths.values()):
            if not _free(surfaces, path[k, :3, 3], around):
                return False
    return True


def _free(surfaces: Surfaces, eye: np.ndarray, around: np.ndarray) -> bool:
    """Nothing close by, and whichever way one looks one sees the outside of something."""
    met = surfaces.cast(eye, around)
    outside = np.einsum("ij,ij->i", surfaces.normal[met], around) < 0.0
    return bool((met >= 0).all() and outside.all()) and surfaces.distance(eye) >= _ELBOW_ROOM


def _check(view: View, name: str, frame: int) -> None:
    if not view.closed:
        raise BadSceneError(f"{name}, frame {frame + 1}: a ray meets nothing.")
    if view.from_behind > _FROM_BEHIND:
        raise BadSceneError(f"{name}, frame {frame + 1}: {view.from_behind:.2%} of the rays start inside of something.")


def _arguments(words: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="ground_truth_scenes.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the set; new or empty")
    parser.add_argument("--size", default="256x256", help="WIDTHxHEIGHT in pixels (default 256x256)")
    parser.add_argument("--frames", type=int, default=9, help="frames of every clip (default 9)")
    parser.add_argument("--seed", type=int, default=0, help="other numbers make other scenes (default 0)")
    parser.add_argument("--scenes", default=",".join(SCENES), help="which, with commas between (default: all)")
    parser.add_argument(
        "--moves", default="30,60,90,180,zoom_out", help=f"which, of {', '.join(MOVES)} (default 30,60,90,180,zoom_out)"
    )
    parser.add_argument("--samples", type=int, default=32, help="Cycles samples a pixel (default 32)")
    options = parser.parse_args(words)
    width, cross, height = options.size.partition("x")
    if not (
        cross and width.isdecimal() and height.isdecimal() and 2 <= int(width) <= 4096 and 2 <= int(height) <= 4096
    ):
        parser.error(f"--size {options.size}: WIDTHxHEIGHT is wanted, each 2 to 4096")
    options.lens = Lens(int(width), int(height))
    if options.frames < 1 or options.samples < 1:
        parser.error("--frames and --samples are at least 1")
    for kind, known in (("scenes", tuple(SCENES)), ("moves", MOVES)):
        names = list(dict.fromkeys(getattr(options, kind).split(",")))
        for name in names:
            if name not in known:
                parser.error(f"--{kind}: there is no '{name}'; there are {', '.join(known)}")
        setattr(options, kind, names)
    if options.out.exists() and (not options.out.is_dir() or any(options.out.iterdir())):
        parser.error(f"--out {options.out}: this is not an empty folder")
    return options


def main(words: list[str]) -> int:
    """The command; gives its exit status."""
    options = _arguments(words)
    began = time.monotonic()
    try:
        make_set(
            options.out, options.scenes, options.moves, options.lens, options.frames, options.seed, options.samples,
            lambda line: print(line, flush=True),
        )  # fmt: skip
    except (BadSceneError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(f"{options.out}: {len(options.scenes)} scenes, {time.monotonic() - began:.0f} s")
    return 0


if __name__ == "__main__":
    status = 2
    try:
        status = main(sys.argv[sys.argv.index("--") + 1 :] if "--" in sys.argv else sys.argv[1:])
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        if sys.exc_info()[0] is None:
            os._exit(status)  # the module form of Blender 4.5 may hang when Python ends
