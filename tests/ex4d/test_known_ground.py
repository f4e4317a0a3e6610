# SPDX-License-Identifier: Apache-2.0
"""Scale of depth from the camera's height above the ground."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import pytest
from known_cases import FOCAL, HEIGHT, STANDS, WIDTH, as_estimated, off, truth, yard
from mesh_cases import pose

from ex4d.depth.known.fit import KnownFit, in_real_units
from ex4d.depth.known.ground import find_ground
from ex4d.depth.known.values import Known, Pick
from ex4d.values import F32, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError

PICKS = (Pick(0, 20.5, 110.5), Pick(0, 140.5, 112.5), Pick(0, 150.5, 84.5), Pick(0, 70.5, 90.5))


def fitted(
    depth: DepthVideo,
    height: float = STANDS,
    ground: Sequence[Pick] = (),
    made: tuple[Clip, F32, CameraPath] | None = None,
) -> tuple[DepthVideo, KnownFit]:
    clip, _, camera = made or yard()
    return in_real_units(depth, clip, Known(camera_height=height, ground=tuple(ground)), camera)


@pytest.mark.parametrize("scale", [0.02, 1.0, 25.0])
@pytest.mark.parametrize("ground", [(), PICKS], ids=["looked for", "picked"])
def test_the_height_tells_the_scale(scale: float, ground: Sequence[Pick]) -> None:
    z = yard()[1]
    depth, fit = fitted(as_estimated(z, scale, 0.0, 0.02), ground=ground)
    assert (fit.source, fit.shift) == ("camera_height", 0.0)
    assert fit.scale == pytest.approx(scale, rel=5e-3)
    assert off(depth.z, z) < 0.02
    assert depth.metric
    assert fit.residual < 0.02
    assert "so that the camera stands 1.55 above the ground" in fit.note


def test_a_third_of_the_ground_hidden_changes_nothing() -> None:
    z = yard()[1].copy()
    rng = np.random.default_rng(1)
    for _ in range(14):  # people in the way, others in each frame
        for frame in z:
            x, y = int(rng.integers(0, WIDTH - 20)), int(rng.integers(60, HEIGHT - 25))
            frame[y : y + 25, x : x + 14] = np.minimum(frame[y : y + 25, x : x + 14], rng.uniform(1.5, 6.0))
    _, fit = fitted(as_estimated(z, 0.4, 0.0, 0.01))
    assert fit.scale == pytest.approx(0.4, rel=5e-3)
    assert fit.agreeing < 0.75
    _, fit = fitted(as_estimated(z, 0.4, 0.0, 0.01), ground=PICKS)
    assert fit.scale == pytest.approx(0.4, rel=1e-2)


@pytest.mark.parametrize(("pitch", "roll"), [(-0.05, 0.0), (0.5, -0.2), (0.8, 0.1)])
def test_a_camera_that_is_turned_finds_its_ground(pitch: float, roll: float) -> None:
    made = yard(pitch, roll)
    _, fit = fitted(as_estimated(made[1], 0.4, 0.0, 0.01), made=made)
    assert fit.scale == pytest.approx(0.4, rel=5e-3)


def test_a_camera_that_looks_straight_down_needs_picked_points() -> None:
    made = yard(np.pi / 2)
    assert made[1].max() < 2.0  # nothing but the ground
    with pytest.raises(Ex4dError, match="No ground was found"):
        fitted(as_estimated(made[1], 0.4, 0.0), made=made)
    _, fit = fitted(as_estimated(made[1], 0.4, 0.0), ground=PICKS, made=made)
    assert fit.scale == pytest.approx(0.4, rel=2e-3)


@pytest.mark.parametrize("scene", ["figure", "street", "tracking"])
def test_the_ground_of_the_truth_is_found(scene: str) -> None:
    found = truth(scene)
    clip = Clip(found.colour, found.camera.fps, scene)
    exact = find_ground(found.depth, clip, found.camera)
    other = find_ground(as_estimated(found.depth, 0.3, 0.0, 0.01).z, clip, found.camera)
    assert other.height() == pytest.approx(0.3 * exact.height(), rel=0.01)
    assert exact.residual < 2e-3


def test_a_table_in_front_is_not_taken_for_the_ground() -> None:
    z = yard()[1]
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    turned = pose((0.0, 0.0, 0.0), (-0.12, 0.0, 0.03))[:3, :3]
    ray = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u)], axis=-1) @ turned.T
    top = 0.6 / ray[..., 1]  # level, 0.6 below the camera
    _, fit = fitted(as_estimated(np.where((v > 80) & (u > 8) & (u < 130), top, z), 0.4, 0.0, 0.01))
    assert fit.scale == pytest.approx(0.4, rel=0.01)
    with pytest.raises(Ex4dError, match="No ground was found"):  # too little of it is left beside a large table
        fitted(as_estimated(np.where(v > 70, top, z), 0.4, 0.0, 0.01))


def test_a_wall_and_a_ceiling_are_no_ground() -> None:
    z = yard()[1]
    ceiling = np.ascontiguousarray(z[:, ::-1])
    for depth in (np.full_like(z, 3.0), ceiling):
        with pytest.raises(Ex4dError, match="No ground was found in the lower part") as caught:
            fitted(as_estimated(depth, 1.0, 0.0))
        assert "points on the ground" in caught.value.hint
    above = tuple(Pick(0, pick.x, HEIGHT - pick.y) for pick in PICKS)
    with pytest.raises(Ex4dError, match="lies above the camera"):
        fitted(as_estimated(ceiling, 1.0, 0.0), ground=above)
    rough = np.random.default_rng(1).uniform(1.0, 9.0, z.shape).astype(np.float32)
    with pytest.raises(Ex4dError, match="of what lies between the ground points lies on one plane"):
        fitted(as_estimated(rough, 1.0, 0.0), ground=PICKS)


@pytest.mark.parametrize(
    ("ground", "message"),
    [
        (PICKS[:2], "2 points were picked on the ground"),
        ([Pick(0, 10.0 * k, 100.0) for k in range(1, 6)], "lie in a line"),
        ([*PICKS, Pick(0, 200.0, 10.0)], "Ground point 5 lies at 200, 10"),
        ([*PICKS, Pick(7, 20.0, 10.0)], "Ground point 5 is in frame 8; frames 1 to 5 are used"),
    ],
)
def test_points_that_make_no_plane_are_refused(ground: Sequence[Pick], message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        fitted(as_estimated(yard()[1], 1.0, 0.0), ground=ground)
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint


@pytest.mark.parametrize("height", [0.0, -1.0, 1e-300, 1e300, float("nan"), float("inf")])
def test_a_height_that_is_none_is_refused(height: float) -> None:
    with pytest.raises(Ex4dError, match="A camera height of"):
        fitted(as_estimated(yard()[1], 1.0, 0.0), height)


def test_points_on_the_ground_need_the_height() -> None:
    clip, z, camera = yard()
    known = Known(camera_height=None, ground=PICKS, points=None, measures=())
    with pytest.raises(Ex4dError, match="not how high the camera stands"):
        in_real_units(as_estimated(z, 1.0, 0.0), clip, known, camera)


def test_only_frames_from_where_the_height_holds_count() -> None:
    clip, z, camera = yard()
    lifted = z.copy()
    lifted[2:] *= 3.0  # as if the camera had been lifted to three times its height
    poses = camera.world_from_camera.copy()
    poses[2:, 1, 3] = -2.0 * STANDS
    moving = dataclasses.replace(camera, world_from_camera=poses)
    _, fit = fitted(as_estimated(lifted, 0.5, 0.0), made=(clip, lifted, moving))
    assert fit.scale == pytest.approx(0.5, rel=2e-3)
    with pytest.raises(Ex4dError, match="Ground point 5 was picked in a frame where the camera stands elsewhere"):
        fitted(as_estimated(lifted, 0.5, 0.0), ground=[*PICKS, Pick(3, 90.0, 100.0)], made=(clip, lifted, moving))
