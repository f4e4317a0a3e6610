# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine exports opens in Blender with the engine's numbers, where the extension puts its own mesh."""

from __future__ import annotations

from pathlib import Path

import bpy
import mathutils.kdtree
import numpy as np
import pytest

from blender_addon import reconstruction
from blender_addon.core import camera_math

from .conftest import Arrays, mesh_arrays

FIRST = 1001
SHOWN = (0, 2, 5)  # of six frames
# OpenCV axes to the world of an unmoved root: forward along +Y, down along -Z.
BLENDER = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]])

needs_usd = pytest.mark.skipif(not bpy.app.usd.supported, reason="this Blender was built without USD")


@pytest.fixture(scope="module")
def moving(engine, landscape, tmp_path_factory) -> tuple[Path, Arrays]:
    """An exported shot with a moving source camera and a new one, and what is in it."""
    folder = tmp_path_factory.mktemp("moving")
    return folder, engine("export", landscape, {"to": str(folder), "moving": True, "first_frame": FIRST})


@pytest.fixture(scope="module")
def still(engine, landscape, tmp_path_factory) -> tuple[Path, Arrays]:
    """The same clip as it was reconstructed, from frame 1."""
    folder = tmp_path_factory.mktemp("still")
    return folder, engine("export", landscape, {"to": str(folder), "moving": False, "first_frame": 1})


def _evaluated(name: str) -> bpy.types.Object:
    return bpy.data.objects[name].evaluated_get(bpy.context.evaluated_depsgraph_get())


def _world_positions(obj: bpy.types.Object) -> np.ndarray:
    local = np.empty((len(obj.data.vertices), 3), np.float32)
    obj.data.vertices.foreach_get("co", local.ravel())
    matrix = np.array(obj.matrix_world)
    return local @ matrix[:3, :3].T + matrix[:3, 3]


def _assert_mesh(obj: bpy.types.Object, expected: Arrays, t: int, colours: str) -> None:
    position = expected["position"][t] @ BLENDER.T
    off = np.linalg.norm(_world_positions(obj) - position, axis=1)
    assert (off / np.linalg.norm(position, axis=1)).max() <= 1e-5
    corners = np.empty(len(obj.data.polygons) * 3, np.int32)
    obj.data.polygons.foreach_get("vertices", corners)
    assert np.array_equal(corners.reshape(-1, 3), expected["faces"])
    colour = np.empty((len(position), 4), np.float32)
    obj.data.color_attributes[colours].data.foreach_get("color_srgb", colour.ravel())
    assert np.array_equal(np.round(colour[:, :3] * 255.0), expected["colour"][t])


@pytest.mark.parametrize("t", SHOWN)
def test_ply_opens_with_its_positions_faces_and_colours(moving, t):
    folder, expected = moving
    file = str(folder / "ply" / f"{FIRST + t:04d}.ply")
    bpy.ops.wm.ply_import(filepath=file, forward_axis="Z", up_axis="NEGATIVE_Y")
    (obj,) = bpy.data.objects
    _assert_mesh(obj, expected, t, "Col")
    alpha = np.empty((len(obj.data.vertices), 4), np.float32)
    obj.data.color_attributes["Col"].data.foreach_get("color", alpha.ravel())
    of_seen_face = np.zeros(len(alpha), np.bool_)
    of_seen_face[expected["faces"][expected["seen"][t]]] = True
    assert 0 < of_seen_face.sum() < len(alpha)
    assert np.array_equal(alpha[:, 3], of_seen_face)


@needs_usd
def test_usd_opens_with_the_mesh_of_every_frame(moving, scene):
    folder, expected = moving
    bpy.ops.wm.usd_import(filepath=str(folder / "mesh.usdc"))
    assert (scene.frame_start, scene.frame_end) == (FIRST, FIRST + 5)
    for t in (*SHOWN, 1):  # and back
        scene.frame_set(FIRST + t)
        obj = _evaluated("mesh")
        _assert_mesh(obj, expected, t, "displayColor")
        seen = np.empty(len(expected["faces"]), np.bool_)
        obj.data.attributes["seen"].data.foreach_get("value", seen)
        assert np.array_equal(seen, expected["seen"][t])
        uv = np.empty((len(seen) * 3, 2), np.float32)
        obj.data.uv_layers["st"].uv.foreach_get("vector", uv.ravel())
        assert np.abs(uv - expected["uv"][expected["faces"].ravel()]).max() < 1e-6
    assert not np.array_equal(expected["seen"][0], expected["seen"][5])


@needs_usd
@pytest.mark.parametrize("file", ["mesh.usdc", "camera.usda"])
@pytest.mark.parametrize("name", ["source_camera", "shot_camera"])
def test_usd_opens_with_its_cameras_poses_and_lenses(moving, scene, file, name):
    folder, expected = moving
    bpy.ops.wm.usd_import(filepath=str(folder / file))
    turned = np.eye(4)
    turned[:3, :3] = BLENDER
    for t in SHOWN:
        scene.frame_set(FIRST + t)
        camera = _evaluated(name)
        pose = turned @ expected[f"{name} pose"][t] @ camera_math.FLIP
        assert np.abs(np.array(camera.matrix_world) - pose).max() < 1e-5
        data = camera.data
        size = tuple(bpy.data.objects[name].data[key] for key in ("width", "height"))
        assert size == tuple(expected[f"{name} size"])
        lens = camera_math.Lens(
            data.lens, data.sensor_width, data.sensor_height, data.sensor_fit, data.shift_x, data.shift_y
        )
        assert camera_math.intrinsics(lens, *size) == pytest.approx(expected[f"{name} lens"][t], rel=1e-5, abs=1e-4)
        # As the extension makes cameras: millimetres on a sensor of Blender's default size.
        ours = camera_math.lens_for(*expected[f"{name} lens"][t][[0, 2, 3]], *size)
        assert (data.lens, max(data.sensor_width, data.sensor_height)) == pytest.approx((ours.lens, ours.sensor_width))


@needs_usd
def test_usd_stands_where_the_extension_puts_its_mesh_and_camera(still, scene, landscape):
    folder, expected = still
    built = reconstruction.build(scene, landscape, name="clip")
    bpy.ops.wm.usd_import(filepath=str(folder / "mesh.usdc"))
    for t in SHOWN:
        scene.frame_set(1 + t)
        root = np.array(_evaluated(built.mesh).matrix_world)
        ours = mesh_arrays(built.mesh)["position"] @ root[:3, :3].T + root[:3, 3]
        tree = mathutils.kdtree.KDTree(len(ours))  # ours has points of its own where stretched faces are divided
        for k, place in enumerate(ours):
            tree.insert(place, k)
        tree.balance()
        theirs = _world_positions(_evaluated("mesh"))
        assert len(theirs) == len(expected["uv"])
        assert max(tree.find(place)[2] / np.linalg.norm(place) for place in theirs) <= 1e-5
        cameras = [_evaluated(name) for name in (built.source_camera, "source_camera")]
        assert np.abs(np.array(cameras[0].matrix_world) - np.array(cameras[1].matrix_world)).max() < 1e-6
        assert cameras[0].data.lens == pytest.approx(cameras[1].data.lens)
