# SPDX-License-Identifier: Apache-2.0
"""Sizes that shots are painted at."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d.generate.diffusion.sizes import AREAS, working_size
from shared_protocol.errors import BAD_INPUT, Ex4dError

SIDES = st.integers(64, 8192)


@pytest.mark.parametrize(
    ("clip", "quality", "expected"),
    [
        ((512, 512), "512", (512, 512)),
        ((832, 480), "480p", (832, 480)),
        ((1920, 1080), "720p", (1280, 720)),
        ((1080, 1920), "720p", (720, 1280)),
        ((1920, 1080), "480p", (848, 480)),  # 832x480 is 2.5 % narrower than the clip
        ((1024, 576), "512", (688, 384)),
        ((720, 576), "480p", (720, 576)),
    ],
)
def test_known_sizes(clip: tuple[int, int], quality: str, expected: tuple[int, int]) -> None:
    assert working_size(*clip, quality) == expected


@given(width=SIDES, height=SIDES, quality=st.sampled_from(sorted(AREAS)))
def test_sides_aspect_and_area(width: int, height: int, quality: str) -> None:
    wide, high = working_size(width, height, quality)
    assert wide % 16 == 0
    assert high % 16 == 0
    assert working_size(height, width, quality) == (high, wide)
    if max(width, height) <= 4 * min(width, height):
        # A step of 16 pixels is 3 % of the 512 preset's longest side at most, half of that either way.
        assert wide * height / (high * width) == pytest.approx(1.0, abs=0.0159)
        kept = (wide, high) == (width, height)
        assert wide * high / AREAS[quality] == pytest.approx(1.0, abs=0.18 if kept else 0.07)
        assert working_size(wide, high, quality) == (wide, high)  # what is rendered at this size is not resampled


def test_sides_that_are_asked_for() -> None:
    assert working_size(1920, 1080, "480p", (512, 256)) == (512, 256)
    assert working_size(1920, 1080, "480p", (512, 0)) == (512, 288)
    assert working_size(1920, 1080, "480p", (0, 288)) == (512, 288)
    assert working_size(10000, 100, "480p", (64, 0)) == (64, 16)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ((640, 480, "4k"), "no quality '4k'"),
        ((640, 480, "480p", (500, 0)), "width cannot be 500"),
        ((640, 480, "480p", (0, -16)), "height cannot be -16"),
        ((0, 480, "480p"), "0x480"),
    ],
)
def test_refused(arguments: tuple, says: str) -> None:
    with pytest.raises(Ex4dError, match=says) as caught:
        working_size(*arguments)
    assert caught.value.code == BAD_INPUT
