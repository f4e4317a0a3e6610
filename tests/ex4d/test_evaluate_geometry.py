# SPDX-License-Identifier: Apache-2.0
"""The measures on renders whose every figure is known."""

from __future__ import annotations

import math
from dataclasses import fields
from fractions import Fraction

import numpy as np
import pytest

from ex4d.evaluate.geometry import (
    FIGURES,
    PERSISTENCE_FIGURES,
    Counts,
    Rendered,
    figures,
    measure,
    measured_frames,
)
from ex4d.evaluate.ground_truth import MoveTruth, SceneTruth
from ex4d.values import CameraPath
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

HEIGHT, WIDTH = 12, 24


def camera(offsets: list[float], focal: float = 20.0) -> CameraPath:
    poses = np.tile(np.eye(4), (len(offsets), 1, 1))
    poses[:, 0, 3] = offsets
    return CameraPath(poses, np.tile([focal, focal, 12.0, 6.0], (len(offsets), 1)), WIDTH, HEIGHT, Fraction(24))


def scene_of(offsets: list[float]) -> SceneTruth:
    shape = (len(offsets), HEIGHT, WIDTH)
    return SceneTruth("scene", np.zeros((*shape, 3), np.uint8), np.ones(shape, np.float32), camera(offsets))


def move_of(visible: np.ndarray, certain: np.ndarray | None = None, level: int = 100, frames: int = 2) -> MoveTruth:
    """The camera stands beside the source in every frame but the first; the picture is all of one colour."""
    shape = (frames, HEIGHT, WIDTH)
    seen = np.broadcast_to(visible, shape).copy()
    sure = seen if certain is None else np.broadcast_to(certain, shape).copy()
    colour = np.full((*shape, 3), level, np.uint8)
    return MoveTruth("move", camera([0.0] + [0.5] * (frames - 1)), colour, np.full(shape, 4.0, np.float32), seen, sure)


def columns(first: int, last: int) -> np.ndarray:
    """[H, W] bool: True from column `first` to before `last`."""
    out = np.zeros((HEIGHT, WIDTH), np.bool_)
    out[:, first:last] = True
    return out


def constant(mask: np.ndarray, level: int = 100, z: float = 4.0) -> Rendered:
    colour = np.where(mask[..., None], level, 0).astype(np.uint8).repeat(3, axis=-1)
    return colour, mask, np.full(mask.shape, z, np.float32)


def found(move: MoveTruth, rendered: Rendered, without: np.ndarray | None = None) -> dict[str, float]:
    source = scene_of([0.0] * len(move.visible))
    return figures(measure(source, move, lambda t: rendered, None if without is None else lambda t: without))


def test_a_perfect_render_has_perfect_figures() -> None:
    result = found(move_of(columns(0, 18)), constant(columns(0, 18)))
    for name in ("precision", "recall", "iou", "certain_iou", "decided_iou", "depth_iou"):
        assert result[name] == 1.0, name
    assert result["ssim"] == pytest.approx(1.0)
    assert result["psnr"] == result["seen_psnr"] == math.inf
    assert result["coverage"] == result["true_coverage"] == 0.75
    assert result["added"] == 0.0
    assert math.isnan(result["added_psnr"])
    assert set(result) == {*FIGURES, *PERSISTENCE_FIGURES}


def test_painting_everything_as_seen_costs_precision_alone() -> None:
    result = found(move_of(columns(0, 18)), constant(columns(0, 24)))
    assert (result["precision"], result["recall"], result["iou"]) == (0.75, 1.0, 0.75)
    assert (result["coverage"], result["true_coverage"]) == (1.0, 0.75)


def test_an_empty_mask_reaches_nothing_and_its_holes_are_grey() -> None:
    result = found(move_of(columns(0, 18), level=100), constant(columns(0, 0)))
    assert math.isnan(result["precision"])
    assert result["recall"] == result["iou"] == result["certain_iou"] == result["depth_iou"] == 0.0
    assert math.isnan(result["psnr"])
    assert math.isnan(result["ssim"])
    assert result["seen_psnr"] == pytest.approx(20.0 * math.log10(255.0 / 27.5))
    assert result["coverage"] == 0.0


def test_half_an_overlap() -> None:
    result = found(move_of(columns(0, 16)), constant(columns(8, 24)))
    assert (result["precision"], result["recall"]) == (0.5, 0.5)
    assert result["iou"] == pytest.approx(1.0 / 3.0)


def test_nothing_visible_leaves_nothing_to_say_of_recall() -> None:
    result = found(move_of(columns(0, 0)), constant(columns(0, 12)))
    assert result["precision"] == 0.0
    assert math.isnan(result["recall"])
    assert math.isnan(result["seen_psnr"])


