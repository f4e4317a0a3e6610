# SPDX-License-Identifier: Apache-2.0
"""Small scenes that the mesh and rendering tests share, and a rasterizer that is slow and obviously right."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from ex4d.mesh import default_intrinsics, far_depth, lift
from ex4d.scene import build_scene
from ex4d.values import F32, F64, U8, Bool, Clip, DepthVideo, DWMesh, Scene
from shared_protocol.moves import look_at


def picture(height: int, width: int, seed: int = 0) -> U8:
    """Noise: any pixel taken from a wrong place shows."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def smooth_depth(height: int, width: int) -> F32:
    """A wavy wall, nowhere steep enough for a gap."""
    y, x = np.mgrid[0:height, 0:width]
    return (4.0 + 0.2 * np.sin(x / width * 5.0) + 0.15 * np.cos(y / height * 4.0)).astype(np.float32)


def stepped_depth(height: int, width: int, seed: int = 0) -> F32:
    """The wall with boxes before it."""
    rng = np.random.default_rng(seed)
    z = smooth_depth(height, width)
    for _ in range(4):
        top, left = rng.integers(0, height), rng.integers(0, width)
        z[top : top + height // 3, left : left + width // 3] = rng.uniform(1.5, 3.0)
    return z


def lifted(z: F32, focal: float | None = None) -> DWMesh:
    camera = default_intrinsics(z.shape[1], z.shape[0], focal)
    depth, valid = lift(z, far_depth(z[None]))
    return DWMesh(depth, valid, camera)


def small_scene(frames: int = 3, height: int = 24, width: int = 32, *, fps: Fraction = Fraction(30000, 1001)) -> Scene:
    clip = Clip(np.stack([picture(height, width, t) for t in range(frames)]), fps, "small", ("upright",))
    z = np.stack([stepped_depth(height, width, t) for t in range(frames)])
    return build_scene(clip, DepthVideo(z, "file", False, ("scaled",)))


def pose(eye: tuple[float, float, float], turn: tuple[float, float, float] = (0.0, 0.0, 0.0)) -> F64:
    """world_from_camera: rotations about x, y, z in radians, then moved to `eye`."""
    (sx, sy, sz), (cx, cy, cz) = np.sin(turn), np.cos(turn)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = about_z @ about_y @ about_x, eye
    return out


def towards(eye: tuple[float, float, float], target: tuple[float, float, float]) -> F64:
    """world_from_camera at `eye`, looking at `target`."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = np.array(look_at(eye, target)).T, eye
    return out


def brute_force(pos_clip: F64, faces: np.ndarray, resolution: tuple[int, int]) -> tuple[np.ndarray, Bool, np.ndarray]:
    """Solves every triangle at every pixel: the barycentrics b with sum(b_k h_k) = w (p_x, p_y, 1).

    Returns:
        ids [h, w]; where the answer is clear (no edge, near plane or second surface within 1e-7); how many triangles
        the pixel's ray meets in front of the near plane.
    """
    height, width = resolution
    x, y, z, w = pos_clip.T
    corners = np.stack([(x + w) * width / 2, (y + w) * height / 2, w], axis=1)[faces]  # [F, 3 corners, 3]
    rows, columns = np.mgrid[0:height, 0:width]
    pixels = np.stack([columns.ravel() + 0.5, rows.ravel() + 0.5, np.ones(height * width)])
    usable = np.abs(np.linalg.det(corners)) > 1e-13 * np.linalg.norm(corners, axis=2).prod(axis=1)
    inverse = np.zeros_like(corners)
    inverse[usable] = np.linalg.inv(np.swapaxes(corners[usable], 1, 2))
    weights = inverse @ pixels  # [F, 3, P]
    total = weights.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        b = weights / total[:, None]
        depth = 1.0 / total
        z_clip = np.einsum("fkp,fk->fp", b, z[faces])
        margin = np.minimum(b.min(axis=1), (z_clip + depth) / np.maximum(np.abs(depth), 1.0))
        margin = np.minimum(margin, depth - z_clip)
    in_front = usable[:, None] & (total > 0.0)
    hit = in_front & (margin >= 0.0)
    clear = ~(in_front & (np.abs(margin) < 1e-7)).any(axis=0)
    depth = np.where(hit, depth, np.inf)
    nearest = depth.argmin(axis=0)
    order = np.sort(depth, axis=0)
    with np.errstate(invalid="ignore"):
        clear &= ~(order[1] - order[0] < 1e-7 * order[0])
    ids = np.where(np.isfinite(order[0]), nearest + 1, 0)
    shape = (height, width)
    return ids.reshape(shape).astype(np.int32), clear.reshape(shape), hit.sum(axis=0).reshape(shape)
