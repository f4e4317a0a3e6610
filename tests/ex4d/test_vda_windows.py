# SPDX-License-Identifier: Apache-2.0
"""Windows of Video-Depth-Anything: which frames they are shown, and how their depth becomes one."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
import pytest

from ex4d.depth.vda.windows import Join, fit, plan_windows
from ex4d.values import F32


def truth(count: int) -> F32:
    """Depth [count, 5, 7] that is another one in each frame."""
    random = np.random.default_rng(count)
    return (1.0 + random.random((count, 5, 7)) + 0.02 * np.arange(count)[:, None, None]).astype(np.float32)


def joined(
    depth: F32, changes: Sequence[tuple[float, float]], *, metric: bool = False, every: bool = False, **how: object
) -> tuple[F32, Join, list[str]]:
    """What comes of windows that see `depth`, each with a scale and a shift of its own."""
    notes: list[str] = []
    join = Join(len(depth), metric=metric, note=notes.append, **how)  # type: ignore[arg-type]
    windows, frames = plan_windows(len(depth), every=every), []
    for window, (scale, shift) in zip(windows, changes, strict=False):

        def seen(slots: Sequence[int], frames: tuple[int, ...] = window.frames, to: tuple = (scale, shift)) -> Iterable:
            return (depth[frames[slot]] * np.float32(to[0]) + np.float32(to[1]) for slot in slots)

        frames += join.add(window, seen, last=window is windows[-1])
    return np.stack(frames), join, notes


def test_windows_are_22_frames_apart_and_see_ten_of_the_one_before() -> None:
    first, second, third = plan_windows(60)
    assert first.frames == tuple(range(32))
    assert second.frames == (0, 12, *range(24, 54))
    assert third.frames == (0, 34, *range(46, 60), *[59] * 16)
    assert plan_windows(3)[0].frames == (0, 1, *[2] * 30)


@pytest.mark.parametrize("count", [1, 22, 23, 24, 25, 26, 44, 45, 47, 48, 67])
def test_windows_of_different_scale_and_shift_become_one_again(count: int) -> None:
    depth = truth(count)
    frames, _, notes = joined(depth, [(1, 0), (0.5, 3.0), (4.0, -1.0), (2.0, 0.1)])
    assert frames.shape == depth.shape
    assert np.allclose(frames, depth, atol=2e-5)
    assert notes == []
    published, _, _ = joined(depth, [(1, 0), (0.5, 3.0), (4.0, -1.0), (2.0, 0.1)], published=True, every=True)
    assert np.array_equal(published, frames), "the window that is left out adds nothing"


def test_a_last_window_that_adds_nothing_is_left_out() -> None:
    lengths = {count: (len(plan_windows(count, every=False)), len(plan_windows(count))) for count in (22, 23, 25, 26)}
    assert lengths == {22: (1, 1), 23: (1, 2), 25: (1, 2), 26: (2, 2)}


def test_metres_are_not_aligned_but_cross_faded() -> None:
    depth = np.ones((40, 2, 2), np.float32)
    frames, _, _ = joined(depth, [(1, 0), (1, 7)], metric=True)
    assert np.all(frames[:24] == 1)
    assert np.allclose(frames[24:32, 0, 0], 1 + np.arange(8), atol=1e-6)
    assert np.all(frames[32:] == 8)


def test_a_window_that_is_turned_around_is_not_believed() -> None:
    depth = truth(44)
    changes = [(1, 0), (-1.0, 5.0)]
    frames, join, notes = joined(depth, changes)
    assert join.fits[0][0] == 1.0, "the scale of the window before"
    assert join.fits[0][1] == pytest.approx(2 * depth[[0, 12]].mean(dtype=float) - 5.0, abs=1e-4)
    assert len(notes) == 1
    assert notes[0].startswith("frames 33 to 44")
    assert frames.min() >= 0.0
    published, join, notes = joined(depth, changes, published=True, every=True)
    assert join.fits[0] == pytest.approx((-1.0, 5.0), abs=1e-4), "the published code takes it as it is"
    assert notes == []
    assert np.allclose(published, depth, atol=2e-5)


def test_a_window_with_nothing_to_align_by_is_brought_to_the_mean_of_what_came_before() -> None:
    depth = truth(40)
    flat = np.full((2, 5, 7), 3.3, np.float32)
    assert fit(flat, depth[:2]) is None
    _, join, notes = joined(depth, [(1, 0), (0.0, 9.0)])
    assert join.fits == [(1.0, pytest.approx(depth[[0, 12]].mean(dtype=float) - 9.0, abs=1e-5))]
    assert len(notes) == 1
    _, join, _ = joined(depth, [(1, 0), (0.0, 9.0)], published=True, every=True)
    assert join.fits == [(1.0, 0.0)]


def test_the_fit_is_exact_where_the_mean_is_large() -> None:
    """Sums in float32 would be off by a tenth here."""
    random = np.random.default_rng(0)
    found = (100.0 + random.standard_normal((2, 360, 640))).astype(np.float32)
    line = fit(found, (0.5 * found.astype(np.float64) + 3.0).astype(np.float32))
    assert line is not None
    assert line == pytest.approx((0.5, 3.0), abs=2e-4)


def test_nothing_is_asked_of_a_window_that_does_not_count() -> None:
    """The network's last steps take most of the memory, and are spared."""
    asked: list[list[int]] = []

    def seen(slots: Sequence[int]) -> Iterable[F32]:
        asked.append(list(slots))
        return (np.ones((2, 2), np.float32) + slot for slot in slots)

    join = Join(30, metric=True)
    first, second = plan_windows(30, every=False)
    assert len(list(join.add(first, seen, last=False))) == 24
    assert len(list(join.add(second, seen, last=True))) == 6
    assert asked == [list(range(30)), list(range(2, 8))]
    asked.clear()
    assert len(list(Join(2, metric=False).add(plan_windows(2)[0], seen, last=True))) == 2
    assert asked == [[0, 1]]
