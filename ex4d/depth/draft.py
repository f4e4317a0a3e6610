# SPDX-License-Identifier: Apache-2.0
"""Depth for blocking out a move: no weights, only what pictures and motion hint at. It is a guess, and labelled so.

Cues (height in the picture, colours that differ from the border's, focus, warmth of colour, motion unlike the
background's) are weighed against each other in small frames, smoothed along the picture and over time, and brought to
full size with edges on the picture's edges.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.depth.cues import colour_model, distinct, enclosed, position, sharpness, spread_out, warmth
from ex4d.depth.door import DepthRequest, Estimate, GivesInAll, Progress
from ex4d.depth.filters import as_guide, box, crisp, guided, upsample, without_specks
from ex4d.depth.motion import flows, steadied, unlike_background
from ex4d.depth.weightless import Weightless
from ex4d.on_disk import FORGET_EVERY, Arrays, forget, streamed
from ex4d.settings import read_settings
from ex4d.values import F32, U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

SIDE = 256  # longest side of the small frames
NEAREST, FARTHEST = 1.0, 0.2  # disparity at the near and the far end: z from 1 to 5
PASSES = 4  # over all frames, for the progress: flow, cues, outlines, full size
KEEP = 0.93  # of the frames before and after, along the motion
_SAMPLES = 2_000_000  # for percentiles; a regular subset of longer clips does as well


class DraftDepth(Weightless):
    """Guesses depth from cues."""

    name = "draft"
    label = "Draft (guessed, for blocking)"
    gives: GivesInAll = "depth"
    draft = True

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        """See `ex4d.depth.door.DepthEstimator.frames`. The result is deterministic; z lies between 1 and 5.

        Raises:
            Ex4dError: BAD_INPUT when depth files were given, which would be left out unseen.
        """
        if request.files:
            raise Ex4dError(
                BAD_INPUT,
                "Depth files were given, and the draft estimator makes no use of them.",
                "Leave them out, or choose the estimator 'file'.",
            )
        read_settings(self.settings, request.options, self.name, "estimator")
        frames = request.clip.frames
        arrays = Arrays(request.workspace)
        step = _Steps(request.progress, PASSES * len(frames))
        small = _small(frames, arrays)
        near = _nearness(frames, small, arrays, step)
        low, high = _range(near)
        request.note("draft depth, guessed from height, colour, focus and motion: good for blocking out a move")
        for t, frame in enumerate(frames):
            disparity = FARTHEST + (NEAREST - FARTHEST) * np.clip((near[t] - low) / (high - low), 0, 1)
            z = 1.0 / _full_size(frame, small[t], disparity.astype(np.float32))
            step()
            yield Estimate(z.astype(np.float32), "depth")
            if t % FORGET_EVERY == 0:
                forget(near, small)


class _Steps:
    """Counts what is done; its every call is a chance to cancel."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._progress("Guessing depth", self._done, self._total)


