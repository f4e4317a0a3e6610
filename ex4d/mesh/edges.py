# SPDX-License-Identifier: Apache-2.0
"""Which triangles of the mesh are real surface, and which only stretch across a gap that the camera could not see.

The rule asks for the ratio of depths in a triangle, so it gives the same answer at every focal length, resolution and
unit of length.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ex4d.values import F32, Bool

EDGE_RATIO = 1.07  # one neighbour that is more than 7 % further away than the other: there is a gap between them


def gap(a: F32, b: F32, edge_ratio: float = EDGE_RATIO) -> Bool:
    """Whether there is a gap between neighbours of depths a and b."""
    return np.asarray(np.maximum(a, b) > np.minimum(a, b) * np.float32(edge_ratio))


def seen(depth: F32, edge_ratio: float = EDGE_RATIO) -> Bool:
    """Validity of the two triangles of every quad: there is no gap between any two of its corners.

    Args:
        depth: [R, C] z of the vertices.
        edge_ratio: as for `gap`.

    Returns:
        [R-1, C-1, 2] bool: the triangle below the quad's diagonal, the one above.
    """
    out = np.empty((depth.shape[0] - 1, depth.shape[1] - 1, 2), np.bool_)
    for side, (a, b, c) in enumerate(_corners(depth)):
        out[..., side] = ~gap(np.minimum(np.minimum(a, b), c), np.maximum(np.maximum(a, b), c), edge_ratio)
    return out


def _corners(grid: F32) -> Iterator[tuple[F32, F32, F32]]:
    """The three corners of the lower triangles of all quads, then those of the upper ones (as `topology.faces`)."""
    top_left, top_right, bottom_left, bottom_right = grid[:-1, :-1], grid[:-1, 1:], grid[1:, :-1], grid[1:, 1:]
    yield top_left, bottom_left, bottom_right
    yield top_left, bottom_right, top_right