def test_what_is_visible_and_not_certain_counts_against_the_one_and_not_the_other() -> None:
    move = move_of(columns(0, 18), certain=columns(0, 12))
    all_of_it = found(move, constant(columns(0, 18)))
    assert all_of_it["iou"] == 1.0
    assert all_of_it["certain_iou"] == pytest.approx(2.0 / 3.0)
    assert all_of_it["decided_iou"] == 1.0
    watertight = found(move, constant(columns(0, 12)))
    assert watertight["iou"] == pytest.approx(2.0 / 3.0)
    assert watertight["certain_iou"] == watertight["decided_iou"] == 1.0
    too_much = found(move, constant(columns(0, 24)))
    assert too_much["certain_iou"] == 0.5
    assert too_much["decided_iou"] == pytest.approx(12.0 / 18.0)


@pytest.mark.parametrize(
    ("z", "expected"), [(4.0, 0.75), (4.19, 0.75), (3.81, 0.75), (4.4, 0.0), (3.6, 0.0), (0.0, 0.0)]
)
def test_a_hit_at_the_wrong_depth_is_none(z: float, expected: float) -> None:
    result = found(move_of(columns(0, 18)), constant(columns(0, 24), z=z))
    assert result["depth_iou"] == expected
    assert result["iou"] == 0.75


def test_psnr_and_ssim_of_a_constant_error() -> None:
    result = found(move_of(columns(0, 24), level=100), constant(columns(0, 24), level=110))
    assert result["psnr"] == result["seen_psnr"] == pytest.approx(20.0 * math.log10(25.5))
    stable = (0.01 * 255) ** 2  # Wang et al. 2004, equation 13, with no variance: the luminance term is left
    assert result["ssim"] == pytest.approx((2 * 100 * 110 + stable) / (100**2 + 110**2 + stable), abs=1e-6)


def test_seen_psnr_adds_errors_and_holes() -> None:
    result = found(move_of(columns(0, 24), level=100), constant(columns(0, 6), level=110))
    assert result["psnr"] == pytest.approx(20.0 * math.log10(25.5))
    error = 0.25 * 10.0**2 + 0.75 * 27.5**2
    assert result["seen_psnr"] == pytest.approx(10.0 * math.log10(255.0**2 / error))


def test_colours_outside_of_what_agrees_do_not_count() -> None:
    move = move_of(columns(0, 18))
    colour, mask, z = constant(columns(6, 24))
    wild = colour.copy()
    wild[:, :6] = 255
    wild[:, 18:] = 3
    result = found(move, (wild, mask, z))
    assert result["psnr"] == math.inf
    assert result["ssim"] == pytest.approx(1.0)


def test_what_persistence_added_is_told_apart() -> None:
    move = move_of(columns(0, 18), level=100)
    colour, mask, z = constant(columns(0, 21), level=101)
    colour[:, 12:] = 104
    result = found(move, (colour, mask, z), without=columns(0, 12))
    assert result["added"] == 9 / 24
    assert result["added_psnr"] == pytest.approx(20.0 * math.log10(255.0 / 4.0))
    assert result["own_psnr"] == pytest.approx(20.0 * math.log10(255.0))
    assert result["psnr"] == pytest.approx(10.0 * math.log10(255.0**2 / ((12 * 1 + 6 * 16) / 18)))


def test_frames_of_the_source_camera_are_left_out() -> None:
    asked = []

    def render(t: int) -> Rendered:
        asked.append(t)
        return constant(columns(0, 24))

    counts = measure(scene_of([0.0, 0.0, 0.5, 0.0]), move_of(columns(0, 24), frames=4), render)
    assert asked == [1, 3]  # frame 2: both cameras have moved to one place
    assert (counts.frames, counts.pixels) == (2, 2 * HEIGHT * WIDTH)


def test_another_lens_in_the_same_place_is_another_view() -> None:
    source, move = scene_of([0.0, 0.0]), move_of(columns(0, 24))
    assert measured_frames(source, move) == [1]
    zoomed = MoveTruth("zoom", camera([0.0, 0.0], 21.0), move.colour, move.depth, move.visible, move.certain)
    assert measured_frames(source, zoomed) == [0, 1]


def test_several_moves_together_are_one_over_all_their_pixels() -> None:
    source = scene_of([0.0, 0.0])
    small = measure(source, move_of(columns(0, 2), level=100), lambda t: constant(columns(0, 1), level=101))
    large = measure(source, move_of(columns(0, 20), level=100), lambda t: constant(columns(0, 19), level=105))
    together = figures(small + large)
    assert together["recall"] == pytest.approx(20 / 22)
    assert together["psnr"] == pytest.approx(10.0 * math.log10(255.0**2 / ((1 * 1 + 19 * 25) / 20)))
    assert together["coverage"] == pytest.approx(20 / 48)
    assert small + Counts() == small
    assert (small + large).frames == 2


def test_every_sum_is_added() -> None:
    ones = Counts(*[1] * len(fields(Counts)))
    assert ones + ones == Counts(*[2] * len(fields(Counts)))


def test_no_frames_leave_nothing_to_say() -> None:
    assert all(math.isnan(value) for value in figures(Counts()).values())


def test_a_render_of_another_size_is_refused() -> None:
    with pytest.raises(Ex4dError, match=r"Frame 2 .* 23x12.* 24x12") as refused:
        found(move_of(columns(0, 24)), constant(columns(0, 24)[:, 1:]))
    assert refused.value.code == SIZE_MISMATCH
