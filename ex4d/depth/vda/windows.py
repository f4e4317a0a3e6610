# SPDX-License-Identifier: Apache-2.0
"""A clip through windows of 32 frames, and their depth as one. Needs no torch.

A window's last frames are cross-faded with the next one's. A window is shown ten frames of the one before as well, some
of them far back; by two of these its depth, known up to a scale and a shift only, is brought to what came before.
Source of the numbers and the order: DepthAnything/Video-Depth-Anything, `video_depth.py` (section 3.3 of its paper).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ex4d.depth.vda.architecture import FRAMES
from ex4d.values import F32

OVERLAP = 10  # frames that a window is shown again
STEP = FRAMES - OVERLAP  # new ones
KEPT = (0, 12, *range(24, FRAMES))  # slots of a window that are the first ten of the next
FADE = 8  # frames that two windows share, cross-faded
_FADED = slice(OVERLAP - FADE, OVERLAP)  # their slots in the later one
_FAR = KEPT[1]  # slot of a window by which, with the clip's first frame, the next one is aligned
_FLAT = 1e-6  # deviation over mean: below it, numbers of float32 are all the same

Depth = Callable[[Sequence[int]], Iterable[F32]]  # depth [H, W] of some of a window's slots, in their order


@dataclass(frozen=True)
class Window:
    """32 frames that the network sees at once."""

    start: int  # the frame that is new in slot 10 is `start` + 10
    frames: tuple[int, ...]  # of each slot; past the clip's end its last one


def plan_windows(count: int, *, every: bool = True) -> list[Window]:
    """The windows of a clip.

    Args:
        count: frames.
        every: as published: a clip whose last window begins with its last frames has one that adds nothing, since its
            first frame counts nothing in the cross-fade. False leaves that one out; the depth is the same.
    """
    last = count - 1
    windows: list[Window] = []
    for start in range(0, count, STEP):
        if not every and windows and start + _FADED.start >= last:
            break
        new = [min(start + slot, last) for slot in range(FRAMES)]
        shown = [windows[-1].frames[slot] for slot in KEPT] if windows else new[:OVERLAP]
        windows.append(Window(start, (*shown, *new[OVERLAP:])))
    return windows


def fit(found: F32, wanted: F32) -> tuple[float, float] | None:
    """Scale and shift that bring numbers to others, by least squares, over all of them. In float64: sums of float32
    were measured to move depth by a tenth where its mean is large.

    Returns:
        None for numbers that are all the same.
    """
    mean_x, mean_y = (float(values.mean(dtype=np.float64)) for values in (found, wanted))
    spread = _products(found, mean_x, found, mean_x)
    if spread <= found.size * (_FLAT * abs(mean_x)) ** 2:
        return None
    scale = _products(found, mean_x, wanted, mean_y) / spread
    return scale, mean_y - scale * mean_x


def _products(a: F32, mean_a: float, b: F32, mean_b: float) -> float:
    """The sum of products of deviations, row by row: no whole frame is made float64."""
    rows = zip(a.reshape(-1, a.shape[-1]), b.reshape(-1, b.shape[-1]), strict=True)
    return sum(float(np.vdot(x.astype(np.float64) - mean_a, y.astype(np.float64) - mean_b)) for x, y in rows)


class Join:
    """Puts windows together. Holds ten frames, whatever the clip's length."""

    def __init__(
        self, count: int, *, metric: bool, published: bool = False, note: Callable[[str], None] = lambda _: None
    ) -> None:
        """For a clip of so many frames.

        Args:
            count: frames.
            metric: the windows' depth is in metres, and is not aligned.
            published: takes every fit as it comes, and (1, 0) where there is none. By default, a scale that is not
                above zero is not believed, since it would turn near and far around: the scale of the window before is
                kept, and only the mean is brought to what came before.
            note: told of windows whose fit was not believed.
        """
        self._count, self._metric, self._published, self._note = count, metric, published, note
        self._seen: list[F32] = []  # the clip's first frame, and the window's `_FAR`
        self._tail: list[F32] = []  # the last `FADE` frames of the window
        self.fits: list[tuple[float, float]] = []  # scale and shift of each window from the second on

    def add(self, window: Window, depth: Depth, last: bool) -> Iterator[F32]:
        """The frames [H, W] that no later window touches any more, in order.

        Args:
            window: in order.
            depth: of its slots; asked for those alone that count.
            last: whether it is the last one.
        """
        if not window.start:
            yield from self._aligned(window, depth, range(FRAMES), (1.0, 0.0), last)
            return
        found = (1.0, 0.0) if self._metric else self._fit(window, np.stack(list(depth((0, 1)))))
        self.fits.append(found)
        yield from self._aligned(window, depth, range(_FADED.start, FRAMES), found, last)

    def _fit(self, window: Window, found: F32) -> tuple[float, float]:
        wanted = np.stack(self._seen)
        line = fit(found, wanted)
        if self._published:
            return line or (1.0, 0.0)
        if line is not None and line[0] > 0.0:
            return line
        scale = self.fits[-1][0] if self.fits else 1.0
        first, end = window.start + OVERLAP + 1, min(window.start + FRAMES, self._count)
        self._note(
            f"frames {first} to {end}: near and far do not agree with the frames before; only the mean of their depth "
            "was brought to theirs, look at them"
        )
        return scale, float(wanted.mean(dtype=np.float64)) - scale * float(found.mean(dtype=np.float64))

    def _aligned(
        self, window: Window, depth: Depth, slots: range, found: tuple[float, float], last: bool
    ) -> Iterator[F32]:
        slots = range(slots.start, min(FRAMES, self._count - window.start))
        held = FRAMES if last else FRAMES - FADE
        before, self._tail = self._tail, []
        for slot, values in zip(slots, depth(slots), strict=True):
            frame = values if self._metric or not window.start else _moved(values, *found)
            if slot == 0 or slot == _FAR:
                self._seen = [*self._seen[:1], frame]
            if window.start and slot < OVERLAP:
                weight = np.float32((slot - _FADED.start) / (FADE - 1))
                frame = before[slot - _FADED.start] * (1 - weight) + frame * weight
            if slot < held:
                yield frame
            else:
                self._tail.append(frame)


def _moved(values: F32, scale: float, shift: float) -> F32:
    """What lies beyond infinity after the change comes to infinity: 0."""
    moved: F32 = np.maximum(values * np.float32(scale) + np.float32(shift), np.float32(0.0))
    return moved
