# SPDX-License-Identifier: GPL-3.0-or-later
"""Blender's camera model and ours, one into the other. Plain Python and numpy, no Blender.

Ours: OpenCV axes (x right, y down, z forward), pixels with centres at +0.5, `world_from_camera` 4x4.
Blender's: a camera looks along -z with y up; its lens is given by focal length and sensor in millimetres, a rule
which side of the picture the sensor belongs to, and shifts in units of that side.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared_protocol.errors import BAD_INPUT, Ex4dError

F64 = NDArray[np.float64]

FLIP: F64 = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV camera axes <-> Blender camera axes; its own inverse
# Our axes in Blender's world, in Blender's camera axes: x right, y up along Z, looking along Y. Where a camera is told
# without a reconstruction, it is told as if one stood here; and this is where one is put.
UPRIGHT: F64 = np.array([[1.0, 0.0, 0.0, 0.0], [0.0, 0.0, -1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]])
UNIFORM = 1e-4  # how far scales may differ, and axes be from perpendicular, as a share: above float32 rounding
_CLEAR_SCALE = "Clear the scale of the camera and its parents."
DEFAULT_SENSOR = 36.0  # mm, Blender's default width


@dataclass(frozen=True)
class Lens:
    """What Blender stores of a perspective camera. Millimetres; shifts in units of the side that the sensor fits."""

    lens: float
    sensor_width: float = DEFAULT_SENSOR
    sensor_height: float = 24.0
    sensor_fit: str = "AUTO"  # "AUTO" | "HORIZONTAL" | "VERTICAL"
    shift_x: float = 0.0
    shift_y: float = 0.0


def intrinsics(
    lens: Lens, width: int, height: int, aspect_x: float = 1.0, aspect_y: float = 1.0
) -> tuple[float, float, float, float]:
    """Focal lengths and principal point (fx, fy, cx, cy) in pixels.

    With AUTO the sensor's *width* belongs to the longer side, also where that is the height: `sensor_height` counts
    only with VERTICAL (BKE_camera_sensor_size in Blender's source). The formula was compared with
    `Object.calc_matrix_camera` over thousands of random cameras.

    Args:
        lens: Blender's camera.
        width: picture width in pixels, percentage applied.
        height: picture height in pixels.
        aspect_x: `render.pixel_aspect_x`.
        aspect_y: `render.pixel_aspect_y`.
    """
    span_x, span_y = width * aspect_x, height * aspect_y
    horizontal = lens.sensor_fit == "HORIZONTAL" or (lens.sensor_fit == "AUTO" and span_x >= span_y)
    view = span_x if horizontal else span_y
    sensor = lens.sensor_height if lens.sensor_fit == "VERTICAL" else lens.sensor_width
    scale = lens.lens / sensor * view
    return (
        scale / aspect_x,
        scale / aspect_y,
        width / 2.0 - lens.shift_x * view / aspect_x,
        height / 2.0 + lens.shift_y * view / aspect_y,
    )


def lens_for(focal: float, cx: float, cy: float, width: int, height: int) -> Lens:
    """The Blender camera (sensor fit AUTO, square pixels) with this focal length and principal point in pixels."""
    view = float(max(width, height))
    return Lens(
        lens=focal / view * DEFAULT_SENSOR,
        shift_x=(width / 2.0 - cx) / view,
        shift_y=(cy - height / 2.0) / view,
    )


def blender_pose(world_from_camera: F64) -> F64:
    """A pose of ours, [4, 4], as a matrix relative to what stands at the origin of our world, in Blender's axes."""
    return np.asarray(FLIP @ world_from_camera @ FLIP)


def unscaled(matrix: F64, name: str = "") -> F64:
    """A Blender camera's `matrix_world` without its scale, which counts for nothing.

    Args:
        matrix: [4, 4].
        name: of the camera, for messages; "" = leave it out.

    Raises:
        Ex4dError: BAD_INPUT, it is mirrored or sheared.
    """
    axes = _axes(matrix, f"The camera '{name}'" if name else "The camera", _CLEAR_SCALE)
    rigid = np.eye(4)
    rigid[:3, :3], rigid[:3, 3] = axes / np.linalg.norm(axes, axis=0), matrix[:3, 3]
    return rigid


def world_from_camera(reference: F64, camera: F64, name: str = "") -> F64:
    """Our pose of a Blender camera, [4, 4], rigid.

    Args:
        reference: evaluated `matrix_world` of what stands at the origin of our world (the imported mesh), [4, 4]. It
            may be moved, turned and uniformly scaled; lengths come out in its own units.
        camera: evaluated `matrix_world` of the camera, [4, 4]. Its scale counts for nothing, as in Blender.
        name: of the camera, for messages; "" = leave it out.

    Raises:
        Ex4dError: BAD_INPUT, a matrix is mirrored, sheared or scaled differently along its axes.
    """
    axes = _axes(reference, "The imported mesh", "Apply the scale of its root and parents, or make it uniform.")
    lengths = np.linalg.norm(axes, axis=0)
    scale = float(lengths.mean())
    if np.abs(lengths - scale).max() > UNIFORM * scale:
        raise Ex4dError(
            BAD_INPUT,
            f"The imported mesh is scaled by {lengths[0]:.4g} x {lengths[1]:.4g} x {lengths[2]:.4g}.",
            "Give its root and parents the same scale on all three axes.",
        )
    turned = axes / lengths
    local = np.eye(4)
    rigid = unscaled(camera, name)
    local[:3, :3] = turned.T @ rigid[:3, :3]
    local[:3, 3] = turned.T @ (rigid[:3, 3] - reference[:3, 3]) / scale
    return np.asarray(FLIP @ local @ FLIP)


def _axes(matrix: F64, what: str, hint: str) -> F64:
    """The upper left 3x3, checked to be perpendicular and right-handed up to scale."""
    axes = np.asarray(matrix[:3, :3], dtype=np.float64)
    lengths = np.linalg.norm(axes, axis=0)
    if not np.isfinite(matrix).all() or lengths.min() < 1e-9:
        raise Ex4dError(BAD_INPUT, f"{what} has a scale of zero.", hint)
    unit = axes / lengths
    if np.abs(unit.T @ unit - np.eye(3)).max() > UNIFORM:
        raise Ex4dError(BAD_INPUT, f"{what} is sheared: it is turned inside a parent of uneven scale.", hint)
    if np.linalg.det(unit) < 0.0:
        raise Ex4dError(BAD_INPUT, f"{what} is mirrored by a negative scale.", hint)
    return axes
