# SPDX-License-Identifier: Apache-2.0
"""From triangle ids to what is seen: barycentrics and colour, one code for all rasterizers.

Colours are sampled where the source picture shows the very point that is seen, in sRGB-encoded values, with Catmull and
Rom's cubic (Keys, "Cubic convolution interpolation for digital image processing", 1981, a = -1/2), which gives back the
picture itself where pixels fall on pixels. Where a pixel of the view covers more than one of the picture's, several
samples are averaged.
"""

from __future__ import annotations

import numpy as np

from ex4d.mesh.surface import Surface
from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.values import F32, F64, I32, U8, Bool

MOST_SAMPLES = 3  # along each side of a pixel; more are slower and hardly better
_PIECES = 4


def resolve(ids: I32, pos_clip: F64, surface: Surface, picture: U8) -> tuple[U8, Bool, F32]:
    """Colour, mask and depth of a view.

    Args:
        ids: [h, w] index of the visible face + 1, 0 = none.
        pos_clip: [V, 4] clip coordinates of the vertices (`ex4d.render.clip_space.to_clip`).
        surface: what was rasterized.
        picture: [H, W, 3] u8 sRGB.

    Returns:
        [h, w, 3] u8 colour, black where the mask is False; [h, w] bool mask: the visible face is valid; [h, w] float32
        z-depth of the visible surface in the new camera, 0 where there is none.
    """
    height, width = ids.shape
    colour = np.zeros((height, width, 3), np.uint8)
    mask = np.zeros((height, width), np.bool_)
    z = np.zeros((height, width), np.float32)
    image = np.ascontiguousarray(picture)
    camera = surface.camera
    lens = np.array([camera.fx, camera.fy, camera.cx - 0.5, camera.cy - 0.5])  # pixel centres at whole numbers

    def rows(start: int, stop: int) -> None:
        _resolve(ids, pos_clip, surface.points, surface.faces, surface.valid, image, lens, start, stop, colour, mask, z)

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
        [h, w, 3] float32, perspective-correct; 0 where there is no surface.
    """
    out = np.zeros((*ids.shape, 3), np.float32)
    height = len(ids)
    pieces = max(1, min(threads() * _PIECES, height // 8))
    in_parallel(lambda start, stop: _interpolate(ids, corners, faces, values, start, stop, out), height, pieces)
    return out


# All loops live in one file with what they share: Numba keeps compiled code for as long as the file of a function is
# unchanged, and does not look at the files of those that it calls.


@compiled
def _edges(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py):  # type: ignore[no-untyped-def]
    """Twice the areas, with one sign where the pixel position px, py lies within the triangle, that are proportional
    to the perspective-correct barycentrics of what is seen there.

    The corners are X, Y (pixel position times w) and w: see `ex4d.render.raster_numba`.
    """
    adx, ady = ax - px * aw, ay - py * aw
    bdx, bdy = bx - px * bw, by - py * bw
    cdx, cdy = cx - px * cw, cy - py * cw
    return bdx * cdy - cdx * bdy, cdx * ady - adx * cdy, adx * bdy - bdx * ady


@compiled
def _weights(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py):  # type: ignore[no-untyped-def]
    """Barycentrics of what is seen at a pixel position; all 0 for a triangle without area."""
    ea, eb, ec = _edges(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py)
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
def _cubic(s):  # type: ignore[no-untyped-def]
    """Weights of the four samples around a position, s after the second."""
    a = ((-0.5 * s + 1.0) * s - 0.5) * s
    b = (1.5 * s - 2.5) * s * s + 1.0
    c = ((-1.5 * s + 2.0) * s + 0.5) * s
    return a, b, c, 1.0 - a - b - c


@compiled
def _add_sample(image, x, y, total):  # type: ignore[no-untyped-def]
    """Adds the picture's colour at x, y (pixel centres at whole numbers) to `total`."""
    height, width = image.shape[0], image.shape[1]
    x, y = min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    a, b, c, d = _cubic(x - x0)
    down = _cubic(y - y0)
    u0, u1, u2, u3 = max(x0 - 1, 0), x0, min(x0 + 1, width - 1), min(x0 + 2, width - 1)
    for j in range(4):
        v = min(max(y0 + j - 1, 0), height - 1)
        for k in range(3):
            total[k] += down[j] * (
                a * image[v, u0, k] + b * image[v, u1, k] + c * image[v, u2, k] + d * image[v, u3, k]
            )


