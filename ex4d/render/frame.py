# SPDX-License-Identifier: Apache-2.0
"""One frame of a mesh as a camera sees it."""

from __future__ import annotations

import numpy as np

from ex4d.doors import choose
from ex4d.mesh.lift import check_depth
from ex4d.mesh.surface import bounded, closed, undivided
from ex4d.render.rasterizers import DEFAULT, RASTERIZERS
from ex4d.values import F32, F64, U8, Bool, DWMesh, Intrinsics
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

SAME_PLACE = 1e-6  # of the mesh's smallest depth: nearer to the source camera, a camera sees no more than it did
NEAR = 1e-3  # of the mesh's smallest depth: a camera may go as close as anyone would want to look


def render_frame(
    mesh: DWMesh,
    picture: U8,
    world_from_camera: F64,
    intrinsics: Intrinsics,
    *,
    geometry: str = "closed",
    rasterizer: str = DEFAULT,
) -> tuple[U8, Bool, F32]:
    """What a camera sees of the mesh.

    Args:
        mesh: lifted from `picture`; its axes are the world here.
        picture: [H, W, 3] u8 sRGB.
        world_from_camera: [4, 4] pose of the new camera.
        intrinsics: of the new camera; its size is that of the result.
        geometry: "closed" or "bounded", see `ex4d.mesh.surface`.
        rasterizer: one of `RASTERIZERS`.

    Returns:
        [h, w, 3] u8 sRGB colour, black where the mask is False; [h, w] bool mask, True where what is seen was seen by
        the source camera; [h, w] float32 z-depth of the visible surface, 0 where there is none.

    Raises:
        Ex4dError: SIZE_MISMATCH when picture and mesh do not fit, BAD_INPUT or UNAVAILABLE for the rasterizer,
            BAD_INPUT for the geometry, and for depth or a camera that cannot be used.
    """
    from ex4d.render.clip_space import to_clip  # these load Numba: only when there is something to render
    from ex4d.render.resolve import resolve

    height, width = mesh.intrinsics.height, mesh.intrinsics.width
    if picture.shape != (height, width, 3):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"The picture is {picture.shape[1]}x{picture.shape[0]}, its mesh {width}x{height}.",
        )
    if geometry not in ("closed", "bounded"):
        raise Ex4dError(BAD_INPUT, f"'{geometry}' is no kind of mesh.", "Choose closed or bounded.")
    check_depth(mesh.depth)
    _check_camera(world_from_camera, intrinsics)
    door = choose(RASTERIZERS, rasterizer, "rasterizer")
    surface = closed(mesh) if geometry == "closed" else bounded(mesh)
    near = NEAR * float(mesh.depth.min())
    position = to_clip(surface.points, world_from_camera, intrinsics, near)
    ids = door.visible(position, surface.faces, (intrinsics.height, intrinsics.width))
    colour, mask, z = resolve(ids, position, surface, picture)
    if np.linalg.norm(world_from_camera[:3, 3]) <= SAME_PLACE * float(mesh.depth.min()) and not mask.all():
        # From here no wall has any area: what shows of one, or through a crack beside it, is rounding, where a pixel's
        # centre lies on the very line. There the undivided face is looked at.
        whole = undivided(mesh)
        position = to_clip(whole.points, world_from_camera, intrinsics, near)
        ids = door.visible(position, whole.faces, (intrinsics.height, intrinsics.width))
        own_colour, own_mask, own_z = resolve(ids, position, whole, picture)
        missed = own_mask & ~mask
        colour[missed], mask[missed], z[missed] = own_colour[missed], True, own_z[missed]
    return colour, mask, z


def _check_camera(world_from_camera: F64, camera: Intrinsics) -> None:
    """Whether it is rigid was asked of the paths that it was made from (`ex4d.cameras.check_path`)."""
    numbers = [*world_from_camera.reshape(-1), camera.fx, camera.fy, camera.cx, camera.cy]
    if not (np.isfinite(numbers).all() and min(camera.fx, camera.fy, camera.width, camera.height) > 0.0):
        raise Ex4dError(BAD_INPUT, "The camera has a pose or a lens that cannot be used.")
