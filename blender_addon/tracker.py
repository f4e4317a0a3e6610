# SPDX-License-Identifier: GPL-3.0-or-later
"""The points that Blender's motion tracker solved, for depth to be fitted to."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import bpy
import numpy as np

from shared_protocol.errors import BAD_INPUT, UNSUPPORTED, Ex4dError

from . import camera_path, source_camera
from .core import tracks
from .core.camera_math import F64

_FEWEST = 8  # solved points: what Blender itself needs for a solve
_LOOKS = 24  # frames at which it is looked at
_STILL = 1e-4  # how far what the solve stands on may move, as a share of its size and of how far it is away


def film_of(scene: bpy.types.Scene, camera: bpy.types.Object | None) -> bpy.types.MovieClip | None:
    """The movie clip whose solve drives the source camera; None where none does."""
    return None if camera is None else source_camera.solved_film(scene, camera)


def why_not(film: bpy.types.MovieClip) -> str:
    """Why a movie clip's points cannot be used; "" where they can."""
    tracked = _solved(film)
    if not tracked.reconstruction.is_valid:
        return f"The movie clip '{film.name}' is not solved."
    count = sum(1 for _ in _points(tracked))
    if count < _FEWEST:
        return f"The solve of '{film.name}' has {count} points; {_FEWEST} are the least that depth is fitted to."
    return ""


def take_down(scene: bpy.types.Scene, camera_name: str, clip: Path, *, start: int, first: int, count: int) -> bytes:
    """The file with the points of the solve that drives a camera, in the world that `source_camera.take_down` tells it
    in. Muted markers are left out.

    Args:
        scene: has the camera.
        camera_name: the camera; a solve has to drive it.
        clip: whose pixels are meant: the film that was tracked, in any size.
        start: scene frame of the first picture of the clip's file.
        first: pictures of the file that are left out at its start.
        count: how many are used; 0 = all that follow.

    Raises:
        Ex4dError: BAD_INPUT where nothing is solved, or too few points are; UNSUPPORTED where the solved camera hangs
            on something that moves, or Blender cannot read the clip; as `camera_path.sample_camera`.
    """
    film = film_of(scene, scene.objects.get(camera_name))
    if film is None:
        raise Ex4dError(BAD_INPUT, f"No solve drives the camera '{camera_name}'.", "Track and solve the clip.")
    reason = why_not(film)
    if reason:
        raise Ex4dError(BAD_INPUT, reason, "Solve it in the Movie Clip Editor, or do not fit the depth to its points.")
    tracked = _solved(film)
    size = source_camera.size_of(clip)
    to_file = film.frame_start - start  # from the film's frames, which count from 1, to those of the clip's file
    last = first + count if count else math.inf
    stand = _stand(scene, camera_name, film, tracked)
    bundles = []
    for point in _points(tracked):
        track = tuple(
            (marker.frame + to_file, *tracks.pixel(marker.co.x + point.offset.x, marker.co.y + point.offset.y, size))
            for marker in point.markers
            if not marker.mute and first < marker.frame + to_file <= last
        )
        if track:
            where = stand @ np.array((*point.bundle, 1.0))
            bundles.append(tracks.Bundle(tuple(where[:3].tolist()), track))
    if len(bundles) < _FEWEST:
        raise Ex4dError(
            BAD_INPUT,
            f"The solve of '{film.name}' has {len(bundles)} points in the frames that are used; {_FEWEST} are needed.",
            f"The clip starts at frame {start} of the scene: check that, or do not fit the depth to the points.",
        )
    return tracks.to_json(bundles)


def _solved(film: bpy.types.MovieClip) -> bpy.types.MovieTrackingObject:
    """What is tracked of the camera itself; others are things that move in the picture."""
    return next(tracked for tracked in film.tracking.objects if tracked.is_camera)


def _points(tracked: bpy.types.MovieTrackingObject) -> Iterator[bpy.types.MovieTrackingTrack]:
    return (track for track in tracked.tracks if track.has_bundle)


def _stand(
    scene: bpy.types.Scene, camera_name: str, film: bpy.types.MovieClip, tracked: bpy.types.MovieTrackingObject
) -> F64:
    """Where the solve's own world stands in Blender's, [4, 4]: turned, moved and scaled with the camera object.

    Raises:
        Ex4dError: UNSUPPORTED, it moves.
    """
    poses = {int(pose.frame): np.array(pose.matrix) for pose in tracked.reconstruction.cameras}
    frames = sorted(poses)
    frames = frames[:: max(1, len(frames) // _LOOKS)]
    at = camera_path.sample_matrix(scene, camera_name, [frame + film.frame_start - 1 for frame in frames])
    stands = np.array([matrix @ np.linalg.inv(poses[frame]) for frame, matrix in zip(frames, at, strict=True)])
    walked = max(np.linalg.norm(stands[0][:3, 3] - matrix[:3, 3]) for matrix in at)
    away = np.abs(stands - stands[0])
    size = np.linalg.norm(stands[0][:3, 0])
    if away[:, :3, :3].max() > _STILL * size or away[:, :3, 3].max() > _STILL * (walked + size):
        raise Ex4dError(
            UNSUPPORTED,
            f"The solved camera '{camera_name}' hangs on something that moves, so its points do not stand still.",
            "Take its animation or its parent's away, or do not fit the depth to the tracker's points.",
        )
    return np.asarray(stands[0])
