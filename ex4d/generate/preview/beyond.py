# SPDX-License-Identifier: Apache-2.0
"""What may lie beyond the picture's edges: walls and floors that run on, and a dome of their colours around it all."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.values import F32, F64, I32, Bool

from .fill import membrane

CELLS = 64  # rows and columns beyond each edge
_GROWTH = 1.055  # each of them is that much larger than the one before: together 2.3 times the longest side at 240
NEAREST = 0.1  # of the pivot: walls that run on towards the camera stop here
_STRIP = 0.14  # of the longest side: how much of the picture's rim the colours beyond it are taken from
# Blur, as a share of the longest side, at these distances from the edge, in the same unit.
_SOFTNESS = ((0.0, 0.0), (0.04, 0.01), (0.12, 0.04), (0.3, 0.1), (0.8, 0.25))
_DOME = (64, 128)  # rows, columns


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture's background and its continuation: cells of the picture's grid, then ever larger ones."""

    u: F32  # [C] pixel positions in the source picture; below 0 and above its width beyond it
    v: F32  # [R]
    colour: F32  # [R, C, 3] 0..255
    z: F32  # [R, C]
    inside: Bool  # [R, C] within the picture
    stopped: Bool  # [R, C] where the surface would come nearer than allowed


def extend(colour: F32, z: F32, size: tuple[int, int], nearest: float) -> Canvas:
    """Continues a background beyond its edges.

    Disparity goes on along its slope, under which planes stay planes; colours are the picture's rim, mirrored to and
    fro, and lose detail the further out they are, as there is nothing to know.

    Args:
        colour: [h, w, 3] 0..255, at working size.
        z: [h, w].
        size: width and height of the source picture in its own pixels.
        nearest: no surface comes nearer than this.
    """
    height, width = z.shape
    longest = max(height, width)
    step = np.cumsum(_GROWTH ** np.arange(CELLS, dtype=np.float64)).astype(np.float32)  # distance from the last pixel
    disparity = (1.0 / z).astype(np.float32)
    limit, least = np.float32(1.0 / nearest), np.float32(0.25 * disparity.min())
    wide = _continue(disparity, step, longest, least)
    wide = _continue(wide.T, step, longest, least).T
    x, y = (np.concatenate([-step[::-1], np.arange(n), n - 1 + step]).astype(np.float32) for n in (width, height))
    out_x = np.maximum(np.maximum(-x, x - (width - 1)), 0.0)
    out_y = np.maximum(np.maximum(-y, y - (height - 1)), 0.0)
    distance = np.hypot(out_y[:, None], out_x[None, :]).astype(np.float32)
    return Canvas(
        u=((x + 0.5) * (size[0] / width)).astype(np.float32),
        v=((y + 0.5) * (size[1] / height)).astype(np.float32),
        colour=_colours(colour, x, y, distance / longest),
        z=(1.0 / np.minimum(wide, limit)).astype(np.float32),
        inside=distance == 0.0,
        stopped=(wide >= limit) & (distance > 0.0),
    )


