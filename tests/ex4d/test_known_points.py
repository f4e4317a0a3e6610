# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of depth from points whose distance is known."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from known_cases import FRAMES, as_estimated, clear_places, off, places, truth, yard

from ex4d.depth.known.fit import KnownFit, in_real_units
from ex4d.depth.known.points import seen_by
from ex4d.depth.known.solve import NEVER, solve
from ex4d.depth.known.values import Known, KnownPoints, WorldPoints
from ex4d.on_disk import disk_array, workspace
from ex4d.source_camera import fit_to_clip
from ex4d.source_camera.rescale import rescale
from ex4d.values import F32, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, CANCELLED, Ex4dError


def points(z: F32, count: int, *, wrong: float = 0.0, noise: float = 0.0, seed: int = 1) -> KnownPoints:
    """Points on one surface each; some lie on something else, nearer or further."""
    rng = np.random.default_rng(seed)
    frame, at = clear_places(z, rng, count)
    known = z[frame, at[:, 1].astype(int), at[:, 0].astype(int)].astype(np.float64)
    known *= np.exp(rng.normal(0.0, noise, count))
    bad = rng.random(count) < wrong
    known[bad] *= np.exp(rng.normal(0.0, 0.8, int(bad.sum())))
    return KnownPoints(frame.astype(np.int32), at, known)


def fitted(depth: DepthVideo, known: KnownPoints, made: tuple[Clip, F32, CameraPath]) -> tuple[DepthVideo, KnownFit]:
    return in_real_units(depth, made[0], Known(points=known), made[2])


@pytest.mark.parametrize(("scale", "shift"), [(0.2, 0.0), (3.0, 0.0), (0.5, 0.03), (1.4, -0.08)])
@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_scale_and_shift_are_found_among_wrong_points(scale: float, shift: float, wrong: float) -> None:
    made = yard()
    z = made[1]
    depth, fit = fitted(as_estimated(z, scale, shift, 0.01), points(z, 400, wrong=wrong, noise=0.01), made)
    assert fit.source == "points"
    assert fit.scale == pytest.approx(scale, rel=0.007)
    assert fit.shift == pytest.approx(shift, rel=0.02)
    assert off(depth.z, z) < 0.015  # the noise of single pixels
    clean = as_estimated(z, scale, shift).z
    rescale(clean, fit.scale, fit.shift)
    assert off(clean, z) < 0.003
    assert fit.agreeing == pytest.approx(1.0 - 0.85 * wrong, abs=0.05)
    assert fit.residual < 0.015
    assert depth.notes == ("as it came", fit.note)
    assert depth.metric
    assert f"{fit.count} known points ({fit.agreeing:.0%} agree, within {fit.residual:.1%})" in fit.note


@pytest.mark.parametrize("scene", ["still_life", "figure", "street", "tracking"])
def test_ground_truth_comes_back(scene: str) -> None:
    found = truth(scene)
    clip = Clip(found.colour, found.camera.fps, scene)
    z = found.depth
    shift = -0.4 / float(np.percentile(z, 95))
    depth, fit = fitted(as_estimated(z, 0.7, shift), points(z, 300, wrong=0.3), (clip, z, found.camera))
    assert fit.scale == pytest.approx(0.7, rel=0.03)
    assert fit.shift == pytest.approx(shift, rel=0.12)
    assert off(depth.z, z) < 0.003


def test_the_array_on_the_disk_is_changed_in_place() -> None:
    made = yard()
    z = made[1]
    with workspace() as folder:
        array = disk_array(folder, "depth", z.shape, np.float32)
        array[:] = as_estimated(z, 0.5, 0.03).z
        depth, _ = fitted(dataclasses.replace(as_estimated(z, 0.5, 0.03), z=array), points(z, 100), made)
        assert depth.z is array
        assert off(array, z) < 1e-4


def test_one_point_tells_the_scale() -> None:
    made = yard()
    one = points(made[1], 1)
    depth, fit = fitted(as_estimated(made[1], 2.5, 0.0), one, made)
    assert (fit.scale, fit.shift, fit.count) == (pytest.approx(2.5, rel=1e-3), 0.0, 1)
    assert fit.note == f"depth was multiplied by {1 / fit.scale:.4g} to fit 1 known point"
    assert off(depth.z, made[1]) < 1e-3


