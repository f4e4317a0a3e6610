# SPDX-License-Identifier: Apache-2.0
"""One frame of a mesh as a camera sees it."""

from __future__ import annotations

import numpy as np

from ex4d.doors import choose
from ex4d.mesh.lift import vertices
from ex4d.mesh.topology import face_valid, faces
from ex4d.render.rasterizers import DEFAULT, RASTERIZERS
from ex4d.values import F32, F64, U8, Bool, DWMesh, Intrinsics
from shared_protocol.errors import SIZE_MISMATCH, Ex4dError

_NEAR = 1e-3  # of the mesh's smallest depth: a camera may go as close as anyone would want to look


def render_frame(
    mesh: DWMesh,
    picture: U8,
    world_from_camera: F64,
    intrinsics: Intrinsics,
    *,
    use_dwmesh: bool = True,
    rasterizer: str = DEFAULT,
) -> tuple[U8, Bool, F32]:
    """What a camera sees of the mesh.

    Args:
        mesh: lifted from `picture`.
        picture: [H, W, 3] u8 sRGB.
        world_from_camera: [4, 4] pose of the new camera.
        intrinsics: of the new camera; its size is that of the result.
        use_dwmesh: False leaves out the faces that were not seen, instead of letting them hide what is behind them.
        rasterizer: one of `RASTERIZERS`.

    Returns:
        [h, w, 3] u8 sRGB colour, black where the mask is False; [h, w] bool mask, True where what is seen was seen by
        the source camera; [h, w] float32 z-depth of the visible surface, 0 where there is none.

    Raises:
        Ex4dError: SIZE_MISMATCH when picture and mesh do not fit, BAD_INPUT or UNAVAILABLE for the rasterizer.
    """
    from ex4d.render.clip_space import to_clip  # these load Numba: only when there is something to render
    from ex4d.render.resolve import resolve

    height, width = mesh.intrinsics.height, mesh.intrinsics.width
    if picture.shape != (height, width, 3):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The picture is {picture.shape[1]}x{picture.shape[0]}, its mesh {width}x{height}.",
        )
    door = choose(RASTERIZERS, rasterizer, "rasterizer")
    triangles, valid = faces(height, width), face_valid(mesh)
    if not use_dwmesh:
        triangles, valid = triangles[valid], np.ones(int(valid.sum()), np.bool_)
    near = _NEAR * float(mesh.depth.min())
    resolution = (intrinsics.height, intrinsics.width)
    position = to_clip(vertices(mesh), world_from_camera, intrinsics, near)
    ids = door.visible(position, triangles, resolution)
    return resolve(ids, position, triangles, valid, picture, mesh.depth.shape)
