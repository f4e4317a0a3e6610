# SPDX-License-Identifier: Apache-2.0
"""Finds sky by what it is: far, smooth, bright, of few colours, and at the top of the picture.

Its colours are learnt from some frames of the clip, so that sky between branches, which does not touch the top, is
found as well. A blue or bright wall of a room can look the same: so sky has to be seen in most of these frames, over a
good part of the top, and be blue, or nearly white.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from ex4d.values import F32, U8, Bool

SIDE = 320  # longest side of the pictures that are looked at
LOOKED_AT = 12  # frames from which the colours are learnt
DISTANT = 0.15  # of the clip's range of disparity: what is nearer is no sky
METRES = 30.0  # where depth is in metres: nor is what is nearer than that
ROUGH = 6.0  # levels of brightness that smooth sky varies by ...
AROUND = 2  # ... so many pixels around
DARK = 115.0  # level of brightness: darker is no sky, or one that cannot be told from a wall
BLUE = 12.0  # levels that blue leads red by, ...
RED = 45.0  # ... which there is some of, or else ...
WHITE, GREY = 175.0, 22.0  # ... level of brightness, and most difference between channels
LEAST = 0.02  # of a picture that is sky, else it has none
WIDE = 0.25  # of the top row
OFTEN = 0.5  # of the frames that are looked at
COLOURS = 4  # that sky has: it is brighter at the horizon
ALIKE = 14.0  # distance in Lab from one of them
REFINE = 8  # pixels in `SIDE`: how far the outline may move to the picture's edges
FRINGE = 0.9  # of the depth that most of the sky has
EPSILON = 1e-3  # of the guided filter that moves it, of squared colours 0..1


@dataclass(frozen=True, eq=False)
class SkyFinder:
    """What a clip's sky looks like."""

    colours: F32  # [COLOURS, 3] Lab
    limit: float  # z from which on a pixel can be sky

    def sky(self, z: F32, frame: U8) -> Bool:
        """[H, W] the sky of a frame [H, W, 3] with depth z [H, W]."""
        small, depth = _small(frame), _small_depth(z)
        lab = _lab(small)
        off = np.linalg.norm(lab[:, :, None] - self.colours, axis=3).min(axis=2)
        alike = (off < ALIKE) & (depth >= self.limit)
        # Roughness is measured around a pixel, so smooth parts end before the sky does.
        smooth = (alike & (_rough(lab) < ROUGH)).astype(np.uint8)
        like = alike & (cv2.dilate(smooth, np.ones((2 * AROUND + 1, 2 * AROUND + 1), np.uint8)) > 0)
        if not _with_top(like).any():
            return np.zeros(z.shape, np.bool_)
        size = (z.shape[1], z.shape[0])
        coarse = cv2.resize(like.astype(np.float32), size, interpolation=cv2.INTER_LINEAR)
        radius = max(2, round(REFINE * max(z.shape) / SIDE))
        filters: Any = cv2.ximgproc  # which OpenCV's own types leave out
        share = filters.guidedFilter(np.asarray(frame, np.float32) / np.float32(255), coarse, radius, EPSILON)
        sky = np.asarray((share > 0.5) & (z >= self.limit), np.bool_)
        if not sky.any():
            return sky
        # What is beside it and as far away belongs to it: a fringe that stays behind would stand before the sky.
        beside = cv2.dilate(sky.astype(np.uint8), np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)) > 0
        return np.asarray(sky | (beside & (z >= FRINGE * np.percentile(z[sky], 25.0))), np.bool_)


def find_sky(z: F32, frames: U8, metric: bool) -> SkyFinder | None:
    """What the sky of a clip looks like; None where it has none that can be told.

    Args:
        z: [T, H, W] depth.
        frames: [T, H, W, 3] sRGB.
        metric: z is in metres.
    """
    chosen = np.unique(np.linspace(0, len(z) - 1, LOOKED_AT).round().astype(int))
    depths = [_small_depth(z[t]) for t in chosen]
    near, far = (float(v) for v in np.percentile(1.0 / np.stack(depths), (99.0, 1.0)))
    limit = 1.0 / max(far + DISTANT * (near - far), 1e-9)
    limit = max(limit, METRES) if metric else limit
    samples: list[F32] = []
    for t, depth in zip(chosen, depths, strict=True):
        picture = _small(frames[t])
        lab = _lab(picture)
        seeds = _with_top(_plain(picture, lab) & (depth >= limit))
        if seeds.mean() >= LEAST and seeds[: max(1, len(seeds) // 40)].any(axis=0).mean() >= WIDE:
            some = lab[seeds]
            samples.append(some[:: max(1, len(some) // 2000)])
    if len(samples) < OFTEN * len(chosen):
        return None
    colours = np.concatenate(samples)
    cv2.setRNGSeed(0)  # the same clip has the same sky
    rule = (cv2.TERM_CRITERIA_EPS + cv2.TERM_CRITERIA_MAX_ITER, 30, 0.5)
    _, _, centres = cv2.kmeans(
        colours, min(COLOURS, len(colours)), np.empty((0, 1), np.int32), rule, 2, cv2.KMEANS_PP_CENTERS
    )
    return SkyFinder(np.asarray(centres, np.float32), limit)


def _plain(picture: U8, lab: F32) -> Bool:
    """[h, w] smooth and bright, and blue or nearly white."""
    red, _, blue = (picture[..., k].astype(np.float32) for k in range(3))
    bright = picture.mean(axis=2)
    spread = picture.max(axis=2).astype(np.float32) - picture.min(axis=2)
    coloured = ((blue - red > BLUE) & (red > RED)) | ((bright > WHITE) & (spread < GREY))
    return np.asarray((_rough(lab) < ROUGH) & (bright > DARK) & coloured, np.bool_)


def _rough(lab: F32) -> F32:
    """[h, w] standard deviation of the lightness around each pixel, levels of 255."""
    light = lab[..., 0] * np.float32(2.55)
    mean, squares = (cv2.blur(each, (2 * AROUND + 1, 2 * AROUND + 1)) for each in (light, light * light))
    return np.sqrt(np.maximum(squares - mean * mean, 0.0)).astype(np.float32)


def _with_top(where: Bool) -> Bool:
    """The parts that reach the top of the picture."""
    _, label = cv2.connectedComponents(where.astype(np.uint8), connectivity=4)
    tops = np.unique(label[: max(1, len(where) // 40)])
    return np.asarray(np.isin(label, tops[tops > 0]), np.bool_)


def _lab(picture: U8) -> F32:
    """[h, w, 3] CIE Lab: L 0..100."""
    return np.asarray(cv2.cvtColor(picture.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB), np.float32)


def _small(frame: U8) -> U8:
    return np.asarray(cv2.resize(frame, _size(frame.shape[:2]), interpolation=cv2.INTER_AREA), np.uint8)


def _small_depth(z: F32) -> F32:
    return np.asarray(cv2.resize(z, _size(z.shape), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _size(shape: tuple[int, ...]) -> tuple[int, int]:
    height, width = shape
    scale = min(1.0, SIDE / max(height, width))
    return max(1, round(width * scale)), max(1, round(height * scale))
