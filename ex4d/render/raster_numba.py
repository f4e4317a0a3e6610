# SPDX-License-Identifier: Apache-2.0
"""Z-buffer rasterizer for small triangles, exact in float64.

2D homogeneous edge functions (Olano and Greer, "Triangle Scan Conversion using 2D Homogeneous Coordinates", 1997): a
corner is h = (X, Y, w) with the pixel position X/w, Y/w. At a pixel p, d = (X - p_x w, Y - p_y w) points from the pixel
to the corner, and the three cross products E of two such d are proportional to the barycentrics of the point that is
seen there. So a pixel is covered where all three have one sign, with no division and no clipping: where a triangle
reaches behind the camera, that part comes out with negative w and is dropped.

Why there are no holes and no pixels covered twice:
- d of a corner is computed once for all edges that meet there, and swapping an edge's corners negates E exactly;
- E = 0 is decided as if the pixel lay a little to the right (and, where that says nothing, a little lower), which
  puts it into exactly one of the triangles around an edge or corner. This is the normal case here: seen from the source
  camera, the mesh's vertices lie exactly on the pixels.
"""

from __future__ import annotations

import numpy as np

from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.values import F64, I32

_PIECES = 4  # of work for each thread: rows and triangles are not spread evenly
_SMALL = 6  # pixels; narrower triangles are tested over their whole bounding box


