# SPDX-License-Identifier: Apache-2.0
"""One frame of the public EX-4D code's mesh as a camera sees it, and what that code makes of it (recon.py).

Vertex colours with their transparency are interpolated over the visible face; what comes out at least half opaque
counts as seen. So a bad vertex darkens the good faces around it, up to the middle of their edges. The public code
renders with nvdiffrast and smooths silhouettes afterwards; here each pixel shows what lies at its centre.
"""

from __future__ import annotations

import numpy as np

from ex4d.doors import choose
from ex4d.upstream.cameras import clip_from_world
from ex4d.upstream.mesh import UpstreamMesh
from ex4d.values import F32, F64, U8, Bool, Intrinsics

_OPAQUE = 125.0  # of 255; above it a pixel counts as seen


def render_rgba(
    mesh: UpstreamMesh, world_from_camera: F64, intrinsics: Intrinsics, *, rasterizer: str
) -> tuple[F32, F32]:
    """Interpolated vertex colours, before anything is made of them.

    Args:
        mesh: in the axes of the world that the pose is in.
        world_from_camera: [4, 4] pose of the camera.
        intrinsics: of the camera; its size is that of the result.
        rasterizer: one of `ex4d.render.RASTERIZERS`.

    Returns:
        [h, w, 4] float32 RGBA, 0..255; [h, w] float32 z-depth. Both 0 where there is no surface.

    Raises:
        Ex4dError: BAD_INPUT or UNAVAILABLE for the rasterizer.
    """
    # Only when there is something to render: these load Numba, and the room of rendering itself asks for this module.
    from ex4d.render.raster_numba import homogeneous
    from ex4d.render.rasterizers import RASTERIZERS
    from ex4d.render.resolve import interpolate

    door = choose(RASTERIZERS, rasterizer, "rasterizer")
    resolution = (intrinsics.height, intrinsics.width)
    position = _to_clip(mesh.vertices, clip_from_world(world_from_camera, intrinsics))
    ids = door.visible(position, mesh.faces, resolution)
    corners = homogeneous(position, resolution)
    colour = interpolate(ids, corners, mesh.faces, mesh.rgba[:, :3].astype(np.float32))
    rest = np.zeros((len(position), 3), np.float32)
    rest[:, 0], rest[:, 1] = mesh.rgba[:, 3], position[:, 3]
    rest = interpolate(ids, corners, mesh.faces, rest)
    return np.concatenate([colour, rest[..., :1]], axis=-1), np.ascontiguousarray(rest[..., 1])


def conditioned(rgba: F32) -> tuple[U8, Bool]:
    """Interpolated colours [..., 4], 0..255 → what the public code writes: colour (u8, cut off, not rounded; black
    where the mask is False) and mask (True where more than 125 of 255 is opaque).
    """
    mask = np.asarray(rgba[..., 3] > _OPAQUE)
    return (rgba[..., :3] * mask[..., None]).astype(np.uint8), mask


def first_frame(picture: U8) -> tuple[U8, Bool]:
    """What the public code writes for a shot's first frame, whatever is rendered: the source frame, all of it seen."""
    return picture.copy(), np.ones(picture.shape[:-1], np.bool_)


def render_upstream(
    mesh: UpstreamMesh, world_from_camera: F64, intrinsics: Intrinsics, *, rasterizer: str
) -> tuple[U8, Bool, F32]:
    """What the public code would write for a camera, the first frame of a shot excepted (`first_frame`).

    Args:
        mesh: in the axes of the world that the pose is in.
        world_from_camera: [4, 4] pose of the camera.
        intrinsics: of the camera; its size is that of the result.
        rasterizer: one of `ex4d.render.RASTERIZERS`.

    Returns:
        [h, w, 3] u8 sRGB colour, black where the mask is False; [h, w] bool mask; [h, w] float32 z-depth of the visible
        surface, seen or not, 0 where there is none.

    Raises:
        Ex4dError: BAD_INPUT or UNAVAILABLE for the rasterizer.
    """
    rgba, z = render_rgba(mesh, world_from_camera, intrinsics, rasterizer=rasterizer)
    colour, mask = conditioned(rgba)
    return colour, mask, z


def _to_clip(vertices: F32, matrix: F64) -> F64:
    """Clip coordinates [V, 4]. Not a matrix product: that may add in another order on another machine, and decide
    pixels that lie exactly on an edge differently.
    """
    x, y, z = vertices.astype(np.float64).T
    return np.stack([row[0] * x + row[1] * y + row[2] * z + row[3] for row in matrix], axis=1)
