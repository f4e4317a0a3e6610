# SPDX-License-Identifier: Apache-2.0
"""Depth of a picture → depth watertight mesh. `ex4d.values.DWMesh` says where the vertices lie."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from ex4d.mesh.edges import EDGE_RATIO, seen
from ex4d.mesh.extent import FURTHEST
from ex4d.values import BORDER, F32, F64, Bool, DWMesh, Intrinsics
from shared_protocol.errors import BAD_INPUT, Ex4dError

NEAREST = 1e-9  # scene units; what is nearer is a zero that was rounded, and its inverse soon leaves float32


def default_intrinsics(width: int, height: int, focal: float | None = None) -> Intrinsics:
    """A camera for a clip of which nothing is known: 500/512 of the longest side, principal point in the centre.

    Raises:
        Ex4dError: BAD_INPUT for a focal length that is not a positive number.
    """
    if focal is None:
        focal = max(width, height) * 500.0 / 512.0
    if not (np.isfinite(focal) and focal > 0.0):
        raise Ex4dError(BAD_INPUT, f"A focal length of {focal} pixels cannot be used.", "Give a positive number.")
    return Intrinsics(width, height, float(focal), float(focal), width / 2.0, height / 2.0)


def check_depth(z: F32) -> None:
    """Raises Ex4dError(BAD_INPUT) unless all depth is finite and at least `NEAREST`."""
    nearest, furthest = float(z.min()), float(z.max())  # of anything with a value that is not a number, both are that
    if not (np.isfinite([nearest, furthest]).all() and nearest > 0.0):
        raise Ex4dError(BAD_INPUT, "The depth has values that are not positive numbers.", "Check the depth files.")
    if nearest < NEAREST:
        raise Ex4dError(
            BAD_INPUT,
            f"The nearest depth is {nearest:.3g} units; {NEAREST:g} is the least that can be used.",
            "Give depth, and the positions of cameras with it, in another unit.",
        )


@lru_cache(maxsize=8)
def ray_positions(height: int, width: int) -> tuple[F64, F64]:
    """Where the vertices' rays pass through the picture: u of the columns [W+4], v of the rows [H+4], in pixels.

    They are the texture coordinates too (pixel centres at +0.5). Read-only.
    """
    u = np.clip(np.arange(width + 2 * BORDER) - (BORDER - 0.5), 0.0, width)
    v = np.clip(np.arange(height + 2 * BORDER) - (BORDER - 0.5), 0.0, height)
    u.flags.writeable = v.flags.writeable = False
    return u, v


def lift(depth: F32, far: float, *, edge_ratio: float = EDGE_RATIO) -> tuple[F32, Bool]:
    """Depth of one picture → depth of the mesh's vertices, and which triangles are real surface.

    Args:
        depth: [H, W] z-depth, > 0.
        far: depth of the skirt.
        edge_ratio: the largest depth ratio within a triangle of real surface.

    Returns:
        [H+4, W+4] float32 z, and [H+3, W+3, 2] bool as in `DWMesh`. Skirt quads are never valid.
    """
    height, width = depth.shape
    mesh_depth = np.full((height + 2 * BORDER, width + 2 * BORDER), far, np.float32)
    mesh_depth[1:-1, 1:-1] = np.pad(depth, 1, mode="edge")
    valid = seen(mesh_depth, edge_ratio)
    valid[0] = valid[-1] = False
    valid[:, 0] = valid[:, -1] = False
    return mesh_depth, valid


def adjust_depth(depth: F32, scale: float, shift: float) -> F32:
    """Scale and shift of the disparity: z' = 1 / max(scale / z + shift, 1e-6). Blender's node group does the same."""
    with np.errstate(over="ignore"):  # what is infinite becomes a depth of 0
        disparity = np.maximum(scale / depth.astype(np.float64) + shift, 1.0 / FURTHEST)
    return (1.0 / disparity).astype(np.float32)


def vertices(mesh: DWMesh) -> F64:
    """Positions of the vertices in the source camera's axes (OpenCV), [V, 3] float64, row by row of the grid."""
    camera = mesh.intrinsics
    u, v = ray_positions(camera.height, camera.width)
    points = np.empty((*mesh.depth.shape, 3), np.float64)
    points[..., 2] = mesh.depth
    points[..., 0] = points[..., 2] * ((u - camera.cx) / camera.fx)
    points[..., 1] = points[..., 2] * ((v - camera.cy) / camera.fy)[:, None]
    return points.reshape(-1, 3)
