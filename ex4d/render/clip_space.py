# SPDX-License-Identifier: Apache-2.0
"""World → clip coordinates, shared by all rasterizers.

The projection is the textbook one for a pinhole camera in OpenCV axes with the far plane at infinity (e.g. Lengyel,
"Projection Matrix Tricks", GDC 2007), y pointing down as the picture's rows do: w = z, and z_clip = z - 2 near, so that
-w <= z_clip holds from the near plane on and z_clip <= w always.
"""

from __future__ import annotations

import numpy as np

from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.values import F64, Intrinsics


def projection(camera: Intrinsics, near: float) -> F64:
    """clip_from_camera, [4, 4]. Row 0 of the picture is at y/w = -1."""
    return np.array(
        [
            [2.0 * camera.fx / camera.width, 0.0, 2.0 * camera.cx / camera.width - 1.0, 0.0],
            [0.0, 2.0 * camera.fy / camera.height, 2.0 * camera.cy / camera.height - 1.0, 0.0],
            [0.0, 0.0, 1.0, -2.0 * near],
            [0.0, 0.0, 1.0, 0.0],
        ]
    )


def to_clip(points: F64, world_from_camera: F64, camera: Intrinsics, near: float) -> F64:
    """Clip coordinates [V, 4] of points [V, 3] in world axes.

    Not a matrix product: that may add in another order on another machine, and with it decide pixels that lie exactly
    on an edge differently.
    """
    matrix = projection(camera, near) @ np.linalg.inv(world_from_camera)
    out = np.empty((len(points), 4), np.float64)
    in_parallel(lambda start, stop: _transform(points, matrix, start, stop, out), len(points), threads())
    return out


@compiled
def _transform(points, matrix, start, stop, out):  # type: ignore[no-untyped-def]
    for k in range(start, stop):
        x, y, z = points[k, 0], points[k, 1], points[k, 2]
        for row in range(4):
            out[k, row] = matrix[row, 0] * x + matrix[row, 1] * y + matrix[row, 2] * z + matrix[row, 3]