def _continue(disparity: F32, step: F32, longest: int, least: np.float32) -> F32:
    """Adds columns on either side, along the slope that each row has towards its ends."""
    height, width = disparity.shape
    inner = min(width, max(4, longest // 5))
    parts = []
    for outer in (disparity[:, :inner][:, ::-1], disparity[:, -inner:]):
        x = np.arange(inner, dtype=np.float32) - (inner - 1)  # 0 at the end
        # What is at the very end counts most: the wall that leaves the picture may be a narrow strip.
        weight = np.exp(x / max(0.06 * longest, 1.0))
        weight /= weight.sum()
        centre = float((x * weight).sum())
        spread = float((weight * (x - centre) ** 2).sum())
        slope = (outer * (weight * (x - centre))).sum(axis=1) / max(spread, 1e-12)
        level = (outer * weight).sum(axis=1) - slope * centre
        # The further one goes, the more the slope matters, and the steadier it has to be. Floors, walls and ceilings
        # come nearer outwards; what seems to recede is mostly noise, and would open a view past the end of the world.
        slope, level = np.maximum(_smooth(slope, 0.15 * height), 0.0), _smooth(level, 0.025 * height)
        # What the end has over its smooth fit fades out, so that the surface joins without a jump.
        rest = (outer[:, -1] - level)[:, None] * np.exp(-step / max(0.04 * longest, 1.0))
        parts.append(np.maximum(level[:, None] + slope[:, None] * step + rest, least))
    return np.concatenate([parts[0][:, ::-1], disparity, parts[1]], axis=1).astype(np.float32)


def _smooth(values: F32, sigma: float) -> F32:
    column = values.reshape(-1, 1).astype(np.float32)
    return np.asarray(
        cv2.GaussianBlur(column, (1, 0), 1e-6, sigmaY=max(sigma, 1.0), borderType=cv2.BORDER_REPLICATE), np.float32
    ).reshape(-1)


def _colours(colour: F32, x: F32, y: F32, distance: F32) -> F32:
    """The picture's colours at grid positions in and around it, ever softer outwards; `distance` in longest sides."""
    height, width = colour.shape[:2]
    longest = max(height, width)
    rows, columns = _to_and_fro(y, height, longest), _to_and_fro(x, width, longest)
    out = np.asarray(cv2.remap(colour, *np.meshgrid(columns, rows), cv2.INTER_LINEAR), np.float32)
    for (start, _), (end, sigma) in itertools.pairwise(_SOFTNESS):
        blurred = cv2.GaussianBlur(colour, (0, 0), sigma * longest, borderType=cv2.BORDER_REFLECT)
        level = cv2.remap(blurred, *np.meshgrid(columns, rows), cv2.INTER_LINEAR)
        share = np.clip((distance - start) / (end - start), 0.0, 1.0)[..., None]
        out = out * (1.0 - share) + level * share
    return out.astype(np.float32)


def _to_and_fro(position: F32, count: int, longest: int) -> F32:
    """Positions beyond 0..count-1, walked back and forth over the outer strip."""
    strip = max(1.0, min(_STRIP * longest, count - 1.0))
    beyond = np.maximum(np.maximum(-position, position - (count - 1)), 0.0)
    back = strip - np.abs(beyond % (2.0 * strip) - strip)
    return np.where(position < 0, back, np.where(position > count - 1, count - 1 - back, position)).astype(np.float32)


def dome(canvas: Canvas, focal: float, centre: tuple[float, float]) -> tuple[F64, F32, I32]:
    """A sphere around everything, coloured by the direction seen from the source camera.

    Where the canvas reaches it has the canvas's smoothest colours; elsewhere a membrane over the sphere. It leaves no
    direction without a colour.

    Returns:
        [V, 3] unit directions (source camera axes), [V, 3] colour 0..255, [F, 3] faces.
    """
    rows, columns = _DOME
    latitude = np.linspace(-0.5 * np.pi, 0.5 * np.pi, rows)  # + is down, as y
    longitude = np.linspace(-np.pi, np.pi, columns, endpoint=False)
    direction = np.empty((rows, columns, 3), np.float64)
    direction[..., 0] = np.cos(latitude)[:, None] * np.sin(longitude)
    direction[..., 1] = np.sin(latitude)[:, None]
    direction[..., 2] = np.cos(latitude)[:, None] * np.cos(longitude)
    ahead = direction[..., 2] > 0.05
    z = np.where(ahead, direction[..., 2], 1.0)
    u = focal * direction[..., 0] / z + centre[0]
    v = focal * direction[..., 1] / z + centre[1]
    known = ahead & (u >= canvas.u[0]) & (u <= canvas.u[-1]) & (v >= canvas.v[0]) & (v <= canvas.v[-1])
    x = np.interp(u, canvas.u, np.arange(len(canvas.u)))
    y = np.interp(v, canvas.v, np.arange(len(canvas.v)))
    smooth = cv2.GaussianBlur(canvas.colour, (0, 0), 0.03 * max(canvas.z.shape))
    seen = cv2.remap(smooth, x.astype(np.float32), y.astype(np.float32), cv2.INTER_LINEAR)
    colour = membrane(np.asarray(seen, np.float32), known, relaxations=40, wrap=True)
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    right = np.roll(index, -1, axis=1)
    faces = np.stack(
        [
            np.stack([index[:-1], index[1:], right[1:]], axis=-1),
            np.stack([index[:-1], right[1:], right[:-1]], axis=-1),
        ],
        axis=2,
    )
    return direction.reshape(-1, 3), colour.reshape(-1, 3).astype(np.float32), faces.reshape(-1, 3).astype(np.int32)
