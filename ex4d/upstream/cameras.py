# SPDX-License-Identifier: Apache-2.0
"""The camera moves of the public EX-4D code (tau-yihouxiang/EX-4D, recon.py), in our convention and in its own.

Its poses have the rows right, up, forward with right = forward × (0, 1, 0): with y pointing down, as its mesh has it,
"right" points left, and the pose is a reflection. Its renderer negates the three rows in place before it uses them,
which makes a proper rotation of them (right, up, backward), and that is also what it then saves.
"""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ex4d.cameras import camera_from_world, check_path
from ex4d.upstream.mesh import BORDER_DEPTH, bordered
from ex4d.values import F32, F64, CameraPath, Intrinsics
from shared_protocol.errors import BAD_INPUT, Ex4dError
from shared_protocol.moves import eye_at, look_at

UPSTREAM_MOVES: tuple[str, ...] = ("30", "60", "90", "180")
FRAMES = 49  # the length that the moves were made for
NEAR, FAR = 1e-3, 1e3  # clipping planes, scene units

_BEYOND = 0.15  # the pivot, behind the nearest point of the first frame


def check_move(move: str) -> None:
    """Raises Ex4dError(BAD_INPUT) for a move that is not one of `UPSTREAM_MOVES`."""
    if move not in UPSTREAM_MOVES:
        raise Ex4dError(
            BAD_INPUT,
            f"The public EX-4D code has no camera move called '{move}'.",
            f"Choose one of: {', '.join(UPSTREAM_MOVES)}.",
        )


def upstream_radius(depth: F32, border_depth: float = BORDER_DEPTH) -> float:
    """Distance to the point that the moves turn around, from the first frame's depth [H, W]; its border counts as
    pushed away.
    """
    return float(bordered(depth, border_depth).min()) + _BEYOND


def over_rotation(frames: int) -> float:
    """What the public code multiplies the angles of a move of `frames` frames by; 1 for 49."""
    return max(FRAMES / frames, frames / FRAMES)


def upstream_path(
    move: str, frames: int, radius: float, intrinsics: Intrinsics, fps: Fraction, *, turn: float = 1.0
) -> CameraPath:
    """One of the public code's moves.

    There, a move of more or fewer than 49 frames turns too far; here it is the same for every number of frames.

    Args:
        move: one of `UPSTREAM_MOVES`.
        frames: how many, at least 1.
        radius: distance to the point that the camera looks at (`upstream_radius`), scene units, > 0.
        intrinsics: of the camera, the same in every frame.
        fps: frames per second.
        turn: multiplies the angle of the move: `over_rotation(frames)` gives what the public code does.

    Raises:
        Ex4dError: BAD_INPUT for an unknown move, no frames, or a radius or turn that is not a positive number.
    """
    check_move(move)
    if frames < 1:
        raise Ex4dError(BAD_INPUT, f"A camera move of {frames} frames cannot be made.", "Ask for at least one frame.")
    for name, value in (("radius", radius), ("turn", turn)):
        if not (np.isfinite(value) and value > 0.0):
            raise Ex4dError(BAD_INPUT, f"A {name} of {value} cannot be used.", "Give a positive number.")
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for k, along in enumerate(np.linspace(0.0, turn, frames).tolist()):
        eye = eye_at(move, along, radius)
        poses[k, :3, :3] = np.array(look_at(eye, (0.0, 0.0, radius))).T  # right, down, forward are its columns
        poses[k, :3, 3] = eye
    lens = [intrinsics.fx, intrinsics.fy, intrinsics.cx, intrinsics.cy]
    path = CameraPath(poses, np.tile(lens, (frames, 1)), intrinsics.width, intrinsics.height, fps)
    check_path(path)
    return path


def poses_as_built(world_from_camera: F64) -> F64:
    """The reflections that the public code builds: [..., 4, 4] camera from world, diag(-1, 1, 1) at rest."""
    return np.asarray(np.diag([-1.0, 1.0, 1.0, 1.0]) @ camera_from_world(world_from_camera))


def extrinsics(world_from_camera: F64) -> F64:
    """What the public code renders with and saves: [..., 4, 4] camera from world, rows right, up, backward."""
    return np.asarray(np.diag([1.0, -1.0, -1.0, 1.0]) @ camera_from_world(world_from_camera))


def projection(intrinsics: Intrinsics, near: float = NEAR, far: float = FAR) -> F64:
    """Clip from camera, [4, 4], for a camera with the axes right, up, backward.

    The textbook perspective matrix (OpenGL 2.1 reference, glFrustum) with its second row negated, so that row 0 of
    the picture is at y/w = -1. The public code knows centred lenses only; the principal point is the textbook's
    third column.
    """
    width, height = intrinsics.width, intrinsics.height
    return np.array(
        [
            [2.0 * intrinsics.fx / width, 0.0, 1.0 - 2.0 * intrinsics.cx / width, 0.0],
            [0.0, -2.0 * intrinsics.fy / height, 1.0 - 2.0 * intrinsics.cy / height, 0.0],
            [0.0, 0.0, -(far + near) / (far - near), -2.0 * far * near / (far - near)],
            [0.0, 0.0, -1.0, 0.0],
        ]
    )


def clip_from_world(world_from_camera: F64, intrinsics: Intrinsics) -> F64:
    """Projection and pose in one, [..., 4, 4]: clip = matrix @ (x, y, z, 1)."""
    return np.asarray(projection(intrinsics) @ extrinsics(world_from_camera))


def fields_of_view(intrinsics: Intrinsics) -> tuple[float, float]:
    """Horizontal and vertical angle of view of a centred lens, radians."""
    return (
        2.0 * float(np.arctan2(intrinsics.width, 2.0 * intrinsics.fx)),
        2.0 * float(np.arctan2(intrinsics.height, 2.0 * intrinsics.fy)),
    )
