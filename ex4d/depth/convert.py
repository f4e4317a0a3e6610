# SPDX-License-Identifier: Apache-2.0
"""From what files and estimators hold to z-depth that is finite and above zero everywhere.

Estimators and renderers leave pixels without depth: sky, holes in a scan, rays that hit nothing. They become background
at one distance behind everything, and are told to the person. A frame that holds nothing else was not written right,
unless it says itself that it is infinitely far; so was depth below zero, which leaves open whether a sign or a unit is
wrong.

All of it works in place and frame by frame, on arrays that may be longer than the memory: what has to be known of the
whole clip is counted, or taken from samples of it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from ex4d.depth.door import Gives, Progress, nobody
from ex4d.mesh.lift import NEAREST
from ex4d.on_disk import streamed
from ex4d.values import F32, Beyond, Bool
from shared_protocol.errors import BAD_INPUT, Ex4dError

NOTHING = 1e9  # Blender writes 1e10 where a ray hits nothing
BEHIND = 4.0  # background lies this many times as far as the 99th percentile of what is there
CLEAR = 1.05  # ... and this many times as far as the furthest of it, if that is more
NEAR, FAR = 1.0, 10.0  # range that relative disparity is mapped to: it has no units of its own
OVERSHOOT = 1.5  # how far values above the robust maximum may go before they are cut
HUGE = 1e30  # disparity beyond is no measurement, and would leave float32 when it is reckoned with
_SAMPLES = 4_000_000  # for percentiles; an even subset of longer clips does as well
_LOOKING, _PLACING = "Looking at the depth", "Placing the depth"
_LISTED = 4  # stretches of frames that a note names

I64 = NDArray[np.int64]


def to_depth(values: F32, gives: Gives, first: int = 0, progress: Progress = nobody) -> tuple[list[str], Beyond | None]:
    """What an estimator gave [T, H, W] becomes z-depth in place, finite and > 0.

    Depth that is all there stays as it is, bit for bit. Relative disparity has its 1st and 99th percentile over the
    whole clip placed at `FAR` and `NEAR`.

    Args:
        values: of each frame.
        gives: what they mean.
        first: of the clip within its shot, from 0; messages count frames from the shot's first.
        progress: told at each frame; may raise.

    Returns:
        Notes for a person; and where the background is, None where there is none.

    Raises:
        Ex4dError: BAD_INPUT, see `finite_depth` and `placed_disparity`; whatever `progress` raises.
    """
    if gives == "disparity":
        return [placed_disparity(values, first, progress)], None
    note, beyond = finite_depth(values, first, progress)
    return [note] if note else [], beyond


def finite_depth(z: F32, first: int = 0, progress: Progress = nobody) -> tuple[str, Beyond | None]:
    """Puts background (infinite, not a number, zero, Blender's 1e10) at a finite distance, in place.

    Args:
        z: [T, H, W] z-depth.
        first: as in `to_depth`.
        progress: the same.

    Returns:
        A note on how many pixels are background, in which frames ("" for none); and where they are now.

    Raises:
        Ex4dError: BAD_INPUT for negative depth, when nothing of it is depth, or when a frame has neither depth nor
            anything infinitely far; whatever `progress` raises.
    """
    total, pixels = len(z), z[0].size
    there, endless, negative = (np.zeros(total, np.int64) for _ in range(3))
    lowest, most = 0.0, 0.0
    samples = _Samples(z, is_depth)
    for t, frame in enumerate(streamed(z)):
        is_there = is_depth(frame)
        with np.errstate(invalid="ignore"):
            below = np.isfinite(frame) & (frame < 0.0)
            endless[t] = np.count_nonzero(frame >= NOTHING)
        there[t], negative[t] = np.count_nonzero(is_there), np.count_nonzero(below)
        if negative[t]:
            lowest = min(lowest, float(frame[below].min()))
        if there[t]:
            most = max(most, float(frame[is_there].max()))
        samples.add(t)
        progress(_LOOKING, t + 1, total)
    if negative.any():
        raise Ex4dError(
            BAD_INPUT,
            f"The depth is negative at {_pixels(negative, pixels, first)}, down to {lowest:.4g}.",
            "Depth is the distance in front of the camera: change its sign, or write 0 where there is none.",
        )
    if not there.any():
        what = "all of it is infinitely far" if endless.any() else "no value is finite and above zero"
        raise Ex4dError(
            BAD_INPUT,
            f"The depth is empty: {what}, so there is no surface to move around.",
            "Is it the right pass?",
        )
    empty = (there + endless) == 0
    if empty.any():
        raise Ex4dError(
            BAD_INPUT,
            f"The depth of {_frames(empty, first)} is empty: no value is above zero.",
            "Make it again, or leave those frames out.",
        )
    missing = pixels - there
    if not missing.any():
        return "", None
    usual = samples.percentile(99.0)
    far = np.float32(max(BEHIND * usual, CLEAR * most))
    for t, frame in enumerate(streamed(z)):
        frame[~is_depth(frame)] = far
        progress(_PLACING, t + 1, total)
    note = f"no depth at {_pixels(missing, pixels, first)}: taken for background, behind everything else"
    return note, Beyond(float(far), float(far) / usual)


def placed_disparity(disparity: F32, first: int = 0, progress: Progress = nobody) -> str:
    """Relative disparity [T, H, W], known up to a scale and a shift, becomes z in place. Returns a note.

    `first` and `progress` are as in `to_depth`.

    Raises:
        Ex4dError: BAD_INPUT when no value can be used, in the whole clip or in one of its frames; whatever `progress`
            raises.
    """
    total, pixels = len(disparity), disparity[0].size
    there = np.zeros(total, np.int64)
    least, most = np.inf, -np.inf
    samples = _Samples(disparity, is_disparity)
    for t, frame in enumerate(streamed(disparity)):
        is_there = is_disparity(frame)
        there[t] = np.count_nonzero(is_there)
        if there[t]:
            some = frame[is_there]
            least, most = min(least, float(some.min())), max(most, float(some.max()))
        samples.add(t)
        progress(_LOOKING, t + 1, total)
    if not there.any() or (least == most and most <= 0.0):
        raise no_disparity()
    if not there.all():
        raise Ex4dError(
            BAD_INPUT,
            f"The disparity of {_frames(there == 0, first)} is empty: no value is a number.",
            "Make it again, or leave those frames out.",
        )
    low, high = (samples.percentile(percent) for percent in (1.0, 99.0))
    if high <= low:
        low, high = least, most
    span = (high - low) or 1.0
    for t, frame in enumerate(streamed(disparity)):
        share = (np.clip(np.where(is_disparity(frame), frame, low), low, low + OVERSHOOT * span) - low) / span
        frame[:] = 1.0 / (1.0 / FAR + (1.0 / NEAR - 1.0 / FAR) * share)
        progress(_PLACING, t + 1, total)
    note = f"relative disparity placed between {NEAR:g} and {FAR:g} scene units"
    missing = pixels - there
    if missing.any():
        note += f"; no disparity at {_pixels(missing, pixels, first)}: taken for background"
    return note


def is_depth(z: F32) -> Bool:
    """Which values are the depth of something: neither background nor nonsense."""
    with np.errstate(invalid="ignore"):
        return np.asarray(np.isfinite(z) & (z >= NEAREST) & (z < NOTHING), np.bool_)


def is_disparity(values: F32) -> Bool:
    """Which values of disparity are measurements."""
    return np.asarray(np.abs(values) < HUGE, np.bool_)


def no_disparity() -> Ex4dError:
    """The error to show where there is no disparity at all."""
    return Ex4dError(BAD_INPUT, "The disparity is empty: no value is finite and above zero.", "Is it the right file?")


class _Samples:
    """Values evenly taken from a clip, frame by frame."""

    def __init__(self, values: F32, good: Callable[[F32], Bool]) -> None:
        """`good`: which values of a frame count."""
        step = -(-values.size // _SAMPLES)
        self._step = step | 1 if step > 1 else 1  # odd, so that it does not walk down one column of the picture
        self._values, self._good = values, good
        self._found: list[F32] = []

    def add(self, index: int) -> None:
        """Takes some of one frame's."""
        frame = self._values[index]
        some = frame.reshape(-1)[-index * frame.size % self._step :: self._step]
        self._found.append(some[self._good(some)])

    def percentile(self, percent: float) -> float:
        """Of what was taken; where that met nothing good, of the first frame that has any."""
        some = np.concatenate(self._found)
        if not some.size:
            some = next(frame[self._good(frame)] for frame in self._values if self._good(frame).any())
        return float(np.percentile(some, percent))


def _pixels(counts: I64, of_frame: int, first: int) -> str:
    """How many pixels, and in which frames. `counts`: [T], `of_frame`: pixels that a frame has."""
    count = int(counts.sum())
    part = count / (len(counts) * of_frame)
    share = f" ({part:.0%})" if part >= 0.005 else ""
    return f"{count} pixel{'s' if count != 1 else ''}{share} of {_frames(counts > 0, first)}"


def _frames(which: Bool, first: int) -> str:
    """Which frames, counted from 1 at the shot's first: "frame 3", "frames 1 to 4, 7", "every frame"."""
    if which.all() and len(which) > 1:
        return "every frame"
    edges = first + np.flatnonzero(np.diff(which.astype(np.int8), prepend=0, append=0))
    runs = [f"{a + 1}" if a + 1 == b else f"{a + 1} to {b}" for a, b in edges.reshape(-1, 2).tolist()]
    more = ", ..." if len(runs) > _LISTED else ""
    return f"frame{'s' if which.sum() != 1 else ''} {', '.join(runs[:_LISTED])}{more}"
