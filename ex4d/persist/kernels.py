# SPDX-License-Identifier: Apache-2.0
"""The inner loops of this room. One file: Numba looks at a function's own file alone to tell whether what it compiled
earlier is still good, and not at the files of those that it calls.

A camera is a matrix [4, 4] that leads into its axes, and a lens: fx, fy, cx, cy in pixels.
"""

from __future__ import annotations

import numpy as np

from ex4d.render.compiled import compiled


@compiled
def _project(x, y, z, matrix, lens):  # type: ignore[no-untyped-def]
    """Pixel position u, v and depth of a point; a depth of 0 or less lies behind the camera."""
    px = matrix[0, 0] * x + matrix[0, 1] * y + matrix[0, 2] * z + matrix[0, 3]
    py = matrix[1, 0] * x + matrix[1, 1] * y + matrix[1, 2] * z + matrix[1, 3]
    pz = matrix[2, 0] * x + matrix[2, 1] * y + matrix[2, 2] * z + matrix[2, 3]
    if pz <= 0.0:
        return 0.0, 0.0, pz
    return px / pz * lens[0] + lens[2], py / pz * lens[1] + lens[3], pz


@compiled
def _around(u, v, height, width):  # type: ignore[no-untyped-def]
    """The four pixels around a position, and the weights of the second column and row."""
    x, y = min(max(u - 0.5, 0.0), width - 1.0), min(max(v - 0.5, 0.0), height - 1.0)
    x0, y0 = int(x), int(y)
    return x0, y0, min(x0 + 1, width - 1), min(y0 + 1, height - 1), x - x0, y - y0


@compiled
def _between(values, u, v):  # type: ignore[no-untyped-def]
    """A picture [H, W] at a position, bilinearly."""
    x0, y0, x1, y1, s, t = _around(u, v, values.shape[0], values.shape[1])
    above = (1.0 - s) * values[y0, x0] + s * values[y0, x1]
    below = (1.0 - s) * values[y1, x0] + s * values[y1, x1]
    return (1.0 - t) * above + t * below


@compiled
def _same_colour(picture, row, column, image, u, v, most):  # type: ignore[no-untyped-def]
    """Whether a pixel's colour is found in another image at u, v, or in one of the pixels around it."""
    height, width = image.shape[0], image.shape[1]
    x0, y0, x1, y1, s, t = _around(u, v, height, width)
    worst = 0.0
    for k in range(3):
        above = (1.0 - s) * image[y0, x0, k] + s * image[y0, x1, k]
        below = (1.0 - s) * image[y1, x0, k] + s * image[y1, x1, k]
        worst = max(worst, abs((1.0 - t) * above + t * below - picture[row, column, k]))
    if worst <= most:
        return True
    centre_x, centre_y = int(u), int(v)
    for j in range(max(centre_y - 1, 0), min(centre_y + 2, height)):
        for i in range(max(centre_x - 1, 0), min(centre_x + 2, width)):
            worst = 0.0
            for k in range(3):
                worst = max(worst, abs(float(image[j, i, k]) - float(picture[row, column, k])))
            if worst <= most:
                return True
    return False


@compiled
def testify(z, picture, lens, matrix, other_lens, image, nearest, furthest, depth, colour, start, stop, counts):  # type: ignore[no-untyped-def]
    """What one frame says about the pixels of another; adds to counts [3, H, W].

    0: it sees through the point there; 1: it sees a surface of another colour; 2: it sees the same.
    """
    height, width = z.shape
    for row in range(start, stop):
        for column in range(width):
            d = z[row, column]
            x, y = ((column + 0.5 - lens[2]) / lens[0] * d, (row + 0.5 - lens[3]) / lens[1] * d)
            u, v, there = _project(x, y, d, matrix, other_lens)
            if there <= 0.0 or not (0.0 <= u < width and 0.0 <= v < height):
                continue
            j, i = int(v), int(u)
            if there > furthest[j, i] * depth:
                continue
            if there * depth < nearest[j, i]:
                counts[0, row, column] += 1
            elif _same_colour(picture, row, column, image, u, v, colour):
                counts[2, row, column] += 1
            else:
                counts[1, row, column] += 1


@compiled
def on_layer(z, picture, lens, matrix, layer_lens, known, nearest, furthest, image, depth, colour, start, stop, out):  # type: ignore[no-untyped-def]
    """Which pixels of a frame show what a layer shows; `colour` < 0: its colour is not asked for."""
    height, width = z.shape
    for row in range(start, stop):
        for column in range(width):
            d = z[row, column]
            x, y = ((column + 0.5 - lens[2]) / lens[0] * d, (row + 0.5 - lens[3]) / lens[1] * d)
            u, v, there = _project(x, y, d, matrix, layer_lens)
            if there <= 0.0 or not (0.0 <= u < width and 0.0 <= v < height):
                continue
            j, i = int(v), int(u)
            if known[j, i] and nearest[j, i] <= there * depth and there <= furthest[j, i] * depth:
                if colour < 0.0 or _same_colour(picture, row, column, image, u, v, colour):
                    out[row, column] = True