def test_two_points_at_different_depths_fix_the_shift_that_disparity_leaves_open() -> None:
    made = yard()
    z = made[1]
    at = np.array([[45.5, 75.5], [60.5, 30.5]])  # a near box, the wall
    known = KnownPoints(np.zeros(2, np.int32), at, z[0, [75, 30], [45, 60]].astype(np.float64))
    assert known.z[1] > 2.0 * known.z[0]
    _, fit = fitted(as_estimated(z, 0.5, -0.02), known, made)
    assert (fit.scale, fit.shift) == (pytest.approx(0.5, rel=1e-3), pytest.approx(-0.02, rel=1e-2))
    _, fit = fitted(as_estimated(z, 0.5, -0.02, gives="metric"), known, made)
    assert fit.shift == 0.0
    assert "do not agree" in fit.note


def test_points_at_one_depth_leave_the_shift_open() -> None:
    made = yard()
    z = made[1]
    rng = np.random.default_rng(2)
    at = np.stack([rng.uniform(10.0, 80.0, 40), rng.uniform(12.0, 45.0, 40)], axis=1)
    wall = z[0, at[:, 1].astype(int), at[:, 0].astype(int)].astype(np.float64)
    assert np.ptp(wall) < 0.1 * wall.mean()
    _, fit = fitted(as_estimated(z, 0.5, 0.02), KnownPoints(np.zeros(40, np.int32), at, wall), made)
    assert fit.shift == 0.0
    assert fit.agreeing == 1.0


def test_few_points_do_not_make_a_shift_of_noise() -> None:
    made = yard()
    z = made[1]
    for seed in range(12):
        known = points(z, 4, noise=0.02, seed=seed)
        _, fit = fitted(as_estimated(z, 0.5, 0.0, 0.01), known, made)
        assert (fit.scale, fit.shift) == (pytest.approx(0.5, rel=0.05), 0.0)


def test_points_that_contradict_the_depth_are_told() -> None:
    made = yard()
    z = made[1]
    known = points(z, 200)
    _, fit = fitted(as_estimated(z, 1.0, 0.0), dataclasses.replace(known, z=1.0 / known.z), made)
    assert "do not agree with each other or with the depth" in fit.note
    assert fit.shift == 0.0
    assert fit.scale > 0.0


def test_the_sky_disturbs_nothing() -> None:
    made = yard()
    z = made[1]
    known = points(z, 200)
    sky = np.argwhere(z[0] > 100.0)[:80]
    at = np.concatenate([known.at, sky[:, ::-1] + 0.5])
    frame = np.concatenate([known.frame, np.zeros(len(sky), np.int32)])
    distant = np.concatenate([known.z, np.full(len(sky), 30.0)])  # a hill that the sky was taken for
    _, fit = fitted(as_estimated(z, 0.5, 0.02), KnownPoints(frame, at, distant), made)
    assert (fit.scale, fit.shift) == (pytest.approx(0.5, rel=2e-3), pytest.approx(0.02, rel=0.02))


def test_points_count_in_pixels_of_the_clip_as_it_comes_in() -> None:
    clip, z, camera = yard()
    known = points(z, 100)
    half = dataclasses.replace(clip, scale=0.5)
    double = dataclasses.replace(known, at=2.0 * known.at)
    _, fit = fitted(as_estimated(z, 0.5, 0.0), double, (half, z, camera))
    assert (fit.scale, fit.agreeing) == (pytest.approx(0.5, rel=1e-3), 1.0)
    depth, _ = fitted(as_estimated(z, 0.5, 0.0), known, (half, z, camera))
    assert off(depth.z, z) > 0.05


def test_points_of_the_rest_of_the_shot_are_left_aside() -> None:
    made = yard()
    known = points(made[1], 60)
    frame = known.frame.copy()
    frame[:20], frame[20:30] = -3, FRAMES
    few = dataclasses.replace(known, frame=frame)
    assert fitted(as_estimated(made[1], 0.5, 0.0), few, made)[1].count <= 30
    at = known.at + np.array([500.0, 0.0])
    for lost in (dataclasses.replace(known, frame=frame - 100), dataclasses.replace(known, at=at)):
        with pytest.raises(
            Ex4dError, match="None of the 60 known points lies in the clip's 5 frames of 160x"
        ) as caught:
            fitted(as_estimated(made[1], 0.5, 0.0), lost, made)
        assert caught.value.code == BAD_INPUT


