# SPDX-License-Identifier: Apache-2.0
"""The public code's mesh: where its vertices lie, which faces it has, what a bad face does to its vertices."""

from __future__ import annotations

import math

import numpy as np
import pytest
from mesh_cases import picture, smooth_depth, stepped_depth

from ex4d.upstream import FILTERS, upstream_faces, upstream_intrinsics, upstream_mesh
from ex4d.upstream.mesh import bad_faces, bordered, ray_directions, upstream_vertices
from ex4d.values import F32, Intrinsics
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError


def test_vertices_project_onto_the_corners_of_the_pixels() -> None:
    lens = Intrinsics(7, 5, 40.0, 44.0, 3.0, 2.5)
    depth = stepped_depth(5, 7)
    points = upstream_vertices(depth, lens)
    assert points.dtype == np.float32
    u = points[:, 0] / points[:, 2] * 40.0 + 3.0
    v = points[:, 1] / points[:, 2] * 44.0 + 2.5
    np.testing.assert_allclose(u.reshape(5, 7), np.tile(np.arange(7.0), (5, 1)), atol=1e-5)
    np.testing.assert_allclose(v.reshape(5, 7), np.tile(np.arange(5.0)[:, None], (1, 7)), atol=1e-5)
    np.testing.assert_array_equal(points[:, 2].reshape(5, 7)[1:-1, 1:-1], depth[1:-1, 1:-1])
    assert ray_directions(lens).shape == (5, 7, 3)


def test_the_guessed_lens_is_500_pixels_whatever_the_size() -> None:
    assert upstream_intrinsics(64, 48) == Intrinsics(64, 48, 500.0, 500.0, 32.0, 24.0)
    assert upstream_intrinsics(1023, 577) == Intrinsics(1023, 577, 500.0, 500.0, 511.5, 288.5)


def test_the_outermost_pixels_are_pushed_away_and_the_depth_given_is_left_alone() -> None:
    depth = smooth_depth(4, 6)
    before = depth.copy()
    got = bordered(np.stack([depth, 2.0 * depth]), 70.0)
    np.testing.assert_array_equal(depth, before)
    inner = np.zeros((4, 6), bool)
    inner[1:3, 1:5] = True
    assert (got[:, ~inner] == 70.0).all()
    np.testing.assert_array_equal(got[1][inner], 2.0 * depth[inner])


def test_faces_of_the_smallest_mesh_and_of_a_larger_one() -> None:
    np.testing.assert_array_equal(upstream_faces(2, 2), [[2, 0, 1], [2, 1, 3], [1, 0, 3], [3, 0, 2]])
    height, width = 4, 6
    expected = [(j * width + i + width, j * width + i, j * width + i + 1) for j in range(3) for i in range(5)]
    expected += [
        (j * width + i + width, j * width + i + 1, j * width + i + width + 1) for j in range(3) for i in range(5)
    ]
    expected += [(5, 0, 23), (23, 0, 18)]
    got = upstream_faces(height, width)
    np.testing.assert_array_equal(got, expected)
    assert got.dtype == np.int32
    assert not got.flags.writeable


def smallest_angle(points: np.ndarray) -> float:
    angles = []
    for k in range(3):
        p, q = points[k - 1] - points[k], points[k - 2] - points[k]
        angles.append(math.degrees(math.acos(np.clip(p @ q / (math.hypot(*p) * math.hypot(*q)), -1.0, 1.0))))
    return min(angles)


def steepness(points: np.ndarray) -> float:
    x, y, z = points.max(axis=0) - points.min(axis=0)
    return float(z / (max(x, y) + 1e-8))