def visible(pos_clip: F64, faces: I32, resolution: tuple[int, int]) -> I32:
    """See `ex4d.render.rasterizers.Rasterizer.visible`. A tie goes to the lower index."""
    height, width = resolution
    ids = np.zeros((height, width), np.int32)
    corners = homogeneous(pos_clip, resolution)
    boxes = np.empty((len(faces), 4), np.int32)
    bands = max(1, min(threads() * _PIECES, height // 8))
    edges = np.array([height * k // bands for k in range(bands + 1)], np.int32)
    pieces = max(1, min(threads() * _PIECES, len(faces) // 1024))
    starts = np.array([len(faces) * k // pieces for k in range(pieces + 1)], np.int64)
    counts = np.zeros((pieces, bands), np.int64)

    def bound(first: int, last: int) -> None:
        for piece in range(first, last):
            _bound(corners, faces, starts[piece], starts[piece + 1], height, width, edges, boxes, counts[piece])

    in_parallel(bound, pieces, pieces)
    # Each band gets a list of its triangles in the order of their indices: piece after piece of it.
    ends = np.cumsum(counts.T.reshape(-1)).reshape(bands, pieces)
    lists = np.empty(int(ends[-1, -1]), np.int32)
    offsets = np.ascontiguousarray((ends - counts.T).T)  # [pieces, bands]

    def sort(first: int, last: int) -> None:
        for piece in range(first, last):
            _sort(boxes, starts[piece], starts[piece + 1], edges, offsets[piece], lists)

    in_parallel(sort, pieces, pieces)

    def draw(first: int, last: int) -> None:
        for band in range(first, last):
            start = ends[band - 1, -1] if band else 0
            _draw(corners, faces, boxes, lists[start : ends[band, -1]], edges[band], edges[band + 1], ids)

    in_parallel(draw, bands, bands)
    return ids


def homogeneous(pos_clip: F64, resolution: tuple[int, int]) -> F64:
    """Corners for the compiled loops, [V, 8].

    X, Y (pixel position times w), w, z + w, w - z, 1 where inside both planes, and there the pixel position X/w, Y/w.
    """
    height, width = resolution
    out = np.empty((len(pos_clip), 8), np.float64)
    position = np.ascontiguousarray(pos_clip, np.float64)
    in_parallel(lambda a, b: _homogeneous(position, width / 2.0, height / 2.0, a, b, out), len(out), threads())
    return out


@compiled
def _homogeneous(position, half_width, half_height, start, stop, out):  # type: ignore[no-untyped-def]
    for k in range(start, stop):
        x, y, z, w = position[k, 0], position[k, 1], position[k, 2], position[k, 3]
        out[k, 0], out[k, 1], out[k, 2] = (x + w) * half_width, (y + w) * half_height, w
        out[k, 3], out[k, 4] = z + w, w - z
        inside = w > 0.0 and z + w >= 0.0 and w - z >= 0.0
        out[k, 5] = 1.0 if inside else 0.0
        out[k, 6] = out[k, 0] / w if inside else 0.0
        out[k, 7] = out[k, 1] / w if inside else 0.0


@compiled
def _bound(corners, faces, start, stop, height, width, edges, boxes, counts):  # type: ignore[no-untyped-def]
    """Bounding boxes x0, x1, y0, y1 (inclusive) of the pixels that a triangle may cover; x1 < x0 for none."""
    for f in range(start, stop):
        boxes[f, 0], boxes[f, 1] = 1, 0
        left, right, top, bottom = np.inf, -np.inf, np.inf, -np.inf
        for k in range(3):
            a = faces[f, k]
            if corners[a, 5] != 0.0:
                x, y = corners[a, 6], corners[a, 7]
                left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
                continue
            # Behind the near plane: where the two edges at this corner pass through the plane. (Beyond the far
            # plane: the corner itself would do, yet it may be behind the camera too; the same rule serves both.)
            for step in range(1, 3):
                b = faces[f, (k + step) % 3]
                for plane in range(3, 5):
                    from_plane, to_plane = corners[a, plane], corners[b, plane]
                    if (from_plane < 0.0) != (to_plane < 0.0):
                        s = from_plane / (from_plane - to_plane)
                        w = corners[a, 2] + s * (corners[b, 2] - corners[a, 2])
                        if w > 0.0:
                            x = (corners[a, 0] + s * (corners[b, 0] - corners[a, 0])) / w
                            y = (corners[a, 1] + s * (corners[b, 1] - corners[a, 1])) / w
                            left, right, top, bottom = min(left, x), max(right, x), min(top, y), max(bottom, y)
        if left > right:
            continue
        # A little wider than computed: this only saves work, the edge functions decide.
        left = max(left - 1e-6 - 1e-9 * abs(left), -1.0)
        right = min(right + 1e-6 + 1e-9 * abs(right), width + 1.0)
        top = max(top - 1e-6 - 1e-9 * abs(top), -1.0)
        bottom = min(bottom + 1e-6 + 1e-9 * abs(bottom), height + 1.0)
        if not (left <= right and top <= bottom):
            continue
        x0, x1 = max(int(np.ceil(left - 0.5)), 0), min(int(np.floor(right - 0.5)), width - 1)
        y0, y1 = max(int(np.ceil(top - 0.5)), 0), min(int(np.floor(bottom - 0.5)), height - 1)
        if x0 > x1 or y0 > y1:
            continue
        boxes[f, 0], boxes[f, 1], boxes[f, 2], boxes[f, 3] = x0, x1, y0, y1
        for band in range(len(edges) - 1):
            if y0 < edges[band + 1] and y1 >= edges[band]:
                counts[band] += 1


@compiled
def _sort(boxes, start, stop, edges, offsets, lists):  # type: ignore[no-untyped-def]
    """Appends the triangles start..stop to the lists of the bands that they touch."""
    for f in range(start, stop):
        if boxes[f, 0] <= boxes[f, 1]:
            for band in range(len(edges) - 1):
                if boxes[f, 2] < edges[band + 1] and boxes[f, 3] >= edges[band]:
                    lists[offsets[band]] = f
                    offsets[band] += 1


@compiled
def _side(e, ax, ay, aw, bx, by, bw):  # type: ignore[no-untyped-def]
    """Sign of the edge function; for 0, of its change to the right, then downwards. 0: the edge is a point."""
    if e == 0.0:
        e = ay * bw - aw * by
        if e == 0.0:
            e = aw * bx - ax * bw
    return 1 if e > 0.0 else (-1 if e < 0.0 else 0)


@compiled
def _draw(corners, faces, boxes, triangles, row0, row1, ids):  # type: ignore[no-untyped-def]
    """Draws triangles, in the order of their indices, into the rows row0..row1 of `ids`."""
    width = ids.shape[1]
    depth = np.full((row1 - row0, width), np.inf)
    for f in triangles:
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, aw = corners[a, 0], corners[a, 1], corners[a, 2]
        bx, by, bw = corners[b, 0], corners[b, 1], corners[b, 2]
        cx, cy, cw = corners[c, 0], corners[c, 1], corners[c, 2]
        cut = corners[a, 5] == 0.0 or corners[b, 5] == 0.0 or corners[c, 5] == 0.0
        wide = boxes[f, 1] - boxes[f, 0] >= _SMALL
        for row in range(max(boxes[f, 2], row0), min(boxes[f, 3] + 1, row1)):
            py = row + 0.5
            ady, bdy, cdy = ay - py * aw, by - py * bw, cy - py * cw
            x0, x1 = boxes[f, 0], boxes[f, 1]
            if wide:
                x0, x1 = _span(ax, aw, ady, bx, bw, bdy, cx, cw, cdy, x0, x1)
            for column in range(x0, x1 + 1):
                px = column + 0.5
                adx, bdx, cdx = ax - px * aw, bx - px * bw, cx - px * cw
                ea, eb, ec = bdx * cdy - cdx * bdy, cdx * ady - adx * cdy, adx * bdy - bdx * ady
                if not ((ea >= 0.0 and eb >= 0.0 and ec >= 0.0) or (ea <= 0.0 and eb <= 0.0 and ec <= 0.0)):
                    continue
                if ea == 0.0 or eb == 0.0 or ec == 0.0:
                    side = _side(ea, bx, by, bw, cx, cy, cw)
                    if side == 0 or side != _side(eb, cx, cy, cw, ax, ay, aw):
                        continue
                    if side != _side(ec, ax, ay, aw, bx, by, bw):
                        continue
                total = ea + eb + ec
                if total == 0.0:
                    continue
                w = (ea * aw + eb * bw + ec * cw) / total
                if cut:  # -w <= z <= w; what is behind the camera can never be
                    if (ea * corners[a, 3] + eb * corners[b, 3] + ec * corners[c, 3]) / total < 0.0:
                        continue
                    if (ea * corners[a, 4] + eb * corners[b, 4] + ec * corners[c, 4]) / total < 0.0:
                        continue
                if w < depth[row - row0, column]:
                    depth[row - row0, column] = w
                    ids[row, column] = f + 1


@compiled
def _span(ax, aw, ady, bx, bw, bdy, cx, cw, cdy, x0, x1):  # type: ignore[no-untyped-def]
    """Columns of one row in which all edge functions may have one sign, a pixel wider on both sides.

    Along a row each is E = n - p_x m. Both signs are tried and the hull of what they leave is taken.
    """
    low, high = x1 + 1, x0 - 1
    for sign in (1.0, -1.0):
        left, right = float(x0), float(x1)
        for edge in range(3):
            if edge == 0:
                n, m = bx * cdy - cx * bdy, bw * cdy - cw * bdy
            elif edge == 1:
                n, m = cx * ady - ax * cdy, cw * ady - aw * cdy
            else:
                n, m = ax * bdy - bx * ady, aw * bdy - bw * ady
            n, m = n * sign, m * sign
            if m != 0.0:
                root = n / m - 0.5
                if m > 0.0:
                    right = min(right, root + 1.0)
                else:
                    left = max(left, root - 1.0)
        if left <= right:
            low, high = min(low, int(np.floor(left))), max(high, int(np.ceil(right)))
    return max(low, x0), min(high, x1)
