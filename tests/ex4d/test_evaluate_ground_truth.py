# SPDX-License-Identifier: Apache-2.0
"""Ground-truth sets: read as they were written, and refused with the file's name where they are broken."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ground_truth_maker import FRAMES, MOVE, SIDE, STEP, path, view, write_set

from ex4d.cameras import save_path
from ex4d.evaluate.ground_truth import load_move_truth, load_scene_truth, load_set
from ex4d.images import write_exr, write_png
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, NOT_FOUND, SIZE_MISMATCH, Ex4dError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_set(tmp_path / "set", ("boards", "others"))


def test_a_set_is_read_as_it_was_written(folder: Path) -> None:
    truth = load_set(folder)
    assert truth.scenes == ("boards", "others")
    assert (truth.width, truth.height, truth.frames, truth.seed) == (SIDE, SIDE, FRAMES, 5)
    assert truth.moves("boards") == (MOVE,)
    scene, move = load_scene_truth(truth, "boards"), load_move_truth(truth, "boards", MOVE)
    for t in range(FRAMES):
        source, z, _, _ = view(0.0)
        np.testing.assert_array_equal(scene.colour[t], source)
        np.testing.assert_array_equal(scene.depth[t], z.astype(np.float32))
        colour, z, visible, certain = view(STEP * t)
        np.testing.assert_array_equal(move.colour[t], colour)
        np.testing.assert_array_equal(move.depth[t], z.astype(np.float32))
        np.testing.assert_array_equal(move.visible[t], visible)
        np.testing.assert_array_equal(move.certain[t], certain)
    np.testing.assert_array_equal(move.camera.world_from_camera, path(STEP).world_from_camera)
    assert (move.visible & ~move.certain).any()


def test_scenes_and_moves_are_chosen_by_name(folder: Path) -> None:
    (folder / "boards" / "moves" / "zoom_out").mkdir()
    (folder / "boards" / "moves" / "30").mkdir()
    truth = load_set(folder)
    assert truth.choose([], []) == [("boards", ("30", "zoom_out", MOVE)), ("others", (MOVE,))]
    assert truth.choose(["others"], []) == [("others", (MOVE,))]
    assert truth.choose(["boards"], [MOVE, "30"]) == [("boards", (MOVE, "30"))]
    with pytest.raises(Ex4dError, match=r"no scene 'house'.*boards, others") as unknown:
        truth.choose(["house"], [])
    assert unknown.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match=r"Scene 'others'.*no move '30'.*" + MOVE) as unknown:
        truth.choose([], ["30"])
    assert unknown.value.code == BAD_INPUT


def test_no_set_is_said(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(Ex4dError, match=r"no ground-truth set in .*set.json") as caught:
            load_set(place)
        assert caught.value.code == NOT_FOUND
        assert "scripts/ground_truth_scenes.py" in caught.value.hint


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.update(version=2),
        lambda value: value.pop("frames"),
        lambda value: value.update(frames=0),
        lambda value: value.update(width="wide"),
        lambda value: value.update(scenes=[]),
        lambda value: value.update(scenes=["../elsewhere"]),
        lambda value: value.update(scenes=None),
        lambda value: value.update(width=6),
    ],
)
def test_a_description_that_cannot_be_used_is_refused(folder: Path, change: Callable[[dict], object]) -> None:
    value = json.loads((folder / "set.json").read_text())
    change(value)
    (folder / "set.json").write_text(json.dumps(value))
    with pytest.raises(Ex4dError) as caught:
        load_set(folder)
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint


@pytest.mark.parametrize("text", ["", "{", "[]", "5", '"set"'])
def test_a_description_that_is_none_is_refused(folder: Path, text: str) -> None:
    (folder / "set.json").write_text(text)
    with pytest.raises(Ex4dError, match="does not describe") as caught:
        load_set(folder)
    assert caught.value.code == BAD_INPUT


def test_a_scene_without_moves_is_said(folder: Path) -> None:
    (folder / "others" / "moves").rename(folder / "gone")
    with pytest.raises(Ex4dError, match=r"Scene 'others' .*no moves") as caught:
        load_set(folder).choose([], [])
    assert caught.value.code == NOT_FOUND


PLACE = f"boards/moves/{MOVE}"
FILES = [
    "boards/camera.json",
    "boards/source/0002.png",
    "boards/depth/0003.exr",
    f"{PLACE}/camera.json",
    f"{PLACE}/colour/0001.png",
    f"{PLACE}/depth/0002.exr",
    f"{PLACE}/visible/0003.png",
    f"{PLACE}/certain/0002.png",
]


def load_all(folder: Path) -> None:
    truth = load_set(folder)
    load_scene_truth(truth, "boards")
    load_move_truth(truth, "boards", MOVE)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(Ex4dError, match=name) as caught:
        load_all(folder)
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize("name", FILES)
def test_a_broken_file_is_named(folder: Path, name: str) -> None:
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[: len(data) // 2])
    with pytest.raises(Ex4dError, match=name) as caught:
        load_all(folder)
    assert caught.value.code == (BAD_INPUT if name.endswith(".json") else NOT_A_CLIP)


@pytest.mark.parametrize("name", FILES)
def test_a_file_of_another_size_is_named(folder: Path, name: str) -> None:
    file = folder / name
    small = np.ones((SIDE - 1, SIDE), np.float32)
    if file.suffix == ".exr":
        write_exr(file, {"Z": small})
    elif file.suffix == ".png":
        grey = file.parent.name in ("visible", "certain")
        write_png(file, np.zeros(small.shape if grey else (*small.shape, 3), np.uint8))
    else:
        other = path(0.0)
        save_path(file, type(other)(other.world_from_camera[1:], other.intrinsics[1:], SIDE, SIDE, other.fps))
    with pytest.raises(Ex4dError, match=name) as caught:
        load_all(folder)
    assert caught.value.code == SIZE_MISMATCH


@pytest.mark.parametrize("value", [0.0, -1.0, np.nan, np.inf])
def test_source_depth_that_is_no_depth_is_refused(folder: Path, value: float) -> None:
    z = np.ones((SIDE, SIDE), np.float32)
    z[3, 4] = value
    write_exr(folder / "boards/depth/0002.exr", {"Z": z})
    with pytest.raises(Ex4dError, match=r"boards/depth/0002.exr has depth that is not") as caught:
        load_all(folder)
    assert caught.value.code == BAD_INPUT


def test_depth_under_another_name_is_refused(folder: Path) -> None:
    write_exr(folder / "boards/depth/0001.exr", {"V": np.ones((SIDE, SIDE), np.float32)})
    with pytest.raises(Ex4dError, match=r"0001.exr has no channel Z"):
        load_all(folder)


def test_certain_pixels_must_be_visible(folder: Path) -> None:
    write_png(folder / PLACE / "certain" / "0002.png", np.full((SIDE, SIDE), 255, np.uint8))
    with pytest.raises(Ex4dError, match=r"certain/0002.png has pixels that are not visible") as caught:
        load_all(folder)
    assert caught.value.code == BAD_INPUT


def test_a_source_camera_of_another_picture_is_refused(folder: Path) -> None:
    value = json.loads((folder / "boards/camera.json").read_text())
    value["width"] = SIDE + 1
    (folder / "boards/camera.json").write_text(json.dumps(value))
    with pytest.raises(Ex4dError, match=f"boards/camera.json is of {SIDE + 1}x{SIDE} pixels") as caught:
        load_all(folder)
    assert caught.value.code == SIZE_MISMATCH
