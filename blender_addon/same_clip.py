# SPDX-License-Identifier: GPL-3.0-or-later
"""Another reconstruction of a clip that is here already: it keeps the artist's camera.

The new mesh comes into a collection of its own; the shot camera and the root are shared, so nothing that animates,
constrains or hangs on the camera is touched. The mesh of the one before is hidden, and can be shown again.
"""

from __future__ import annotations

import contextlib
import math
from dataclasses import dataclass

import bpy
import numpy as np

from shared_protocol.errors import Ex4dError

from . import clip_record, live_depth, mesh_nodes, picked, reconstruction
from .core import depth_range
from .reconstruction import Built, Place

_COPIED = ("Unseen", "Walls")  # inputs that say how the mesh is shown
_SAME_SIZE = 0.01  # depths that differ by less are left alone, as a share


@dataclass(frozen=True, eq=False)
class Kept:
    """What a new reconstruction takes over from the one before."""

    collection: str
    place: Place  # where and when the new one stands: with the one before, frame for frame
    pivot: float  # distance that preset moves turn around, as it is shown
    shown: dict[str, str]  # inputs of the mesh that say how it is shown
    colours: bool  # whether the mesh is shown in its depth's colours
    picks: dict[str, picked.Seen]  # points that were picked on it, by the names of their empties


def keep(scene: bpy.types.Scene, collection_name: str, first: int) -> Kept:
    """What is to be taken over from a reconstruction.

    Args:
        scene: has it.
        collection_name: the one before.
        first: first frame of the clip's file that the new one uses, from 1.

    Raises:
        Ex4dError: NOT_FOUND where its root, camera or mesh is gone; VERSION.
    """
    built = reconstruction.find(collection_name)
    built.need(reconstruction.SHOT_CAMERA)
    root = bpy.data.objects[built.need(reconstruction.ROOT)]
    modifier = live_depth.modifier_in(built)
    start = int(mesh_nodes.get_input(modifier, "Frame Start"))
    shown = {name: mesh_nodes.get_input(modifier, name) for name in _COPIED if mesh_nodes.has_input(modifier, name)}
    place = Place(start + first - clip_record.first_of(collection_name), np.array(root.matrix_world))
    seen = {}
    for obj in picked.every(built):
        with contextlib.suppress(Ex4dError):  # one that lies outside the picture stays behind
            seen[obj.name] = picked.seen(scene, built, obj)
    colours = live_depth.colours_of(built)
    on = colours is not None and colours.default_value > 0.5
    return Kept(collection_name, place, pivot_of(built), shown, on, seen)


def carry_over(scene: bpy.types.Scene, kept: Kept, new: Built) -> list[str]:
    """Have a new mesh shown as the one before was, in its size, with its picked points. Returns what to say of it.

    Estimators tell depth in different units, or in none: seen through a camera that moves, a mesh of twice the size is
    another shot. What tells the size is the distance that moves turn around, as it is shown. Depth that was fitted to
    something known, or to a camera's own movement, is left as it is.
    """
    modifier = live_depth.modifier_in(new)
    for name, value in kept.shown.items():
        mesh_nodes.set_input(modifier, name, value)
    said = [f"The camera of '{kept.collection}' is kept."]
    manifest = reconstruction.manifest_of(new.collection)
    factor = kept.pivot / manifest.pivot
    if not manifest.camera.moves and manifest.known is None and abs(math.log(factor)) >= _SAME_SIZE:
        scale, shift = depth_range.times(1.0, 0.0, factor)
        try:
            live_depth.put(modifier, scale, shift)
            said.append(f"So that it sees the same shot, Disparity Scale is {scale:.3g}; Reset Depth takes that back.")
        except Ex4dError:
            said.append(f"It stands in a size of its own: in the one before, Disparity Scale would be {scale:.3g}.")
    colours = live_depth.colours_of(new)
    if colours is not None and kept.colours:
        colours.default_value = 1.0
        live_depth.fit_colours(new)
    for name, seen in kept.picks.items():
        obj = bpy.data.objects[name]
        bpy.data.collections[new.collection].objects.link(obj)
        with contextlib.suppress(Ex4dError):  # of a frame that is not used any more: it stays where it is
            picked.put_on_mesh(scene, new, obj, seen)
    return said


def pivot_of(built: Built) -> float:
    """Distance that preset moves turn around, of the mesh as it is shown."""
    pivot = reconstruction.manifest_of(built.collection).pivot
    return depth_range.adjusted(pivot, *live_depth.values(built))
