# SPDX-License-Identifier: Apache-2.0
"""Depth edges: brought to where the picture has them, and nothing invented."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from ex4d.depth.edges import refine_edges, refined
from ex4d.values import F32, U8
from shared_protocol.errors import CANCELLED, Ex4dError

NEAR, FAR = 2.0, 6.0


def card(width: int = 160, height: int = 120) -> tuple[F32, U8]:
    """A near card before a far wall, both textured, with a corner and a round side."""
    near = np.zeros((height, width), np.uint8)
    cv2.rectangle(near, (40, 30), (90, 100), 1, -1)
    cv2.circle(near, (90, 65), 25, 1, -1)
    rng = np.random.default_rng(3)
    texture = rng.integers(-12, 12, (height, width, 1))
    frame = np.where(near[..., None] == 1, (200, 90, 60), (70, 110, 150)) + texture
    return np.where(near == 1, NEAR, FAR).astype(np.float32), frame.astype(np.uint8)


def disparity_filtered(z: F32, change: object) -> F32:
    return (1.0 / change(1.0 / z)).astype(np.float32)  # type: ignore[operator]


def wrong(z: F32, truth: F32) -> float:
    """Share of pixels whose depth is off by more than a fifth."""
    return float((np.abs(z / truth - 1) > 0.2).mean())


def test_blurred_edges_are_put_back() -> None:
    truth, frame = card()
    blurred = disparity_filtered(truth, lambda d: cv2.GaussianBlur(d, (0, 0), 1.5))
    assert wrong(blurred, truth) > 0.04
    assert wrong(refined(blurred, frame), truth) < 0.05 * wrong(blurred, truth)


def test_edges_that_lie_beside_those_of_the_picture_come_closer() -> None:
    truth, frame = card()
    moved = disparity_filtered(truth, lambda d: cv2.GaussianBlur(np.roll(d, 2, axis=1), (0, 0), 1.5))
    plain = np.full_like(frame, 128)  # a picture that tells nothing
    assert wrong(refined(moved, frame), truth) < 0.4 * wrong(refined(moved, plain), truth)


def test_hardly_anything_is_left_between_the_sides() -> None:
    truth, frame = card()
    blurred = disparity_filtered(truth, lambda d: cv2.GaussianBlur(d, (0, 0), 1.5))
    out = refined(blurred, frame)
    between = (out > NEAR * 1.2) & (out < FAR * 0.8)
    assert between.mean() < 0.1 * ((blurred > NEAR * 1.2) & (blurred < FAR * 0.8)).mean()
    assert out.min() >= blurred.min() * 0.99
    assert out.max() <= blurred.max() * 1.01


def test_sharp_depth_and_slopes_stay() -> None:
    truth, frame = card()
    np.testing.assert_allclose(refined(truth, frame), truth, rtol=1e-3)
    rows = np.linspace(0.05, 0.5, 120, dtype=np.float32)[:, None].repeat(160, axis=1)
    slope = 1.0 / rows
    np.testing.assert_allclose(refined(slope, frame)[8:-8, 8:-8], slope[8:-8, 8:-8], rtol=0.02)


def test_noise_within_surfaces_becomes_less() -> None:
    truth, frame = card()
    noisy = (truth * np.random.default_rng(0).normal(1, 0.005, truth.shape)).astype(np.float32)
    inside = np.s_[40:90, 50:80]
    assert refined(noisy, frame)[inside].std() < 0.5 * noisy[inside].std()


@pytest.mark.parametrize("shape", [(2, 2), (1, 40), (40, 1), (7, 5)])
def test_small_pictures(shape: tuple[int, int]) -> None:
    z = np.full(shape, 3.0, np.float32)
    np.testing.assert_allclose(refined(z, np.zeros((*shape, 3), np.uint8)), z, rtol=1e-5)


def test_a_clip_is_changed_in_place_and_can_be_cancelled() -> None:
    truth, frame = card()
    blurred = disparity_filtered(truth, lambda d: cv2.GaussianBlur(d, (0, 0), 1.5))
    z, frames = np.stack([blurred] * 3), np.stack([frame] * 3)
    told: list[int] = []

    def progress(_: str, done: int, total: int) -> None:
        told.append(done)
        if done == 2:
            raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError):
        refine_edges(z, frames, progress)
    assert told == [1, 2]
    np.testing.assert_array_equal(z[0], refined(blurred, frame))
    np.testing.assert_array_equal(z[2], blurred)
