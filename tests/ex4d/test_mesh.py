# SPDX-License-Identifier: Apache-2.0
"""The depth watertight mesh: where its vertices lie, that it is closed, and what counts as a gap."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_cases import brute_force, lifted, pose, smooth_depth, stepped_depth, towards

from ex4d.mesh import (
    adjust_depth,
    default_intrinsics,
    face_valid,
    faces,
    far_depth,
    lift,
    ray_positions,
    vertices,
)
from ex4d.render.clip_space import to_clip
from ex4d.values import DWMesh, Intrinsics
from shared_protocol.errors import Ex4dError

SIZES = [(6, 9), (9, 6), (1, 1), (1, 5), (7, 7)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_inner_vertices_lie_on_pixel_centres_at_their_depth_and_the_rings_on_the_edge(height: int, width: int) -> None:
    z = stepped_depth(height, width)
    mesh = lifted(z)
    k = mesh.intrinsics
    points = vertices(mesh).reshape(height + 4, width + 4, 3)
    u = points[..., 0] / points[..., 2] * k.fx + k.cx
    v = points[..., 1] / points[..., 2] * k.fy + k.cy
    expected_u = np.array([0.0, 0.0, *(np.arange(width) + 0.5), width, width])
    expected_v = np.array([0.0, 0.0, *(np.arange(height) + 0.5), height, height])
    np.testing.assert_allclose(u, np.broadcast_to(expected_u, u.shape), atol=1e-9)
    np.testing.assert_allclose(v, np.broadcast_to(expected_v[:, None], v.shape), atol=1e-9)
    np.testing.assert_array_equal(points[2:-2, 2:-2, 2], z)
    np.testing.assert_array_equal(points[1, 2:-2, 2], z[0])
    np.testing.assert_array_equal(points[2:-2, -2, 2], z[:, -1])
    assert points[1, 1, 2] == z[0, 0]
    assert points[-2, -2, 2] == z[-1, -1]
    for ring in (points[0], points[-1], points[:, 0], points[:, -1]):
        np.testing.assert_array_equal(ring[:, 2], np.float32(far_depth(z[None])))


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_every_edge_is_shared_by_two_faces_that_run_opposite_ways(height: int, width: int) -> None:
    triangles = faces(height, width)
    assert len(triangles) == 2 * (height + 3) * (width + 3) + 2
    edges = Counter((int(t[k]), int(t[(k + 1) % 3])) for t in triangles[:-2] for k in range(3))
    assert set(edges.values()) == {1}
    open_edges = {edge for edge in edges if edge[::-1] not in edges}
    index = np.arange((height + 4) * (width + 4)).reshape(height + 4, width + 4)
    rim = [*index[0, :], *index[1:, -1], *index[-1, -2::-1], *index[-2:0:-1, 0]]
    # The faces left open run once around the rim; the back closes it, running the other way.
    assert open_edges == {(int(b), int(a)) for a, b in zip(rim, [*rim[1:], rim[0]], strict=True)}
    corners = [int(index[c]) for c in ((0, 0), (0, -1), (-1, -1), (-1, 0))]
    back = Counter((int(t[k]), int(t[(k + 1) % 3])) for t in triangles[-2:] for k in range(3))
    assert {edge for edge in back if edge[::-1] not in back} == set(
        zip(corners, [*corners[1:], corners[0]], strict=True)
    )


def test_rim_vertices_lie_on_the_straight_edges_of_the_back() -> None:
    mesh = lifted(stepped_depth(5, 8))
    points = vertices(mesh).reshape(9, 12, 3)
    for ring in (points[0], points[-1], points[:, 0], points[:, -1]):
        along = ring[-1] - ring[0]
        np.testing.assert_allclose(np.cross(ring - ring[0], along), 0.0, atol=1e-9)


def test_rays_from_outside_pass_an_even_number_of_faces() -> None:
    rng = np.random.default_rng(3)
    z = stepped_depth(5, 7, seed=1)
    mesh = lifted(z)
    camera = Intrinsics(24, 18, 20.0, 20.0, 12.0, 9.0)
    seen = 0
    for _ in range(25):
        direction = rng.normal(size=3)
        x, y, w = 60.0 * direction / np.linalg.norm(direction) + [0.0, 0.0, 8.0]
        position = to_clip(vertices(mesh), towards((x, y, w), (0.0, 0.0, 8.0)), camera, 1e-3)
        _, clear, hits = brute_force(position, faces(5, 7), (18, 24))
        assert not (hits[clear] % 2).any()
        seen += int((hits > 0).sum())
    assert seen > 500


def test_a_camera_inside_the_volume_sees_faces_in_every_direction() -> None:
    mesh = lifted(stepped_depth(5, 7, seed=1))
    camera = Intrinsics(24, 18, 9.0, 9.0, 12.0, 9.0)
    for turn in (
        (0.0, 0.0, 0.0),
        (0.0, 1.6, 0.0),
        (0.0, 3.1, 0.0),
        (0.0, -1.6, 0.0),
        (1.5, 0.0, 0.0),
        (-1.5, 0.0, 0.0),
    ):
        position = to_clip(vertices(mesh), pose((0.1, 0.1, 9.0), turn), camera, 1e-3)
        _, clear, hits = brute_force(position, faces(5, 7), (18, 24))
        assert (hits[clear] % 2 == 1).all()


def test_faces_are_made_once_for_each_size_and_cannot_be_changed() -> None:
    assert faces(4, 5) is faces(4, 5)
    with pytest.raises(ValueError, match="read-only"):
        faces(4, 5)[0, 0] = 1


def test_face_validity_follows_the_order_of_the_faces() -> None:
    mesh = lifted(stepped_depth(6, 9))
    valid = face_valid(mesh)
    assert valid.shape == (len(faces(6, 9)),)
    assert not valid[-2:].any()
    j, i = 4, 7
    assert valid[2 * (j * 12 + i)] == mesh.valid[j, i, 0]
    assert valid[2 * (j * 12 + i) + 1] == mesh.valid[j, i, 1]


def test_the_skirt_is_never_valid_and_a_smooth_wall_is_valid_everywhere_else() -> None:
    mesh = lifted(smooth_depth(40, 60))
    assert mesh.valid[1:-1, 1:-1].all()
    for skirt in (mesh.valid[0], mesh.valid[-1], mesh.valid[:, 0], mesh.valid[:, -1]):
        assert not skirt.any()


def test_a_step_in_depth_is_a_gap() -> None:
    z = np.full((30, 40), 8.0, np.float32)
    z[:, 20:] = 2.0
    valid = lifted(z).valid
    assert not valid[2:-2, 21].any()  # quads between the columns 19 and 20 of the picture
    assert valid[2:-2, 2:21].all()
    assert valid[2:-2, 22:-2].all()


def test_the_two_triangles_of_a_quad_are_judged_apart() -> None:
    z = np.full((8, 8), 4.0, np.float32)
    z[3, 4] = 2.0  # the top right corner of quad (row 3, column 3) belongs to its upper triangle alone
    valid = lifted(z).valid
    assert valid[3 + 2, 3 + 2].tolist() == [True, False]
    assert valid[2 + 2, 4 + 2].tolist() == [False, True]  # bottom left corner: the lower one


def test_jump_depends_on_neither_focal_length_nor_unit_of_length() -> None:
    z = stepped_depth(20, 30)
    assert (lifted(z).valid == lifted(z, focal=300.0).valid).all()
    assert (lifted(z).valid == lifted(z * np.float32(64.0)).valid).all()


@given(ratio=st.floats(1.0, 1.5), jump=st.floats(1.0, 1.5))
@settings(max_examples=40, deadline=None)
def test_jump_cuts_exactly_above_its_ratio(ratio: float, jump: float) -> None:
    z = np.full((2, 2), 3.0, np.float32)
    z[:, 1] = np.float32(3.0 * jump)
    _, valid = lift(z, 20.0, edge_ratio=ratio)
    assert valid[2, 2].all() == (z[0, 1] <= z[0, 0] * ratio)


def test_far_is_four_times_the_99th_percentile_and_always_behind_everything() -> None:
    z = np.ones((2, 50, 50), np.float32)
    assert far_depth(z) == pytest.approx(4.0)
    z[0, 0, 0] = 100.0
    assert far_depth(z) == pytest.approx(105.0)
    assert far_depth(np.full((1, 2, 2), 9e5, np.float32)) == 1e6


def test_far_of_a_long_clip_comes_from_a_subset_that_covers_all_columns() -> None:
    z = np.broadcast_to(np.linspace(1.0, 2.0, 1000, dtype=np.float32), (5, 1000, 1000))
    assert far_depth(z) == pytest.approx(4.0 * 1.99, rel=1e-3)


@given(
    z=st.floats(2.0**-10, 1e5, width=32),
    scale=st.floats(1e-2, 1e2),
    shift=st.floats(-1.0, 1.0),
)
@settings(max_examples=80, deadline=None)
def test_adjusting_depth_scales_and_shifts_the_disparity(z: float, scale: float, shift: float) -> None:
    got = float(adjust_depth(np.array([[z]], np.float32), scale, shift)[0, 0])
    assert got == pytest.approx(1.0 / max(scale / z + shift, 1e-6), rel=1e-6)
    assert 0.0 < got <= 1e6


def test_adjusting_by_nothing_changes_no_bit() -> None:
    z = np.random.default_rng(0).uniform(1e-3, 9e5, (200, 200)).astype(np.float32)
    np.testing.assert_array_equal(adjust_depth(z, 1.0, 0.0), z)


def test_ray_positions_are_texture_coordinates_from_edge_to_edge() -> None:
    u, v = ray_positions(2, 3)
    assert u.tolist() == [0.0, 0.0, 0.5, 1.5, 2.5, 3.0, 3.0]
    assert v.tolist() == [0.0, 0.0, 0.5, 1.5, 2.0, 2.0]


def test_default_focal_is_a_share_of_the_longest_side_and_must_be_positive() -> None:
    assert default_intrinsics(512, 512) == Intrinsics(512, 512, 500.0, 500.0, 256.0, 256.0)
    assert default_intrinsics(270, 480).fx == pytest.approx(480 * 500 / 512)
    for focal in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(Ex4dError, match="focal length"):
            default_intrinsics(4, 4, focal)


def test_moved_principal_point_and_own_focal_move_the_rays() -> None:
    z = smooth_depth(5, 7)
    mesh = lifted(z)
    moved = DWMesh(mesh.depth, mesh.valid, Intrinsics(7, 5, 20.0, 20.0, 1.0, 4.0))
    point = vertices(moved).reshape(9, 11, 3)[2 + 3, 2 + 6]
    np.testing.assert_allclose(point, z[3, 6] * np.array([(6.5 - 1.0) / 20.0, (3.5 - 4.0) / 20.0, 1.0]), rtol=1e-6)
