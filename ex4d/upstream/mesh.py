# SPDX-License-Identifier: Apache-2.0
"""The depth watertight mesh of the public EX-4D code (tau-yihouxiang/EX-4D, recon.py), number by number.

One vertex per pixel, on the ray through the pixel's top-left *corner*; the outermost pixels are pushed to a fixed
depth; a face that fails a test makes its three vertices black and transparent, which reaches into the good faces
beside it. Our own mesh (`ex4d.mesh`) does each of these otherwise; this one is there to be compared with, and for
whoever wants exactly what the released weights were trained on.

That code computes in float32. Where a face is judged, the operations here run in its order and precision, so that a
face on the threshold falls on the same side.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ex4d.values import F32, I32, U8, Bool, Intrinsics
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

BORDER_DEPTH = 100.0  # scene units, whatever they are
FOCAL = 500.0  # pixels, whatever the picture's size
FILTERS: tuple[str, ...] = ("angle", "boundary")

_SMALLEST_ANGLE = 2.5  # degrees
_STEEPEST = 2.0  # depth extent over the larger of the x and y extents


@dataclass(frozen=True, eq=False)
class UpstreamMesh:
    """One frame's mesh in the source camera's axes (OpenCV)."""

    vertices: F32  # [H*W, 3] scene units, row by row
    faces: I32  # [F, 3]
    rgba: U8  # [H*W, 4] sRGB and 255; all 0 at the vertices of a bad face


def upstream_intrinsics(width: int, height: int, focal: float = FOCAL) -> Intrinsics:
    """The lens that the public code assumes for every clip: 500 px, principal point in the middle."""
    return Intrinsics(width, height, focal, focal, width / 2.0, height / 2.0)


def bordered(depth: F32, border_depth: float = BORDER_DEPTH) -> F32:
    """Depth [..., H, W] with the outermost rows and columns at `border_depth`."""
    out = np.array(depth, np.float32)
    out[..., 0, :] = out[..., -1, :] = border_depth
    out[..., :, 0] = out[..., :, -1] = border_depth
    return out


def ray_directions(intrinsics: Intrinsics) -> F32:
    """Rays at depth 1, [H, W, 3]: through the integer positions of the picture, which are the pixels' corners."""
    lens = (np.float32(v) for v in (intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy))
    fx, fy, cx, cy = lens
    rays = np.ones((intrinsics.height, intrinsics.width, 3), np.float32)
    rays[..., 0] = (np.arange(intrinsics.width, dtype=np.float32) - cx) / fx
    rays[..., 1] = ((np.arange(intrinsics.height, dtype=np.float32) - cy) / fy)[:, None]
    return rays


@lru_cache(maxsize=4)
def upstream_faces(height: int, width: int) -> I32:
    """Vertex indices of every triangle: [F, 3] int32, read-only, F = 2 (H - 1) (W - 1) + 2.

    First (bottom left, top left, top right) of every quad, then (bottom left, top right, bottom right) of every quad,
    then two over the corners of the picture, which close the back.
    """
    index = np.arange(height * width, dtype=np.int32).reshape(height, width)
    top_left, top_right = index[:-1, :-1].ravel(), index[:-1, 1:].ravel()
    bottom_left, bottom_right = index[1:, :-1].ravel(), index[1:, 1:].ravel()
    last = height * width - 1
    back = np.array([[width - 1, 0, last], [last, 0, last - width + 1]], np.int32)
    upper = np.stack([bottom_left, top_left, top_right], axis=-1)
    lower = np.stack([bottom_left, top_right, bottom_right], axis=-1)
    out = np.concatenate([upper, lower, back])
    out.flags.writeable = False
    return out


def upstream_vertices(depth: F32, intrinsics: Intrinsics, border_depth: float = BORDER_DEPTH) -> F32:
    """Vertices of depth [H, W]: [H*W, 3] float32 in the source camera's axes, row by row."""
    return np.asarray((bordered(depth, border_depth)[..., None] * ray_directions(intrinsics)).reshape(-1, 3))


