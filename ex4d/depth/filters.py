# SPDX-License-Identifier: Apache-2.0
"""Edge-aware smoothing of maps along a picture, built from box filters."""

from __future__ import annotations

import cv2
import numpy as np

from ex4d.values import F32, U8


def as_guide(frame: U8) -> F32:
    """A picture as a guide: [h, w, 3] float32 in 0..1."""
    return frame.astype(np.float32) / np.float32(255)


def box(values: F32, radius: int) -> F32:
    """Mean over (2 radius + 1)^2 pixels, edges reflected."""
    side = 2 * radius + 1
    return np.asarray(cv2.boxFilter(values, -1, (side, side), borderType=cv2.BORDER_REFLECT), np.float32)


def coefficients(guide: F32, values: F32, weight: F32, radius: int, epsilon: float) -> tuple[F32, F32]:
    """Local linear model of `values` over a colour guide, weighted: values = a . guide + b in every window.

    The guided filter with a colour guide (He, Sun, Tang, "Guided Image Filtering", section 3.5), with weighted window
    statistics, so that values are taken from where they are known and carried to where they are not.

    Args:
        guide: [h, w, 3] in 0..1.
        values: [h, w].
        weight: [h, w] > 0, how far each value is to be trusted.
        radius: of the windows, pixels.
        epsilon: variance of the guide below which nothing counts as an edge.

    Returns:
        a [h, w, 3] and b [h, w], averaged over the windows that a pixel lies in.
    """
    norm = box(weight, radius) + np.float32(1e-6)
    mean_g = box(guide * weight[..., None], radius) / norm[..., None]
    mean_v = box(values * weight, radius) / norm
    pairs = ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))
    products = np.stack([guide[..., i] * guide[..., j] for i, j in pairs], axis=2) * weight[..., None]
    second = (
        np.concatenate([box(np.ascontiguousarray(products[..., k : k + 3]), radius) for k in (0, 3)], axis=2)
        / norm[..., None]
    )
    sigma = np.empty((*values.shape, 3, 3), np.float32)
    for k, (i, j) in enumerate(pairs):
        sigma[..., i, j] = sigma[..., j, i] = second[..., k] - mean_g[..., i] * mean_g[..., j]
    sigma += np.float32(epsilon) * np.eye(3, dtype=np.float32)
    cross = box(guide * (values * weight)[..., None], radius) / norm[..., None] - mean_g * mean_v[..., None]
    a = np.linalg.solve(sigma, cross[..., None])[..., 0].astype(np.float32)
    b = mean_v - (a * mean_g).sum(axis=2)
    return box(a, radius), box(b, radius)


def guided(guide: F32, values: F32, radius: int, epsilon: float, weight: F32 | None = None) -> F32:
    """`values` [h, w] smoothed inside of what looks alike in `guide` [h, w, 3], with its edges kept."""
    a, b = coefficients(guide, values, np.ones_like(values) if weight is None else weight, radius, epsilon)
    return np.asarray((a * guide).sum(axis=2) + b, np.float32)


def upsample(guide: F32, small_guide: F32, values: F32, radius: int, epsilon: float) -> F32:
    """`values` of the size of `small_guide` brought to the size of `guide`, with its edges on the guide's.

    The model is fitted in the small picture and applied in the large one (He, Sun, "Fast Guided Filter").
    """
    a, b = coefficients(small_guide, values, np.ones_like(values), radius, epsilon)
    size = (guide.shape[1], guide.shape[0])
    slope = cv2.resize(a, size, interpolation=cv2.INTER_LINEAR)
    offset = cv2.resize(b, size, interpolation=cv2.INTER_LINEAR)
    return np.asarray((slope * guide).sum(axis=2) + offset, np.float32)


def without_specks(values: F32, radius: int) -> F32:
    """Replaces what stands out from the median of its surroundings: print, glints, hairs. Slopes stay as they are.

    Args:
        values: [h, w] in 0..1.
        radius: of the surroundings, pixels.
    """
    levels = np.asarray(np.round(np.clip(values, 0, 1) * 255), np.uint8)
    median = cv2.medianBlur(levels, 2 * radius + 1).astype(np.float32) / np.float32(255)
    off = np.abs(values - median)
    return np.asarray(values + (median - values) * np.clip(off / np.float32(0.01) - 1.0, 0, 1), np.float32)


def crisp(values: F32, radius: int, contrast: float) -> F32:
    """Turns ramps between two surfaces into steps: a mesh over a ramp is a sheet of rubber.

    Where values differ by more than `contrast` within the radius, each goes to the nearer one of the local maximum and
    minimum (Kramer and Bruckner's toggle mapping); smooth slopes stay as they are.
    """
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    smooth = np.asarray(cv2.GaussianBlur(values, (0, 0), 0.6 * radius), np.float32)  # else the outline is jagged
    high, low = cv2.dilate(smooth, kernel), cv2.erode(smooth, kernel)
    toggled = np.where(high - smooth < smooth - low, high, low)
    step = np.clip((high - low) / np.float32(contrast) - 1.0, 0.0, 1.0)
    return np.asarray(smooth + (toggled - smooth) * step, np.float32)
