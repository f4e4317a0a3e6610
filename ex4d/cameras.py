# SPDX-License-Identifier: Apache-2.0
"""Camera paths: preset moves, checking, JSON and npz files.

Poses are `world_from_camera` in OpenCV axes (x right, y down, z forward), the world is the source camera of frame 0.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ex4d.files import replacing
from ex4d.values import F64, CameraPath, Intrinsics, Scene, SourceModel
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError
from shared_protocol.moves import MOVES, eye_at, look_at

LARGEST_SIDE = 16384  # pixels; far beyond what anyone renders, and small enough that a slip cannot fill the memory
FURTHEST_PLACE = 1e12  # scene units; further, and sums with the mesh's own sizes lose all digits
FOCAL_RANGE = 1e-3, 1e9  # pixels; beyond either, a lens is a slip, and its products soon leave the numbers there are
_RIGID_TOLERANCE = 1e-3  # poses come through float32 matrices of other programs
_UPSTREAM_FPS = Fraction(30)  # the public code writes no rate into its files, and its videos at 30


def preset_path(move: str, frames: int, pivot: float, intrinsics: Intrinsics, fps: Fraction) -> CameraPath:
    """A preset move with any number of frames; the first frame is the source camera.

    Args:
        move: one of `shared_protocol.moves.MOVES`.
        frames: how many, at least 1.
        pivot: distance from the source camera to the point the move looks at, scene units.
        intrinsics: of the new camera, the same in every frame.
        fps: frames per second.

    Raises:
        Ex4dError: BAD_INPUT for an unknown move, no frames, or a pivot that is not in front of the camera.
    """
    if move not in MOVES:
        raise Ex4dError(BAD_INPUT, f"There is no camera move called '{move}'.", f"Choose one of: {', '.join(MOVES)}.")
    if frames < 1:
        raise Ex4dError(BAD_INPUT, f"A camera move of {frames} frames cannot be made.", "Ask for at least one frame.")
    if not (np.isfinite(pivot) and pivot > 0.0):
        raise Ex4dError(BAD_INPUT, f"A pivot distance of {pivot} cannot be used.", "Give a positive number.")
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for k in range(frames):
        eye = eye_at(move, k / max(frames - 1, 1), pivot)
        poses[k, :3, :3] = np.array(look_at(eye, (0.0, 0.0, pivot))).T  # right, down, forward are its columns
        poses[k, :3, 3] = eye
    lens = [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]
    path = CameraPath(poses, np.tile(lens, (frames, 1)), intrinsics.width, intrinsics.height, fps)
    check_path(path)
    return path


def standing_still(intrinsics: Intrinsics, frames: int, fps: Fraction) -> CameraPath:
    """A camera at the world's origin that does not move."""
    lens = [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]
    poses = np.tile(np.eye(4), (frames, 1, 1))
    return CameraPath(poses, np.tile(lens, (frames, 1)), intrinsics.width, intrinsics.height, fps)


def static_source(scene: Scene, frames: int) -> SourceModel:
    """The source mesh as it was reconstructed, for a shot of this many frames: frame k of the shot shows frame k of
    the clip, and the last one holds where the shot is longer.

    Raises:
        Ex4dError: BAD_INPUT for no frames.
    """
    if frames < 1:
        raise Ex4dError(BAD_INPUT, f"A shot of {frames} frames cannot be made.", "Ask for at least one frame.")
    frame = np.minimum(np.arange(frames, dtype=np.int32), np.int32(len(scene.mesh_depth) - 1))
    lens = scene.camera.intrinsics[frame]
    return SourceModel(
        frame=frame,
        focal=lens[:, 0].copy(),
        cx=lens[:, 2].copy(),
        cy=lens[:, 3].copy(),
        disparity_scale=np.ones(frames),
        disparity_shift=np.zeros(frames),
    )


def intrinsics_at(path: CameraPath, index: int) -> Intrinsics:
    """The lens at one frame."""
    fx, fy, cx, cy = (float(value) for value in path.intrinsics[index])
    return Intrinsics(path.width, path.height, fx, fy, cx, cy)


def stretched(path: CameraPath, width: int, height: int) -> CameraPath:
    """The same views in pictures of another size: each axis of the lens is scaled by its own ratio."""
    across, down = width / path.width, height / path.height
    lens = path.intrinsics * np.array([across, down, across, down])
    return CameraPath(path.world_from_camera, lens, width, height, path.fps)