@compiled
def medians(frames, depth, chosen, start, stop, picture, z):  # type: ignore[no-untyped-def]
    """Medians of colour and depth over the chosen frames of each pixel; where there are none, of depth over all.

    `picture` is float32, and is left as it is where nothing was chosen.
    """
    total, width = depth.shape[0], depth.shape[2]
    column = np.empty(total, np.float32)
    for row in range(start, stop):
        for i in range(width):
            count = 0
            for k in range(total):
                if chosen[k, row, i]:
                    count += 1
            for channel in range(4):
                if count == 0 and channel < 3:
                    continue
                filled = 0
                for k in range(total):
                    if count == 0 or chosen[k, row, i]:
                        column[filled] = depth[k, row, i] if channel == 3 else frames[k, row, i, channel]
                        filled += 1
                values = column[:filled]
                values.sort()
                median = 0.5 * (values[(filled - 1) // 2] + values[filled // 2])
                if channel == 3:
                    z[row, i] = median
                else:
                    picture[row, i, channel] = median


@compiled
def walk(rows, columns, depth, view_lens, matrices, lenses, disparity, around, near, far, limits, start, stop, out):  # type: ignore[no-untyped-def]
    """Which rays of a view reach their points through space that is known to be empty, and not from this frame alone:
    what this frame shows without help is none of our business.

    Args:
        rows, columns: [N] pixels of the view.
        depth: [N] of the points that they should reach.
        view_lens: of the view.
        matrices: [1 + L, 4, 4] from the view's axes into those of this frame's source camera, then of the layers.
        lenses: [1 + L, 4].
        disparity: [1 + L, H, W] 1 / z of what each of them sees.
        around: [H, W] the largest disparity within `reach` pixels that this frame's source camera sees.
        near, far: [H + 2 B, W + 2 B] depths in this frame's source camera between which something moving fills space,
            in its picture and B pixels beyond.
        limits: [5] relative depth by which a point may lie behind a surface and count as before it; relative depth
            before the point at which the way ends; pixels of a source picture from one look to the next; relative
            depth by which this frame must see past a point for the point to be gone; the reach of `around`.
        start, stop: which pixels.
        out: [N] bool.
    """
    height, width = disparity.shape[1], disparity.shape[2]
    slack, margin, stride, through, reach = limits
    total, beyond = len(matrices), (near.shape[0] - height) // 2
    along, start_at = (np.empty((total, 3)), np.empty((total, 3)))  # in pixels and depth: X = w u, Y = w v, w
    for n in range(start, stop):
        z = depth[n]
        dx = (columns[n] + 0.5 - view_lens[2]) / view_lens[0]
        dy = (rows[n] + 0.5 - view_lens[3]) / view_lens[1]
        for camera in range(total):
            m, lens = matrices[camera], lenses[camera]
            for k in range(3):
                along[camera, k], start_at[camera, k] = (m[k, 0] * dx + m[k, 1] * dy + m[k, 2], m[k, 3])
            for k in range(2):
                along[camera, k] = along[camera, k] * lens[k] + along[camera, 2] * lens[2 + k]
                start_at[camera, k] = start_at[camera, k] * lens[k] + start_at[camera, 2] * lens[2 + k]
        there = along[0, 2] * z + start_at[0, 2]
        if there > 0.0:
            u, v = ((along[0, 0] * z + start_at[0, 0]) / there, (along[0, 1] * z + start_at[0, 1]) / there)
            if 0.0 <= u < width and 0.0 <= v < height:
                if there * _between(disparity[0], u, v) < 1.0 / (1.0 + through):
                    continue
        end, at = z * (1.0 - margin), 0.0
        clear, needed = True, False
        while True:
            step, inside, empty = z / 32.0, False, False
            for camera in range(total):
                there = along[camera, 2] * at + start_at[camera, 2]
                if there <= 0.0:
                    continue
                u = (along[camera, 0] * at + start_at[camera, 0]) / there
                v = (along[camera, 1] * at + start_at[camera, 1]) / there
                if camera == 0 and -beyond <= u < width + beyond and -beyond <= v < height + beyond:
                    j, i = int(v + beyond), int(u + beyond)
                    if near[j, i] <= there <= far[j, i]:
                        clear = False
                        break
                if not (0.0 <= u < width and 0.0 <= v < height):
                    continue
                if not inside:  # how fast the picture of the ray moves here
                    inside = True
                    right = along[camera, 0] * start_at[camera, 2] - start_at[camera, 0] * along[camera, 2]
                    down = along[camera, 1] * start_at[camera, 2] - start_at[camera, 1] * along[camera, 2]
                    fast = max(abs(right), abs(down))
                    step = min(step, max(stride * there * there / max(fast, 1e-12), z / 2048.0))
                j, i = int(v), int(u)
                # Well before the pixel's own depth there is no need to look closer.
                if there * disparity[camera, j, i] < 0.9 or there * _between(disparity[camera], u, v) <= 1.0 + slack:
                    empty = True
                    needed = needed or camera > 0
                    if camera == 0:  # nothing stands before a whole stretch of the way: go on behind it
                        stretch = step / stride * (reach - 1)
                        if max(there, there + along[0, 2] * stretch) * around[j, i] < 1.0:
                            step = max(step, min(stretch, z / 8.0))
                    break
            clear = clear and (empty or not inside)
            if not clear or at >= end:
                break
            at = min(at + step, end)
        out[n] = clear and needed
