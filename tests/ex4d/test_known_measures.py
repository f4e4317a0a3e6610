# SPDX-License-Identifier: Apache-2.0
"""Scale and shift of depth from distances between picked points."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from known_cases import FOCAL, HEIGHT, STANDS, WIDTH, as_estimated, measures, off, yard

from ex4d.depth.known.fit import KnownFit, in_real_units
from ex4d.depth.known.picks import picked_disparity
from ex4d.depth.known.values import Known, Measure
from ex4d.values import DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError


def fitted(depth: DepthVideo, *known: Measure, height: float | None = None) -> tuple[DepthVideo, KnownFit]:
    clip, _, camera = yard()
    return in_real_units(depth, clip, Known(measures=known, camera_height=height), camera)


@pytest.mark.parametrize("scale", [0.05, 0.9, 30.0])
@pytest.mark.parametrize("count", [1, 2, 8])
def test_distances_tell_the_scale(scale: float, count: int) -> None:
    _, z, camera = yard()
    depth, fit = fitted(as_estimated(z, scale, 0.0), *measures(z, camera, count, 4))
    assert (fit.source, fit.count, fit.shift) == ("measures", count, 0.0)
    assert fit.scale == pytest.approx(scale, rel=2e-3)
    assert off(depth.z, z) < 2e-3
    assert depth.metric
    assert f"to fit {count} measured distance" in fit.note
    assert ("agree, within" in fit.note) == (count > 1)


def test_noise_and_wrong_distances_change_little() -> None:
    _, z, camera = yard()
    rng = np.random.default_rng(8)
    known = [
        dataclasses.replace(m, distance=m.distance * float(np.exp(rng.normal(0.0, 0.01))))
        for m in measures(z, camera, 20, 5)
    ]
    known[::3] = [dataclasses.replace(m, distance=m.distance * 2.3) for m in known[::3]]  # 7 of 20
    _, fit = fitted(as_estimated(z, 0.4, 0.0, 0.01), *known)
    assert (fit.scale, fit.shift) == (pytest.approx(0.4, rel=0.012), 0.0)
    assert fit.agreeing == pytest.approx(0.65, abs=0.06)


@pytest.mark.parametrize(("scale", "shift"), [(0.5, -0.04), (1.4, -0.08)])
@pytest.mark.parametrize("count", [5, 16])
def test_distances_near_and_far_tell_the_shift(scale: float, shift: float, count: int) -> None:
    _, z, camera = yard()
    depth, fit = fitted(as_estimated(z, scale, shift), *measures(z, camera, count, 6))
    assert fit.scale == pytest.approx(scale, rel=0.01)
    assert fit.shift == pytest.approx(shift, rel=0.02)
    assert off(depth.z, z) < 3e-3


def test_two_distances_fix_the_shift_of_disparity_alone() -> None:
    _, z, camera = yard()
    lens = camera.intrinsics[0]
    found = []
    for row, columns in ((75, (35.5, 61.5)), (30, (10.5, 90.5))):  # across a near box, across the wall
        at = [np.array([x, row + 0.5]) for x in columns]
        ends = [np.append((a - lens[2:]) / lens[:2], 1.0) * float(z[0, row, int(a[0])]) for a in at]
        found.append(Measure(0, *(tuple(a.tolist()) for a in at), float(np.linalg.norm(ends[0] - ends[1]))))
    _, fit = fitted(as_estimated(z, 0.5, -0.03), *found)
    assert (fit.scale, fit.shift) == (pytest.approx(0.5, rel=0.01), pytest.approx(-0.03, rel=0.03))
    _, fit = fitted(as_estimated(z, 0.5, -0.03, gives="metric"), *found)
    assert fit.shift == 0.0
    assert "do not agree" in fit.note


def test_distances_at_one_depth_leave_the_shift_open() -> None:
    _, z, camera = yard()
    rng = np.random.default_rng(2)
    lens, found = camera.intrinsics[0], []
    for _ in range(20):
        at = np.stack([rng.uniform((10.0, 12.0), (40.0, 45.0)), rng.uniform((60.0, 12.0), (90.0, 45.0))])  # the wall
        ends = [np.append((a - lens[2:]) / lens[:2], 1.0) * float(z[0, int(a[1]), int(a[0])]) for a in at]
        found.append(Measure(0, *(tuple(a.tolist()) for a in at), float(np.linalg.norm(ends[0] - ends[1]))))
    _, fit = fitted(as_estimated(z, 0.5, 0.0, 0.01), *found)
    assert (fit.scale, fit.shift) == (pytest.approx(0.5, rel=0.01), 0.0)


def test_on_an_outline_the_nearer_surface_is_picked() -> None:
    _, z, _ = yard()
    row = 75
    edge = int(np.flatnonzero(z[0, row, 1:] > 1.5 * z[0, row, :-1])[0])  # the right side of the near box
    near = float(z[0, row, edge])
    for x in (edge - 1.0, edge + 1.0, edge + 2.0):
        assert 1.0 / picked_disparity(z[0], x, row + 0.5) == pytest.approx(near, rel=0.02)
    assert 1.0 / picked_disparity(z[0], edge + 9.0, row + 0.5) > 1.5 * near


@pytest.mark.parametrize(("x", "y"), [(WIDTH, HEIGHT), (0.0, HEIGHT), (0.0, 40.0), (WIDTH, 90.0)])
def test_the_pictures_corners_can_be_picked(x: float, y: float) -> None:
    _, z, _ = yard()
    row, column = min(int(y), HEIGHT - 1), min(int(x), WIDTH - 1)
    assert 1.0 / picked_disparity(z[0], x, y) == pytest.approx(float(z[0, row, column]), rel=0.1)


def test_the_other_known_things_are_compared() -> None:
    _, z, camera = yard()
    known = measures(z, camera, 4, 4)
    _, fit = fitted(as_estimated(z, 0.5, 0.0), *known, height=STANDS)
    assert f"the camera comes out {STANDS:.3g}" in fit.note
    assert "above the ground, 1.55 was given" in fit.note
    clip = yard()[0]
    with_height = Known(camera_height=2.0 * STANDS, measures=())
    _, fit = in_real_units(as_estimated(z, 0.5, 0.0), clip, with_height, camera)
    assert fit.source == "camera_height"
    assert fit.scale == pytest.approx(0.25, rel=2e-3)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (Measure(0, (5.0, 5.0), (5.0, 5.0), 1.0), "same pixel"),
        (Measure(0, (5.0, 5.0), (50.0, 5.0), 0.0), "The distance of measure 2 is 0"),
        (Measure(0, (5.0, 5.0), (50.0, 5.0), -2.0), "The distance of measure 2 is -2"),
        (Measure(0, (5.0, 5.0), (50.0, 5.0), 1e-300), "1e-300.*scene units, 1e-06 to 1e.09"),
        (Measure(0, (5.0, 5.0), (50.0, 5.0), 1e300), "The distance of measure 2 is 1e.300"),
        (Measure(0, (5.0, 5.0), (50.0, 5.0), float("nan")), "The distance of measure 2 is nan"),
        (Measure(0, (5.0, 5.0), (500.0, 5.0), 1.0), "Point B of measure 2 lies at 500, 5; the picture has 160x120"),
        (Measure(0, (5.0, -1.0), (50.0, 5.0), 1.0), "Point A of measure 2 lies at 5, -1"),
        (Measure(0, (float("nan"), 1.0), (50.0, 5.0), 1.0), "Point A of measure 2 lies at nan, 1"),
        (Measure(9, (5.0, 5.0), (50.0, 5.0), 1.0), "Point A of measure 2 is in frame 10; frames 1 to 5 are used"),
    ],
)
def test_what_cannot_be_measured_is_refused(wrong: Measure, message: str) -> None:
    _, z, _ = yard()
    depth = as_estimated(z, 0.5, 0.0)
    before = depth.z.copy()
    with pytest.raises(Ex4dError, match=message) as caught:
        fitted(depth, Measure(0, (5.0, 80.0), (50.0, 80.0), 1.0), wrong)
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint
    np.testing.assert_array_equal(depth.z, before)


def test_the_lens_counts() -> None:
    clip, z, camera = yard()
    known = Known(measures=measures(z, camera, 3, 4))
    wide = dataclasses.replace(camera, intrinsics=camera.intrinsics * [0.5, 0.5, 1.0, 1.0])
    assert wide.intrinsics[0, 0] == FOCAL / 2
    _, fit = in_real_units(as_estimated(z, 1.0, 0.0), clip, known, wide)
    assert fit.scale > 1.3
