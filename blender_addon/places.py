# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders, as Blender knows them."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import bpy

from .core import project

_unsaved: list[Path] = []  # folder of a file that has not been saved, made once per Blender session


def user_folder() -> Path:
    """The user's own folder of this extension; it outlives an update."""
    if __package__.startswith("bl_ext."):
        return Path(bpy.utils.extension_path_user(__package__))
    return Path(bpy.utils.user_resource("DATAFILES")) / "ex4d"  # run from a checkout


def project_folder() -> Path:
    """Where the open .blend keeps its reconstructions and takes."""
    blend = Path(bpy.data.filepath) if bpy.data.filepath else None
    return project.project_root(blend, _unsaved_folder())


def is_saved() -> bool:
    """Whether the project folder lies beside a .blend."""
    return bool(bpy.data.filepath)


def save_hint() -> str:
    """Where things lie as long as the file is not saved; "" when it is."""
    return "" if is_saved() else f"Save the .blend to keep its files beside it; now: '{project_folder()}'."


def _unsaved_folder() -> Path:
    if not _unsaved:
        _unsaved.append(user_folder() / "unsaved" / f"{time.strftime('%Y%m%d_%H%M%S')}_{os.getpid()}")
    return _unsaved[0]


def stored(path: Path) -> str:
    """A path as it is kept in the .blend: relative to it where that is possible."""
    if not bpy.data.filepath:
        return str(path)
    try:
        return bpy.path.relpath(str(path))
    except ValueError:  # another drive
        return str(path)


def resolved(text: str) -> Path:
    """The path that was kept, without the `..` in it that Blender writes."""
    return Path(os.path.normpath(bpy.path.abspath(text)))


def remove_unfinished(folder: Path) -> None:
    """Remove the folder of a take or a reconstruction that came to nothing; any other, and what is of use, stays.

    What cannot be removed stays as well: it does no harm, since a version's number is never given twice.
    """
    ours = {"takes": "frames/[0-9]*.png", "scenes": "scene.json"}
    sign = ours.get(folder.parent.name)
    if sign is not None and folder.parent.parent == project_folder() and not any(folder.glob(sign)):
        shutil.rmtree(folder, ignore_errors=True)


def moved(text: str, old: Path, new: Path) -> str:
    """A kept path that was relative to the folder `old`, as it is kept in a .blend in the folder `new`."""
    if not text.startswith("//"):
        return text
    target = os.path.normpath(bpy.path.abspath(text, start=str(old)))
    try:
        return bpy.path.relpath(target, start=str(new))
    except ValueError:  # another drive
        return target
