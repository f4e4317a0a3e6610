# SPDX-License-Identifier: GPL-3.0-or-later
"""Points that an artist picks on the mesh: ends of known distances, and the ground.

A pick is an empty. What counts is where the source camera sees it at the pick's frame, so it need not lie on the mesh
exactly: it is put there when it is used. The two ends of a distance share an id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable
from dataclasses import dataclass

import bpy
import numpy as np
from mathutils import Vector

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError

from . import camera_path, clip_record, mesh_nodes, reconstruction
from .core import picks
from .core.camera_math import F64
from .reconstruction import Built

PICK = "ex4d_pick"  # on the empty: one of the three below
END_A, END_B, GROUND = "a", "b", "ground"
PAIR = "ex4d_pair"  # on both ends of a distance: the same text
DISTANCE = "ex4d_distance"  # on the first end: scene units
FRAME = "ex4d_frame"  # on each: the picture that it was picked in, counted from 1 within the clip's file

_ENDS = ((0.34, 0.52), (0.66, 0.52))  # where new ones are put, as shares of the picture: on no border of pixels
_ON_GROUND = ((0.5, 0.9), (0.3, 0.8), (0.7, 0.8), (0.5, 0.7))
_DOT = 0.02  # size of a pick, as a share of the pivot's distance


@dataclass(frozen=True)
class Distance:
    """Two ends, and how far they are from each other in the world."""

    a: bpy.types.Object
    b: bpy.types.Object

    @property
    def length(self) -> float:
        """In scene units, as the artist typed it; 0 = not known."""
        return float(self.a.get(DISTANCE, 0.0))


@dataclass(frozen=True)
class Seen:
    """Where the source camera sees a pick."""

    frame: int  # picture, counted from 1 within the clip's file
    u: float  # shares of the picture's width and height, from the top left
    v: float


def distances(built: Built) -> list[Distance]:
    """The distances of a reconstruction that have both of their ends, copies of the artist's included."""
    ends: dict[str, dict[str, list[bpy.types.Object]]] = {}
    for obj in every(built):
        if obj[PICK] in (END_A, END_B):
            ends.setdefault(str(obj.get(PAIR)), {END_A: [], END_B: []})[obj[PICK]].append(obj)
    # More than one of each where the artist duplicated a distance: the copies go together in the order they were made.
    return [Distance(*both) for pair in ends.values() for both in zip(pair[END_A], pair[END_B], strict=False)]


def ground(built: Built) -> list[bpy.types.Object]:
    """The points on the ground."""
    return [obj for obj in every(built) if obj[PICK] == GROUND]


def every(built: Built) -> Iterable[bpy.types.Object]:
    """All picks of a reconstruction."""
    return [obj for obj in bpy.data.collections[built.collection].all_objects if PICK in obj]


def add_distance(scene: bpy.types.Scene, built: Built) -> Distance:
    """Two new ends on the mesh at the scene's frame. How far they are apart is for the artist to say.

    Raises:
        Ex4dError: a part of the reconstruction is gone.
    """
    pair = uuid.uuid4().hex
    ends = []
    for kind, share in zip((END_A, END_B), _ENDS, strict=True):
        end = _add(scene, built, kind, f"{built.collection} distance {kind.upper()}", share)
        end[PAIR] = pair
        ends.append(end)
    a, b = ends
    a[DISTANCE] = 0.0
    told = "How far the two ends are apart in the world. 0: not known"
    a.id_properties_ui(DISTANCE).update(min=0.0, default=0.0, precision=3, subtype="DISTANCE", description=told)
    return Distance(a, b)


def add_ground(scene: bpy.types.Scene, built: Built) -> bpy.types.Object:
    """A new point on the ground at the scene's frame: low in the picture, to be moved.

    Raises:
        Ex4dError: a part of the reconstruction is gone.
    """
    share = _ON_GROUND[len(ground(built)) % len(_ON_GROUND)]
    return _add(scene, built, GROUND, f"{built.collection} ground", share)