def bad_faces(vertices: F32, faces: I32, filter_type: str) -> Bool:
    """Which faces stretch across a gap, by one of `FILTERS`: [F] bool.

    "angle": the smallest angle is below 2.5 degrees. "boundary": the depth extent is over twice the extent in x and y.
    The result depends on focal length and resolution: a face of the same surface is the thinner the finer the grid.

    Args:
        vertices: [V, 3] float32.
        faces: [F, 3].
        filter_type: one of `FILTERS`.

    Raises:
        Ex4dError: BAD_INPUT for an unknown filter.
    """
    if filter_type not in FILTERS:
        raise Ex4dError(
            BAD_INPUT, f"There is no filter called '{filter_type}'.", f"Choose one of: {', '.join(FILTERS)}."
        )
    a, b, c = (vertices[faces[:, corner]] for corner in range(3))
    if filter_type == "boundary":
        extent = np.maximum(np.maximum(np.abs(a - b), np.abs(b - c)), np.abs(c - a))
        across = np.maximum(extent[:, 0], extent[:, 1])
        return np.asarray(extent[:, 2] / (across + np.float32(1e-8)) > np.float32(_STEEPEST))
    ab, bc, ca = b - a, c - b, a - c
    smallest = np.minimum(np.minimum(_degrees(ab, -ca), _degrees(bc, -ab)), _degrees(ca, -bc))
    return np.asarray(~(smallest >= np.float32(_SMALLEST_ANGLE)))


def upstream_mesh(
    depth: F32,
    picture: U8,
    intrinsics: Intrinsics | None = None,
    *,
    filter_type: str = "angle",
    use_dwmesh: bool = True,
    border_depth: float = BORDER_DEPTH,
) -> UpstreamMesh:
    """Lifts one frame.

    Args:
        depth: [H, W] z-depth, > 0.
        picture: [H, W, 3] u8 sRGB.
        intrinsics: of the picture; the public code's own guess by default (`upstream_intrinsics`).
        filter_type: one of `FILTERS`.
        use_dwmesh: False drops the bad faces and keeps all colours; the public code does so for "angle" only, and
            ignores it for "boundary".
        border_depth: what the outermost pixels are pushed to.

    Raises:
        Ex4dError: SIZE_MISMATCH when depth, picture and lens differ in size, BAD_INPUT for an unknown filter or a
            picture of less than 2x2 pixels.
    """
    height, width = depth.shape
    lens = intrinsics if intrinsics is not None else upstream_intrinsics(width, height)
    if picture.shape != (height, width, 3) or (lens.height, lens.width) != (height, width):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The depth is {width}x{height}, the picture {picture.shape[1]}x{picture.shape[0]}, the lens that of a "
            f"picture of {lens.width}x{lens.height}.",
        )
    if min(height, width) < 2:
        raise Ex4dError(BAD_INPUT, f"A picture of {width}x{height} pixels has no surface.", "Use at least 2x2 pixels.")
    vertices = upstream_vertices(depth, lens, border_depth)
    faces = upstream_faces(height, width)
    bad = bad_faces(vertices, faces, filter_type)
    rgba = np.full((height * width, 4), 255, np.uint8)
    rgba[:, :3] = picture.reshape(-1, 3)
    if not use_dwmesh and filter_type == "angle":
        return UpstreamMesh(vertices, faces[~bad], rgba)
    rgba[faces[bad]] = 0
    return UpstreamMesh(vertices, faces, rgba)


def _degrees(p: F32, q: F32) -> F32:
    """Angles between rows of [F, 3] in float32; 90 degrees where one has no length."""
    product = p * q
    length = _length(p) * _length(q) + np.float32(1e-12)
    cosine = np.clip((product[:, 0] + product[:, 1] + product[:, 2]) / length, np.float32(-1.0), np.float32(1.0))
    # NumPy's arccos of float32 is off by several units in the last place, and by how many depends on the processor.
    angle = np.arccos(cosine.astype(np.float64)).astype(np.float32)
    return np.asarray(angle * np.float32(180.0) / np.float32(np.pi))


def _length(p: F32) -> F32:
    """Lengths of the rows of [F, 3]: squares are added as fused multiply-adds do it, rounding each sum only."""
    exact = p.astype(np.float64) ** 2
    total = exact[:, 0].astype(np.float32)
    total = (total + exact[:, 1]).astype(np.float32)
    return np.sqrt((total + exact[:, 2]).astype(np.float32))
