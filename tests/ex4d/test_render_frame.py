# SPDX-License-Identifier: Apache-2.0
"""What a camera sees of the mesh: colour, mask, depth."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mesh_cases import lifted, picture, pose, smooth_depth, stepped_depth

from ex4d.mesh.surface import closed
from ex4d.render import render_frame
from ex4d.values import DWMesh, Intrinsics
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

SIZES = [(48, 64), (64, 48), (33, 47), (1, 1), (1, 9), (7, 3)]


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_source_camera_sees_the_source_picture_bit_for_bit(height: int, width: int) -> None:
    mesh, source = lifted(smooth_depth(height, width)), picture(height, width)
    colour, mask, z = render_frame(mesh, source, np.eye(4), mesh.intrinsics)
    assert mask.all()
    np.testing.assert_array_equal(colour, source)
    np.testing.assert_allclose(z, mesh.depth[2:-2, 2:-2], rtol=1e-6)


@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    focal=st.floats(3.0, 400.0),
    seed=st.integers(0, 1000),
    eye=st.tuples(*[st.floats(-5.0, 5.0)] * 3),
    turn=st.tuples(*[st.floats(-3.0, 3.0)] * 3),
)
@settings(max_examples=40, deadline=None)
def test_so_it_does_across_gaps_with_any_lens_and_wherever_the_scene_stands(
    height: int, width: int, focal: float, seed: int, eye: tuple, turn: tuple
) -> None:
    z = np.random.default_rng(seed).uniform(1.0, 20.0, (height, width)).astype(np.float32)
    mesh, source = lifted(z, focal=focal), picture(height, width, seed)
    colour, mask, _ = render_frame(mesh, source, np.eye(4), mesh.intrinsics)
    assert mask.all()
    np.testing.assert_array_equal(colour, source)


@pytest.mark.parametrize("geometry", ["closed", "bounded"])
@pytest.mark.parametrize("size", [1.5, 2.0, 3.0])
def test_from_its_place_the_source_fills_pictures_of_any_size_and_zoom(geometry: str, size: float) -> None:
    height, width, focal = 40, 60, 50.0
    z = np.random.default_rng(5).uniform(1.0, 20.0, (height, width)).astype(np.float32)
    mesh = lifted(z, focal=focal)
    flat = np.full((height, width, 3), 90, np.uint8)
    rows, columns = round(size * height), round(size * width)
    for zoom in (1.0, 4 / 3):
        lens = Intrinsics(columns, rows, size * zoom * focal, size * zoom * focal, columns / 2.0, rows / 2.0)
        for eye in ((0.0, 0.0, 0.0), (1e-8, 0.0, -1e-8)):
            colour, mask, depth = render_frame(mesh, flat, pose(eye), lens, geometry=geometry)
            assert mask.all()
            assert (colour == 90).all()
            assert ((depth >= 0.999) & (depth <= 20.001)).all()
    wide = Intrinsics(columns, rows, 0.5 * size * focal, 0.5 * size * focal, columns / 2.0, rows / 2.0)
    _, mask, _ = render_frame(mesh, flat, np.eye(4), wide, geometry=geometry)
    assert mask.mean() == pytest.approx(0.25, abs=0.02)  # beyond the picture's edge nothing was seen


def test_a_flat_wall_seen_from_aside_is_the_picture_moved() -> None:
    source = picture(40, 60)
    mesh = lifted(np.full((40, 60), 2.0, np.float32), focal=50.0)
    step = 2.0 / 50.0  # one pixel at the wall's depth
    colour, mask, z = render_frame(mesh, source, pose((7 * step, -3 * step, 0.0)), mesh.intrinsics)
    np.testing.assert_array_equal(colour[3:, :-7], source[:-3, 7:])
    assert mask[3:, :-7].all()
    assert not mask[:, -7:].any()
    assert not mask[:3].any()
    assert not colour[~mask].any()
    np.testing.assert_allclose(z[3:, :-7], 2.0)
    assert (z[~mask] != 2.0).all()  # past the picture's edge: the skirt, or nothing
    assert z[0, 0] == 0.0


def test_half_a_pixel_aside_lies_between_two_pixels() -> None:
    source = picture(10, 12)
    mesh = lifted(np.full((10, 12), 2.0, np.float32), focal=50.0)
    colour, mask, _ = render_frame(mesh, source, pose((0.5 * 2.0 / 50.0, 0.0, 0.0)), mesh.intrinsics)
    wide = source.astype(int)
    between = np.clip((9 * (wide[:, 1:-2] + wide[:, 2:-1]) - wide[:, :-3] - wide[:, 3:]) / 16, 0, 255)  # the cubic's
    assert np.abs(colour[:, 1:-2] - between).max() <= 1
    assert mask[:, :-1].all()


def test_texture_coordinates_are_perspective_correct_on_a_slanted_wall() -> None:
    height, width = 60, 80
    v, u = np.mgrid[0:height, 0:width] + 0.5
    z = (1.0 / (0.25 + 0.001 * (u - 40.0))).astype(np.float32)  # a plane
    ramp = np.stack([u * 3, v * 4, u + v], axis=-1).astype(np.uint8)
    mesh = lifted(z, focal=70.0)
    camera = Intrinsics(50, 40, 45.0, 40.0, 26.0, 19.0)
    world = pose((0.3, -0.2, 0.5), (0.05, 0.1, -0.1))
    colour, mask, depth = render_frame(mesh, ramp, world, camera)
    rows, columns = np.nonzero(mask)
    assert mask.mean() > 0.8
    d = depth[rows, columns].astype(np.float64)
    rays = np.stack([(columns + 0.5 - 26.0) / 45.0, (rows + 0.5 - 19.0) / 40.0, np.ones(len(d))])
    points = world[:3, :3] @ (rays * d) + world[:3, 3:]
    at = points[:2] / points[2] * 70.0 + [[40.0], [30.0]]
    inside = (at[0] > 1) & (at[0] < width - 1) & (at[1] > 1) & (at[1] < height - 1)
    expected = np.stack([at[0] * 3 + 0, at[1] * 4, at[0] + at[1]], axis=1)[inside]
    # ramp values were cut to whole numbers (u * 3 at centres .5): 0.5 for that, 0.5 for rounding
    assert np.abs(colour[rows, columns][inside] - expected).max() <= 1.01


def test_unseen_faces_hide_what_is_behind_them_and_bounded_ones_hide_less() -> None:
    z = np.full((40, 60), 6.0, np.float32)
    z[10:30, 28:32] = 2.0
    mesh, source = lifted(z, focal=50.0), np.full((40, 60, 3), 200, np.uint8)
    source[10:30, 28:32] = 50
    world = pose((1.2, 0.0, 0.0), (0.0, -0.3, 0.0))
    colour, mask, depth = render_frame(mesh, source, world, mesh.intrinsics)
    open_colour, open_mask, _ = render_frame(mesh, source, world, mesh.intrinsics, geometry="bounded")
    hidden = open_mask & ~mask
    assert hidden.sum() > 10  # wall that the stretched side of the box hides
    assert np.median(open_colour[hidden]) == 200
    assert (depth[hidden] > 0.0).all()
    assert not (mask & ~open_mask).any()
    np.testing.assert_array_equal(colour[mask], open_colour[mask])


def test_at_a_gap_each_side_goes_on_for_half_a_pixel() -> None:
    z = np.full((9, 12), 6.0, np.float32)
    z[:, 6:] = 2.0
    source = np.full((9, 12, 3), 200, np.uint8)
    source[:, 6:] = 50
    mesh = lifted(z, focal=50.0)
    k = mesh.intrinsics
    fine = Intrinsics(12 * 8, 9 * 8, 8 * k.fx, 8 * k.fy, 8 * k.cx, 8 * k.cy)  # the source camera, eight times as fine
    for geometry in ("closed", "bounded"):
        _, mask, depth = render_frame(mesh, source, np.eye(4), fine, geometry=geometry)
        assert mask.all()
        assert (depth[:, : 6 * 8] == 6.0).all()
        assert (depth[:, 6 * 8 :] == 2.0).all()


def test_the_mask_is_validity_of_the_visible_face() -> None:
    mesh, source = lifted(smooth_depth(30, 40)), picture(30, 40)
    camera = Intrinsics(55, 37, 40.0, 40.0, 27.0, 18.0)
    world = pose((0.7, 0.1, 0.3), (0.0, -0.25, 0.1))
    _, mask, z = render_frame(mesh, source, world, camera)
    half = mesh.valid.copy()
    half[:, 20:] = False
    _, half_mask, same_z = render_frame(DWMesh(mesh.depth, half, mesh.intrinsics), source, world, camera)
    none = DWMesh(mesh.depth, np.zeros_like(mesh.valid), mesh.intrinsics)
    assert not render_frame(none, source, world, camera)[1].any()
    assert 0.1 * mask.sum() < half_mask.sum() < 0.9 * mask.sum()
    assert not (half_mask & ~mask).any()
    np.testing.assert_array_equal(z, same_z)
    assert ((z > 0.0) >= mask).all()


def test_the_border_of_the_picture_reaches_to_its_edge() -> None:
    # A camera of twice the resolution at the same place: its outermost pixels look outside the outermost pixel centres.
    mesh, source = lifted(smooth_depth(12, 16)), picture(12, 16)
    k = mesh.intrinsics
    colour, mask, _ = render_frame(mesh, source, np.eye(4), Intrinsics(32, 24, 2 * k.fx, 2 * k.fy, 2 * k.cx, 2 * k.cy))
    assert mask.all()
    np.testing.assert_array_equal(colour[0, 0], source[0, 0])
    np.testing.assert_array_equal(colour[-1, -1], source[-1, -1])


def test_a_camera_behind_the_mesh_sees_a_closed_body_and_no_colour() -> None:
    mesh, source = lifted(stepped_depth(20, 30)), picture(20, 30)
    colour, mask, z = render_frame(mesh, source, pose((0.0, 0.0, 60.0), (0.0, np.pi, 0.0)), mesh.intrinsics)
    assert not mask.any()
    assert not colour.any()
    assert (z[8:12, 12:18] > 0.0).all()  # the back is there


def test_a_camera_that_looks_away_sees_nothing() -> None:
    mesh = lifted(stepped_depth(20, 30))
    _, mask, z = render_frame(mesh, picture(20, 30), pose((0.0, 0.0, -1.0), (0.0, np.pi, 0.0)), mesh.intrinsics)
    assert not mask.any()
    assert not z.any()


def test_moving_scene_and_camera_together_changes_no_mask_much() -> None:
    mesh, source = lifted(stepped_depth(30, 40)), picture(30, 40)
    tiny = DWMesh(mesh.depth * np.float32(1e-4), mesh.valid, mesh.intrinsics)
    world = pose((0.5, 0.1, 0.2), (0.0, -0.2, 0.0))
    shrunk = world.copy()
    shrunk[:3, 3] *= 1e-4
    colour, mask, _ = render_frame(mesh, source, world, mesh.intrinsics)
    small_colour, small_mask, _ = render_frame(tiny, source, shrunk, mesh.intrinsics)
    assert (mask == small_mask).mean() > 0.999
    both = mask & small_mask
    assert np.abs(colour[both].astype(int) - small_colour[both]).max() <= 1


def test_a_picture_of_another_size_is_refused() -> None:
    mesh = lifted(smooth_depth(4, 5))
    with pytest.raises(Ex4dError, match=r"4x5.*5x4") as caught:
        render_frame(mesh, picture(5, 4), np.eye(4), mesh.intrinsics)
    assert caught.value.code == SIZE_MISMATCH


def test_visible_pixels_lie_on_the_mesh() -> None:
    mesh = lifted(stepped_depth(15, 20))
    camera = Intrinsics(31, 23, 25.0, 25.0, 15.0, 11.0)
    world = pose((0.6, 0.2, 0.4), (0.1, -0.2, 0.3))
    _, _, z = render_frame(mesh, picture(15, 20), world, camera)
    rows, columns = np.nonzero(z)
    d = z[rows, columns].astype(np.float64)
    points = np.stack([(columns + 0.5 - 15.0) / 25.0 * d, (rows + 0.5 - 11.0) / 25.0 * d, d])
    points = (world[:3, :3] @ points + world[:3, 3:]).T
    surface = closed(mesh)
    a, b, c = (surface.points[surface.faces[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    area = np.linalg.norm(normal, axis=1)
    a, normal = a[area > 1e-12], normal[area > 1e-12] / area[area > 1e-12, None]
    distance = np.abs(np.einsum("pfk,fk->pf", points[:, None] - a[None], normal)).min(axis=1)
    assert distance.max() < 1e-5 * d.max()
