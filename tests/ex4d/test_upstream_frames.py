# SPDX-License-Identifier: Apache-2.0
"""Frames as the public code loads them to generate from."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from mesh_cases import picture

from ex4d.upstream.frames import (
    binarise,
    draw_kernels,
    erode,
    hold_last,
    masked_colour,
    prepare_colour,
    prepare_mask,
    read_indices,
    resize,
    to_bfloat16,
)
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError


@given(count=st.integers(1, 400), wanted=st.integers(1, 400))
def test_frames_are_spread_over_the_whole_video_or_are_all_of_it(count: int, wanted: int) -> None:
    got = read_indices(count, wanted).tolist()
    if count < wanted:
        assert got == list(range(count))
        return
    assert len(got) == wanted
    for k, index in enumerate(got):
        exact = Fraction(k * (count - 1), max(wanted - 1, 1))
        # Cut off; floating point may fall just below a whole number.
        assert index == exact.__floor__() or (exact.denominator == 1 and index == exact - 1)


def test_the_last_frame_is_held() -> None:
    assert hold_last(np.array([3, 5, 7]), 6).tolist() == [3, 5, 7, 7, 7, 7]
    assert hold_last(np.array([3, 5, 7]), 2).tolist() == [3, 5]


@pytest.mark.parametrize("kernel", range(1, 9))
def test_erosion_takes_the_smallest_value_of_a_box(kernel: int) -> None:
    mask = np.random.default_rng(kernel).integers(0, 256, (1, 11, 14), dtype=np.uint8)
    expected = np.empty_like(mask)
    for j, i in np.ndindex(11, 14):
        top, left = j - kernel // 2, i - kernel // 2
        expected[0, j, i] = mask[0, max(top, 0) : top + kernel, max(left, 0) : left + kernel].min()
    np.testing.assert_array_equal(erode(mask, np.array([kernel])), expected)


def test_kernels_are_those_of_the_seed_and_all_sizes_occur() -> None:
    kernels = draw_kernels(500, 3)
    np.testing.assert_array_equal(kernels, draw_kernels(500, 3))
    assert (kernels != draw_kernels(500, 4)).any()
    assert sorted(set(kernels.tolist())) == [2, 3, 4, 5, 6, 7, 8]


def test_a_mask_is_seen_above_one_half() -> None:
    assert binarise(np.array([0, 127, 128, 255], np.uint8)).tolist() == [False, False, True, True]


def nearest_bfloat16(value: float) -> float:
    """Of the two neighbours with 8 significant bits, the nearer one; at the middle the even one."""
    if value == 0.0:
        return value
    unit = 2.0 ** (np.frexp(value)[1] - 8)
    return float(round(Fraction(value) / Fraction(unit)) * Fraction(unit))


@given(value=st.floats(-4.0, 4.0, width=32, allow_subnormal=False))
def test_rounding_to_bfloat16(value: float) -> None:
    got = to_bfloat16(np.array([value], np.float32))
    assert got.dtype == np.float32
    assert got[0] == np.float32(nearest_bfloat16(value))


def test_rounding_to_bfloat16_takes_the_even_neighbour_at_the_middle() -> None:
    below, middle, above = 1.0, 1.0 + 2.0**-8, 1.0 + 2.0**-7
    values = np.array([middle, middle + 2.0**-20, above + 2.0**-8, -middle, 0.0, 1.9999999], np.float32)
    assert to_bfloat16(values).tolist() == [below, above, 1.0 + 2.0**-6, -below, 0.0, 2.0]


def test_colour_is_masked_first_and_rounded_twice() -> None:
    colour = np.array([[[[0, 128, 255], [7, 200, 255]]]], np.uint8)
    got = masked_colour(colour, np.array([[[True, False]]]))
    expected = [nearest_bfloat16(2.0 * nearest_bfloat16(float(np.float32(c / 255))) - 1.0) for c in (0, 128, 255)]
    np.testing.assert_array_equal(got[0, 0, 0], np.array(expected, np.float32))
    assert (got[0, 0, 1] == -1.0).all()


def test_a_video_is_picked_resized_eroded_and_held() -> None:
    rgb = np.stack([picture(8, 12, seed) for seed in range(3)])
    colour = prepare_colour(rgb, 5, 4, 6)
    assert colour.shape == (5, 4, 6, 3)
    np.testing.assert_array_equal(colour[:3], resize(rgb, 4, 6))
    np.testing.assert_array_equal(colour[4], colour[2])
    masks = np.full((3, 8, 12), 255, np.uint8)
    masks[:, 4, 6] = 0
    got = prepare_mask(masks, 5, 8, 12, np.array([2, 3, 5]))
    assert [int((~mask).sum()) for mask in got] == [4, 9, 25, 25, 25]
    assert prepare_mask(masks, 2, 8, 12, np.array([2, 3])).shape == (2, 8, 12)


def test_what_cannot_be_prepared_is_refused() -> None:
    masks = np.zeros((3, 4, 5), np.uint8)
    with pytest.raises(Ex4dError, match="3 masks and 2 sizes") as caught:
        prepare_mask(masks, 9, 4, 5, np.array([2, 2]))
    assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match="erosion by 0 pixels") as caught:
        erode(masks, np.array([2, 0, 3]))
    assert caught.value.code == BAD_INPUT
    for count, wanted in ((0, 4), (4, 0)):
        with pytest.raises(Ex4dError, match="cannot be taken"):
            read_indices(count, wanted)