@pytest.mark.parametrize("focal", [30.0, 500.0])
@pytest.mark.parametrize("seed", range(3))
def test_bad_faces_are_those_of_the_definition(seed: int, focal: float) -> None:
    depth = stepped_depth(15, 19, seed) + np.random.default_rng(seed).normal(0.0, 0.02, (15, 19)).astype(np.float32)
    points = upstream_vertices(depth, upstream_intrinsics(19, 15, focal))
    triangles = upstream_faces(15, 19)
    corners = points.astype(np.float64)[triangles]
    angle = np.array([smallest_angle(face) for face in corners])
    steep = np.array([steepness(face) for face in corners])
    for rule, value, bad in (("angle", angle, angle < 2.5), ("boundary", steep, steep > 2.0)):
        clear = np.abs(value - {"angle": 2.5, "boundary": 2.0}[rule]) > 1e-3
        assert clear.mean() > 0.95
        np.testing.assert_array_equal(bad_faces(points, triangles, rule)[clear], bad[clear])
    assert (angle < 2.5).any()
    assert (angle >= 2.5).any()


@pytest.mark.parametrize("rule", FILTERS)
def test_a_face_that_has_shrunk_to_a_point_is_not_bad(rule: str) -> None:
    points: F32 = np.zeros((3, 3), np.float32)
    assert not bad_faces(points, np.array([[0, 1, 2]], np.int32), rule).any()


@pytest.mark.parametrize("rule", FILTERS)
def test_a_bad_face_blacks_out_its_three_vertices_and_no_others(rule: str) -> None:
    depth, rgb = stepped_depth(12, 16, seed=1), picture(12, 16)
    mesh = upstream_mesh(depth, rgb, filter_type=rule)
    bad = bad_faces(mesh.vertices, mesh.faces, rule)
    touched = {int(vertex) for face in mesh.faces[bad] for vertex in face}
    assert 0 < len(touched) < 12 * 16
    for vertex in range(12 * 16):
        expected = [0, 0, 0, 0] if vertex in touched else [*rgb[vertex // 16, vertex % 16], 255]
        assert mesh.rgba[vertex].tolist() == expected
    np.testing.assert_array_equal(mesh.faces, upstream_faces(12, 16))


def test_without_the_watertight_mesh_bad_faces_are_gone_and_colours_stay() -> None:
    depth, rgb = stepped_depth(12, 16, seed=1), picture(12, 16)
    whole = upstream_mesh(depth, rgb)
    mesh = upstream_mesh(depth, rgb, use_dwmesh=False)
    bad = bad_faces(whole.vertices, whole.faces, "angle")
    np.testing.assert_array_equal(mesh.faces, whole.faces[~bad])
    np.testing.assert_array_equal(mesh.rgba[:, :3], rgb.reshape(-1, 3))
    assert (mesh.rgba[:, 3] == 255).all()
    # The public code asks for it in one of its two filters only.
    steep = upstream_mesh(depth, rgb, filter_type="boundary", use_dwmesh=False)
    np.testing.assert_array_equal(steep.rgba, upstream_mesh(depth, rgb, filter_type="boundary").rgba)
    assert len(steep.faces) == len(whole.faces)


def test_lens_and_border_can_be_the_clips_own() -> None:
    depth, rgb = smooth_depth(6, 8), picture(6, 8)
    lens = Intrinsics(8, 6, 20.0, 20.0, 4.5, 3.0)
    mesh = upstream_mesh(depth, rgb, lens, border_depth=9.0)
    np.testing.assert_array_equal(mesh.vertices, upstream_vertices(depth, lens, 9.0))
    assert mesh.vertices[:, 2].max() == 9.0


def test_what_does_not_fit_is_refused() -> None:
    depth, rgb = smooth_depth(6, 8), picture(6, 8)
    for wrong in (
        lambda: upstream_mesh(depth, picture(8, 6)),
        lambda: upstream_mesh(depth, rgb, upstream_intrinsics(6, 8)),
    ):
        with pytest.raises(Ex4dError) as caught:
            wrong()
        assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match=r"no filter called 'jump'.*angle, boundary") as caught:
        upstream_mesh(depth, rgb, filter_type="jump")
    assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match="1x6 pixels has no surface"):
        upstream_mesh(depth[:, :1], rgb[:, :1])
