# SPDX-License-Identifier: GPL-3.0-or-later
"""Fixtures of the tests that run in Blender's own Python (`.venv-blender`).

The engine lives in another environment; what it says is fetched from a process of it (`engine_side.py`).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import bpy
import mathutils.kdtree
import numpy as np
import pytest

from .bench import Bench, end_backend, write_clip

ROOT = Path(__file__).resolve().parents[2]
if str(ROOT) not in sys.path:
    sys.path.insert(0, str(ROOT))

Arrays = dict[str, np.ndarray]


@pytest.fixture(autouse=True)
def empty_file() -> Iterator[None]:
    """Each test starts from an empty file, and leaves none of its own behind."""
    bpy.ops.wm.read_homefile(use_empty=True)
    yield
    bpy.ops.wm.read_homefile(use_empty=True)


@pytest.fixture
def scene() -> bpy.types.Scene:
    """The scene of the empty file."""
    return bpy.context.scene


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    """The extension, switched on in a saved file, with a backend to start. Both are gone afterwards."""
    import addon_utils  # there once bpy was imported

    assert addon_utils.enable("blender_addon", default_set=True) is not None
    bench = Bench(tmp_path)
    yield bench
    addon_utils.disable("blender_addon", default_set=True)
    end_backend(bench.connection_file)


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """First picture of a sequence of 8 frames of 64x48, a box that moves before a wall; `depth.npz` lies beside it."""
    return write_clip(tmp_path_factory.mktemp("clip"), 64, 48, 8)


@pytest.fixture(scope="session")
def engine() -> Callable[..., Arrays]:
    """Asks the engine, in its own environment: `engine("make", folder, {...})` returns the arrays it answers with."""
    python = Path(os.environ.get("EX4D_ENGINE_PYTHON", ROOT / ".venv" / "bin" / "python"))
    if not python.exists():
        pytest.skip(f"no environment of the engine at {python} (set EX4D_ENGINE_PYTHON)")

    def ask(command: str, folder: Path, request: dict[str, Any]) -> Arrays:
        answer = folder / f"answer_{command}.npz"
        done = subprocess.run(
            [python, Path(__file__).with_name("engine_side.py"), command, folder, answer],
            input=json.dumps(request),
            capture_output=True,
            text=True,
            timeout=120,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            check=False,
        )
        assert done.returncode == 0, done.stderr
        with np.load(answer) as arrays:
            return {name: arrays[name] for name in arrays.files}

    return ask


@pytest.fixture(scope="session")
def landscape(engine: Callable[..., Arrays], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction of 6 frames of 64x48 with a step that moves, a ramp and waves."""
    folder = tmp_path_factory.mktemp("landscape")
    engine("make", folder, {"width": 64, "height": 48, "frames": 6, "fps": [24, 1]})
    return folder


@pytest.fixture(scope="session")
def portrait(engine: Callable[..., Arrays], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction of 3 frames of 37x53, at 60000/1001 frames a second, with a focal length of its own."""
    folder = tmp_path_factory.mktemp("portrait")
    engine("make", folder, {"width": 37, "height": 53, "frames": 3, "fps": [60000, 1001], "focal": 41.5})
    return folder


@pytest.fixture(scope="session")
def handheld(engine: Callable[..., Arrays], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A reconstruction of 6 frames of 64x48 whose source camera walks, turns, rolls and zooms."""
    folder = tmp_path_factory.mktemp("handheld")
    engine("make", folder, {"width": 64, "height": 48, "frames": 6, "fps": [24, 1], "moving": True})
    return folder


def mesh_arrays(name: str) -> Arrays:
    """An object's evaluated mesh: `position` [V, 3], `faces` [F, 3], `seen` [F], `uv` [F * 3, 2]."""
    bpy.context.view_layer.update()
    mesh = bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get()).data
    position = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", position.ravel())
    faces = np.empty((len(mesh.polygons), 3), np.int32)
    mesh.polygons.foreach_get("vertices", faces.ravel())
    seen = np.empty(len(faces), np.bool_)
    mesh.attributes["seen"].data.foreach_get("value", seen)
    uv = np.empty((len(faces) * 3, 2), np.float32)
    mesh.attributes["UVMap"].data.foreach_get("vector", uv.ravel())
    return {"position": position, "faces": faces, "seen": seen, "uv": uv}


