# SPDX-License-Identifier: Apache-2.0
"""Renders of the public code's mesh, against slow ones and against reference pictures."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import brute_force, picture, pose, smooth_depth, stepped_depth
from safetensors.numpy import load_file

from ex4d.upstream import (
    UPSTREAM_MOVES,
    first_frame,
    render_upstream,
    upstream_intrinsics,
    upstream_mesh,
    upstream_path,
    upstream_radius,
)
from ex4d.upstream.cameras import clip_from_world
from ex4d.upstream.render import conditioned, render_rgba
from ex4d.values import Intrinsics
from shared_protocol.errors import Ex4dError


@pytest.mark.parametrize("move", UPSTREAM_MOVES)
def test_reference_pictures(reference: Callable[[str], Path], move: str) -> None:
    golden = load_file(reference("golden/dw_mesh.safetensors"))
    clip = list(zip(golden["depth"], golden["frames"], strict=True))
    meshes = [upstream_mesh(depth, rgb) for depth, rgb in clip]
    height, width = golden["depth"].shape[1:]
    lens = upstream_intrinsics(width, height)
    radius = upstream_radius(golden["depth"][0])
    path = upstream_path(move, len(golden["source_of_frame"]), radius, lens, Fraction(30))
    for k, index in enumerate(golden["selected_frames"].tolist()):
        source = int(golden["source_of_frame"][index])
        if index == 0:
            colour, mask = first_frame(clip[source][1])
        else:
            colour, mask, _ = render_upstream(meshes[source], path.world_from_camera[index], lens, rasterizer="numba")
        expected, expected_mask = golden[f"cam{move}.ref_rgb_uint8"][k], golden[f"cam{move}.ref_mask_uint8"][k, ..., 0]
        close = np.abs(colour.astype(int) - expected).max(axis=-1) <= 2
        assert close.mean() >= 0.995
        assert (mask == (expected_mask == 255)).mean() >= 0.995


@pytest.mark.parametrize(
    "lens", [Intrinsics(31, 23, 25.0, 28.0, 15.5, 11.5), Intrinsics(31, 23, 25.0, 25.0, 9.0, 17.0)]
)
@pytest.mark.parametrize("eye", [(0.4, -0.2, 0.3), (1.5, 0.4, 2.5)])
def test_agrees_with_solving_every_face_at_every_pixel(eye: tuple[float, float, float], lens: Intrinsics) -> None:
    mesh = upstream_mesh(stepped_depth(13, 17, seed=3), picture(13, 17), upstream_intrinsics(17, 13, 20.0))
    world_from_camera = pose(eye, (0.05, -0.5, 0.1))
    position = (
        np.column_stack([mesh.vertices, np.ones(len(mesh.vertices))]) @ clip_from_world(world_from_camera, lens).T
    )
    ids, clear, _ = brute_force(position, mesh.faces, (23, 31))
    rgba, z = render_rgba(mesh, world_from_camera, lens, rasterizer="numba")
    assert clear.mean() > 0.95
    np.testing.assert_array_equal((z > 0.0)[clear], (ids > 0)[clear])
    seen = (np.linalg.inv(world_from_camera) @ np.column_stack([mesh.vertices, np.ones(len(mesh.vertices))]).T)[:3].T
    for row, column in np.argwhere(clear & (ids > 0)):
        corners = mesh.faces[ids[row, column] - 1]
        ray = [(column + 0.5 - lens.cx) / lens.fx, (row + 0.5 - lens.cy) / lens.fy, 1.0]
        weights = np.linalg.solve(seen[corners].T, ray)
        depth = 1.0 / weights.sum()
        np.testing.assert_allclose(z[row, column], depth, rtol=1e-5)
        np.testing.assert_allclose(rgba[row, column], depth * weights @ mesh.rgba[corners], atol=0.02)


def test_a_wall_is_where_it_stands_and_no_surface_has_no_depth() -> None:
    depth = np.full((20, 30), 4.0, np.float32)
    rgb = np.full((20, 30, 3), (200, 100, 50), np.uint8)
    mesh = upstream_mesh(depth, rgb, upstream_intrinsics(30, 20, 30.0))
    colour, mask, z = render_upstream(
        mesh, pose((0.0, 0.0, 1.0)), Intrinsics(30, 20, 30.0, 30.0, 15.0, 10.0), rasterizer="numba"
    )
    assert z.dtype == np.float32
    np.testing.assert_allclose(z[5:15, 5:25], 3.0, rtol=1e-6)
    assert mask[8:12, 10:20].all()
    assert np.abs(colour[8:12, 10:20].astype(int) - (200, 100, 50)).max() <= 1  # cut off, not rounded
    away, unseen, nothing = render_upstream(
        mesh, pose((0.0, 0.0, -2000.0)), Intrinsics(9, 9, 9.0, 9.0, 4.5, 4.5), rasterizer="numba"
    )
    assert not away.any()
    assert not unseen.any()
    assert not nothing.any()  # everything lies beyond the far plane


def test_bad_faces_hide_what_is_behind_them() -> None:
    depth = smooth_depth(30, 40)
    depth[10:20, 15:25] = 1.0
    rgb = np.full((30, 40, 3), 255, np.uint8)
    lens = upstream_intrinsics(40, 30, 40.0)
    aside = pose((0.8, 0.0, 0.0))
    _, closed, z = render_upstream(upstream_mesh(depth, rgb, lens), aside, lens, rasterizer="numba")
    _, opened, z_opened = render_upstream(
        upstream_mesh(depth, rgb, lens, use_dwmesh=False), aside, lens, rasterizer="numba"
    )
    hidden = opened & ~closed
    assert hidden.any()
    assert (z[hidden] <= z_opened[hidden] + 1e-4).all()


def test_more_than_half_opaque_counts_as_seen_and_colours_are_cut_off() -> None:
    rgba = np.array([[[10.9, 20.0, 254.99, 125.0], [10.9, 20.0, 254.99, 125.01], [1.0, 2.0, 3.0, 255.0]]], np.float32)
    colour, mask = conditioned(rgba)
    assert mask.tolist() == [[False, True, True]]
    assert colour.tolist() == [[[0, 0, 0], [10, 20, 254], [1, 2, 3]]]
    assert colour.dtype == np.uint8


def test_the_first_frame_is_the_source_frame() -> None:
    rgb = picture(4, 5)
    colour, mask = first_frame(rgb)
    np.testing.assert_array_equal(colour, rgb)
    assert mask.shape == (4, 5)
    assert mask.all()


def test_an_unknown_rasterizer_is_refused() -> None:
    mesh = upstream_mesh(smooth_depth(4, 5), picture(4, 5))
    with pytest.raises(Ex4dError, match="rasterizer called 'voxels'"):
        render_upstream(mesh, np.eye(4), upstream_intrinsics(5, 4), rasterizer="voxels")
