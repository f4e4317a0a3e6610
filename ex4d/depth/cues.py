# SPDX-License-Identifier: Apache-2.0
"""What a single picture, and a look at the whole clip's colours, say about near and far. All maps: 1 = near."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.depth.filters import box
from ex4d.values import F32, F64, U8

BINS = 12  # of the colour histogram, for each of L, a, b
COMMON = 0.004  # share of the border from which on a bin of colour counts as background
RARE = 60.0  # distance that a border pixel starts with when nothing else on the border has its colour
SWEEPS = 3  # rounds over the picture in four directions; more change next to nothing
SHARP_SIDE = 640  # longest side at which sharpness is measured: smaller pictures hide what is out of focus


def position(height: int, width: int) -> F32:
    """What lies lower in the picture tends to be nearer: the ground runs away from the camera upwards."""
    down = (np.arange(height, dtype=np.float32) + 0.5) / height
    return np.repeat((down**1.3)[:, None], width, axis=1)


@dataclass(frozen=True, eq=False)
class ColourModel:
    """How likely a colour belongs to what surrounds the subject: [BINS^3] over quantised Lab."""

    background: F32


def colour_model(frames: Iterable[U8]) -> ColourModel:
    """Learns from all of a clip's (small) frames which colours live along the left, right and upper border."""
    border: F64 = np.zeros(BINS**3, np.float64)
    whole: F64 = np.zeros(BINS**3, np.float64)
    for frame in frames:
        codes = _codes(frame)
        height, width = codes.shape
        dx, dy = max(1, width // 16), max(1, height // 16)
        edge = np.ones(codes.shape, bool)
        edge[dy : max(height - dy, dy), dx : max(width - dx, dx)] = False
        edge[height * 2 // 3 :] = False  # subjects often touch the lower border
        border += np.bincount(codes[edge], minlength=BINS**3)
        whole += np.bincount(codes.ravel(), minlength=BINS**3)
    border, whole = _spread(border / max(border.sum(), 1)), _spread(whole / max(whole.sum(), 1))
    share = border / (border + whole + 1e-9)  # 0.5: as frequent on the border as anywhere
    # What the border shows only a little of is a subject that happens to reach it.
    common = np.clip(border / COMMON, 0, 1)
    return ColourModel((np.clip(share * 2, 0, 1) * common).astype(np.float32))


def distinct(frame: U8, model: ColourModel) -> F32:
    """What has other colours than the picture's border tends to be the subject."""
    return 1 - model.background[_codes(frame)]


def warmth(frame: U8) -> F32:
    """Air and water take warm colours out of what is far."""
    lab = cv2.cvtColor(frame.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    return np.asarray(np.clip(0.5 + (lab[..., 1] + lab[..., 2]) / 160, 0, 1), np.float32)


def enclosed(frame: U8, apart: F32) -> F32:
    """How much contrast lies between a pixel and the picture's border, along the easiest way.

    Walls, sky and ground reach the border without an edge in between; a subject is closed off by its outline, whatever
    its colours ("Geodesic saliency using background priors", Wei et al., 2012).

    Args:
        frame: [h, w, 3].
        apart: [h, w] from `distinct`: border pixels of rare colours are no way out.

    Returns:
        [h, w] distance in units of Lab differences.
    """
    flat = cv2.bilateralFilter(frame, 7, 20, 5)
    lab = cv2.cvtColor(flat.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    dx, dy = (cv2.Sobel(lab, cv2.CV_32F, x, 1 - x, scale=0.25) for x in (1, 0))
    contrast = np.sqrt((np.square(dx) + np.square(dy)).sum(axis=2))
    cost = np.asarray(np.maximum(contrast - 1.0, 0) + 0.02, np.float32)
    height = len(frame)
    distance = np.full(frame.shape[:2], 1e6, np.float32)
    start = RARE * apart
    sides = height * 2 // 3 + 1  # the lower border belongs to whatever is near
    distance[0] = start[0]
    distance[:sides, 0], distance[:sides, -1] = start[:sides, 0], start[:sides, -1]
    for _ in range(SWEEPS):
        for ways, costs in ((distance, cost), (distance[::-1], cost[::-1])):
            _sweep(ways, costs)
            _sweep(ways.T, costs.T)
        _sweep(distance.T[::-1], cost.T[::-1])
    return distance


def _sweep(distance: F32, cost: F32) -> None:
    """Takes shorter ways from each row to the next one, straight and diagonally, in place."""
    for row in range(1, len(distance)):
        step = distance[row - 1] + 0.5 * (cost[row - 1] + cost[row])
        best = step.copy()
        best[1:] = np.minimum(best[1:], step[:-1])
        best[:-1] = np.minimum(best[:-1], step[1:])
        np.minimum(distance[row], best, out=distance[row])


def sharpness(frame: U8, size: tuple[int, int]) -> tuple[F32, F32]:
    """How much of a picture's edges a further blur takes away: much from those in focus, little from the others.

    The ratio of gradients before and after a known blur gives the blur of an edge (Zhuo and Sim, "Defocus map
    estimation from a single image", 2011).

    Args:
        frame: [H, W, 3].
        size: width and height of the result.

    Returns:
        Sharpness 0..1 of the edges, and how much edge there is: both [h, w].
    """
    longest = max(frame.shape[:2])
    if longest > SHARP_SIDE:
        scale = SHARP_SIDE / longest
        frame = np.asarray(cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), np.uint8)
    grey = cv2.GaussianBlur(cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY).astype(np.float32), (0, 0), 0.7)
    before, after = _gradient(grey), _gradient(cv2.GaussianBlur(grey, (0, 0), 1.5))
    ratio = np.clip(before / (after + 1e-3) - 1.0, 0.0, 1.5) / 1.5
    edge = np.square(np.maximum(before - 2.0, 0))  # 2 grey levels: below lies noise
    weight = np.minimum(edge, 900.0)
    amount = cv2.resize(weight, size, interpolation=cv2.INTER_AREA)
    total = cv2.resize(weight * ratio.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    return np.asarray(total / (amount + 1e-6), np.float32), np.asarray(amount, np.float32)


def spread_out(values: F32, weight: F32) -> F32:
    """Carries values from where they are known (weight) to their surroundings, over ever larger windows."""
    height, width = values.shape
    mean = float((values * weight).sum() / (weight.sum() + 1e-6))
    result = np.full_like(values, 0.5 * mean)  # where there is no edge at all is rather the background
    for part in (4, 8, 16, 32):
        radius = max(1, max(height, width) // part // 2)
        norm = box(weight, radius)
        trust = norm / (norm + 4.0)
        result = result + (box(values * weight, radius) / (norm + 1e-6) - result) * trust
    return result


def _gradient(grey: NDArray[Any]) -> F32:
    dx, dy = cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.25), cv2.Sobel(grey, cv2.CV_32F, 0, 1, scale=0.25)
    return np.asarray(np.hypot(dx, dy), np.float32)


def _codes(frame: U8) -> NDArray[np.intp]:
    """Each pixel's bin in a Lab histogram."""
    lab = cv2.cvtColor(frame, cv2.COLOR_RGB2LAB).astype(np.int32) * BINS // 256
    return (lab[..., 0] * BINS * BINS + lab[..., 1] * BINS + lab[..., 2]).astype(np.intp)


def _spread(
    histogram: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """Lets neighbouring bins share, so that a shade more or less makes no other colour."""
    cube = histogram.reshape(BINS, BINS, BINS)
    for axis in range(3):
        padded = np.moveaxis(np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(3)]), axis, 0)
        cube = np.moveaxis(0.25 * padded[:-2] + 0.5 * padded[1:-1] + 0.25 * padded[2:], 0, axis)
    return cube.ravel()
