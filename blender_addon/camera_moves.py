# SPDX-License-Identifier: GPL-3.0-or-later
"""Lays down a preset camera move as ordinary keyframes on the shot camera."""

from __future__ import annotations

import math

import bpy

from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError
from shared_protocol.moves import MOVES

from . import compat
from .core import keyframes

_CHANNELS = tuple((path, index) for path in ("location", "rotation_euler") for index in range(3))
_ALONE = 3.0  # frames: stands in for the missing neighbour of the first and the last key
_ROTATIONS = ("rotation_euler", "rotation_quaternion", "rotation_axis_angle")


def apply(
    scene: bpy.types.Scene, camera_name: str, move: str, frame_start: int, frame_end: int, pivot: float
) -> tuple[int, ...]:
    """Replaces the location and rotation keys of a shot camera by those of a preset move; all else it has stays.

    The camera has to be a child of a reconstruction's root (as the one that was built with it): the move starts where
    the source camera stands.

    Args:
        scene: the scene that has the camera.
        camera_name: the shot camera.
        move: one of `shared_protocol.moves.MOVES`.
        frame_start: frame at which the camera is the source camera.
        frame_end: frame of the move's end.
        pivot: distance that the move turns around, in the units of the reconstruction.

    Returns:
        The frames that have keys.

    Raises:
        Ex4dError: NOT_FOUND, the camera is gone; BAD_INPUT, a linked camera, an unknown move, an empty range or a pivot
            that is not in front of the camera.
    """
    camera = scene.objects.get(camera_name)
    if camera is None or camera.type != "CAMERA":
        raise Ex4dError(
            NOT_FOUND, f"The camera '{camera_name}' is not in the scene '{scene.name}'.", "Choose it again."
        )
    if camera.library is not None:  # Blender lets it be animated, and forgets that when the file is closed
        raise Ex4dError(
            BAD_INPUT,
            f"The camera '{camera_name}' is linked from another file, so a move on it would not be saved.",
            "Make a library override of it, or animate a camera of your own.",
        )
    if move not in MOVES:
        raise Ex4dError(BAD_INPUT, f"There is no camera move '{move}'.", f"Choose one of {', '.join(MOVES)}.")
    if frame_end < frame_start:
        raise Ex4dError(BAD_INPUT, f"The range from frame {frame_start} to {frame_end} is empty.")
    if not (math.isfinite(pivot) and pivot > 0.0):
        raise Ex4dError(BAD_INPUT, f"The pivot's distance is {pivot:g}.", "It has to be above zero.")
    keys = keyframes.preset(move, frame_start, frame_end, pivot)

    _clear(camera)
    camera.rotation_mode = "ZXY"
    camera.matrix_parent_inverse.identity()
    camera.delta_location = camera.delta_rotation_euler = (0.0, 0.0, 0.0)
    for key in keys:
        camera.location, camera.rotation_euler = key.value[:3], key.value[3:]
        for path in ("location", "rotation_euler"):
            camera.keyframe_insert(path, frame=key.frame, group="Camera move")
    curves = compat.fcurves(camera)
    for channel, (path, index) in enumerate(_CHANNELS):
        _shape(curves.find(path, index=index), keys, channel)
    camera.location, camera.rotation_euler = keys[0].value[:3], keys[0].value[3:]
    scene.frame_set(scene.frame_current, subframe=scene.frame_subframe)  # show the move where the artist stands
    return tuple(key.frame for key in keys)


def _clear(camera: bpy.types.Object) -> None:
    curves = compat.fcurves(camera)
    if curves is None:
        return
    for curve in list(curves):
        if curve.data_path == "location" or curve.data_path in _ROTATIONS:
            curves.remove(curve)


def _shape(curve: bpy.types.FCurve, keys: tuple[keyframes.Key, ...], channel: int) -> None:
    """Gives a channel's keys the move's own slopes, with handles a third of the way to their neighbours."""
    points = curve.keyframe_points
    for i, key in enumerate(keys):
        point = points[i]
        before = (key.frame - keys[i - 1].frame if i else _ALONE) / 3.0
        after = (keys[i + 1].frame - key.frame if i + 1 < len(keys) else _ALONE) / 3.0
        point.interpolation = "BEZIER"
        point.handle_left_type = point.handle_right_type = "ALIGNED"
        point.handle_left = (key.frame - before, key.value[channel] - before * key.slope[channel])
        point.handle_right = (key.frame + after, key.value[channel] + after * key.slope[channel])
