# SPDX-License-Identifier: Apache-2.0
"""Camera paths: preset moves, what is refused, files."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_cases import pose, small_scene

from ex4d.cameras import (
    camera_from_world,
    check_path,
    intrinsics_at,
    load_path,
    preset_path,
    save_path,
    static_source,
)
from ex4d.values import CameraPath, Intrinsics
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError
from shared_protocol.moves import MOVES

LENS = Intrinsics(640, 360, 625.0, 625.0, 320.0, 180.0)
FPS = Fraction(60000, 1001)


def some_path(frames: int = 3) -> CameraPath:
    poses = np.stack([pose((0.1 * k, -0.2, 1.0 / 3.0), (0.1, 0.2 * k, -0.3)) for k in range(frames)])
    lens = np.array([[600.0 + k, 601.0 + k / 7.0, 320.25, 180.0] for k in range(frames)])
    return CameraPath(poses, lens, 640, 360, FPS)


@pytest.mark.parametrize("move", MOVES)
@pytest.mark.parametrize("frames", [1, 2, 7, 49, 120])
def test_a_preset_starts_at_the_source_camera_and_looks_at_the_pivot(move: str, frames: int) -> None:
    path = preset_path(move, frames, 3.0, LENS, FPS)
    assert path.world_from_camera.shape == (frames, 4, 4)
    np.testing.assert_allclose(path.world_from_camera[0], np.eye(4), atol=1e-12)
    pivot = np.array([0.0, 0.0, 3.0, 1.0])
    seen = camera_from_world(path.world_from_camera) @ pivot
    np.testing.assert_allclose(seen[:, :2], 0.0, atol=1e-12)
    assert (seen[:, 2] > 0.0).all()
    assert (path.width, path.height, path.fps) == (640, 360, FPS)
    assert intrinsics_at(path, frames - 1) == LENS


@pytest.mark.parametrize(("move", "degrees"), [("30", 30.0), ("60", 60.0), ("90", 90.0)])
@pytest.mark.parametrize("frames", [2, 25, 49, 81])
def test_an_arc_ends_at_the_same_place_whatever_the_frame_count(move: str, degrees: float, frames: int) -> None:
    last = preset_path(move, frames, 2.0, LENS, FPS).world_from_camera[-1]
    lift = 1.0 - math.cos(math.radians(degrees))
    expected = [2.0 * math.sin(math.radians(degrees)), -0.4 * lift, 2.0 * lift]
    np.testing.assert_allclose(last[:3, 3], expected, atol=1e-12)
    assert last[0, 3] > 0.0  # to the right
    assert last[0, 2] < 0.0  # looking left, back to the pivot


def test_180_swings_to_both_sides_and_comes_back() -> None:
    eyes = preset_path("180", 49, 2.0, LENS, FPS).world_from_camera[:, :3, 3]
    assert eyes[12, 0] == pytest.approx(2.0)
    assert eyes[36, 0] == pytest.approx(-2.0)
    np.testing.assert_allclose(eyes[-1], 0.0, atol=1e-12)


def test_180_is_the_path_of_the_public_example(reference: Callable[[str], Path]) -> None:
    # Its saved rows are right, up, backward of the camera; ours right, down, forward.
    file = reference("flower/camera_180.npz")
    with np.load(file) as arrays:
        saved, matrix = arrays["extrinsics"].astype(np.float64), arrays["intrinsics"]
    ours = preset_path("180", 49, 2.7401087, Intrinsics(512, 512, 500, 500, 256, 256), Fraction(30))
    ours_saved = np.diag([1.0, -1.0, -1.0, 1.0]) @ camera_from_world(ours.world_from_camera)
    np.testing.assert_allclose(saved, ours_saved, atol=5e-7)
    read = load_path(file)
    np.testing.assert_allclose(read.world_from_camera, ours.world_from_camera, atol=2e-6)
    np.testing.assert_array_equal(read.intrinsics, ours.intrinsics)
    assert (read.width, read.height, read.fps) == (512, 512, Fraction(30))
    assert matrix.tolist() == [[500, 0, 256], [0, 500, 256], [0, 0, 1]]


@pytest.mark.parametrize(
    ("move", "frames", "pivot", "message"),
    [
        ("45", 3, 2.0, "'45'.*30, 60, 90, 180, zoom_in, zoom_out"),
        ("60", 0, 2.0, "at least one frame"),
        ("60", 3, 0.0, "pivot"),
        ("60", 3, float("nan"), "pivot"),
    ],
)
def test_a_move_that_cannot_be_made_is_refused(move: str, frames: int, pivot: float, message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        preset_path(move, frames, pivot, LENS, FPS)
    assert caught.value.code == BAD_INPUT


numbers = st.floats(-3.0, 3.0)


@given(eye=st.tuples(numbers, numbers, numbers), turn=st.tuples(numbers, numbers, numbers))
@settings(max_examples=60, deadline=None)
def test_inverse_of_a_pose_undoes_it_and_every_rigid_pose_is_accepted(
    eye: tuple[float, float, float], turn: tuple[float, float, float]
) -> None:
    matrix = pose(eye, turn)
    np.testing.assert_allclose(camera_from_world(matrix) @ matrix, np.eye(4), atol=1e-9)
    rounded = matrix.astype(np.float32).astype(np.float64)  # as another program may hand it over
    check_path(CameraPath(rounded[None], np.array([[500.0, 500.0, 1.0, 2.0]]), 4, 4, FPS))


def spoiled(poses: object = None, lens: object = None, **other: object) -> CameraPath:
    path = some_path()
    matrices, lenses = path.world_from_camera.copy(), path.intrinsics.copy()
    if poses is not None:
        matrices[1] = poses
    if lens is not None:
        lenses[1] = lens
    return dataclasses.replace(path, world_from_camera=matrices, intrinsics=lenses, **other)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        (spoiled(poses=np.full((4, 4), np.nan)), "frame 2.*not a number"),
        (spoiled(poses=np.diag([1.0, 1.0, np.inf, 1.0])), "frame 2.*not a number"),
        (spoiled(poses=np.diag([2.0, 2.0, 2.0, 1.0])), "frame 2.*scaled"),
        (spoiled(poses=np.diag([1.0, 1.0, 0.9, 1.0])), "frame 2.*scaled"),
        (spoiled(poses=np.diag([-1.0, 1.0, 1.0, 1.0])), "frame 2.*mirrors"),
        (spoiled(poses=np.diag([1.0, 1.0, 1.0, 2.0])), "frame 2.*last row"),
        (spoiled(lens=[0.0, 500.0, 1.0, 1.0]), "frame 2.*focal"),
        (spoiled(lens=[500.0, -500.0, 1.0, 1.0]), "frame 2.*focal"),
        (spoiled(lens=[500.0, 500.0, np.nan, 1.0]), "frame 2.*lens"),
        (spoiled(width=0), "0x360"),
        (spoiled(height=20000), "640x20000"),
        (spoiled(fps=Fraction(0)), "0 frames per second"),
        (CameraPath(np.eye(4)[None], np.ones((2, 4)), 4, 4, FPS), "shape"),
        (CameraPath(np.zeros((0, 4, 4)), np.zeros((0, 4)), 4, 4, FPS), "no frames"),
    ],
)
def test_a_path_that_cannot_be_rendered_is_refused_with_frame_and_fact(path: CameraPath, message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        check_path(path)
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize("ending", [".json", ".npz"])
def test_a_path_comes_back_bit_for_bit(tmp_path: Path, ending: str) -> None:
    path = some_path()
    file = tmp_path / f"camera{ending}"
    save_path(file, path)
    got = load_path(file)
    np.testing.assert_array_equal(got.world_from_camera, path.world_from_camera)
    np.testing.assert_array_equal(got.intrinsics, path.intrinsics)
    assert (got.width, got.height, got.fps) == (path.width, path.height, path.fps)
    assert got.world_from_camera.dtype == np.float64
    assert list(tmp_path.iterdir()) == [file]


def test_the_json_is_laid_out_for_other_programs(tmp_path: Path) -> None:
    save_path(tmp_path / "camera.json", some_path(1))
    value = json.loads((tmp_path / "camera.json").read_text())
    assert set(value) == {"width", "height", "fps", "frames"}
    assert value["fps"] == [60000, 1001]
    assert set(value["frames"][0]) == {"world_from_camera", "fx", "fy", "cx", "cy"}
    assert np.shape(value["frames"][0]["world_from_camera"]) == (4, 4)


def test_the_npz_also_has_the_arrays_that_the_public_code_writes(tmp_path: Path) -> None:
    path = some_path()
    save_path(tmp_path / "camera_60.npz", path)
    with np.load(tmp_path / "camera_60.npz", allow_pickle=False) as arrays:
        assert arrays["extrinsics"].dtype == arrays["intrinsics"].dtype == np.float32
        np.testing.assert_allclose(
            arrays["extrinsics"] @ path.world_from_camera, np.tile(np.eye(4), (3, 1, 1)), atol=1e-6
        )
        np.testing.assert_allclose(arrays["intrinsics"], [[600, 0, 320.25], [0, 601, 180], [0, 0, 1]])


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.json", b"not json"),
        ("a.json", b"[]"),
        ("a.json", b'{"frames": 3, "width": 4, "height": 4, "fps": [1, 1]}'),
        ("a.json", b'{"frames": [{"world_from_camera": 5}], "width": 4, "height": 4, "fps": [1, 1]}'),
        ("a.json", b'{"frames": [], "width": 4, "height": 4, "fps": [1, 1]}'),
        ("a.json", b"\xff\xfe\x00"),
        ("a.npz", b"PK\x03\x04 broken"),
        ("a.npz", b""),
        ("a.npz", b"\x80\x04K\x01."),  # a pickle
    ],
)
def test_a_file_that_is_no_camera_path_is_refused_in_one_line(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(Ex4dError) as caught:
        load_path(tmp_path / name)
    assert caught.value.code == BAD_INPUT
    assert "\n" not in str(caught.value)


def test_zero_in_the_rate_is_refused(tmp_path: Path) -> None:
    save_path(tmp_path / "a.json", some_path(1))
    (tmp_path / "a.json").write_text((tmp_path / "a.json").read_text().replace("1001", "0"))
    with pytest.raises(Ex4dError):
        load_path(tmp_path / "a.json")


def test_a_missing_file_and_another_ending_are_named(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"no file .*gone\.json") as caught:
        load_path(tmp_path / "gone.json")
    assert caught.value.code == NOT_FOUND
    with pytest.raises(Ex4dError, match=r"\.json or \.npz"):
        save_path(tmp_path / "camera.txt", some_path())
    assert not list(tmp_path.iterdir())


def test_damaged_files_are_named_whatever_the_damage(tmp_path: Path) -> None:
    whole = tmp_path / "whole.npz"
    save_path(whole, some_path())
    data = bytearray(whole.read_bytes())
    deep = tmp_path / "deep.json"
    deep.write_text("[" * 200_000)
    damaged = [deep]
    for position in range(0, len(data), 23):  # archive headers, array headers, compressed numbers
        broken = bytearray(data)
        broken[position : position + 8] = bytes(byte ^ 0x5A for byte in broken[position : position + 8])
        damaged.append(tmp_path / f"{position}.npz")
        damaged[-1].write_bytes(broken)
    codes = []
    for path in damaged:
        try:
            load_path(path)  # damage that no reader looks at may go unseen
        except Ex4dError as error:
            codes.append(error.code)
    assert len(codes) > len(damaged) // 2
    assert set(codes) == {BAD_INPUT}


def test_static_source_follows_the_clip_and_holds_its_last_frame() -> None:
    scene = small_scene(frames=3)
    source = static_source(scene, 5)
    assert source.frame.tolist() == [0, 1, 2, 2, 2]
    assert source.frame.dtype == np.int32
    assert set(source.focal) == {scene.intrinsics.fx}
    assert set(source.disparity_scale) == {1.0}
    assert set(source.disparity_shift) == {0.0}
    with pytest.raises(Ex4dError, match="at least one frame"):
        static_source(scene, 0)