def assert_same_triangles(
    got: Arrays, expected: Arrays, t: int, precision: float | Callable[[np.ndarray], np.ndarray] = 1e-6
) -> None:
    """An evaluated mesh has the engine's triangles, in any order: corners, turning direction, seen or not, texture.

    Args:
        got: of `mesh_arrays`.
        expected: the engine's answer to "mesh".
        t: which of its samples.
        precision: relative to a corner's distance; a function of depth where one number does not fit.
    """
    ours, our_uv = got["position"][got["faces"]].astype(np.float64), got["uv"].reshape(-1, 3, 2)
    theirs, their_uv = expected[f"corners{t}"] * (1.0, -1.0, -1.0), expected[f"uv{t}"]
    assert len(ours) == len(theirs)
    # The back is flat and goes from corner to corner; along which diagonal it is cut makes no difference.
    front, backs = [], []
    for corners, uv in ((ours, our_uv), (theirs, their_uv)):
        back = (np.ptp(uv, axis=1) > 0.99).all(axis=1)
        front.append(~back)
        backs.append(np.unique((corners[back] / np.abs(theirs).max()).round(5).reshape(-1, 3), axis=0))
    assert np.array_equal(*backs)
    assert np.array_equal(*(np.count_nonzero(part) for part in front))
    ours, our_uv, our_seen = (values[front[0]] for values in (ours, our_uv, got["seen"]))
    theirs, their_uv, their_seen = (values[front[1]] for values in (theirs, their_uv, expected[f"seen{t}"]))

    tree = mathutils.kdtree.KDTree(len(theirs))
    for index, centre in enumerate(_told(theirs)):
        tree.insert(centre, index)
    tree.balance()
    partner = np.empty(len(ours), np.int64)
    turned, uv = np.empty_like(ours), np.empty_like(their_uv)
    for k, centre in enumerate(_told(ours)):
        near = np.array([index for _, index, _ in tree.find_n(centre, 12)])
        turns = np.stack([np.roll(theirs[near], -turn, axis=1) for turn in range(3)])
        away = np.abs(turns - ours[k]) / np.linalg.norm(ours[k], axis=1, keepdims=True)
        off = away.max(axis=(2, 3)) + 1e3 * (their_seen[near] != our_seen[k])
        turn, which = np.unravel_index(off.argmin(), off.shape)
        partner[k], turned[k] = near[which], turns[turn, which]
        uv[k] = np.roll(their_uv[near[which]], -turn, axis=0)
    # In the picture's corners the skirt has triangles without area, some of which are the same: any of them will do.
    area = np.linalg.norm(np.cross(turned[:, 1] - turned[:, 0], turned[:, 2] - turned[:, 0]), axis=1)
    real = area > 1e-9 * (turned**2).sum(axis=(1, 2))
    assert len(np.unique(partner[real])) == np.count_nonzero(real) > 0.9 * len(real)
    assert np.array_equal(their_seen[partner], our_seen)
    size = np.linalg.norm(turned, axis=2, keepdims=True)
    allowed = precision(-turned[..., 2:]) if callable(precision) else precision
    assert (np.abs(ours - turned) / size / allowed).max() < 1.0
    assert np.abs(our_uv - uv).max() < 1e-6


def _told(corners: np.ndarray) -> np.ndarray:
    """A place for each triangle that tells it from its neighbours at any distance: direction, and depth in ratios."""
    centre = corners.mean(axis=1)
    return np.concatenate([centre[:, :2] / centre[:, 2:], np.log(-centre[:, 2:])], axis=1)
