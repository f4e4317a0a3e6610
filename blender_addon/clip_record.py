# SPDX-License-Identifier: GPL-3.0-or-later
"""Which clip a reconstruction was made of, noted on its collection."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import bpy

from . import places, reconstruction
from .core import project

CLIP = "ex4d_clip"  # path of the clip, as it is kept in the .blend
_FIRST = "ex4d_first"  # its first frame that was used, from 1


def mark(collection_name: str, clip: str, first: int) -> None:
    """Note a reconstruction's clip, and from which of its frames on it was used."""
    collection = bpy.data.collections[collection_name]
    collection[CLIP], collection[_FIRST] = clip, first


def first_of(collection_name: str) -> int:
    """First frame of the clip's file that a reconstruction uses, from 1."""
    return int(bpy.data.collections[collection_name].get(_FIRST, 1))


def marked() -> Iterator[bpy.types.Collection]:
    """The collections of the file that tell their clip."""
    return (collection for collection in bpy.data.collections if CLIP in collection and collection.library is None)


def before(scene: bpy.types.Scene, clip: str) -> str:
    """Collection of the reconstruction of this clip that is in use, else of the newest one; "" = there is none.

    Files of earlier releases do not say which clip it was: there the name has to do.
    """
    if not clip:
        return ""
    path = places.resolved(clip)
    found = [name for name in reconstruction.names_in(scene) if _is_of(bpy.data.collections[name], path)]
    in_use = reconstruction.of_scene(scene).collection if found else ""
    return in_use if in_use in found else (found or [""])[-1]


def _is_of(collection: bpy.types.Collection, clip: Path) -> bool:
    if CLIP in collection:
        return places.resolved(collection[CLIP]) == clip
    return collection.name.startswith(f"{project.clip_name(clip)}_v")
