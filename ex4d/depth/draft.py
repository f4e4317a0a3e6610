# SPDX-License-Identifier: Apache-2.0
"""Depth for blocking out a move: no weights, only what pictures and motion hint at. It is a guess, and labelled so.

Cues (height in the picture, colours that differ from the border's, focus, warmth of colour, motion unlike the
background's) are weighed against each other in small frames, smoothed along the picture and over time, and brought to
full size with edges on the picture's edges.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import cv2
import numpy as np

from ex4d.depth.cues import colour_model, distinct, enclosed, position, sharpness, spread_out, warmth
from ex4d.depth.door import DepthRequest, Estimate, GivesInAll, Nature, Progress, nobody
from ex4d.depth.filters import as_guide, box, crisp, guided, upsample, without_specks
from ex4d.depth.motion import flows, steadied, unlike_background
from ex4d.settings import Setting, Value, read_settings
from ex4d.values import F32, U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

SIDE = 256  # longest side of the small frames
NEAREST, FARTHEST = 1.0, 0.2  # disparity at the near and the far end: z from 1 to 5
PASSES = 4  # over all frames, for the progress: flow, cues, outlines, full size
KEEP = 0.93  # of the frames before and after, along the motion


class DraftDepth:
    """Guesses depth from cues."""

    name = "draft"
    label = "Draft (guessed, for blocking)"
    licence = "Apache-2.0"
    commercial_use = True
    gives: GivesInAll = "depth"
    steady = True
    draft = True
    uses_focal = False
    size = 0
    settings: tuple[Setting, ...] = ()

    def available(self) -> tuple[bool, str]:
        """Always: it needs nothing but OpenCV."""
        return True, ""

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        """See `ex4d.depth.door.DepthEstimator.nature`."""
        read_settings(self.settings, options, self.name, "estimator")
        return Nature("", self.licence, True, "depth", True, 0)

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        """Always."""
        return ""

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: Progress = nobody) -> dict[str, str]:
        """No weights."""
        return {}

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
        step = _Steps(request.progress, PASSES * len(frames))
        small = [_small(frame) for frame in frames]
        near = _nearness(frames, small, step)
        low, high = _range(near)
        request.note("draft depth, guessed from height, colour, focus and motion: good for blocking out a move")
        for t, frame in enumerate(frames):
            disparity = FARTHEST + (NEAREST - FARTHEST) * np.clip((near[t] - low) / (high - low), 0, 1)
            z = 1.0 / _full_size(frame, small[t], disparity.astype(np.float32))
            step()
            yield Estimate(z.astype(np.float32), "depth")


class _Steps:
    """Counts what is done; its every call is a chance to cancel."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress = progress
        self._total = total
        self._done = 0

    def __call__(self) -> None:
        self._done += 1
        self._progress("Guessing depth", self._done, self._total)


def _small(frame: U8) -> U8:
    height, width = frame.shape[:2]
    scale = min(1.0, SIDE / max(height, width))
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return np.asarray(cv2.resize(frame, size, interpolation=cv2.INTER_AREA), np.uint8)


