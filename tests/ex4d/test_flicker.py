# SPDX-License-Identifier: Apache-2.0
"""The flow-warped difference on sequences whose flicker is known."""

from __future__ import annotations

import math
from itertools import pairwise

import cv2
import numpy as np
import pytest

from ex4d.evaluate.flicker import flicker, warped_difference
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError


@pytest.fixture(scope="module")
def texture() -> np.ndarray:
    """[140, 200, 3]: blobs of every size, from 40 to 215."""
    rng = np.random.default_rng(11)
    picture = sum(cv2.GaussianBlur(rng.normal(0, 1, (140, 200)), (0, 0), sigma) * sigma for sigma in (1.5, 4.0, 9.0))
    picture = 40 + 175 * (picture - picture.min()) / np.ptp(picture)
    return np.repeat(picture[..., None], 3, axis=-1).astype(np.uint8)


def test_a_still_picture_does_not_flicker(texture: np.ndarray) -> None:
    assert flicker([texture] * 3) == 0.0


def test_movement_is_not_flicker(texture: np.ndarray) -> None:
    frames = [texture[10:110, 3 * t : 3 * t + 150] for t in range(5)]
    plain = np.abs(frames[1].astype(float) - frames[0]).mean()
    assert plain > 5.0
    assert flicker(frames) < 0.06 * plain


def test_a_jump_in_brightness_counts_in_full(texture: np.ndarray) -> None:
    brighter = texture + np.uint8(12)
    assert flicker([texture, brighter, texture]) == pytest.approx(12.0, abs=0.8)


def test_grain_counts_as_the_difference_of_two_draws(texture: np.ndarray) -> None:
    rng = np.random.default_rng(4)
    frames = [
        (texture + rng.normal(0, 5, texture.shape[:2])[..., None]).clip(0, 255).astype(np.uint8) for _ in range(4)
    ]
    # The mean of |a - b| for two normal draws; the flow explains a part of it away.
    assert 0.6 < flicker(frames) / (2 * 5 / math.sqrt(math.pi)) < 1.1


def test_only_the_area_counts(texture: np.ndarray) -> None:
    brighter = texture.copy()
    brighter[:, :100] += np.uint8(20)
    left = np.zeros(texture.shape[:2], np.bool_)
    left[:, :80] = True
    right = np.zeros_like(left)
    right[:, 120:] = True
    assert flicker([texture, brighter], [left, left]) == pytest.approx(20.0, abs=1.5)
    assert flicker([texture, brighter], [right, right]) < 0.5


def test_what_is_hidden_or_shown_anew_does_not_count(texture: np.ndarray) -> None:
    rng = np.random.default_rng(6)
    block = np.repeat(rng.integers(0, 255, (12, 12, 1), np.uint8), 3, axis=-1).repeat(4, 0).repeat(4, 1)
    frames = []
    for t in range(4):
        frame = texture.copy()
        frame[40:88, 30 + 9 * t : 78 + 9 * t] = block
        frames.append(frame)
    plain = np.mean([np.abs(b.astype(float) - a).mean() for a, b in pairwise(frames)])
    assert flicker(frames) < 0.2 * plain


def test_nothing_to_compare_is_not_a_number(texture: np.ndarray) -> None:
    nowhere = np.zeros(texture.shape[:2], np.bool_)
    assert math.isnan(flicker([texture, texture], [nowhere, nowhere]))
    assert math.isnan(flicker([texture]))
    assert warped_difference(texture, texture, nowhere)[1] == 0


def test_frames_of_two_sizes_are_refused(texture: np.ndarray) -> None:
    with pytest.raises(Ex4dError) as refused:
        warped_difference(texture, texture[1:])
    assert refused.value.code == SIZE_MISMATCH
