# SPDX-License-Identifier: Apache-2.0
"""What the benchmarks look at: a small scene whose depth is known in closed form, and cameras around it.

Three spheres, a pole 1.8 pixels wide, a floor, a wavy wall and a slanted one, ray-traced at pixel centres: edges at
every depth, grazing surfaces, and at 90 degrees walls that reach behind the camera.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ex4d.cameras import preset_path
from ex4d.mesh import default_intrinsics, far_depth, lift
from ex4d.mesh.surface import Surface, closed
from ex4d.render.frame import NEAR
from ex4d.values import F32, F64, U8, DWMesh, Intrinsics

SIZES: tuple[tuple[int, int], ...] = ((512, 512), (1024, 576))  # width, height
ANGLES: tuple[int, ...] = (0, 30, 60, 90)  # degrees around the pivot

_POLE = 1.8  # pixels
_SPHERES = ((-0.7, 0.35, 3.4, 0.65), (0.55, 0.75, 2.6, 0.35), (0.9, -0.45, 5.0, 0.8))  # x, y, z, radius


@dataclass(frozen=True, eq=False)
class View:
    """A mesh and a camera that looks at it."""

    mesh: DWMesh
    surface: Surface
    picture: U8
    angle: int
    world_from_camera: F64
    intrinsics: Intrinsics
    near: float

    @property
    def resolution(self) -> tuple[int, int]:
        """Height and width of the view."""
        return self.intrinsics.height, self.intrinsics.width

    def __str__(self) -> str:
        """How tables call it."""
        return f"{self.intrinsics.width}x{self.intrinsics.height}, {self.angle} degrees"


def depth_and_picture(width: int, height: int, moment: float = 0.0) -> tuple[F32, U8]:
    """The scene from its source camera.

    Args:
        width: of the picture, pixels.
        height: of the picture.
        moment: 0..1; the spheres roll sideways over time.

    Returns:
        [H, W] float32 z-depth > 0, [H, W, 3] uint8.
    """
    camera = default_intrinsics(width, height)
    x = (np.arange(width) + 0.5 - camera.cx) / camera.fx * np.ones((height, 1))
    y = ((np.arange(height) + 0.5 - camera.cy) / camera.fy)[:, None] * np.ones((1, width))
    z = 7.0 + 0.25 * np.sin(9.0 * x) * np.cos(7.0 * y)  # the wavy wall
    kind = np.zeros((height, width), np.int64)
    tall = height / max(width, height)  # a low picture gets a low room

    def put(which: int, candidate: F64) -> None:
        nearer = (candidate > 0.0) & (candidate < z)
        z[nearer], kind[nearer] = candidate[nearer], which

    with np.errstate(divide="ignore", invalid="ignore"):
        put(1, 1.15 * tall / y)  # the floor
        put(2, 2.6 / (0.35 - x))  # the slanted wall, through x = 0.35 z - 2.6
    for number, (centre_x, centre_y, centre_z, radius) in enumerate(_SPHERES):
        centre_x, centre_y = centre_x + 0.4 * np.sin(2.0 * np.pi * moment + number), centre_y * tall
        a = x * x + y * y + 1.0
        b = x * centre_x + y * centre_y + centre_z
        inside = b * b - a * (centre_x**2 + centre_y**2 + centre_z**2 - radius**2)
        put(3 + number, np.where(inside > 0.0, (b - np.sqrt(np.maximum(inside, 0.0))) / a, -1.0))
    put(6, np.where(np.abs(x + 0.3) < 0.5 * _POLE / camera.fx, 2.2, -1.0))
    phase = np.stack([3.1 * x * z + kind, 4.3 * y * z + 2.0 * kind, 5.7 * z + 3.0 * kind], axis=-1)
    fine = np.sin(40.0 * x * z) * np.sin(40.0 * y * z)
    colour = 127.5 + 75.0 * np.sin(phase) + 45.0 * fine[..., None]
    return z.astype(np.float32), np.clip(colour + 0.5, 0.0, 255.0).astype(np.uint8)


def view(width: int, height: int, angle: int) -> View:
    """The scene's mesh, seen from the end of the preset move of that angle (0: from the source camera)."""
    depth, picture = depth_and_picture(width, height)
    camera = default_intrinsics(width, height)
    mesh_depth, valid = lift(depth, far_depth(depth[None]))
    mesh = DWMesh(mesh_depth, valid, camera)
    pose = np.eye(4)
    if angle:
        pivot = float(np.percentile(depth, 5.0))
        pose = preset_path(str(angle), 2, pivot, camera, Fraction(24)).world_from_camera[-1]
    return View(mesh, closed(mesh), picture, angle, pose, camera, NEAR * float(mesh.depth.min()))
