# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays down what is known at every frame as keyframes with straight lines between them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import bpy
from mathutils import Matrix

from . import compat


def lay(owner: bpy.types.ID, path: str, values: Mapping[int, Any], put: Callable[[Any], None]) -> None:
    """Keys a property on each of the frames, and leaves it at the value of the first.

    Args:
        owner: what is animated.
        path: the property's data path from there.
        values: by frame.
        put: sets the property.
    """
    for frame, value in values.items():
        put(value)
        owner.keyframe_insert(path, frame=frame)
    put(next(iter(values.values())))
    for curve in compat.fcurves(owner):
        if curve.data_path == path:
            for point in curve.keyframe_points:
                point.interpolation = "LINEAR"


def lay_pose(obj: bpy.types.Object, poses: Mapping[int, Matrix]) -> None:
    """Keys an object's place and turn, relative to its parent.

    Args:
        obj: whose rotation mode is `QUATERNION`.
        poses: rigid matrices by frame.
    """
    turns = {}
    last = None
    for frame, pose in poses.items():
        turn = pose.to_quaternion()
        if last is not None:
            turn.make_compatible(last)  # q and -q are one turn, and half way between them lies none
        turns[frame] = last = turn
    places = {frame: pose.to_translation() for frame, pose in poses.items()}
    lay(obj, "location", places, lambda value: setattr(obj, "location", value))
    lay(obj, "rotation_quaternion", turns, lambda value: setattr(obj, "rotation_quaternion", value))
