# SPDX-License-Identifier: Apache-2.0
"""Which triangles of the mesh are real surface, and which only stretch across a gap that the camera could not see.

"jump" is ours: it asks for the ratio of depths in a triangle, so it gives the same answer at every focal length,
resolution and unit of length. "angle" and "boundary" are the two tests of the public EX-4D code
(tau-yihouxiang/EX-4D, recon.py, filter_type), applied to this mesh and per face.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ex4d.values import F32, F64, Bool
from shared_protocol.errors import BAD_INPUT, Ex4dError

EDGE_RULES: tuple[str, ...] = ("jump", "angle", "boundary")

EDGE_RATIO = 1.05  # "jump": a triangle whose far corner is more than 5 % further than its near corner is a gap
SMALLEST_ANGLE = 2.5  # "angle": degrees
STEEPEST = 2.0  # "boundary": depth extent over the larger of the x and y extents


def seen(depth: F32, points: F64, rule: str, edge_ratio: float) -> Bool:
    """Validity of the two triangles of every quad, by one of `EDGE_RULES`.

    Args:
        depth: [R, C] z of the vertices.
        points: [R, C, 3] the vertices.
        rule: one of `EDGE_RULES`.
        edge_ratio: only "jump" asks for it.

    Returns:
        [R-1, C-1, 2] bool: the triangle below the quad's diagonal, the one above.
    """
    out = np.empty((depth.shape[0] - 1, depth.shape[1] - 1, 2), np.bool_)
    if rule == "jump":
        for side, (a, b, c) in enumerate(_corners(depth)):
            nearest = np.minimum(np.minimum(a, b), c)
            furthest = np.maximum(np.maximum(a, b), c)
            out[..., side] = furthest <= nearest * edge_ratio
    elif rule == "angle":
        sharpest = np.cos(np.radians(SMALLEST_ANGLE))
        for side, (a, b, c) in enumerate(_corners(points)):
            cosine = np.maximum(_cosine(a, b, c), np.maximum(_cosine(b, c, a), _cosine(c, a, b)))
            out[..., side] = cosine <= sharpest
    elif rule == "boundary":
        for side, (a, b, c) in enumerate(_corners(points)):
            extent = np.maximum(np.maximum(np.abs(a - b), np.abs(b - c)), np.abs(c - a))
            out[..., side] = extent[..., 2] <= STEEPEST * (np.maximum(extent[..., 0], extent[..., 1]) + 1e-8)
    else:
        raise Ex4dError(
            BAD_INPUT, f"There is no edge rule called '{rule}'.", f"Choose one of: {', '.join(EDGE_RULES)}."
        )
    return out


def _corners(grid: F64 | F32) -> Iterator[tuple[F64, F64, F64]]:
    """The three corners of the lower triangles of all quads, then those of the upper ones (as `topology.faces`)."""
    top_left, top_right, bottom_left, bottom_right = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    yield top_left, bottom_left, bottom_right  # type: ignore[misc]
    yield top_left, bottom_right, top_right  # type: ignore[misc]


def _cosine(at: F64, one: F64, other: F64) -> F64:
    """Cosine of the angle at one corner; 1 where two corners coincide."""
    p, q = one - at, other - at
    dot = np.einsum("...k,...k->...", p, q)
    length = np.sqrt(np.einsum("...k,...k->...", p, p) * np.einsum("...k,...k->...", q, q))
    return np.where(length > 0.0, dot / np.maximum(length, 1e-300), 1.0)