def camera_from_world(world_from_camera: F64) -> F64:
    """Inverse of poses [..., 4, 4]."""
    return np.asarray(np.linalg.inv(world_from_camera), np.float64)


def check_path(path: CameraPath) -> None:
    """Raises Ex4dError(BAD_INPUT) with the first frame (counted from 1) and fact that makes a path unusable."""
    _check_size(path.width, path.height)
    if path.fps <= 0:
        raise Ex4dError(BAD_INPUT, f"A camera path at {path.fps} frames per second cannot be used.")
    total = len(path.world_from_camera)
    if total == 0:
        raise Ex4dError(BAD_INPUT, "The camera path has no frames.")
    if path.world_from_camera.shape != (total, 4, 4) or path.intrinsics.shape != (total, 4):
        raise Ex4dError(
            BAD_INPUT,
            f"The camera path has poses of shape {path.world_from_camera.shape} and lenses of shape "
            f"{path.intrinsics.shape}.",
            "There must be one 4x4 pose and one lens (fx, fy, cx, cy) for each frame.",
        )
    rotation = path.world_from_camera[:, :3, :3]
    with np.errstate(invalid="ignore", over="ignore"):  # what is not finite is reported below
        off = np.abs(np.swapaxes(rotation, 1, 2) @ rotation - np.eye(3)).max(axis=(1, 2))
        bottom = np.abs(path.world_from_camera[:, 3] - [0.0, 0.0, 0.0, 1.0]).max(axis=1)
        checks = (
            (~np.isfinite(path.world_from_camera).all(axis=(1, 2)), "its pose has a value that is not a number"),
            (~np.isfinite(path.intrinsics).all(axis=1), "its lens has a value that is not a number"),
            ((path.intrinsics[:, :2] <= 0.0).any(axis=1), "its focal length is not positive"),
            (
                (path.intrinsics[:, :2] < FOCAL_RANGE[0]).any(axis=1)
                | (np.abs(path.intrinsics) > FOCAL_RANGE[1]).any(axis=1),
                f"its lens is not within {FOCAL_RANGE[0]:g} to {FOCAL_RANGE[1]:g} pixels",
            ),
            (
                (np.abs(path.world_from_camera[:, :3, 3]) > FURTHEST_PLACE).any(axis=1),
                f"it stands further than {FURTHEST_PLACE:g} units away",
            ),
            (~(off <= _RIGID_TOLERANCE), "its pose is scaled or sheared, not a rotation"),
            (~(bottom <= _RIGID_TOLERANCE), "the last row of its pose is not 0 0 0 1"),
            (~(np.linalg.det(np.nan_to_num(rotation)) > 0.0), "its pose mirrors the world"),
        )
    for wrong, what in checks:
        if wrong.any():
            raise Ex4dError(BAD_INPUT, f"The camera at frame {int(np.argmax(wrong)) + 1} cannot be used: {what}.")


def save_path(file: Path, path: CameraPath) -> None:
    """Writes a camera path, `.json` or `.npz` by the name's ending.

    The JSON has "width", "height", "fps" [numerator, denominator] and for each of "frames" the "world_from_camera"
    rows and fx, fy, cx, cy in pixels. The npz holds the same in arrays (`world_from_camera` [T, 4, 4], `lens` [T, 4],
    `size`, `fps`), and beside it what readers of the public EX-4D code's camera files look for: `extrinsics` float32
    [T, 4, 4] and `intrinsics` float32 [3, 3] of the first frame. Those extrinsics are `camera_from_world` in OpenCV
    axes, a proper rotation; that code writes the same with y and z of the camera negated.

    Raises:
        Ex4dError: BAD_INPUT for a path that cannot be used or another ending, DISK when it cannot be written.
    """
    check_path(path)
    if file.suffix.lower() == ".json":
        data = json.dumps(path_value(path), indent=1).encode("utf-8")
    elif file.suffix.lower() == ".npz":
        fx, fy, cx, cy = path.intrinsics[0]
        packed = io.BytesIO()
        np.savez_compressed(
            packed,
            extrinsics=camera_from_world(path.world_from_camera).astype(np.float32),
            intrinsics=np.array([[fx, 0.0, cx], [0.0, fy, cy], [0.0, 0.0, 1.0]], np.float32),
            world_from_camera=path.world_from_camera,
            lens=path.intrinsics,
            size=np.array([path.width, path.height]),
            fps=np.array([path.fps.numerator, path.fps.denominator]),
        )
        data = packed.getvalue()
    else:
        raise Ex4dError(BAD_INPUT, f"{file.name} is not a name for a camera path.", "End it in .json or .npz.")
    with replacing(file) as part:
        part.write_bytes(data)


