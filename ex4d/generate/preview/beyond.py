# SPDX-License-Identifier: Apache-2.0
"""What may lie beyond the picture's edges: walls and floors that run on, and a dome of their colours around it all."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.values import F32, F64, I32, Bool

from .fill import membrane

REACH = 0.85  # how far the canvas goes beyond the picture, in multiples of its longest side
NEAREST = 0.3  # of the pivot: walls that run on towards the camera stop here
_DOME = (64, 128)  # rows, columns


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture's background and its continuation, on a grid of the picture's own pixels (`step` source pixels)."""

    u: F32  # [C] pixel positions in the source picture; below 0 and above its width beyond it
    v: F32  # [R]
    colour: F32  # [R, C, 3] 0..255
    z: F32  # [R, C]
    inside: Bool  # [R, C] within the picture
    stopped: Bool  # [R, C] where the surface would come nearer than allowed


def extend(colour: F32, z: F32, size: tuple[int, int], nearest: float) -> Canvas:
    """Continues a background beyond its edges.

    Disparity goes on along its slope, under which planes stay planes; colours are mirrored at the edge and lose
    detail the further out they are, as there is nothing to know.

    Args:
        colour: [h, w, 3] 0..255, at working size.
        z: [h, w].
        size: width and height of the source picture in its own pixels.
        nearest: no surface comes nearer than this.
    """
    height, width = z.shape
    pad = round(REACH * max(height, width))
    disparity = (1.0 / z).astype(np.float32)
    limit, least = np.float32(1.0 / nearest), np.float32(0.25 * disparity.min())
    wide = _continue(disparity, pad, least)
    wide = _continue(wide.T, pad, least).T
    stopped = wide >= limit
    stopped[pad : pad + height, pad : pad + width] = False
    wide = np.where(stopped, limit, wide)

    mirrored = _mirror(colour, pad)
    rows, columns = np.arange(-pad, height + pad), np.arange(-pad, width + pad)
    out_y = np.maximum(np.maximum(-rows, rows - (height - 1)), 0)
    out_x = np.maximum(np.maximum(-columns, columns - (width - 1)), 0)
    distance = np.hypot(out_y[:, None], out_x[None, :]).astype(np.float32) / max(height, width)
    inside = distance == 0.0
    return Canvas(
        u=((columns + 0.5) * (size[0] / width)).astype(np.float32),
        v=((rows + 0.5) * (size[1] / height)).astype(np.float32),
        colour=_soften(mirrored, distance, max(height, width)),
        z=(1.0 / wide).astype(np.float32),
        inside=inside,
        stopped=stopped,
    )


def _continue(disparity: F32, pad: int, least: np.float32) -> F32:
    """Adds `pad` columns on either side along the slope of the outer sixth of each row."""
    height, width = disparity.shape
    strip = max(4, width // 6) if width > 8 else width
    sigma = max(0.03 * height, 1.0)
    parts = []
    for outer in (disparity[:, :strip][:, ::-1], disparity[:, -strip:]):
        x = np.arange(outer.shape[1], dtype=np.float32) - (outer.shape[1] - 1)  # 0 at the picture's edge
        centred = x - x.mean()
        slope = (outer * centred).sum(axis=1) / max(float((centred**2).sum()), 1e-12)
        level = outer.mean(axis=1) + slope * (0.0 - x.mean())
        slope, level = (_smooth(values, sigma) for values in (slope, level))
        step = np.arange(1, pad + 1, dtype=np.float32)
        # What the edge has over its smooth fit fades out, so that the surface joins without a jump.
        rest = (outer[:, -1] - level)[:, None] * np.exp(-step / max(0.05 * width, 1.0))
        parts.append(np.maximum(level[:, None] + slope[:, None] * step + rest, least))
    return np.concatenate([parts[0][:, ::-1], disparity, parts[1]], axis=1).astype(np.float32)


def _smooth(values: F32, sigma: float) -> F32:
    column = values.reshape(-1, 1).astype(np.float32)
    return np.asarray(
        cv2.GaussianBlur(column, (1, 0), 1e-6, sigmaY=sigma, borderType=cv2.BORDER_REPLICATE), np.float32
    ).reshape(-1)


def _mirror(colour: F32, pad: int) -> F32:
    return np.pad(colour, ((pad, pad), (pad, pad), (0, 0)), mode="symmetric")


def _soften(colour: F32, distance: F32, longest: int) -> F32:
    """Blurs by an amount that grows with the distance from the picture: from sharp to a tenth of its size."""
    sigmas = [0.0, 0.006, 0.02, 0.05, 0.1]
    starts = [0.0, 0.06, 0.2, 0.45, 0.8]
    levels = [colour]
    for sigma in sigmas[1:]:
        blurred = cv2.GaussianBlur(colour, (0, 0), sigma * longest, borderType=cv2.BORDER_REFLECT)
        levels.append(np.asarray(blurred, np.float32))
    out = levels[0]
    for k in range(1, len(levels)):
        share = np.clip((distance - starts[k - 1]) / (starts[k] - starts[k - 1]), 0.0, 1.0)[..., None]
        out = out * (1.0 - share) + levels[k] * share
    return out.astype(np.float32)


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
    x = (u - canvas.u[0]) / (canvas.u[-1] - canvas.u[0]) * (len(canvas.u) - 1)
    y = (v - canvas.v[0]) / (canvas.v[-1] - canvas.v[0]) * (len(canvas.v) - 1)
    known = ahead & (x >= 0) & (y >= 0) & (x <= len(canvas.u) - 1) & (y <= len(canvas.v) - 1)
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
