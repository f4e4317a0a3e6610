# SPDX-License-Identifier: Apache-2.0
"""The rasterizer against one that is slow and obviously right, and where pixels meet edges and corners exactly."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import brute_force, lifted, pose, smooth_depth, stepped_depth

from ex4d.doors import choose
from ex4d.mesh import faces, vertices
from ex4d.render import RASTERIZERS, compiled
from ex4d.render.clip_space import projection, to_clip
from ex4d.values import F64, Intrinsics
from shared_protocol.errors import Ex4dError

visible = RASTERIZERS["numba"].visible


def random_soup(seed: int, triangles: int, near: float = 0.01) -> tuple[F64, np.ndarray]:
    """Triangles all around the camera: before it, behind it, through its plane, large and small."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(loc=[0.0, 0.0, 1.5], scale=2.0, size=(triangles, 1, 3))
    size = 10.0 ** rng.uniform(-1.5, 0.7, size=(triangles, 1, 1))
    points = (centres + rng.normal(size=(triangles, 3, 3)) * size).reshape(-1, 3)
    camera = Intrinsics(41, 29, 30.0, 34.0, 19.0, 15.5)
    return to_clip(points, np.eye(4), camera, near), np.arange(3 * triangles, dtype=np.int32).reshape(-1, 3)


@pytest.mark.parametrize("near", [0.01, 1.0])
@pytest.mark.parametrize("seed", range(6))
def test_agrees_with_brute_force_on_triangles_all_around_the_camera(seed: int, near: float) -> None:
    position, triangles = random_soup(seed, 60, near)
    crossing = (position[triangles, 3] > near).any(axis=1) & (position[triangles, 3] < near).any(axis=1)
    assert crossing.sum() > 5
    expected, clear, _ = brute_force(position, triangles, (29, 41))
    got = visible(position, triangles, (29, 41))
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(got[clear], expected[clear])
    assert got.dtype == np.int32
    assert (expected > 0).mean() > 0.2


def test_what_a_projection_puts_behind_its_far_plane_is_cut_off() -> None:
    near, far = 0.5, 3.0
    position, triangles = random_soup(3, 60)
    position[:, 2] = ((far + near) * position[:, 3] - 2.0 * far * near) / (far - near)
    expected, clear, _ = brute_force(position, triangles, (29, 41))
    got = visible(position, triangles, (29, 41))
    np.testing.assert_array_equal(got[clear], expected[clear])
    crossing = (position[triangles, 3] > far).any(axis=1) & (position[triangles, 3] < far).any(axis=1)
    assert crossing[np.unique(got[got > 0]) - 1].any()


@pytest.mark.parametrize("angle", [0.6, 1.2, 1.6, 2.5])
def test_agrees_with_brute_force_on_a_mesh_that_reaches_behind_the_camera(angle: float) -> None:
    mesh = lifted(stepped_depth(10, 14, seed=2))
    camera = Intrinsics(48, 31, 30.0, 30.0, 24.0, 15.0)
    position = to_clip(vertices(mesh), pose((1.0, -0.3, 2.4), (0.1, -angle, 0.05)), camera, 1e-3)
    expected, clear, _ = brute_force(position, faces(10, 14), (31, 48))
    got = visible(position, faces(10, 14), (31, 48))
    np.testing.assert_array_equal(got[clear], expected[clear])
    assert (position[:, 3] < 0.0).any()


def times_covered(position: F64, triangles: np.ndarray, resolution: tuple[int, int]) -> np.ndarray:
    return sum((visible(position, triangles[k : k + 1], resolution) > 0).astype(int) for k in range(len(triangles)))


@pytest.mark.parametrize(("height", "width"), [(6, 9), (9, 5)])
@pytest.mark.parametrize("shift", [0.0, 0.5, 0.25])
def test_pixels_on_corners_and_edges_belong_to_exactly_one_triangle(height: int, width: int, shift: float) -> None:
    mesh = lifted(stepped_depth(height, width), focal=8.0)
    k = mesh.intrinsics
    moved = Intrinsics(width, height, k.fx, k.fy, k.cx + shift, k.cy + shift)
    grid = faces(height, width)[:-2]  # without the back
    cover = times_covered(to_clip(vertices(mesh), np.eye(4), moved, 1e-3), grid, (height, width))
    inside = (slice(1, None), slice(1, None)) if shift == 0.5 else (slice(None), slice(None))
    assert (cover[inside] == 1).all()