def test_a_depth_of_zero_is_refused() -> None:
    made = yard()
    known = points(made[1], 5)
    known.z[3] = 0.0
    with pytest.raises(Ex4dError, match="Known point 4 has the depth 0"):
        fitted(as_estimated(made[1], 1.0, 0.0), known, made)


def test_it_reports_and_can_be_stopped() -> None:
    clip, z, camera = yard()
    phases: list[str] = []

    def progress(phase: str, done: int, total: int) -> None:
        phases.append(phase)
        if phase.startswith("Fitting"):
            raise Ex4dError(CANCELLED, "stopped")

    depth = as_estimated(z, 0.5, 0.0)
    before = depth.z.copy()
    with pytest.raises(Ex4dError, match="stopped"):
        in_real_units(depth, clip, Known(points=points(z, 50)), camera, progress)
    assert phases == [*["Reading known points"] * (FRAMES + 1), "Fitting depth to what is known"]
    np.testing.assert_array_equal(depth.z, before)


# --- places in the world of a source camera ---


def bundles(found: CameraPath, z: F32, count: int = 60) -> WorldPoints:
    frame, at = clear_places(z, np.random.default_rng(3), count)
    seen = np.stack([places(z, int(f), a, found.intrinsics[f]) for f, a in zip(frame, at, strict=True)])
    poses = found.world_from_camera[frame]
    return WorldPoints(frame.astype(np.int32), at, np.einsum("nij,nj->ni", poses[:, :3, :3], seen) + poses[:, :3, 3])


def test_places_in_the_cameras_world_become_depth() -> None:
    found = truth("tracking")
    clip = Clip(found.colour, found.camera.fps, "tracking")
    elsewhere = np.eye(4)
    elsewhere[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    elsewhere[:3, 3] = (4.0, 5.0, -6.0)
    path = dataclasses.replace(found.camera, world_from_camera=elsewhere @ found.camera.world_from_camera)
    world = bundles(path, found.depth)
    known = seen_by(world, *fit_to_clip(path, clip), clip)
    at = known.at.astype(int)
    np.testing.assert_allclose(known.z, found.depth[known.frame, at[:, 1], at[:, 0]], rtol=1e-5)
    assert len(known.z) == 60


def test_places_of_another_world_are_told() -> None:
    found = truth("tracking")
    clip = Clip(found.colour, found.camera.fps, "tracking")
    world = bundles(found.camera, found.depth)
    given = fit_to_clip(found.camera, clip)
    upside = dataclasses.replace(world, world=world.world * (1.0, -1.0, -1.0))
    with pytest.raises(Ex4dError, match="60 of 60 known points lie behind the source camera") as caught:
        seen_by(upside, *given, clip)
    assert "one world" in caught.value.hint
    with pytest.raises(Ex4dError, match=r"sees only .* of the known points where they were marked"):
        seen_by(dataclasses.replace(world, world=world.world + np.array([3.0, 0.0, 0.0])), *given, clip)
    few = world.world.copy()
    few[:10] += 3.0  # bundles that were solved wrongly
    assert len(seen_by(dataclasses.replace(world, world=few), *given, clip).z) == 50


# --- the solver ---


@given(st.integers(0, 2**31), st.integers(1, 60), st.sampled_from([2, 3, NEVER]))
@settings(max_examples=60, deadline=None)
def test_whatever_is_known_a_fit_keeps_near_and_far(seed: int, count: int, shift_from: int) -> None:
    rng = np.random.default_rng(seed)
    found = solve(rng.lognormal(0.0, 1.0, count), rng.lognormal(0.0, 1.0, count), shift_from=shift_from)
    assert np.isfinite([found.scale, found.shift, found.residual, found.agreeing]).all()
    assert found.scale > 0.0
    assert found.off.shape == found.agrees.shape == (count,)
