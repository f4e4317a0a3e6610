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

PHASE = "aligning depth"
SIDE = 320  # longest side, pixels, that frames are compared at
POINTS = 6000  # about as many two frames are compared at
STEEP = 0.005  # of its disparity: a pixel whose disparity is unsure by more, as flow is, is not compared
TRUSTED = 0.5  # least trust in the flow of a pixel that is compared
STILL = 0.1  # pixels of the reduced size that the flow of a picture which stands still may be off
_LEAST = 0.1  # of its own disparity, which no pixel's falls below
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
        return np.asarray(np.float32(np.exp(self.level[t])) * np.maximum(turned, np.float32(_LEAST) * d), np.float32)


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
    chosen = np.flatnonzero((way.trust > TRUSTED) & (way.loose * steep < STEEP))
    chosen = chosen[:: max(1, len(chosen) // POINTS)]
    p, q, trust = (
        values.reshape(-1)[chosen].astype(np.float64) for values in (here, carried(there, way.flow), way.trust)
    )
    height, width = here.shape
    return Points(
        p, q, (chosen % width + 0.5) / width - 0.5, (chosen // width + 0.5) / height - 0.5, trust, *_motion(way)
    )


def _levels(pairs: Sequence[_Pair], pivot: F64, gain: F64) -> list[Difference]:
    """How far apart two frames have the surface that lies at the first one's pivot, once both have their gain."""
    found = []
    for p in pairs:
        there = np.exp(p.step.level) * pivot[p.a]
        turned = max(pivot[p.b] + np.exp(gain[p.b]) * (there - pivot[p.b]), _LEAST * there)
        found.append(Difference(p.a, p.b, float(np.log(turned / pivot[p.a])), p.step.level_error, p.deforms))
    return found


def _motion(way: Way) -> tuple[float, float]:
    """How far the picture deforms, and moves as a whole, as shares of its longest side."""
    sure = way.flow[way.trust > TRUSTED]
    if not len(sure):
        return 1.0, 1.0
    whole = np.median(sure, axis=0)
    off = float(np.median(np.linalg.norm(sure - whole, axis=1)))
    longest = max(way.trust.shape)
    return max(off - STILL, 0.0) / longest, float(np.linalg.norm(whole)) / longest


def _reduced(z: F32, width: int, height: int) -> F32:
    """Disparity of some of the pixels: no two are mixed."""
    return np.asarray(cv2.resize(np.float32(1.0) / z, (width, height), interpolation=cv2.INTER_NEAREST), np.float32)


def _typical(d: F32) -> float:
    """Mean of what is neither very near nor very far: it does not jump as a median of two surfaces does."""
    low, high = np.percentile(d, (10.0, 90.0))
    return float(np.clip(d, low, high).mean())
