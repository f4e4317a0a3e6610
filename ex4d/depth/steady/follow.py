# SPDX-License-Identifier: Apache-2.0
"""Where pixels of a frame are in another one nearby: optical flow there and back, at a reduced size.

Flow is DIS (Kroeger et al., "Fast Optical Flow using Dense Inverse Search", ECCV 2016), from OpenCV.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.values import F32, U8

ENLARGED = 2.0  # at most: flow is the finer, the more pixels it is looked for at
SMALLEST = 24  # sides below this are too small for optical flow: there nothing is taken to move
# Flow there and back agrees where |f + b|^2 is small beside AGREE (|f|^2 + |b|^2) + SLACK (Sundaram, Brox and Keutzer,
# "Dense Point Trajectories by GPU-accelerated Large Displacement Optical Flow", ECCV 2010, section 4.1).
AGREE = 0.01
SLACK = 0.5  # pixels squared
OFF = 0.3  # pixels that flow there and back may both be off, where anything moves
LEVELS = 12.0  # of 255, by which the picture may differ along the flow before it is no longer the same thing


@dataclass(frozen=True, eq=False)
class Way:
    """From a frame to another."""

    flow: F32  # [h, w, 2] pixels of the reduced size: to the right, down
    trust: F32  # [h, w] 0..1; 0 where something is hidden or leaves the picture
    loose: F32  # [h, w] pixels of the reduced size that the flow may be off


class Follower:
    """Flow between the frames of a clip. Holds reduced frames from the lowest one that is still asked for on."""

    def __init__(self, frames: U8, side: int) -> None:
        """`frames`: [T, H, W, 3] sRGB; `side`: longest side that flow is looked for at."""
        self._frames = frames
        height, width = frames.shape[1:3]
        scale = min(side / max(width, height), ENLARGED)
        self.width, self.height = max(round(width * scale), 1), max(round(height * scale), 1)
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
        self._dis.setFinestScale(0)  # down to single pixels: the preset's quarter of the size is off by half a pixel
        self._greys: dict[int, U8] = {}

    def ways(self, a: int, b: int) -> tuple[Way, Way]:
        """From frame `a` to frame `b`, and from `b` to `a`."""
        here, there = self._grey(a), self._grey(b)
        ahead, back = self._flow(here, there), self._flow(there, here)
        return _way(here, there, ahead, back), _way(there, here, back, ahead)

    def forget_before(self, index: int) -> None:
        """Frames before this one are no longer asked for."""
        for old in [k for k in self._greys if k < index]:
            del self._greys[old]

    def _grey(self, index: int) -> U8:
        if index not in self._greys:
            grey = cv2.cvtColor(np.ascontiguousarray(self._frames[index]), cv2.COLOR_RGB2GRAY)
            size = (self.width, self.height)
            smaller = self.width <= grey.shape[1]
            how = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
            self._greys[index] = np.asarray(cv2.resize(grey, size, interpolation=how), np.uint8)
        return self._greys[index]

    def _flow(self, here: U8, there: U8) -> F32:
        empty = np.zeros((*here.shape, 2), np.float32)
        if min(here.shape) < SMALLEST:
            return empty
        return np.asarray(self._dis.calc(here, there, empty), np.float32)


def carried(values: F32, flow: F32) -> F32:
    """A map [h, w] or [h, w, n] of another frame brought to this one; `flow` leads from this frame to the other."""
    height, width = flow.shape[:2]
    x = flow[..., 0] + np.arange(width, dtype=np.float32)[None, :]
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def _way(here: U8, there: U8, flow: F32, back: F32) -> Way:
    height, width = here.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)[None, :]
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    inside = (x > -0.5) & (y > -0.5) & (x < width - 0.5) & (y < height - 0.5)
    other = carried(back, flow)
    apart = np.square(flow + other).sum(axis=2)
    allowed = AGREE * (np.square(flow).sum(axis=2) + np.square(other).sum(axis=2)) + SLACK
    unlike = cv2.blur(np.abs(carried(there.astype(np.float32), flow) - here), (3, 3))
    trust = np.clip(2.0 - 2.0 * apart / allowed, 0.0, 1.0) * np.exp(-np.square(unlike / LEVELS))
    loose = np.sqrt(apart) + np.minimum(OFF * np.linalg.norm(flow, axis=2), OFF)
    return Way(flow, np.where(inside, trust, 0.0).astype(np.float32), loose.astype(np.float32))


def steepness(disparity: F32, floor: float) -> F32:
    """[h, w] share of its disparity (and `floor`) by which a neighbouring pixel's differs."""
    x, y = (cv2.Sobel(disparity, cv2.CV_32F, i, 1 - i, scale=0.125, borderType=cv2.BORDER_REPLICATE) for i in (1, 0))
    return np.asarray(cv2.magnitude(x, y) / (disparity + np.float32(floor)), np.float32)
