# SPDX-License-Identifier: Apache-2.0
"""From triangle ids to what is seen: barycentrics and colour, one code for all rasterizers.

Colours are sampled from the source picture at the texture coordinate of each pixel, bilinearly between the sRGB-encoded
values, clamped at the picture's edge: what Blender's Image Texture node does with "Linear" and "Extend".
"""

from __future__ import annotations

import numpy as np

from ex4d.mesh.lift import ray_positions
from ex4d.mesh.skirts import Surface
from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.values import F32, F64, I32, U8, Bool

AT_TEXEL = 1e-6  # a barycentric this close to 1 is the vertex itself
_PIECES = 4


def resolve(ids: I32, pos_clip: F64, surface: Surface, picture: U8) -> tuple[U8, Bool, F32]:
    """Colour, mask and depth of a view.

    The mask is True where the visible face is valid, and where the pixel looks exactly at a vertex of the picture: a
    stretched face is a guess everywhere but at its corners, which the source camera did see. (Seen from the source
    camera itself, every pixel does, so there the mask is whole.)

    Args:
        ids: [h, w] index of the visible face + 1, 0 = none.
        pos_clip: [V, 4] clip coordinates of the vertices (`ex4d.render.clip_space.to_clip`).
        surface: what was rasterized.
        picture: [H, W, 3] u8 sRGB.

    Returns:
        [h, w, 3] u8 colour, black where the mask is False; [h, w] bool mask; [h, w] float32 z-depth of the visible
        surface in the new camera, 0 where there is none.
    """
    height, width = ids.shape
    colour = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.bool_)
    z = np.zeros((height, width), np.float32)
    u, v = ray_positions(picture.shape[0], picture.shape[1])
    image = np.ascontiguousarray(picture)

    def rows(start: int, stop: int) -> None:
        _resolve(ids, pos_clip, surface.faces, surface.valid, image, u, v, start, stop, colour, mask, z)

    in_parallel(rows, height, max(1, min(threads() * _PIECES, height // 8)))
    return colour, mask, z


def interpolate(ids: I32, corners: F64, faces: I32, values: F32) -> F32:
    """What stands at the vertices, carried to the pixels.

    Args:
        ids: [h, w] index of the visible face + 1, 0 = none.
        corners: [V, 8] of `ex4d.render.raster_numba.homogeneous`.
        faces: [F, 3].
        values: [V, 3].

    Returns:
        [h, w, 3] float32, perspective-correct, 0 where there is no face.
    """
    out = np.zeros((*ids.shape, 3), np.float32)
    pieces = max(1, min(threads() * _PIECES, len(ids) // 8))
    in_parallel(lambda start, stop: _interpolate(ids, corners, faces, values, start, stop, out), len(ids), pieces)
    return out


# Both loops live in one file with what they share: Numba keeps compiled code for as long as the file of a function is
# unchanged, and does not look at the files of those that it calls.


@compiled
def _weights(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py):  # type: ignore[no-untyped-def]
    """Perspective-correct barycentrics of what is seen at pixel position px, py; all 0 for a triangle without area.

    The corners are X, Y (pixel position times w) and w: see `ex4d.render.raster_numba`.
    """
    adx, ady = ax - px * aw, ay - py * aw
    bdx, bdy = bx - px * bw, by - py * bw
    cdx, cdy = cx - px * cw, cy - py * cw
    ea, eb, ec = bdx * cdy - cdx * bdy, cdx * ady - adx * cdy, adx * bdy - bdx * ady
    if ea + eb + ec < 0.0:
        ea, eb, ec = -ea, -eb, -ec
    # A rasterizer that snaps to a subpixel grid gives pixels just outside their triangle: to its edge.
    ea, eb, ec = max(ea, 0.0), max(eb, 0.0), max(ec, 0.0)
    total = ea + eb + ec
    if total == 0.0:
        return 0.0, 0.0, 0.0
    return ea / total, eb / total, ec / total


@compiled
def _interpolate(ids, corners, faces, values, start, stop, out):  # type: ignore[no-untyped-def]
    for row in range(start, stop):
        for column in range(ids.shape[1]):
            if ids[row, column] == 0:
                continue
            face = ids[row, column] - 1
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            ea, eb, ec = _weights(
                corners[a, 0], corners[a, 1], corners[a, 2],
                corners[b, 0], corners[b, 1], corners[b, 2],
                corners[c, 0], corners[c, 1], corners[c, 2],
                column + 0.5, row + 0.5,
            )  # fmt: skip
            for k in range(3):
                out[row, column, k] = ea * values[a, k] + eb * values[b, k] + ec * values[c, k]


@compiled
def _resolve(ids, pos_clip, faces, face_valid, image, u, v, start, stop, colour, mask, z):  # type: ignore[no-untyped-def]
    height, width = image.shape[0], image.shape[1]
    columns = len(u)
    half_w, half_h = ids.shape[1] / 2.0, ids.shape[0] / 2.0
    for row in range(start, stop):
        py = row + 0.5
        for column in range(ids.shape[1]):
            if ids[row, column] == 0:
                continue
            px = column + 0.5
            face = ids[row, column] - 1
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            aw, bw, cw = pos_clip[a, 3], pos_clip[b, 3], pos_clip[c, 3]
            ea, eb, ec = _weights(
                (pos_clip[a, 0] + aw) * half_w, (pos_clip[a, 1] + aw) * half_h, aw,
                (pos_clip[b, 0] + bw) * half_w, (pos_clip[b, 1] + bw) * half_h, bw,
                (pos_clip[c, 0] + cw) * half_w, (pos_clip[c, 1] + cw) * half_h, cw,
                px, py,
            )  # fmt: skip
            if ea + eb + ec == 0.0:
                continue
            z[row, column] = ea * aw + eb * bw + ec * cw
            seen = face_valid[face]
            if not seen:
                near = a if ea > 1.0 - AT_TEXEL else (b if eb > 1.0 - AT_TEXEL else (c if ec > 1.0 - AT_TEXEL else -1))
                if 0 <= near < columns * len(v):
                    j, i = near // columns, near % columns
                    seen = 1 < j < height + 2 and 1 < i < width + 2
                    a = b = c = near
            if not seen:
                continue
            mask[row, column] = True
            x = ea * u[a % columns] + eb * u[b % columns] + ec * u[c % columns] - 0.5
            y = ea * v[a // columns] + eb * v[b // columns] + ec * v[c // columns] - 0.5
            x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
            x0, y0 = int(x), int(y)
            x1, y1 = min(x0 + 1, width - 1), min(y0 + 1, height - 1)
            s, t = x - x0, y - y0
            for k in range(3):
                above = (1.0 - s) * image[y0, x0, k] + s * image[y0, x1, k]
                below = (1.0 - s) * image[y1, x0, k] + s * image[y1, x1, k]
                colour[row, column, k] = np.uint8((1.0 - t) * above + t * below + 0.5)