def _nearness(frames: U8, small: list[U8], step: Callable[[], None]) -> list[F32]:
    """[h, w] for each frame, larger is nearer, steady over time."""
    height, width = small[0].shape[:2]
    longest = max(height, width)
    model = colour_model(small)
    ahead, back = flows(small, step)
    moving: list[F32] = []
    focused: list[F32] = []
    apart: list[F32] = []
    for t, picture in enumerate(small):
        apart.append(distinct(picture, model))
        near_flows = [*ahead[t : t + 1], *back[max(t - 1, 0) : t]]
        moves = [unlike_background(flow, 1 - apart[t]) for flow in near_flows]
        moving.append(np.mean(moves, axis=0).astype(np.float32) if moves else np.zeros_like(apart[t]))
        sharp, edges = sharpness(frames[t], (width, height))
        focused.append(spread_out(sharp, np.minimum(edges, 50.0)))
        step()
    focused, in_focus = _focus(focused)
    # A subject may reach the border; what is sharp there while the rest is not, is no way out to the background.
    closed: list[F32] = []
    for picture, a, f in zip(small, apart, focused, strict=True):
        closed.append(enclosed(picture, np.maximum(a, in_focus * f)))
        step()
    low = position(height, width)
    place = (0.5 - 0.3 * in_focus) * low
    scale = float(np.clip(np.percentile(np.stack(closed)[:, ::2, ::2], 90) / 2, 8, 60))
    still = []
    for picture, a, c, f in zip(small, apart, closed, focused, strict=True):
        colours = 0.10 * box(a, max(1, longest // 40)) + 0.30 * warmth(picture)
        # Windows and openings are closed off as well: what is high up has to show more to be near.
        subject = (0.3 + 0.3 * low) * (1 - np.exp(-c / scale))
        still.append(place + subject + (0.05 + 0.55 * in_focus) * f + colours)
    moved = _moved(moving, still)
    both = [_smooth(picture, s + m) for picture, s, m in zip(small, still, moved, strict=True)]
    return steadied(both, small, ahead, back, KEEP)


def _focus(focused: list[F32]) -> tuple[list[F32], float]:
    """Focus relative to the clip's sharpest parts, and 0..1 how much of the clip is out of focus.

    Where all is sharp, the measure only tells fine from coarse texture, and is worth little.
    """
    values = np.stack(focused)[:, ::2, ::2]
    middle, sharpest = (float(v) for v in np.percentile(values, (50, 97)))
    shallow = float(np.clip((0.28 - middle) / 0.12, 0, 1)) if sharpest > 0.15 else 0.0
    return [np.clip(f / max(sharpest, 1e-3), 0, 1).astype(np.float32) for f in focused], shallow


def _moved(moving: list[F32], still: list[F32]) -> list[F32]:
    """The motion cue, weighed by how much motion there is and how well it agrees with the other cues."""
    every = np.stack(moving)
    strong = float(np.percentile(every, 95))
    weight = float(np.clip((strong - 0.15) / 0.6, 0, 1))
    if weight == 0:
        return [np.zeros_like(m) for m in moving]
    cue = every / (every + max(0.5 * strong, 0.25))
    together = float(np.corrcoef(cue.ravel()[::7], np.stack(still).ravel()[::7])[0, 1]) if every.size > 14 else 0.0
    # What moves most is the background when the camera goes around the subject: then motion says nothing here.
    weight *= float(np.clip(0.6 + 2 * np.nan_to_num(together), 0, 1))
    return [np.asarray(0.35 * weight * c, np.float32) for c in cue]


def _smooth(picture: U8, near: F32) -> F32:
    """Along the picture: first over large patches of alike colour, then along finer edges."""
    guide = as_guide(picture)
    longest = max(near.shape)
    wide = guided(guide, near, max(2, longest // 12), 0.006)
    return guided(guide, 0.35 * near + 0.65 * wide, max(1, longest // 28), 0.003)


def _range(near: list[F32]) -> tuple[float, float]:
    """Robust ends of the whole clip's values; a flat clip still gets a range."""
    values = np.stack(near)
    low, high = np.percentile(values[:, ::2, ::2], (2, 98))
    return float(low), float(max(high, low + 0.2))


def _full_size(frame: U8, small: U8, disparity: F32) -> F32:
    longest = max(frame.shape[:2])
    guide = as_guide(frame)
    large = upsample(guide, as_guide(small), disparity, max(1, max(small.shape[:2]) // 64), 0.001)
    large = without_specks(np.clip(large, FARTHEST, NEAREST), max(1, longest // 110))
    return np.clip(crisp(large, max(1, round(longest / 170)), 0.07), FARTHEST, NEAREST)
