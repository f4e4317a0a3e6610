# SPDX-License-Identifier: GPL-3.0-or-later
"""Ground-truth sets: their layout and conventions, and that depth, masks, cameras and pictures tell the same story.

The script runs in processes of its own, since it empties Blender's file and settings.
"""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from shared_protocol.moves import eye_at

from .conftest import ROOT

SCRIPTS = ROOT / "scripts"
WIDTH, HEIGHT, FRAMES = 48, 36, 2
SCENES, MOVES = ("figure", "tracking"), ("30", "zoom_out")

# Depth as Cycles has it, from Blender's own camera, beside depth by ray cast.
PROBE = """
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
sys.path[:0] = [sys.argv[1], str(Path(sys.argv[1]).parent)]
import bpy, numpy as np
import ground_truth_scenes, make_sample
from _truth_cameras import Lens
from _truth_rays import View
out = Path(sys.argv[2])
for k, size in enumerate(((64, 40), (30, 50))):
    lens = Lens(*size)
    stage, paths = ground_truth_scenes.set_up("still_life", ["60"], lens, 3, 5, 1)
    stage.aim(paths["60"][2])
    cycles = make_sample._render_depth(bpy.context.scene, out / "z.exr")
    np.savez(out / f"{k}.npz", cycles=cycles, cast=View(stage.surfaces(), lens, paths["60"][2]).z)
import os
os._exit(0)
"""


@pytest.fixture(scope="module")
def truth():
    """The script's own modules by name."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


@pytest.fixture(scope="module")
def read(truth):
    return truth("_truth_files").read


def _run(*words: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPTS / "ground_truth_scenes.py", *words]
    return subprocess.run([str(w) for w in command], capture_output=True, text=True, timeout=120, check=False)


def _make(out: Path, *words: object) -> Path:
    done = _run("--out", out, "--frames", FRAMES, "--samples", 4, *words)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A small set."""
    size = f"{WIDTH}x{HEIGHT}"
    words = ("--size", size, "--scenes", ",".join(SCENES), "--moves", ",".join(MOVES), "--seed", 3)
    return _make(tmp_path_factory.mktemp("truth") / "set", *words)


def _poses(file: Path) -> np.ndarray:
    return np.array([frame["world_from_camera"] for frame in json.loads(file.read_text())["frames"]])


def test_a_set_holds_just_what_its_layout_says(made):
    numbers = [f"{k:04d}" for k in range(1, FRAMES + 1)]
    wanted = {"set.json"}
    for scene in SCENES:
        wanted.add(f"{scene}/camera.json")
        wanted |= {f"{scene}/source/{n}.png" for n in numbers} | {f"{scene}/depth/{n}.exr" for n in numbers}
        for move in MOVES:
            folder = f"{scene}/moves/{move}"
            wanted.add(f"{folder}/camera.json")
            wanted |= {f"{folder}/{kind}/{n}.png" for kind in ("colour", "visible", "certain") for n in numbers}
            wanted |= {f"{folder}/depth/{n}.exr" for n in numbers}
    assert {str(f.relative_to(made)) for f in made.rglob("*") if f.is_file()} == wanted
    told = json.loads((made / "set.json").read_text())
    assert told["version"] == 1
    assert told["scenes"] == list(SCENES)
    assert (told["width"], told["height"], told["frames"], told["seed"]) == (WIDTH, HEIGHT, FRAMES, 3)
    assert told["made_with"].startswith("Blender ")


def test_pictures_depth_and_masks_are_of_the_right_kind(made, read):
    for file in made.rglob("*.exr"):
        z = read(file)
        assert (z.shape, z.dtype) == ((HEIGHT, WIDTH), np.float32)
        assert np.isfinite(z).all()
        assert (z > 0).all()
    for file in made.rglob("*.png"):
        picture = read(file)
        assert picture.dtype == np.uint8
        if file.parent.name in ("visible", "certain"):
            assert picture.shape == (HEIGHT, WIDTH)
            assert set(np.unique(picture)) <= {0, 255}
        else:
            assert picture.shape == (HEIGHT, WIDTH, 3)
            assert picture.std() > 5.0