def _add(scene: bpy.types.Scene, built: Built, kind: str, name: str, share: tuple[float, float]) -> bpy.types.Object:
    mesh, root = built.need(reconstruction.MESH), bpy.data.objects[built.need(reconstruction.ROOT)]
    (stand,) = camera_path.sample_mesh(scene, mesh, [scene.frame_current])
    where = _on_mesh(scene, built, scene.frame_current, stand, share)
    obj = bpy.data.objects.new(name, None)
    obj.empty_display_type, obj.show_in_front = "SPHERE", True
    obj.empty_display_size = reconstruction.manifest_of(built.collection).pivot * _DOT
    obj[PICK], obj[FRAME] = kind, stand.index + clip_record.first_of(built.collection)
    bpy.data.collections[built.collection].objects.link(obj)
    obj.parent = root
    _put(scene, obj, where)
    return obj


# ---- where they are


def seen(scene: bpy.types.Scene, built: Built, obj: bpy.types.Object) -> Seen:
    """Where the source camera sees a pick.

    Raises:
        Ex4dError: BAD_INPUT, it lies outside the picture, or in a frame that is not used.
    """
    manifest = reconstruction.manifest_of(built.collection)
    number = int(obj[FRAME])
    frame = _scene_frame(built, number)
    (stand,) = camera_path.sample_mesh(scene, built.need(reconstruction.MESH), [frame])
    (world,) = camera_path.sample_matrix(scene, obj.name, [frame])
    local = np.linalg.inv(stand.matrix) @ world[:, 3]
    at = picks.place(local[:3].tolist(), stand.lens, (manifest.width, manifest.height), obj.name)
    return Seen(number, at[0] / manifest.width, at[1] / manifest.height)


def put_on_mesh(scene: bpy.types.Scene, built: Built, obj: bpy.types.Object, at: Seen) -> F64:
    """Puts a pick where the source camera sees the mesh in its place. Returns where that is in the world, [3].

    Raises:
        Ex4dError: BAD_INPUT, in a frame that is not used; NOT_FOUND, the mesh is hidden.
    """
    frame = _scene_frame(built, at.frame)
    (stand,) = camera_path.sample_mesh(scene, built.need(reconstruction.MESH), [frame])
    where = _on_mesh(scene, built, frame, stand, (at.u, at.v))
    _put(scene, obj, where)
    return where


def _scene_frame(built: Built, number: int) -> int:
    """Frame of the scene that shows a picture of the clip's file."""
    index = number - clip_record.first_of(built.collection)
    total = reconstruction.manifest_of(built.collection).frames
    if not 0 <= index < total:
        raise Ex4dError(
            BAD_INPUT,
            f"A point was picked in frame {number} of the clip's file, which '{built.collection}' does not use.",
            "Delete that point.",
        )
    modifier = mesh_nodes.need_modifier(bpy.data.objects[built.need(reconstruction.MESH)])
    return int(mesh_nodes.get_input(modifier, "Frame Start")) + index


def _on_mesh(
    scene: bpy.types.Scene, built: Built, frame: int, stand: camera_path.MeshStand, share: tuple[float, float]
) -> F64:
    """Place in the world where the source camera sees the mesh, [3]."""
    manifest = reconstruction.manifest_of(built.collection)
    direction = picks.ray(share[0] * manifest.width, share[1] * manifest.height, stand.lens)
    mesh = scene.objects[built.need(reconstruction.MESH)]
    with camera_path.in_scene(scene), camera_path.frame_kept(scene):
        scene.frame_set(frame)
        try:
            found, local, _, _ = mesh.evaluated_get(bpy.context.evaluated_depsgraph_get()).ray_cast(
                (0, 0, 0), direction
            )
        except RuntimeError:  # a mesh that is not shown is not made
            found = False
    if not found:
        raise Ex4dError(NOT_FOUND, f"'{mesh.name}' is hidden, so no point on it is found.", "Show it.")
    return np.asarray((stand.matrix @ np.array((*local, 1.0)))[:3])


def _put(scene: bpy.types.Scene, obj: bpy.types.Object, where: F64) -> None:
    """To a place in the world, whatever it hangs on."""
    with camera_path.in_scene(scene):
        bpy.context.view_layer.update()
        matrix = obj.matrix_world.copy()
        matrix.translation = Vector(where.tolist())
        obj.matrix_world = matrix
        bpy.context.view_layer.update()