def load_path(file: Path) -> CameraPath:
    """Reads a camera path, `.json` or `.npz`, as `save_path` writes it.

    An npz with only `extrinsics` and `intrinsics` is taken for one of the public EX-4D code (recon.py --save_camera):
    its sign convention is undone, the picture's size is taken from the principal point (its centre), and the rate is
    that code's 30 fps.

    Raises:
        Ex4dError: NOT_FOUND, or BAD_INPUT for a file that is not a usable camera path.
    """
    broken = Ex4dError(BAD_INPUT, f"{file} is not a camera path.", "Give a .json or .npz written by this program.")
    try:
        data = file.read_bytes()
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {file}.", "Check the path.") from error
    except OSError as error:
        raise Ex4dError(NOT_FOUND, f"{file} cannot be read: {error.strerror or error}.") from error
    try:
        path = _from_npz(data) if file.suffix.lower() == ".npz" else path_from_value(json.loads(data))
    except (ValueError, TypeError, KeyError, IndexError, ArithmeticError, EOFError, RecursionError) as error:
        raise broken from error
    except (NotImplementedError, zipfile.BadZipFile, zlib.error) as error:
        raise broken from error
    check_path(path)
    return path


def path_value(path: CameraPath) -> dict[str, Any]:
    """What stands in a JSON file for a path: see `save_path`."""
    frames = [
        {"world_from_camera": pose.tolist(), **dict(zip(("fx", "fy", "cx", "cy"), lens.tolist(), strict=True))}
        for pose, lens in zip(path.world_from_camera, path.intrinsics, strict=True)
    ]
    fps = [path.fps.numerator, path.fps.denominator]
    return {"width": path.width, "height": path.height, "fps": fps, "frames": frames}


def path_from_value(value: Any) -> CameraPath:
    """The path that `path_value` describes, not checked yet (`check_path`).

    Raises:
        ValueError, TypeError, KeyError, IndexError, ArithmeticError: `value` has another layout.
    """
    frames: list[dict[str, Any]] = value["frames"]
    poses = [frame["world_from_camera"] for frame in frames]
    lens = [[frame[key] for key in ("fx", "fy", "cx", "cy")] for frame in frames]
    return _path(poses, lens, value["width"], value["height"], value["fps"])


def _from_npz(data: bytes) -> CameraPath:
    with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
        if "world_from_camera" in arrays:
            width, height = arrays["size"].tolist()
            return _path(arrays["world_from_camera"], arrays["lens"], width, height, arrays["fps"].tolist())
        extrinsics, matrix = arrays["extrinsics"].astype(np.float64), arrays["intrinsics"].astype(np.float64)
    # Its rows are right, up and backward: rigid, with y and z of the camera against ours.
    ours = np.diag([1.0, -1.0, -1.0, 1.0]) @ extrinsics
    lens = [matrix[0, 0], matrix[1, 1], matrix[0, 2], matrix[1, 2]]
    width, height = round(2.0 * lens[2]), round(2.0 * lens[3])
    fps = [_UPSTREAM_FPS.numerator, _UPSTREAM_FPS.denominator]
    return _path(camera_from_world(ours), np.tile(lens, (len(ours), 1)), width, height, fps)


def _path(poses: Any, lens: Any, width: Any, height: Any, fps: Any) -> CameraPath:
    numbers: list[NDArray[np.float64]] = [np.asarray(poses, np.float64), np.asarray(lens, np.float64)]
    if not len(numbers[0]):
        raise Ex4dError(BAD_INPUT, "The camera path has no frames.")
    numerator, denominator = fps
    rate = Fraction(int(numerator), int(denominator))
    return CameraPath(numbers[0], numbers[1], int(width), int(height), rate)


def _check_size(width: int, height: int) -> None:
    if not (1 <= width <= LARGEST_SIDE and 1 <= height <= LARGEST_SIDE):
        raise Ex4dError(
            BAD_INPUT,
            f"A picture of {width}x{height} pixels cannot be rendered.",
            f"Each side must be 1 to {LARGEST_SIDE} pixels.",
        )