def test_the_world_is_the_first_source_camera_and_moves_turn_around_the_pivot(made, read):
    for scene in SCENES:
        source = _poses(made / scene / "camera.json")
        assert (source[0] == np.eye(4)).all()
        assert (np.abs(source[-1] - np.eye(4)).max() > 0.1) == (scene == "tracking")
        pivot = np.percentile(read(made / scene / "depth" / "0001.exr"), 5.0)
        for move in MOVES:
            file = made / scene / "moves" / move / "camera.json"
            poses = _poses(file)
            assert (poses[0] == np.eye(4)).all()
            assert poses[-1, :3, 3] == pytest.approx(eye_at(move, 1.0, pivot), rel=1e-5, abs=1e-6)
            towards = np.array([0.0, 0.0, pivot]) - poses[-1, :3, 3]
            assert poses[-1, :3, 2] == pytest.approx(towards / np.linalg.norm(towards), abs=1e-6)
            path = json.loads(file.read_text())
            assert (path["width"], path["height"], path["fps"]) == (WIDTH, HEIGHT, [24, 1])
            lens = path["frames"][0]
            assert (lens["cx"], lens["cy"]) == (WIDTH / 2, HEIGHT / 2)
            assert lens["fx"] == lens["fy"] == WIDTH * 500 / 512


def test_at_the_start_every_move_shows_what_the_source_shows(made, read):
    for scene in SCENES:
        for move in MOVES:
            folder = made / scene / "moves" / move
            assert (read(folder / "visible" / "0001.png") == 255).all()
            assert (read(folder / "certain" / "0001.png") == 255).all()
            assert (read(folder / "depth" / "0001.exr") == read(made / scene / "depth" / "0001.exr")).all()
            assert (read(folder / "colour" / "0001.png") == read(made / scene / "source" / "0001.png")).all()


@pytest.mark.parametrize("scene", SCENES)
@pytest.mark.parametrize("move", MOVES)
def test_what_is_visible_lies_on_the_sources_surface_and_has_its_colour(made, read, scene, move):
    last = f"{FRAMES:04d}"
    folder = made / scene / "moves" / move
    visible, certain = (read(folder / kind / f"{last}.png") == 255 for kind in ("visible", "certain"))
    assert not (certain & ~visible).any()
    assert certain.sum() < visible.sum() < visible.size
    assert certain.sum() > 0.2 * visible.size

    focal, (rows, columns) = WIDTH * 500 / 512, np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    ray = np.stack([(columns - WIDTH / 2) / focal, (rows - HEIGHT / 2) / focal, np.ones((HEIGHT, WIDTH))], -1)
    new, source = _poses(folder / "camera.json")[-1], _poses(made / scene / "camera.json")[-1]
    point = (ray * read(folder / "depth" / f"{last}.exr")[..., None]) @ new[:3, :3].T + new[:3, 3]
    local = (point - source[:3, 3]) @ source[:3, :3]
    x = local[..., 0] / local[..., 2] * focal + WIDTH / 2
    y = local[..., 1] / local[..., 2] * focal + HEIGHT / 2
    inside = (local[..., 2] > 0) & (x >= 0.0) & (x <= WIDTH) & (y >= 0.0) & (y <= HEIGHT)
    assert not (visible & ~inside).any()

    # Only where the four source pixels around lie on one surface can the depth between them be known.
    i = np.clip(np.floor(np.where(inside, x, 1.0) - 0.5), 0, WIDTH - 2).astype(int)
    j = np.clip(np.floor(np.where(inside, y, 1.0) - 0.5), 0, HEIGHT - 2).astype(int)
    a, b = np.clip(x - 0.5 - i, 0.0, 1.0), np.clip(y - 0.5 - j, 0.0, 1.0)
    share = np.stack([(1 - a) * (1 - b), a * (1 - b), (1 - a) * b, a * b])
    depth, colour = read(made / scene / "depth" / f"{last}.exr"), read(made / scene / "source" / f"{last}.png")
    around = np.stack([depth[j, i], depth[j, i + 1], depth[j + 1, i], depth[j + 1, i + 1]])
    known = inside & (around.max(0) < 1.04 * around.min(0))
    with np.errstate(invalid="ignore"):
        beyond = local[..., 2] * (share / around).sum(0) - 1.0
    assert (np.abs(beyond[known & visible]) < 0.02).mean() > 0.97
    assert (beyond[known & ~visible] > 0.0).mean() > 0.8  # the others lie behind what is thinner than a pixel
    there = (share[..., None] * [colour[j, i], colour[j, i + 1], colour[j + 1, i], colour[j + 1, i + 1]]).sum(0)
    off = np.abs(there - read(folder / "colour" / f"{last}.png")).mean(-1)
    assert np.median(off[known & visible]) < 8.0
    assert np.median(off[known & visible]) < 0.7 * np.median(off[known & ~visible])