def _small(frames: U8, arrays: Arrays) -> U8:
    """[T, h, w, 3] small frames."""
    height, width = frames.shape[1:3]
    scale = min(1.0, SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    small = arrays.new("small", (len(frames), size[1], size[0], 3), np.uint8)
    for t, frame in enumerate(streamed(frames)):
        small[t] = cv2.resize(frame, size, interpolation=cv2.INTER_AREA)
    forget(small)
    return small


def _nearness(frames: U8, small: U8, arrays: Arrays, step: Callable[[], None]) -> F32:
    """[T, h, w], larger is nearer, steady over time."""
    shape = small.shape[:3]
    height, width = shape[1:]
    longest = max(height, width)
    model = colour_model(streamed(small))
    ahead, back = flows(small, arrays, step)
    moving, focused, apart, closed = (
        arrays.new(name, shape, np.float32) for name in ("moving", "focused", "apart", "closed")
    )
    for t, frame in enumerate(streamed(frames)):
        apart[t] = distinct(small[t], model)
        near_flows = [*ahead[t : t + 1], *back[max(t - 1, 0) : t]]
        moves = [unlike_background(flow, 1 - apart[t]) for flow in near_flows]
        if moves:
            moving[t] = np.mean(moves, axis=0)
        sharp, edges = sharpness(frame, (width, height))
        focused[t] = spread_out(sharp, np.minimum(edges, 50.0))
        _now_and_then(t, small, ahead, back, moving, focused, apart)
        step()
    in_focus = _focus(focused)
    # A subject may reach the border; what is sharp there while the rest is not, is no way out to the background.
    for t, picture in enumerate(small):
        closed[t] = enclosed(picture, np.maximum(apart[t], in_focus * focused[t]))
        _now_and_then(t, small, apart, focused, closed)
        step()
    low = position(height, width)
    place = (0.5 - 0.3 * in_focus) * low
    scale = float(np.clip(np.percentile(_thinned(closed), 90) / 2, 8, 60))
    still = arrays.new("still", shape, np.float32)
    for t, picture in enumerate(small):
        colours = 0.10 * box(apart[t], max(1, longest // 40)) + 0.30 * warmth(picture)
        # Windows and openings are closed off as well: what is high up has to show more to be near.
        subject = (0.3 + 0.3 * low) * (1 - np.exp(-closed[t] / scale))
        still[t] = place + subject + (0.05 + 0.55 * in_focus) * focused[t] + colours
        _now_and_then(t, small, apart, closed, focused, still)
    moved = _moved(moving, still)
    for t, picture in enumerate(small):
        still[t] = _smooth(picture, still[t] + moved(moving[t]))
        _now_and_then(t, small, moving, still)
    return steadied(still, small, ahead, back, KEEP, arrays)


def _thinned(maps: F32, step: int = 2) -> F32:
    """Values of every second row and column of [T, h, w] maps; of a long clip, of fewer."""
    step = max(step, math.ceil((maps.size / _SAMPLES) ** 0.5))
    return np.concatenate([frame[::step, ::step].ravel() for frame in streamed(maps)])


def _now_and_then(t: int, *arrays: NDArray[Any]) -> None:
    if t % FORGET_EVERY == 0:
        forget(*arrays)


def _focus(focused: F32) -> float:
    """Makes focus relative to the clip's sharpest parts; 0..1 how much of the clip is out of focus.

    Where all is sharp, the measure only tells fine from coarse texture, and is worth little.
    """
    middle, sharpest = (float(v) for v in np.percentile(_thinned(focused), (50, 97)))
    for frame in streamed(focused):
        frame[:] = np.clip(frame / max(sharpest, 1e-3), 0, 1)
    return float(np.clip((0.28 - middle) / 0.12, 0, 1)) if sharpest > 0.15 else 0.0


def _moved(moving: F32, still: F32) -> Callable[[F32], F32]:
    """The motion cue of a frame's motion, weighed by how much motion there is in the clip and how well it agrees with
    the other cues."""
    every = _thinned(moving, 1)
    strong = float(np.percentile(every, 95))
    weight = float(np.clip((strong - 0.15) / 0.6, 0, 1))

    def cue(motion: F32) -> F32:
        return np.asarray(motion / (motion + max(0.5 * strong, 0.25)), np.float32)

    if weight == 0:
        return np.zeros_like
    together = float(np.corrcoef(cue(every)[::7], _thinned(still, 1)[::7])[0, 1]) if every.size > 14 else 0.0
    # What moves most is the background when the camera goes around the subject: then motion says nothing here.
    weight *= float(np.clip(0.6 + 2 * np.nan_to_num(together), 0, 1))
    return lambda motion: np.asarray(0.35 * weight * cue(motion), np.float32)


def _smooth(picture: U8, near: F32) -> F32:
    """Along the picture: first over large patches of alike colour, then along finer edges."""
    guide = as_guide(picture)
    longest = max(near.shape)
    wide = guided(guide, near, max(2, longest // 12), 0.006)
    return guided(guide, 0.35 * near + 0.65 * wide, max(1, longest // 28), 0.003)


def _range(near: F32) -> tuple[float, float]:
    """Robust ends of the whole clip's values; a flat clip still gets a range."""
    low, high = np.percentile(_thinned(near), (2, 98))
    return float(low), float(max(high, low + 0.2))


def _full_size(frame: U8, small: U8, disparity: F32) -> F32:
    longest = max(frame.shape[:2])
    guide = as_guide(frame)
    large = upsample(guide, as_guide(small), disparity, max(1, max(small.shape[:2]) // 64), 0.001)
    large = without_specks(np.clip(large, FARTHEST, NEAREST), max(1, longest // 110))
    return np.clip(crisp(large, max(1, round(longest / 170)), 0.07), FARTHEST, NEAREST)
