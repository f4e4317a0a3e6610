# SPDX-License-Identifier: Apache-2.0
"""The layers as one mesh with coloured vertices that stands still in the world, and drawing it from a camera."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ex4d.mesh.edges import seen
from ex4d.mesh.lift import adjust_depth
from ex4d.render.clip_space import to_clip
from ex4d.render.compiled import compiled, in_parallel, threads
from ex4d.render.raster_numba import homogeneous, visible
from ex4d.render.resolve import interpolate
from ex4d.values import F32, F64, I32, Bool, Intrinsics

_NEAR = 1e-3  # of the smallest depth, as for the mesh itself


@dataclass(frozen=True, eq=False)
class Sheet:
    """A grid of depth over the source picture, with a colour at each vertex."""

    u: F32  # [C] pixels of the source picture
    v: F32  # [R]
    z: F32  # [R, C]
    colour: F32  # [R, C, 3] 0..255
    wanted: Bool  # [R, C] faces with none of their corners here are left out
    edge_ratio: float  # faces with a larger ratio of depths are gaps
    behind: float  # depths are drawn this many times further, so that a better sheet at the same place hides this one


@dataclass(frozen=True, eq=False)
class Layers:
    """All sheets in one mesh, and the dome around them."""

    u: F32  # [V]
    v: F32  # [V]
    z: F32  # [V] before the artist's adjustment of the disparity
    behind: F32  # [V]
    faces: I32  # [F, 3] their front looks at the source camera
    dome: F64  # [D, 3] directions
    dome_faces: I32  # [G, 3]
    colour: F32  # [V + D, 3] 0..255


def merge(sheets: list[Sheet], dome: tuple[F64, F32, I32]) -> Layers:
    """Sheets → one mesh of the vertices that its faces need."""
    parts: list[tuple[F32, ...]] = []
    faces: list[I32] = []
    count = 0
    for sheet in sheets:
        rows, columns = sheet.z.shape
        triangles = _sheet_faces(sheet)
        used = np.zeros(rows * columns, np.bool_)
        used[triangles] = True
        renumbered = np.cumsum(used, dtype=np.int32) - np.int32(1)
        faces.append(renumbered[triangles] + np.int32(count))
        j, i = np.divmod(np.flatnonzero(used), columns)
        behind = np.full(len(j), sheet.behind, np.float32)
        parts.append((sheet.u[i], sheet.v[j], sheet.z[j, i], behind, sheet.colour[j, i]))
        count += len(j)
    u, v, z, behind, colour = (np.concatenate(values) for values in zip(*parts, strict=True))
    directions, dome_colour, dome_faces = dome
    return Layers(
        u, v, z, behind, np.concatenate(faces), directions, dome_faces + np.int32(count),
        np.concatenate([colour, dome_colour]).astype(np.float32),
    )  # fmt: skip


def _sheet_faces(sheet: Sheet) -> I32:
    rows, columns = sheet.z.shape
    index = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, :-1], index[1:, 1:]
    quads = np.stack([np.stack([a, c, d], axis=-1), np.stack([a, d, b], axis=-1)], axis=2)
    kept = seen(sheet.z, sheet.edge_ratio)
    w = sheet.wanted
    kept &= (w[:-1, :-1] | w[:-1, 1:] | w[1:, :-1] | w[1:, 1:])[..., None]
    return np.ascontiguousarray(quads[kept])


def draw(
    layers: Layers,
    source: Intrinsics,
    disparity: tuple[float, float],
    far: float,
    world_from_camera: F64,
    camera: Intrinsics,
) -> tuple[F32, Bool]:
    """What a camera sees of the layers.

    Args:
        layers: what to draw.
        source: the source camera at this frame of the shot.
        disparity: scale and shift of the disparity at this frame.
        far: least radius of the dome, before the adjustment.
        world_from_camera: [4, 4] pose of the new camera.
        camera: its lens and size.

    Returns:
        [h, w, 3] float32 colour 0..255, and [h, w] where there is any.
    """
    points = np.empty((len(layers.u) + len(layers.dome), 3), np.float64)
    own, dome = points[: len(layers.u)], points[len(layers.u) :]
    z = adjust_depth(layers.z, *disparity).astype(np.float64) * layers.behind
    own[:, 0], own[:, 1], own[:, 2] = (
        z * ((layers.u - source.cx) / source.fx),
        z * ((layers.v - source.cy) / source.fy),
        z,
    )
    # Around everything, the camera included, wherever the artist has put them.
    reach = float(np.sqrt(np.einsum("vk,vk->v", own, own).max()))
    adjusted = float(adjust_depth(np.array([far], np.float32), *disparity)[0])
    dome[:] = layers.dome * max(adjusted, 1.1 * reach, 2.0 * float(np.linalg.norm(world_from_camera[:3, 3])))
    front = np.empty(len(layers.faces), np.bool_)
    pieces = max(1, min(threads() * 4, len(front) // 1024))
    eye = np.ascontiguousarray(world_from_camera[:3, 3])
    in_parallel(lambda a, b: _front(points, layers.faces, eye, a, b, front), len(front), pieces)
    faces = np.concatenate([layers.faces[front], layers.dome_faces])
    resolution = (camera.height, camera.width)
    position = to_clip(points, world_from_camera, camera, _NEAR * float(z.min()))
    ids = visible(position, faces, resolution)
    return interpolate(ids, homogeneous(position, resolution), faces, layers.colour), ids > 0


@compiled
def _front(points, faces, eye, start, stop, front):  # type: ignore[no-untyped-def]
    """Whether a camera at `eye` sees the side of a face that the source camera saw."""
    for f in range(start, stop):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        px, py, pz = points[b, 0] - points[a, 0], points[b, 1] - points[a, 1], points[b, 2] - points[a, 2]
        qx, qy, qz = points[c, 0] - points[a, 0], points[c, 1] - points[a, 1], points[c, 2] - points[a, 2]
        nx, ny, nz = py * qz - pz * qy, pz * qx - px * qz, px * qy - py * qx
        towards = nx * (eye[0] - points[a, 0]) + ny * (eye[1] - points[a, 1]) + nz * (eye[2] - points[a, 2])
        front[f] = towards > 0.0