@pytest.mark.parametrize("size", [(37, 61), (64, 48), (101, 33)])
def test_no_holes_where_every_pixel_lies_on_a_corner(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(1)
    mesh = lifted(rng.uniform(1.0, 9.0, size).astype(np.float32), focal=33.3)
    position = to_clip(vertices(mesh), np.eye(4), mesh.intrinsics, 1e-3)
    ids = visible(position, faces(*size)[:-2], size)
    assert (ids > 0).all()
    # The face that is seen touches the pixel's own vertex.
    rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
    own = (rows + 2) * (size[1] + 4) + columns + 2
    assert (faces(*size)[ids - 1] == own[..., None]).any(axis=-1).all()


def test_a_tie_goes_to_the_lower_index() -> None:
    position = to_clip(np.array([[-9.0, -9, 2], [9, -9, 2], [0, 9, 2]]), np.eye(4), Intrinsics(8, 8, 4, 4, 4, 4), 0.01)
    triangles = np.array([[0, 1, 2], [0, 1, 2], [2, 1, 0]], np.int32)
    assert set(np.unique(visible(position, triangles, (8, 8)))) <= {0, 1}
    assert set(np.unique(visible(position, triangles[::-1].copy(), (8, 8)))) <= {0, 1}


def test_faces_are_seen_from_both_sides() -> None:
    points = np.array([[-9.0, -9, 2], [9, -9, 2], [0, 9, 2]])
    position = to_clip(points, np.eye(4), Intrinsics(8, 8, 4, 4, 4, 4), 0.01)
    there = visible(position, np.array([[0, 1, 2]], np.int32), (8, 8))
    back = visible(position, np.array([[0, 2, 1]], np.int32), (8, 8))
    np.testing.assert_array_equal(there, back)
    assert there.any()


@pytest.mark.parametrize(
    "points",
    [
        [[0.0, 0.0, 2.0]] * 3,  # a point, exactly on a pixel
        [[0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [2.0, 0.0, 2.0]],  # a line through pixels
        [[0.0, 0.0, 0.0], [1.0, 1.0, 0.0], [-1.0, 0.0, 0.0]],  # in the camera's plane
        [[-9.0, -9.0, -2.0], [9.0, -9.0, -2.0], [0.0, 9.0, -2.0]],  # behind
        [[-9.0, -9.0, 0.005], [9.0, -9.0, 0.005], [0.0, 9.0, 0.005]],  # before the near plane
    ],
)
def test_what_has_no_area_or_is_not_before_the_near_plane_covers_nothing(points: list[list[float]]) -> None:
    camera = Intrinsics(9, 9, 4, 4, 4.5, 4.5)
    position = to_clip(np.array(points), np.eye(4), camera, 0.01)
    assert not visible(position, np.array([[0, 1, 2]], np.int32), (9, 9)).any()


def test_no_faces_and_one_pixel_work() -> None:
    position, triangles = random_soup(0, 20)
    assert not visible(position, triangles[:0], (5, 7)).any()
    assert visible(position, triangles, (1, 1)).shape == (1, 1)


def test_the_near_plane_cuts_where_it_stands() -> None:
    # A floor from behind the camera to the horizon: rows below a certain one look at what is nearer than `near`.
    floor = np.array([[-50.0, 1, -5], [50, 1, -5], [50, 1, 200], [-50, 1, 200]])
    camera = Intrinsics(4, 40, 10.0, 10.0, 2.0, 20.0)
    ids = visible(to_clip(floor, np.eye(4), camera, 1.0), np.array([[0, 1, 2], [0, 2, 3]], np.int32), (40, 4))
    rows = np.flatnonzero(ids[:, 0])
    # At row r the floor is at depth 10 / (r + 0.5 - 20): nearer than 1 from row 30 on, further than 200 above row 20.
    assert rows.tolist() == list(range(20, 30))


def test_the_same_picture_with_any_number_of_threads_and_called_from_several_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mesh = lifted(stepped_depth(60, 80))
    position = to_clip(vertices(mesh), pose((1.0, 0.2, 0.5), (0.0, -0.4, 0.0)), mesh.intrinsics, 1e-3)
    expected = visible(position, faces(60, 80), (60, 80))
    with ThreadPoolExecutor(6) as pool:
        for got in pool.map(lambda _: visible(position, faces(60, 80), (60, 80)), range(12)):
            np.testing.assert_array_equal(got, expected)
    monkeypatch.setattr("ex4d.render.raster_numba.threads", lambda: 7)
    np.testing.assert_array_equal(visible(position, faces(60, 80), (60, 80)), expected)
    monkeypatch.setattr("ex4d.render.raster_numba.threads", lambda: 1)
    np.testing.assert_array_equal(visible(position, faces(60, 80), (60, 80)), expected)


def test_work_within_work_does_not_wait_for_itself() -> None:
    done: list[tuple[int, int]] = []

    def outer(start: int, stop: int) -> None:
        compiled.in_parallel(lambda a, b: done.append((start + a, start + b)), stop - start, 2)

    compiled.in_parallel(outer, 64, 16)
    assert sorted(done) == [(2 * k, 2 * k + 2) for k in range(32)]


def test_projection_puts_the_pictures_corners_at_plus_and_minus_one() -> None:
    camera = Intrinsics(64, 48, 50.0, 60.0, 30.0, 20.0)
    depth = 7.0
    corners = np.array(
        [[(u - 30.0) / 50.0 * depth, (v - 20.0) / 60.0 * depth, depth, 1.0] for u, v in ((0, 0), (64, 48), (30, 20))]
    )
    clip = corners @ projection(camera, 0.5).T
    ndc = clip[:, :3] / clip[:, 3:]
    np.testing.assert_allclose(ndc[:, :2], [[-1, -1], [1, 1], [30 / 32 - 1, 20 / 24 - 1]], atol=1e-12)
    np.testing.assert_allclose(ndc[:, 2], 1.0 - 2.0 * 0.5 / depth)
    at_near = projection(camera, 0.5) @ [0.0, 0.0, 0.5, 1.0]
    assert at_near[2] == pytest.approx(-at_near[3])


def test_code_that_cannot_be_kept_on_disk_is_compiled_anyway(caplog: pytest.LogCaptureFixture) -> None:
    names: dict[str, object] = {}
    exec(compile("def twice(x):\n    return 2 * x\n", "<nowhere>", "exec"), names)  # noqa: S102
    with caplog.at_level("INFO"):
        twice = compiled.compiled(names["twice"])  # type: ignore[arg-type]
    assert twice(21) == 42
    assert "not kept" in caplog.text


def test_the_table_tells_what_an_artist_must_know() -> None:
    door = choose(RASTERIZERS, "numba", "rasterizer")
    assert door.available() == (True, "")
    assert (door.licence, door.commercial_use) == ("Apache-2.0", True)
    with pytest.raises(Ex4dError, match="rasterizer called 'voxels'"):
        choose(RASTERIZERS, "voxels", "rasterizer")


def test_smooth_mesh_from_aside_shows_a_surface_without_pinholes() -> None:
    mesh = lifted(smooth_depth(90, 120))
    # Close enough that the wall fills the view.
    position = to_clip(vertices(mesh), pose((0.4, 0.1, 2.1), (0.0, -0.2, 0.3)), mesh.intrinsics, 1e-3)
    ids = visible(position, faces(90, 120), (211, 173))
    assert (ids > 0).all()
    assert mesh.valid.reshape(-1)[ids - 1].all()


def read_safetensors(file: Path) -> dict[str, np.ndarray]:
    kinds = {"F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64, "U8": np.uint8}
    data = file.read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    out = {}
    for name, entry in header.items():
        start, end = entry["data_offsets"]
        values = np.frombuffer(data[8 + size + start : 8 + size + end], kinds[entry["dtype"]])
        out[name] = values.reshape(entry["shape"])
    return out


@pytest.mark.parametrize("cam", ["30", "60", "90", "180"])
def test_the_public_codes_mesh_gives_the_reference_pictures(reference: Callable[[str], Path], cam: str) -> None:
    golden = read_safetensors(reference("golden/dw_mesh.safetensors"))
    for frame, expected in zip(golden["selected_float_frames"], golden[f"cam{cam}.ref_rgba_float"], strict=True):
        source = int(golden["source_of_frame"][frame])
        points = np.concatenate([golden["vertices"][source], np.ones((3072, 1))], axis=1)
        position = points @ golden[f"cam{cam}.mvp"][frame].astype(np.float64).T
        ids = visible(position, golden["faces"], (48, 64))
        corners = golden["faces"][ids - 1]
        homogeneous = np.stack(
            [(position[:, 0] + position[:, 3]) * 32, (position[:, 1] + position[:, 3]) * 24, position[:, 3]], axis=1
        )[corners]  # [48, 64, 3 corners, 3]
        rows, columns = np.mgrid[0:48, 0:64]
        pixel = np.stack([columns + 0.5, rows + 0.5, np.ones((48, 64))], axis=-1)
        weights = np.linalg.solve(np.swapaxes(homogeneous, -1, -2), pixel[..., None])[..., 0]
        weights /= weights.sum(axis=-1, keepdims=True)
        rgba = np.einsum("hwk,hwkc->hwc", weights, golden["angle.rgba"][source][corners].astype(np.float64))
        rgba[ids == 0] = 0.0
        close = np.abs(rgba - expected * (255.0 if expected.max() <= 1.0 else 1.0)).max(axis=-1) < 0.5
        assert close.mean() >= 0.9995
