# SPDX-License-Identifier: GPL-3.0-or-later
"""A Blender camera as the source camera of a clip: one that a motion tracker drives, say, or an imported one."""

from __future__ import annotations

import contextlib
import json
from dataclasses import dataclass
from pathlib import Path

import bpy
import numpy as np

from shared_protocol.errors import LIMIT, UNSUPPORTED, Ex4dError
from shared_protocol.limits import MAX_FRAMES

from . import camera_path, places
from .core import camera_file, camera_math, project
from .reconstruction import Place

_SPARE = 24  # frames beyond what Blender counts of a movie: it goes by the file's header, and too many do no harm


@dataclass(frozen=True)
class Taken:
    """What was taken down."""

    path: bytes  # a camera path file, with a camera for every frame of the clip's file from its first on
    place: Place  # of the reconstruction, so that its source camera stands where this one does


def take_down(scene: bpy.types.Scene, camera_name: str, clip: Path, *, start: int, first: int, count: int) -> Taken:
    """A camera's poses and lens at each frame of a clip.

    Args:
        scene: has the camera; its resolution is what the lens is for.
        camera_name: the camera.
        clip: a movie, a picture of a sequence, or a folder.
        start: scene frame of the first picture of the clip's file.
        first: pictures of the file that are left out at its start.
        count: how many are used; 0 = all that follow.

    Raises:
        Ex4dError: as `camera_path.sample_camera`; UNSUPPORTED where it cannot be told how long the clip is; LIMIT.
    """
    total = first + (count or max(_length(clip) - first, 1))
    if total > MAX_FRAMES:
        raise Ex4dError(
            LIMIT, f"Frames of the clip: {total:,} is over the limit of {MAX_FRAMES:,}.", "Say how many frames to use."
        )
    stands = camera_path.sample_camera(scene, camera_name, range(start, start + total))
    poses = [
        camera_file.Pose(_told(camera_math.world_from_camera(camera_math.UPRIGHT, stand.matrix)), stand.lens)
        for stand in stands
    ]
    data = camera_file.to_json(poses, camera_path.resolution(scene), camera_path.frame_rate(scene))
    return Taken(data, Place(start + first, stands[first].matrix))


def _told(pose: camera_math.F64) -> tuple[float, ...]:
    return tuple(pose.ravel().tolist())


def _length(clip: Path) -> int:
    """Frames of a clip, and some more where that is a guess."""
    files = project.input_files(clip)
    if files[0].suffix.lower() in project.PICTURES:
        return len(files)
    length, _ = _film_of(files[0])
    if length < 2:  # what Blender says of a file that it cannot read
        raise Ex4dError(UNSUPPORTED, f"Blender cannot tell how long '{clip.name}' is.", "Say how many frames to use.")
    return length + _SPARE


def size_of(clip: Path) -> tuple[int, int]:
    """Width and height of a clip's pictures in pixels, as Blender reads them.

    Raises:
        Ex4dError: UNSUPPORTED, it cannot read them.
    """
    _, size = _film_of(project.input_files(clip)[0])
    if min(size) < 1:
        raise Ex4dError(UNSUPPORTED, f"Blender cannot read '{clip.name}', so points in it have no place.")
    return size


def _film_of(file: Path) -> tuple[int, tuple[int, int]]:
    """Length, width and height of what Blender makes of a movie or a picture; zeros where it cannot read it."""
    try:
        film = bpy.data.movieclips.load(str(file), check_existing=False)
    except RuntimeError:
        return 0, (0, 0)
    told = int(film.frame_duration), (int(film.size[0]), int(film.size[1]))
    bpy.data.movieclips.remove(film)
    return told


def clip_start(scene: bpy.types.Scene, camera: bpy.types.Object) -> int:
    """Frame of the scene that shows the first picture of the clip's file, as far as it can be told.

    Where a solve drives the camera its movie clip says so; else the scene's range is taken to begin with the clip. A
    movie clip may leave out pictures at the start: by its frame offset, and a sequence that was opened by a later one.
    """
    film = solved_film(scene, camera)
    if film is None:
        return int(scene.frame_start)
    left_out = int(film.frame_offset)
    if film.source == "SEQUENCE":
        with contextlib.suppress(Ex4dError, OSError, ValueError):  # not on the disk any more
            file = places.resolved(film.filepath)
            left_out += project.input_files(file).index(file)
    return int(film.frame_start) - left_out


def solved_film(scene: bpy.types.Scene, camera: bpy.types.Object) -> bpy.types.MovieClip | None:
    """The movie clip whose solve drives a camera; None where none does."""
    for constraint in camera.constraints:
        if constraint.type == "CAMERA_SOLVER" and constraint.enabled:
            film = scene.active_clip if constraint.use_active_clip else constraint.clip
            if film is not None:
                return film
    return None


def place_to_text(place: Place) -> str:
    """A place as it is kept in the .blend while the job runs."""
    return json.dumps({"frame": place.frame, "root": place.root.tolist()})


def place_from_text(text: str) -> Place | None:
    """The place that was kept; None for ""."""
    if not text:
        return None
    value = json.loads(text)
    return Place(int(value["frame"]), np.array(value["root"]))
