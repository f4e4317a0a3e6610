# SPDX-License-Identifier: Apache-2.0
"""Shots that are longer than a model's window: which frames are painted together, and which window gives which.

A latent stands for 4 frames, but the first of a window for its first frame alone. A window's second latent stands for
the same frames as one of the window before, and so on, where windows start a multiple of 4 frames apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from shared_protocol.errors import BAD_INPUT, Ex4dError

TIME = 4  # frames to a latent
_Kind = TypeVar("_Kind", np.uint8, np.bool_)


@dataclass(frozen=True)
class Span:
    """Where a window lies in its shot. All in frames."""

    start: int  # its first frame, a multiple of 4
    length: int  # 4k + 1; the last window may reach up to 3 frames beyond the shot's end
    overlap: int  # 4k + 1 frames that the window before it paints as well; 0: there is none before it

    @property
    def latents(self) -> int:
        """How many latents its frames have."""
        return (self.length - 1) // TIME + 1

    @property
    def first_latent(self) -> int:
        """The shot's latent that stands for its first frame, among others."""
        return self.start // TIME

    @property
    def shared_latents(self) -> int:
        """How many latents it shares with the window before, beside its first."""
        return max(self.overlap - 1, 0) // TIME


def plan_windows(frames: int, window: int, overlap: int) -> tuple[Span, ...]:
    """As few windows as cover a shot, equally long and no longer than they must be.

    What they have to spare goes into their overlaps. A shot that fits into one window is that window.

    Args:
        frames: of the shot, 1 or more.
        window: most frames of a window; what is beyond 4k + 1 is not used.
        overlap: least frames that a window shares with the one before; rounded up to 4k + 1.

    Raises:
        Ex4dError: BAD_INPUT where windows are too short for their overlap.
    """
    if frames < 1 or window < 1:
        raise Ex4dError(BAD_INPUT, f"{frames} frames in windows of {window} cannot be painted.", "Give 1 or more.")
    longest, shared = _down(window), _up(max(overlap, 1))
    if frames <= longest:
        return (Span(0, _up(frames), 0),)
    if longest < shared + TIME:
        raise Ex4dError(
            BAD_INPUT,
            f"The shot has {frames} frames, and windows of {window} are too short to share {overlap} with the next.",
            f"Give a window of {shared + TIME} or more, or a smaller overlap.",
        )
    count = -((shared - frames) // (longest - shared))
    length = _up(-(((1 - count) * shared - frames) // count))
    last = _up(frames - length + 1) // TIME  # of the last window, in latents
    starts = [TIME * (index * last // (count - 1)) for index in range(count)]
    overlaps = [0, *(starts[index] + length - starts[index + 1] for index in range(count - 1))]
    return tuple(Span(start, length, shared) for start, shared in zip(starts, overlaps, strict=True))


def given_by(spans: Sequence[Span], index: int, frames: int) -> range:
    """The shot's frames that a window gives: from the one after its first on, up to the next window's first.

    The first frame of a later window is the window's before it, which shows it to the model as a real one.

    Args:
        spans: of `plan_windows`.
        index: of the window.
        frames: of the shot.
    """
    first = spans[index].start + 1 if index else 0
    last = spans[index + 1].start if index + 1 < len(spans) else frames - 1
    return range(first, last + 1)


def windows_for(spans: Sequence[Span], frames: int, wanted: Iterable[int]) -> int:
    """How many of the windows, from the first on, have to be painted to get the frames `wanted`."""
    latest = max(wanted, default=-1)
    return sum(given_by(spans, index, frames).start <= latest for index in range(len(spans)))


def cut_out(video: NDArray[_Kind], span: Span) -> NDArray[_Kind]:
    """The frames of a window [length, ...] from those of the shot [T, ...]; beyond its end the last is held."""
    return video[np.minimum(np.arange(span.start, span.start + span.length), len(video) - 1)]


def _down(frames: int) -> int:
    return (frames - 1) // TIME * TIME + 1


def _up(frames: int) -> int:
    return -((1 - frames) // TIME) * TIME + 1