def test_blenders_camera_sees_the_depth_that_was_cast(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", PROBE, str(SCRIPTS), str(tmp_path)], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    for k, shape in enumerate(((40, 64), (50, 30))):
        with np.load(tmp_path / f"{k}.npz") as both:
            assert both["cast"].shape == both["cycles"].shape == shape
            assert (np.abs(both["cast"] / both["cycles"] - 1.0) < 1e-3).mean() > 0.99


def test_masks_of_a_pole_before_a_wall_are_those_of_geometry(truth):
    """Worked out by hand: the source at the origin, a pole of half width 0.2 at z = 2, a wall at z = 4, and a camera
    1 to the right. The wall at x is hidden for |x| < 0.4; the ray to it passes behind the pole for -1.4 < x < 0.4.
    """
    shapes, rays, cameras = truth("_truth_shapes"), truth("_truth_rays"), truth("_truth_cameras")
    shell, pole = shapes.box((-9, -9, -9), (9, 9, 4), inside=True), shapes.box((-0.2, -9, 2.0), (0.2, 9, 2.0005))
    quads = [body.points[list(face)] for body in (shell, pole) for face in body.faces]
    triangles = np.array([quad[list(three)] for quad in quads for three in ((0, 1, 2), (0, 2, 3))])
    surfaces, lens = rays.Surfaces(triangles), cameras.Lens(200, 20)
    pose = np.eye(4)
    pose[0, 3] = 1.0
    source, view = rays.Source(surfaces, lens, np.eye(4)), rays.View(surfaces, lens, pose)
    assert view.closed
    assert view.from_behind == 0.0
    assert set(np.unique(view.z.round(6))) == {2.0, 4.0}
    visible = source.visible(view)
    certain = source.certain(view, visible)
    x = view.points[:, 0].reshape(view.z.shape)
    pixel = 4.0 / lens.focal
    wall, inside = view.z == 4.0, np.abs(x) < view.z * (lens.width / 2 / lens.focal)
    near_edge = np.abs(np.abs(x) - 0.4) < 1e-6
    assert (visible == (inside & (~wall | (np.abs(x) > 0.4))))[~near_edge].all()
    unsure = wall & (x > -1.4) & (x < 0.4)
    border = np.abs(x + 1.4) < pixel  # where it is decided at the pole's edge, between two tests
    assert (certain == (visible & ~unsure))[~border].all()
    assert (visible & ~certain).sum() >= 200


def test_a_seed_makes_one_set_and_another_seed_another(tmp_path, read):
    words = ("--size", "24x24", "--scenes", "street", "--moves", "90", "--frames", 2, "--samples", 1)
    seeds = {"first": 8, "again": 8, "other": 9}
    with ThreadPoolExecutor() as several:
        made = several.map(lambda name: _make(tmp_path / name, *words, "--seed", seeds[name]), seeds)
        first, again, other = made
    files = sorted(f.relative_to(first) for f in first.rglob("*") if f.is_file())
    assert [f for f in files if (first / f).read_bytes() != (again / f).read_bytes()] == []
    for kind in ("source/0001.png", "depth/0001.exr", "moves/90/depth/0002.exr"):
        assert (read(first / "street" / kind) != read(other / "street" / kind)).mean() > 0.5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--size", "64"), "WIDTHxHEIGHT"),
        (("--scenes", "figure,beach"), "no 'beach'"),
        (("--moves", "45"), "no '45'"),
        (("--frames", "0"), "at least 1"),
    ],
)
def test_wrong_wishes_are_refused(tmp_path, words, said):
    done = _run("--out", tmp_path / "set", *words)
    assert done.returncode == 2
    assert said in done.stderr
    assert not (tmp_path / "set").exists()


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    done = _run("--out", tmp_path)
    assert done.returncode == 2
    assert "not an empty folder" in done.stderr
    assert [f.name for f in tmp_path.iterdir()] == ["notes.txt"]
