# SPDX-License-Identifier: Apache-2.0
"""The faces of the depth watertight mesh. They depend on the picture's size alone."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ex4d.values import BORDER, I32, Bool, DWMesh


@lru_cache(maxsize=4)
def faces(height: int, width: int) -> I32:
    """Vertex indices of every triangle of a mesh over a picture of this size.

    Vertex k = j * (width + 4) + i lies in row j, column i of the grid. Each quad is split from its top-left to its
    bottom-right corner; quad (j, i) owns faces 2 * (j * (width + 3) + i) ("lower": below the diagonal) and the one
    after it ("upper"). The last two faces close the back over the corners of the grid. Seen from outside the volume
    between the surface and the back, the corners of every face run the same way round.

    Returns:
        [F, 3] int32, read-only (shared by all callers), F = 2 * (height + 3) * (width + 3) + 2.
    """
    rows, columns = height + 2 * BORDER, width + 2 * BORDER
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    top_left, top_right = index[:-1, :-1], index[:-1, 1:]
    bottom_left, bottom_right = index[1:, :-1], index[1:, 1:]
    quads = np.empty((rows - 1, columns - 1, 2, 3), np.int32)
    quads[:, :, 0] = np.stack([top_left, bottom_left, bottom_right], axis=-1)
    quads[:, :, 1] = np.stack([top_left, bottom_right, top_right], axis=-1)
    a, b, c, d = index[0, 0], index[0, -1], index[-1, -1], index[-1, 0]
    back = np.array([[a, c, d], [a, b, c]], np.int32)
    out = np.concatenate([quads.reshape(-1, 3), back])
    out.flags.writeable = False
    return out


def face_valid(mesh: DWMesh) -> Bool:
    """Which faces the source camera saw, in the order of `faces`: [F] bool. The back is never seen."""
    return np.concatenate([mesh.valid.reshape(-1), np.zeros(2, np.bool_)])
