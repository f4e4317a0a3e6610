# SPDX-License-Identifier: Apache-2.0
"""The table of rasterizers, and the one that needs a GPU: what it says where it cannot work, and its depth slabs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import lifted, picture, pose, stepped_depth

from benchmarks._agreement import agreement
from benchmarks._scene import ANGLES, SIZES, view
from ex4d.doctor import doors
from ex4d.mesh import faces, vertices
from ex4d.render import RASTERIZERS, render_frame
from ex4d.render.clip_space import to_clip
from ex4d.render.raster_nvdiffrast import MAX_FACES, MIDDLE, NvdiffrastRasterizer, check_faces, depth_slabs, tiles
from ex4d.render.rasterizers import DEFAULT
from ex4d.values import F64, I32, Intrinsics
from shared_protocol.errors import LIMIT, UNAVAILABLE, Ex4dError

WORKS, WHY_NOT = RASTERIZERS["nvdiffrast"].available()
visible = RASTERIZERS["numba"].visible

TORCH = """
__version__ = "2.9.0"
class version: cuda = {cuda}
class cuda:
    is_available = staticmethod(lambda: {gpu})
"""


def available_with(root: Path, folder: Path, **modules: str) -> str:
    """What a process says about nvdiffrast that finds these packages (name to source) and no others of theirs."""
    folder.mkdir(exist_ok=True)
    for name, source in modules.items():
        file = folder.joinpath(*name.split("_"))
        file = file.with_suffix(".py") if "_" in name else file / "__init__.py"
        file.parent.mkdir(exist_ok=True)
        file.write_text(source)
    hidden = [name for name in ("torch", "nvdiffrast") if name not in modules]
    code = (
        "import sys\n"
        f"sys.modules.update(dict.fromkeys({hidden}))\n"
        "from ex4d.render import RASTERIZERS\n"
        "print(*RASTERIZERS['nvdiffrast'].available(), end='')"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), str(root)])}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return done.stdout


def test_it_says_what_is_missing_first(root: Path, tmp_path: Path) -> None:
    works = TORCH.format(cuda="'13.0'", gpu="True")
    said = available_with(root, tmp_path / "a")
    assert said.startswith("False torch is not installed.")
    assert "nvcc: " in said
    assert "C++ compiler (" in said
    assert "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast" in said
    said = available_with(root, tmp_path / "b", torch="import libcudart_that_is_not_there")
    assert said.startswith("False torch cannot be loaded (No module named 'libcudart_that_is_not_there').")
    said = available_with(root, tmp_path / "c", torch=TORCH.format(cuda="None", gpu="False"))
    assert said.startswith("False torch 2.9.0 is built without CUDA.")
    said = available_with(root, tmp_path / "d", torch=TORCH.format(cuda="'13.0'", gpu="False"))
    assert said.startswith("False torch 2.9.0 finds no NVIDIA GPU")
    said = available_with(root, tmp_path / "e", torch=works)
    assert said.startswith("False nvdiffrast is not installed.")
    assert "--no-build-isolation" in said
    old = {"torch": works, "nvdiffrast": "__version__ = '0.3.1'", "nvdiffrast_torch": ""}
    assert available_with(root, tmp_path / "f", **old).startswith("False nvdiffrast 0.3.1 is older than 0.3.5.")
    unbuilt = {**old, "nvdiffrast": "__version__ = '0.4.0'", "nvdiffrast_torch": "import _nvdiffrast_c"}
    assert "cannot be loaded (No module named '_nvdiffrast_c')" in available_with(root, tmp_path / "g", **unbuilt)
    assert available_with(root, tmp_path / "h", **{**unbuilt, "nvdiffrast_torch": ""}) == "True "


def test_it_is_never_the_default_and_its_licence_is_told() -> None:
    assert DEFAULT == "numba"
    told = {door.name: door for kind, door in doors() if kind == "rasterizer"}
    assert told["nvdiffrast"].commercial_use is False
    assert "research or evaluation only" in told["nvdiffrast"].licence


@pytest.mark.skipif(WORKS, reason="nvdiffrast works here")
def test_asked_for_where_it_cannot_work_it_is_refused_with_the_reason() -> None:
    mesh = lifted(stepped_depth(6, 8))
    with pytest.raises(Ex4dError) as caught:
        render_frame(mesh, picture(6, 8), np.eye(4), mesh.intrinsics, rasterizer="nvdiffrast")
    assert caught.value.code == UNAVAILABLE
    assert WHY_NOT in caught.value.message


def test_more_faces_than_it_can_tell_apart_are_refused() -> None:
    check_faces(MAX_FACES)
    with pytest.raises(Ex4dError, match=f"{MAX_FACES + 1} faces") as caught:
        check_faces(MAX_FACES + 1)
    assert caught.value.code == LIMIT
    many = np.broadcast_to(np.zeros((1, 3), np.int32), (MAX_FACES + 1, 3))
    with pytest.raises(Ex4dError, match="faces"):
        NvdiffrastRasterizer().visible(np.zeros((3, 4)), many, (8, 8))


def finite(w: F64, near: float, far: float) -> F64:
    """Clip z of the textbook projection with both planes."""
    return ((far + near) * w - 2.0 * far * near) / (far - near)


@pytest.mark.parametrize("near", [1e-6, 1e-3, 0.5])
@pytest.mark.parametrize("far", [np.inf, 900.0])
def test_slabs_cover_the_depth_range_from_the_near_plane_on_in_order(near: float, far: float) -> None:
    w = np.concatenate([[-4.0, 0.0, near], np.geomspace(near, 700.0, 5000)])
    z = w - 2.0 * near if far == np.inf else finite(w, near, far)
    slabs = list(depth_slabs(z, w))
    assert (len(slabs) == 1) == (700.0 / near < 256.0)
    w32 = w.astype(np.float32)
    covered = np.zeros(len(w), bool)
    for k, drawn in enumerate(slabs):
        assert drawn.dtype == np.float32
        inside = (drawn >= -w32) & (drawn <= w32) & (w32 > 0.0)
        # What is nearer has the smaller z / w, and float32 tells depths apart that differ by 1 in 10 000.
        order = np.flatnonzero(inside & (w > near * (1.0 + 1e-4)))
        apart = w[order][1:] > w[order][:-1] * 1.0001
        ratio = drawn[order] / w32[order]
        assert (np.diff(ratio)[apart] > 0.0).all()
        if k == 0:  # the near plane stays where it was
            np.testing.assert_allclose(drawn[2] / w32[2], -1.0, atol=1e-5)
            np.testing.assert_array_equal(inside[w < near * 0.999], False)
        covered |= inside
    assert covered[w > near * 1.001].all()


def merged(position: F64, triangles: I32, resolution: tuple[int, int]) -> I32:
    """As the GPU does it, with the rasterizer that needs none: slab after slab, the first hit stays."""
    ids = np.zeros(resolution, np.int32)
    for z in depth_slabs(position[:, 2], position[:, 3]):
        moved = position.copy()
        moved[:, 2] = z
        found = visible(moved, triangles, resolution)
        ids = np.where(ids > 0, ids, found)
    return ids


@pytest.mark.parametrize("near", [1e-5, 0.01, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_drawn_slab_by_slab_the_same_faces_are_seen(seed: int, near: float) -> None:
    rng = np.random.default_rng(seed)
    centres = rng.normal(loc=[0.0, 0.0, 1.5], scale=2.0, size=(60, 1, 3))
    points = (centres + rng.normal(size=(60, 3, 3)) * 10.0 ** rng.uniform(-1.5, 0.7, (60, 1, 1))).reshape(-1, 3)
    position = to_clip(points, np.eye(4), Intrinsics(41, 29, 30.0, 34.0, 19.0, 15.5), near)
    triangles = np.arange(180, dtype=np.int32).reshape(-1, 3)
    expected = visible(position, triangles, (29, 41))
    got = merged(position, triangles, (29, 41))
    assert (got == expected).mean() > 0.998  # float32 moves the near plane and the slabs' ends a little
    assert (expected > 0).mean() > 0.2


def test_so_it_is_on_a_mesh_around_the_camera_with_a_far_plane_too() -> None:
    mesh = lifted(stepped_depth(40, 60, seed=2))
    triangles = faces(40, 60)
    position = to_clip(vertices(mesh), pose((1.0, -0.3, 2.4), (0.1, -1.2, 0.05)), mesh.intrinsics, 1e-3)
    np.testing.assert_array_equal(merged(position, triangles, (40, 60)), visible(position, triangles, (40, 60)))
    position[:, 2] = finite(position[:, 3], 1e-3, 5.0)
    expected = visible(position, triangles, (40, 60))
    assert (merged(position, triangles, (40, 60)) == expected).mean() > 0.998
    assert (expected == 0).any()  # the far plane cuts the skirts off
    assert (expected > 0).any()


def test_what_no_pinhole_camera_made_is_drawn_as_it_is() -> None:
    rng = np.random.default_rng(0)
    z, w = rng.normal(size=50), rng.uniform(1.0, 3.0, 50)
    (drawn,) = depth_slabs(z, w)
    np.testing.assert_array_equal(drawn, z.astype(np.float32))
    (drawn,) = depth_slabs(z, np.ones(50))
    np.testing.assert_array_equal(drawn, z.astype(np.float32))


@pytest.mark.parametrize("resolution", [(29, 41), (400, 3), (401, 800), (7, 1203)])
def test_drawn_tile_by_tile_in_samples_every_pixel_is_itself(resolution: tuple[int, int]) -> None:
    mesh = lifted(stepped_depth(20, 30, seed=2))
    triangles, (height, width) = faces(20, 30), resolution
    lens = Intrinsics(width, height, 0.9 * width, 0.9 * height, 0.45 * width, 0.52 * height)
    position = to_clip(vertices(mesh), pose((0.6, -0.3, 1.1), (0.1, -0.5, 0.05)), lens, 1e-3)
    expected = visible(position, triangles, resolution)
    got = np.full(resolution, -1, np.int32)
    for tile in tiles(resolution):
        moved = position.copy()
        moved[:, 0] = position[:, 0] * tile.scale_x + position[:, 3] * tile.shift_x
        moved[:, 1] = position[:, 1] * tile.scale_y + position[:, 3] * tile.shift_y
        got[tile.rows, tile.columns] = visible(moved, triangles, tile.drawn)[MIDDLE, MIDDLE]
    assert (got == expected).mean() > 0.9999  # rounding may decide a pixel on an edge otherwise
    assert len(np.unique(expected)) > 50


@pytest.mark.gpu
@pytest.mark.skipif(not WORKS, reason=WHY_NOT)
@pytest.mark.parametrize("angle", ANGLES)
@pytest.mark.parametrize("size", SIZES)
def test_on_a_gpu_it_agrees_with_the_exact_one(size: tuple[int, int], angle: int) -> None:
    seen = view(*size, angle)
    position = to_clip(seen.surface.points, seen.world_from_camera, seen.intrinsics, seen.near)
    ours, theirs = (
        RASTERIZERS[name].visible(position, seen.surface.faces, seen.resolution) for name in ("numba", "nvdiffrast")
    )
    found = agreement(seen, ours, theirs)
    assert found.good, found


def test_agreement_is_judged_by_cover_mask_and_colour() -> None:
    seen = view(96, 96, 30)
    position = to_clip(seen.surface.points, seen.world_from_camera, seen.intrinsics, seen.near)
    ids = visible(position, seen.surface.faces, seen.resolution)
    same = agreement(seen, ids, ids)
    assert same.good
    assert (same.cover_iou, same.mask_iou, same.colour, same.ids) == (1.0, 1.0, 0.0, 1.0)
    holes = ids.copy()
    holes[40:44] = 0
    worse = agreement(seen, ids, holes)
    assert not worse.good
    assert worse.cover_iou == pytest.approx((holes > 0).sum() / (ids > 0).sum())
    assert worse.mask_iou < 1.0
    assert worse.colour > 0.02
    shuffled = np.where(ids > 0, np.maximum(ids - 1, 1), 0)
    assert agreement(seen, ids, shuffled).ids < 0.1
