# SPDX-License-Identifier: Apache-2.0
"""Frames aligned to their neighbours: one scale and one shift of disparity each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.depth.door import Progress
from ex4d.depth.steady.fit import ADDED, Points, Step, fit_change, fit_step
from ex4d.depth.steady.follow import Follower, Way, carried, steepness
from ex4d.depth.steady.solve import SPANS, Difference, corrections
from ex4d.on_disk import forget
from ex4d.values import F32, F64, U8

PHASE = "Aligning depth"
SIDE = 320  # longest side, pixels, that frames are compared at
POINTS = 3000  # about as many two frames are compared at
STEEP = 0.005  # of its disparity: a pixel whose disparity is unsure by more, as flow is, is not compared
SHARE = 0.1  # of the picture that has to be seen in both frames; over a cut, some pixels always look alike
TRUSTED = 0.5  # least trust in the flow of a pixel that is compared
APART = 10.0  # times as far as most pixels of a picture that deforms
STILL = 0.1  # pixels of the reduced size that the flow of a picture which stands still may be off
_MOST = 2.0  # factor on a pixel's disparity: a shift that is a little wrong would be all of what is far away
_FORGET_EVERY = 16  # frames


@dataclass(frozen=True, eq=False)
class Alignment:
    """What each frame is corrected by: disparity d becomes e^level (pivot + e^gain (d - pivot))."""

    pivot: F64  # [T]
    level: F64  # [T]
    gain: F64  # [T]
    noise: float  # relative standard deviation of a pixel's disparity, once its frame is aligned

    @property
    def note(self) -> str:
        """What was done, for a person."""
        scales = np.exp(self.level + self.gain)
        off, pixel = float(np.std(scales)), self.noise
        return f"depth was steadied: scales of frames differed by {off:.1%}, single pixels by {pixel:.1%}"

    def disparity(self, z: F32, t: int) -> F32:
        """[H, W] aligned disparity of frame t, > 0."""
        d = np.float32(1.0) / z
        pivot = np.float32(self.pivot[t])
        turned = pivot + np.float32(np.exp(self.gain[t])) * (d - pivot)
        kept = np.clip(turned, d / np.float32(_MOST), d * np.float32(_MOST))
        return np.asarray(np.float32(np.exp(self.level[t])) * kept, np.float32)


@dataclass(frozen=True)
class _Pair:
    a: int
    b: int
    step: Step
    deforms: float


def align(z: F32, frames: U8, progress: Progress) -> Alignment:
    """Compares each frame with those `SPANS` before it, and settles what it is to be corrected by. Changes nothing."""
    count = len(z)
    follower = Follower(frames, SIDE)
    small: dict[int, F32] = {}
    pivot: F64 = np.zeros(count)
    pairs: list[_Pair] = []
    noises: list[float] = []
    for b in range(count):
        progress(PHASE, b, count)
        small[b] = _reduced(z[b], follower.width, follower.height)
        pivot[b] = _typical(small[b])
        for span in SPANS:
            a = b - span
            if a < 0:
                break
            found = points(small[a], small[b], follower.ways(a, b)[0], float(pivot[a]))
            step = fit_step(found, float(pivot[a]))
            if step is not None:
                pairs.append(_Pair(a, b, step, found.deforms))
            if span == 1:
                change = fit_change(found, float(pivot[a]))
                noises += [] if change is None else [change.noise]
        small.pop(b - max(SPANS), None)
        follower.forget_before(b + 1 - max(SPANS))
        if (b + 1) % _FORGET_EVERY == 0:
            forget(z, frames)
    progress(PHASE, count, count)
    gain = corrections(count, [Difference(p.a, p.b, p.step.gain, p.step.gain_error, p.deforms) for p in pairs])
    level = corrections(count, _levels(pairs, pivot, gain))
    return Alignment(pivot, level, gain, float(np.median(noises)) / np.sqrt(2.0) if noises else 0.0)


def points(here: F32, there: F32, way: Way, pivot: float) -> Points:
    """Points whose disparity the flow leaves no doubt about.

    Args:
        here: [h, w] disparity of a frame, in the size of the flow.
        there: of another.
        way: from the one to the other.
        pivot: a typical disparity.
    """
    floor = ADDED * pivot
    steep = np.maximum(steepness(here, floor), carried(steepness(there, floor), way.flow))
    use = (way.trust > TRUSTED) & (way.loose * steep < STEEP)
    height, width = here.shape
    if not use.any():
        nothing: F64 = np.zeros(0)
        return Points(nothing, nothing, nothing, nothing, nothing, deforms=1.0, moves=1.0)
    whole = np.median(way.flow[use], axis=0)
    off = np.asarray(np.linalg.norm(way.flow - whole, axis=2), np.float32)
    usual, longest = float(np.median(off[use])), max(height, width)
    # Before a flat wall a person alone would tell the gain, and walks: what moves far more than most is left out.
    chosen = np.flatnonzero(use & (off < APART * max(usual, STILL)))
    chosen = chosen[:: max(1, len(chosen) // POINTS)] if len(chosen) > SHARE * here.size else chosen[:0]
    p, q, trust = (
        values.reshape(-1)[chosen].astype(np.float64) for values in (here, carried(there, way.flow), way.trust)
    )
    u, v = (chosen % width + 0.5) / width - 0.5, (chosen // width + 0.5) / height - 0.5
    moves = float(np.linalg.norm(whole)) / longest
    return Points(p, q, u, v, trust, deforms=max(usual - STILL, 0.0) / longest, moves=moves)


def _levels(pairs: Sequence[_Pair], pivot: F64, gain: F64) -> list[Difference]:
    """How far apart two frames have the surface that lies at the first one's pivot, once both have their gain."""
    found = []
    for p in pairs:
        there = np.exp(p.step.level) * pivot[p.a]
        turned = max(pivot[p.b] + np.exp(gain[p.b]) * (there - pivot[p.b]), there / _MOST)
        found.append(Difference(p.a, p.b, float(np.log(turned / pivot[p.a])), p.step.level_error, p.deforms))
    return found


def _reduced(z: F32, width: int, height: int) -> F32:
    """Disparity of some of the pixels: no two are mixed."""
    return np.asarray(cv2.resize(np.float32(1.0) / z, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)


def _typical(d: F32) -> float:
    """Mean of what is neither very near nor very far: it does not jump as a median of two surfaces does."""
    low, high = np.percentile(d, (10.0, 90.0))
    return float(np.clip(d, low, high).mean())
