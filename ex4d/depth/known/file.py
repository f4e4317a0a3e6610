# SPDX-License-Identifier: Apache-2.0
"""Files of known points, as a tracker's solve is exported or a survey is written down.

JSON, "version" 1 and one of:

    "points"   [{"frame": 1, "x": 640.5, "y": 360.5, "z": 4.2}, ...]    z-depth in that frame's source camera
    "bundles"  [{"xyz": [0.1, 2.0, 5.5], "track": [[1, 640.5, 360.5], [2, ...], ...]}, ...]    a place in the world that
               the source camera's path is given in, and where each frame sees it

npz: `frame` [N], `at` [N, 2] and either `z` [N] or `world` [N, 3], as above.

Frames are counted from 1, the first one of the clip's file; x and y are pixels of the clip as it comes in, to the
right and down from its upper left corner, with pixel centres at .5; lengths are scene units. Other keys are left aside.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from ex4d.depth.known.values import LENGTHS, KnownPoints, WorldPoints
from ex4d.values import F64
from shared_protocol.errors import BAD_INPUT, LIMIT, NOT_FOUND, Ex4dError

LARGEST = 128 << 20  # bytes of a file, packed or not
MOST = 1_000_000  # points, each in one frame
_VERSION = 1
_LAST = 1 << 30  # frame number
_HINT = "What such a file holds stands in docs/guide.md; or export it from Blender again."


def load_points(path: Path, first: int = 0) -> KnownPoints | WorldPoints:
    """Reads known points, `.json` or `.npz`.

    Args:
        path: the file.
        first: index of the first frame that is used, within the clip's file.

    Returns:
        Points with frames counted from 0 at the first frame that is used; earlier ones are negative.

    Raises:
        Ex4dError: NOT_FOUND; LIMIT for a file too large; BAD_INPUT for anything else than such a file, with the entry
            that is wrong.
    """
    try:
        size = path.stat().st_size
        if size > LARGEST:
            raise _too_large(path, size)
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {error.strerror or error}.") from error
    try:
        rows, world = _from_npz(path, data) if path.suffix.lower() == ".npz" else _from_json(path, json.loads(data))
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError) as error:
        raise Ex4dError(BAD_INPUT, f"{path.name} is not a file of known points.", _HINT) from error
    except (NotImplementedError, EOFError, RecursionError, zipfile.BadZipFile, zlib.error) as error:
        raise Ex4dError(BAD_INPUT, f"{path.name} is not a file of known points.", _HINT) from error
    _check(path, rows, world)
    frame = (rows[:, 0] - 1 - first).astype(np.int32)
    if world:
        return WorldPoints(frame, rows[:, 1:3], rows[:, 3:])
    return KnownPoints(frame, rows[:, 1:3], rows[:, 3])


def _from_json(path: Path, value: Any) -> tuple[F64, bool]:
    """[N, 4] frame, x, y, z, or [N, 6] frame, x, y, place; and whether it is places."""
    if value.get("version") != _VERSION:
        raise Ex4dError(
            BAD_INPUT,
            f"{path.name} is of version {value.get('version')!r} of known points; version {_VERSION} is read.",
            _HINT,
        )
    points, bundles = value.get("points"), value.get("bundles")
    if (points is None) == (bundles is None):
        both = "both points and bundles" if points is not None else "neither points nor bundles"
        raise Ex4dError(BAD_INPUT, f"{path.name} has {both}.", "Give one of the two.")
    if points is not None:
        _check_count(path, len(points))
        keys = ("frame", "x", "y", "z")
        found = [[_number(point[key], path, "Point", n) for key in keys] for n, point in enumerate(points, 1)]
        return np.array(found, np.float64).reshape(-1, 4), False
    _check_count(path, sum(len(bundle["track"]) for bundle in bundles))
    rows = []
    for n, bundle in enumerate(bundles, 1):
        x, y, z = (_number(each, path, "Bundle", n) for each in bundle["xyz"])
        for frame, u, v in bundle["track"]:
            rows.append([*(_number(each, path, "Bundle", n) for each in (frame, u, v)), x, y, z])
    return np.array(rows, np.float64).reshape(-1, 6), True


def _number(value: Any, path: Path, what: str, number: int) -> float:
    """Neither texts nor truth values are taken for numbers."""
    if type(value) not in (int, float):
        raise Ex4dError(BAD_INPUT, f"{what} {number} of {path.name} has {value!r} where a number belongs.", _HINT)
    return float(value)


def _from_npz(path: Path, data: bytes) -> tuple[F64, bool]:
    with zipfile.ZipFile(io.BytesIO(data)) as packed:
        size = sum(entry.file_size for entry in packed.infolist())
    if size > LARGEST:
        raise _too_large(path, size)
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        if ("z" in arrays) == ("world" in arrays):
            both = "both z and world" if "z" in arrays else "neither z nor world"
            raise Ex4dError(BAD_INPUT, f"{path.name} has {both}.", "Give one of the two arrays.")
        world = "world" in arrays
        frame, at, known = arrays["frame"], arrays["at"], arrays["world" if world else "z"]
    wanted = {"frame": (len(frame),), "at": (len(frame), 2), "known": (len(frame), 3) if world else (len(frame),)}
    shapes = {"frame": frame.shape, "at": at.shape, "known": known.shape}
    if shapes != wanted or not all(np.issubdtype(array.dtype, np.number) for array in (frame, at, known)):
        raise Ex4dError(
            BAD_INPUT,
            f"{path.name} has arrays of the shapes {frame.shape}, {at.shape} and {known.shape}.",
            "frame is [N], at [N, 2], and z [N] or world [N, 3].",
        )
    _check_count(path, len(frame))
    return np.column_stack([frame, at, known]).astype(np.float64), world


def _check(path: Path, rows: F64, world: bool) -> None:
    checks = (
        (~np.isfinite(rows).all(axis=1), "has a value that is not a number"),
        ((rows[:, 0] < 1) | (rows[:, 0] > _LAST) | (rows[:, 0] % 1 != 0), "has no frame number from 1 on"),
        (np.abs(rows).max(axis=1) > LENGTHS[1], "is too far away"),
        ((not world) & (rows[:, 3] < LENGTHS[0]), f"has a depth that is not above {LENGTHS[0]:g}"),
    )
    for wrong, what in checks:
        if wrong.any():
            raise Ex4dError(BAD_INPUT, f"Known point {int(np.argmax(wrong)) + 1} of {path.name} {what}.", _HINT)


def _check_count(path: Path, count: int) -> None:
    if not count:
        raise Ex4dError(BAD_INPUT, f"{path.name} has no points.", "Is the camera solved, and are tracks enabled?")
    if count > MOST:
        raise Ex4dError(LIMIT, f"{path.name} has {count} points.", f"Give {MOST} at most: every tenth frame will do.")


def _too_large(path: Path, size: int) -> Ex4dError:
    return Ex4dError(
        LIMIT, f"{path.name} has {size / 2**20:.0f} MiB.", f"Known points take {LARGEST >> 20} MiB at most."
    )
