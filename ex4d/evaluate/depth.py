# SPDX-License-Identifier: Apache-2.0
"""How right and how steady depth is, measured against the exact depth of a ground-truth clip.

`measure` adds up sums over the frames of a clip; sums of several clips are added with `+`, and `figures` turns them
into the numbers that are reported: means over all pixels together, and not means of means. With z for the depth, z* for
the exact one, x a pixel of a frame and x' where optical flow finds it in the next (`ex4d.evaluate.flicker.landing`;
pixels that are hidden or shown anew do not count):

- temporal error: mean of |log(z'(x') / z(x)) - log(z*'(x') / z*(x))|. What depth changes that the exact depth does not:
  a camera or a thing that comes nearer is no error. Only where the flow stays on its surface: where the exact depth
  changes by less than `SAME` along it.
- inner temporal error: the same without pixels within `AROUND` of a jump in the exact depth. There flow is off by a
  pixel or so, and depth that is smeared over a silhouette, though always alike, differs by all of the smear.
- warped difference: mean of |z'(x') - z(x)| / z(x) over all pixels that flow was found for. The flow-warped depth
  difference as it is, with all that truly changes and with the errors of the flow; that of the exact depth is told
  beside it.
- AbsRel: mean of |z - z*| / z*. delta1: share of pixels with max(z / z*, z* / z) < 1.25 (Eigen, Puhrsch and Fergus,
  "Depth Map Prediction from a Single Image using a Multi-Scale Deep Network", NeurIPS 2014, section 4.2).

Depth that is known up to a scale and a shift of its disparity is brought to the exact depth's units first, once for the
whole clip (`in_exact_units`): what differs between its frames is an error.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import cv2
import numpy as np

from ex4d.evaluate.flicker import landing
from ex4d.values import F32, U8, Bool
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

FIGURES: tuple[str, ...] = ("temporal", "inner", "warped", "true_warped", "absrel", "delta1")
SAME = 0.05  # of the log of exact depth: what changes by more from a frame to the next is another surface
JUMP = 1.1  # ratio of neighbouring exact depths
AROUND = 2  # pixels
DELTA = 1.25
_LEAST = 1e-3  # of the typical exact disparity: alignment puts nothing further than that

Landing = tuple[F32, F32, Bool]  # of `ex4d.evaluate.flicker.landing`


@dataclass(frozen=True)
class DepthCounts:
    """Sums over pixels."""

    frames: int = 0
    pixels: int = 0
    error: float = 0.0  # |z - z*| / z*
    near: int = 0  # pixels within `DELTA`
    followed: int = 0  # pixels of all but the last frame that flow was found for
    warped: float = 0.0
    true_warped: float = 0.0
    same: int = 0  # of these, where it stays on its surface
    temporal: float = 0.0
    inner: int = 0  # of these, away from jumps
    inner_temporal: float = 0.0

    def __add__(self, other: DepthCounts) -> DepthCounts:
        return DepthCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def landings(frames: U8) -> list[Landing]:
    """Where the pixels of each frame of [T, H, W, 3] but the last are in the next one."""
    return [landing(a, b) for a, b in pairwise(frames)]


def measure(z: F32, exact: F32, landed: Sequence[Landing]) -> DepthCounts:
    """Compares depth with the exact one.

    Args:
        z: [T, H, W], > 0.
        exact: [T, H, W], > 0, in the same units.
        landed: of the clip's frames, see `landings`.

    Raises:
        Ex4dError: SIZE_MISMATCH.
    """
    if z.shape != exact.shape or len(landed) != max(len(z) - 1, 0):
        raise Ex4dError(SIZE_MISMATCH, f"Depth of {z.shape} cannot be compared with exact depth of {exact.shape}.")
    total = DepthCounts()
    for ours, true in zip(z, exact, strict=True):
        ratio = ours.astype(np.float64) / true
        total += DepthCounts(
            frames=1,
            pixels=true.size,
            error=float(np.abs(ratio - 1.0).sum()),
            near=int((np.maximum(ratio, 1.0 / ratio) < DELTA).sum()),
        )
    for t, (x, y, found) in enumerate(landed):
        ours, true = (_followed(depth[t], depth[t + 1], x, y) for depth in (z, exact))
        off = np.abs(ours - true)
        same = found & (np.abs(true) < SAME)
        ahead = cv2.remap(_jumps(exact[t + 1]), x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
        inner = same & (_jumps(exact[t]) == 0.0) & (ahead == 0.0)
        total += DepthCounts(
            followed=int(found.sum()),
            warped=_sum(np.abs(np.expm1(ours)), found),
            true_warped=_sum(np.abs(np.expm1(true)), found),
            same=int(same.sum()),
            temporal=_sum(off, same),
            inner=int(inner.sum()),
            inner_temporal=_sum(off, inner),
        )
    return total


def _sum(values: F32, where: Bool) -> float:
    return float(values[where].sum(dtype=np.float64))


def _jumps(z: F32) -> F32:
    """[H, W] 1 within `AROUND` pixels of a jump."""
    near, wide = (np.ones((side, side), np.uint8) for side in (3, 2 * AROUND + 1))
    jump = cv2.dilate(z, near) > JUMP * cv2.erode(z, near)
    return np.asarray(cv2.dilate(np.asarray(jump, np.float32), wide), np.float32)


def _followed(z: F32, after: F32, x: F32, y: F32) -> F32:
    """[H, W] log of the depth where each pixel has gone over its own."""
    log = np.log(np.ascontiguousarray(after, np.float32))
    return np.asarray(cv2.remap(log, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE) - np.log(z), np.float32)


def in_exact_units(z: F32, exact: F32) -> F32:
    """Depth brought to the exact one's units by one scale and one shift of disparity: least squares over the clip."""
    ours, true = 1.0 / z.astype(np.float64), 1.0 / exact.astype(np.float64)
    middle, aim = ours.mean(), true.mean()
    spread = float(((ours - middle) ** 2).sum())
    scale = float(((ours - middle) * (true - aim)).sum()) / spread if spread > 0.0 else 0.0
    disparity = scale * (ours - middle) + aim
    return np.asarray(1.0 / np.maximum(disparity, _LEAST * float(np.median(true))), np.float32)


def figures(counts: DepthCounts) -> dict[str, float]:
    """What is reported, by name of `FIGURES`; nan where there are no pixels to say something about."""
    c = counts
    parts = (
        (c.temporal, c.same),
        (c.inner_temporal, c.inner),
        (c.warped, c.followed),
        (c.true_warped, c.followed),
        (c.error, c.pixels),
        (c.near, c.pixels),
    )
    return {name: part / whole if whole else math.nan for name, (part, whole) in zip(FIGURES, parts, strict=True)}
