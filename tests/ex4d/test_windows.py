# SPDX-License-Identifier: Apache-2.0
"""Windows of long shots."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ex4d.generate.diffusion.windows import Span, cut_out, given_by, plan_windows, windows_for
from shared_protocol.errors import BAD_INPUT, Ex4dError


@pytest.mark.parametrize(
    ("frames", "expected"),
    [
        (1, [(0, 1, 0)]),
        (2, [(0, 5, 0)]),
        (49, [(0, 49, 0)]),
        (81, [(0, 81, 0)]),
        (82, [(0, 53, 0), (32, 53, 21)]),
        (145, [(0, 81, 0), (64, 81, 17)]),
        (146, [(0, 61, 0), (44, 61, 17), (88, 61, 17)]),
    ],
)
def test_known_plans(frames: int, expected: list[tuple[int, int, int]]) -> None:
    assert plan_windows(frames, 81, 17) == tuple(Span(*values) for values in expected)


@given(frames=st.integers(1, 700), window=st.integers(1, 121), overlap=st.integers(1, 33))
def test_every_plan(frames: int, window: int, overlap: int) -> None:
    longest, shared = (window - 1) // 4 * 4 + 1, -(-(overlap - 1) // 4) * 4 + 1
    if frames > longest and longest < shared + 4:
        with pytest.raises(Ex4dError) as caught:
            plan_windows(frames, window, overlap)
        assert caught.value.code == BAD_INPUT
        return
    spans = plan_windows(frames, window, overlap)
    assert len({span.length for span in spans}) == 1
    assert spans[0].start == spans[0].overlap == 0
    for span in spans:
        assert span.length <= longest
        assert span.length % 4 == 1
        assert span.start % 4 == 0
        assert span.latents == (span.length + 3) // 4
    for before, span in pairwise(spans):
        assert span.start > before.start
        assert span.overlap == before.start + before.length - span.start
        assert span.overlap >= shared
        assert span.length >= shared + 4
    assert 0 <= spans[-1].start + spans[-1].length - frames <= 3
    # One window fewer would not do.
    assert frames > longest * (len(spans) - 1) - shared * (len(spans) - 2) or len(spans) == 1
    given_frames = [frame for index in range(len(spans)) for frame in given_by(spans, index, frames)]
    assert given_frames == list(range(frames))
    for index, span in enumerate(spans):
        for frame in given_by(spans, index, frames):
            assert span.start <= frame < span.start + span.length


def test_only_the_windows_that_are_needed() -> None:
    spans = plan_windows(146, 81, 17)
    assert windows_for(spans, 146, []) == 0
    assert windows_for(spans, 146, [0, 44]) == 1
    assert windows_for(spans, 146, [45]) == 2
    assert windows_for(spans, 146, [3, 145, 7]) == 3


def test_the_last_frame_is_held() -> None:
    video = np.arange(10, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)
    assert cut_out(video, Span(4, 9, 5))[:, 0, 0, 0].tolist() == [4, 5, 6, 7, 8, 9, 9, 9, 9]
    assert cut_out(video, Span(0, 5, 0))[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4]


def test_a_window_too_short_says_how_long_it_has_to_be() -> None:
    with pytest.raises(Ex4dError, match="21 or more"):
        plan_windows(100, 20, 16)
    assert len(plan_windows(100, 21, 16)) == 21
    with pytest.raises(Ex4dError, match="0 frames"):
        plan_windows(0, 81, 17)
