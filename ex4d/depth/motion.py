# SPDX-License-Identifier: Apache-2.0
"""Motion between frames: what moves unlike the background stands before it, and depth follows what it belongs to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.on_disk import FORGET_EVERY, Arrays, forget
from ex4d.values import F32, F64, U8

Flow = NDArray[np.floating[Any]]  # [h, w, 2] pixels: to the right, down

SMALLEST = 24  # sides below this are too small for optical flow
STEPS = 8  # rounds of reweighting in the fit of the dominant motion


def flows(frames: U8, arrays: Arrays, step: Callable[[], None]) -> tuple[Flow, Flow]:
    """Optical flow (DIS) from each frame to the next, and from each to the one before.

    Args:
        frames: [T, h, w, 3], small.
        arrays: where the result goes.
        step: called once for each frame.

    Returns:
        forward and backward, each [T-1, h, w, 2] in pixels, float16 (a long clip has many); zeros where frames are too
        small for it.
    """
    total, height, width = frames.shape[:3]
    shape = (total - 1, height, width, 2)
    ahead, back = arrays.new("ahead", shape, np.float16), arrays.new("back", shape, np.float16)
    step()  # the first frame has nothing before it
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    here = cv2.cvtColor(frames[0], cv2.COLOR_RGB2GRAY)
    for t in range(1, total):
        there = cv2.cvtColor(frames[t], cv2.COLOR_RGB2GRAY)
        if min(height, width) >= SMALLEST:
            empty = np.zeros((height, width, 2), np.float32)
            ahead[t - 1] = dis.calc(here, there, empty.copy())
            back[t - 1] = dis.calc(there, here, empty)
        here = there
        _now_and_then(t, frames, ahead, back)
        step()
    return ahead, back


def unlike_background(flow: Flow, background: F32) -> F32:
    """How far pixels move unlike the background, in pixels.

    The dominant motion is an affine one, fitted by iterated reweighting (Cauchy), starting from what looks like
    background. Pans, tilts, rolls, zooms and the slope of a ground plane fall under it.

    Args:
        flow: [h, w, 2].
        background: [h, w] 0..1, how likely each pixel is background.
    """
    height, width = flow.shape[:2]
    step = max(1, max(height, width) // 64)
    v, u = np.mgrid[0:height:step, 0:width:step].astype(np.float64)
    scale = max(height, width)
    design = np.stack([np.ones(u.size), u.ravel() / scale - 0.5, v.ravel() / scale - 0.5], axis=1)
    target = flow[::step, ::step].reshape(-1, 2).astype(np.float64)
    prior = background[::step, ::step].ravel().astype(np.float64) + 0.05
    weight: F64 = prior
    model: F64 = np.zeros((3, 2))
    for _ in range(STEPS):
        normal = design.T @ (design * weight[:, None]) + 1e-6 * np.eye(3)
        model = np.asarray(np.linalg.solve(normal, design.T @ (target * weight[:, None])), np.float64)
        off = np.linalg.norm(target - design @ model, axis=1)
        middle = max(float(np.median(off)), 0.1)
        weight = prior / (1 + np.square(off / middle))
    x = np.arange(width) / scale - 0.5
    y = np.arange(height) / scale - 0.5
    fitted = model[0] + x[None, :, None] * model[1] + y[:, None, None] * model[2]
    return np.asarray(np.linalg.norm(flow - fitted, axis=2), np.float32)


def carried(values: F32, flow: Flow) -> F32:
    """`values` of another frame brought to this one; `flow` [h, w, 2] leads from this frame to the other."""
    height, width = values.shape
    x = flow[..., 0] + np.arange(width, dtype=np.float32)[None, :]
    y = flow[..., 1] + np.arange(height, dtype=np.float32)[:, None]
    return np.asarray(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE), np.float32)


def agreement(frame: U8, other: U8, flow: Flow) -> F32:
    """How well a frame fits another one along the flow: [h, w] 0..1, 0 where something came into view."""
    ours, theirs = (picture.astype(np.float32).mean(axis=2) for picture in (frame, other))
    off = cv2.blur(np.abs(ours - carried(theirs, flow)), (5, 5))
    return np.asarray(np.exp(-np.square(off / 12.0)), np.float32)


def steadied(maps: F32, frames: U8, ahead: Flow, back: Flow, keep: float, arrays: Arrays) -> F32:
    """Averages maps over time along the motion, forwards and backwards, so that nothing flickers or lags.

    Args:
        maps: [T, h, w].
        frames: [T, h, w, 3] of the same size.
        ahead: [T-1, h, w, 2] flow from each frame to the next.
        back: the same from each frame (from the second on) to the one before.
        keep: share of what was there before that each frame keeps where the motion is certain.
        arrays: where the result goes.
    """
    total = len(maps)
    result = arrays.new("steadied", maps.shape, np.float32)
    for t in range(total):  # forwards
        result[t] = maps[t]
        if t:
            trust = keep * agreement(frames[t], frames[t - 1], back[t - 1])
            result[t] += (carried(result[t - 1], back[t - 1]) - maps[t]) * trust
        _now_and_then(t, maps, frames, back, result)
    later = maps[-1]
    for t in range(total - 1, -1, -1):  # backwards, of which only the frame after is needed
        if t < total - 1:
            trust = keep * agreement(frames[t], frames[t + 1], ahead[t])
            later = maps[t] + (carried(later, ahead[t]) - maps[t]) * trust
        result[t] = 0.5 * (result[t] + later)
        _now_and_then(t, maps, frames, ahead, result)
    return result


def _now_and_then(t: int, *arrays: NDArray[Any]) -> None:
    if t % FORGET_EVERY == 0:
        forget(*arrays)