@compiled
def _samples(one, other):  # type: ignore[no-untyped-def]
    """How many samples a pixel takes in a direction along which its place in the picture moves by (one, other)."""
    return min(max(int(np.ceil(max(abs(one), abs(other)) - 0.25)), 1), MOST_SAMPLES)


@compiled
def _place(points, a, b, c, ea, eb, ec, lens):  # type: ignore[no-untyped-def]
    """Where the source picture shows a point of a face, given by (not normalised) barycentrics; False for nowhere."""
    x = ea * points[a, 0] + eb * points[b, 0] + ec * points[c, 0]
    y = ea * points[a, 1] + eb * points[b, 1] + ec * points[c, 1]
    z = ea * points[a, 2] + eb * points[b, 2] + ec * points[c, 2]
    if z * (ea + eb + ec) <= 0.0:
        return False, 0.0, 0.0
    return True, lens[0] * x / z + lens[2], lens[1] * y / z + lens[3]


@compiled
def _resolve(ids, pos_clip, points, faces, face_valid, image, lens, start, stop, colour, mask, z):  # type: ignore[no-untyped-def]
    half_w, half_h = ids.shape[1] / 2.0, ids.shape[0] / 2.0
    total = np.empty(3, np.float64)
    for row in range(start, stop):
        for column in range(ids.shape[1]):
            if ids[row, column] == 0:
                continue
            px, py = column + 0.5, row + 0.5
            face = ids[row, column] - 1
            a, b, c = faces[face, 0], faces[face, 1], faces[face, 2]
            aw, bw, cw = pos_clip[a, 3], pos_clip[b, 3], pos_clip[c, 3]
            ax, ay = (pos_clip[a, 0] + aw) * half_w, (pos_clip[a, 1] + aw) * half_h
            bx, by = (pos_clip[b, 0] + bw) * half_w, (pos_clip[b, 1] + bw) * half_h
            cx, cy = (pos_clip[c, 0] + cw) * half_w, (pos_clip[c, 1] + cw) * half_h
            ea, eb, ec = _weights(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py)
            if ea + eb + ec == 0.0:
                continue
            z[row, column] = ea * aw + eb * bw + ec * cw
            if not face_valid[face]:
                continue
            mask[row, column] = True
            _, x, y = _place(points, a, b, c, ea, eb, ec, lens)
            # How far the place moves over the pixel's width and height, on the face's plane.
            right_x = right_y = lower_x = lower_y = 0.0
            ea, eb, ec = _edges(ax, ay, aw, bx, by, bw, cx, cy, cw, px + 0.5, py)
            there, u, v = _place(points, a, b, c, ea, eb, ec, lens)
            if there:
                right_x, right_y = 2.0 * (u - x), 2.0 * (v - y)
            ea, eb, ec = _edges(ax, ay, aw, bx, by, bw, cx, cy, cw, px, py + 0.5)
            there, u, v = _place(points, a, b, c, ea, eb, ec, lens)
            if there:
                lower_x, lower_y = 2.0 * (u - x), 2.0 * (v - y)
            across, down = _samples(right_x, right_y), _samples(lower_x, lower_y)
            total[:] = 0.0
            for p in range(across):
                s = (p + 0.5) / across - 0.5
                for q in range(down):
                    t = (q + 0.5) / down - 0.5
                    _add_sample(image, x + s * right_x + t * lower_x, y + s * right_y + t * lower_y, total)
            for k in range(3):
                colour[row, column, k] = np.uint8(min(max(total[k] / (across * down), 0.0), 255.0) + 0.5)
