# SPDX-License-Identifier: Apache-2.0
"""Bringing the depth of several frames to one scale and shift.

Estimated disparity is right up to a scale and a shift that wander from frame to frame by some percent. What stands
still tells how much: seen from another frame's camera, it must lie at that frame's depth.
"""

from __future__ import annotations

import numpy as np

from ex4d.mesh.lift import adjust_depth
from ex4d.persist.evidence import KeyFrames, depth_of, jumps
from ex4d.values import F32, F64, Bool, Scene

_SAMPLES = 64  # along each side of the picture
_ROUNDS = 20
_COMMON = 6  # rounds in which outliers have a say: only then is it clear which those are
_AGREES = 0.0005  # mean difference of disparities, as a share, below which depth is left as it is
_OUTLIER = 0.1  # differences above this say that something moved, and nothing of how far
_COARSEST, _FINER, _FINEST = 0.05, 0.7, 0.002  # differences below this all count the same: at first, each round, last
_RIDGE = 1e-6  # holds on to no change where scale and shift cannot be told apart

Affine = tuple[float, float]  # scale and shift of the disparity


def align(keys: KeyFrames) -> tuple[KeyFrames, list[Affine]]:
    """The key frames with their depth in agreement, and what was done to each.

    Each is fitted to its neighbour, from the middle outwards; then all are changed so that their mean stays.
    """
    total = len(keys.z)
    middle = total // 2
    to_middle: list[Affine] = [(1.0, 0.0)] * total
    z = keys.z.copy()
    for k in [*range(middle + 1, total), *range(middle - 1, -1, -1)]:
        neighbour = k - 1 if k > middle else k + 1
        to_middle[k] = fit(
            keys.z[k], keys.world_from_camera[k], keys.lens[k],
            z[neighbour], keys.world_from_camera[neighbour], keys.lens[neighbour],
        )  # fmt: skip
        z[k] = adjust_depth(keys.z[k], *to_middle[k])
    scale = float(np.mean([1.0 / a for a, _ in to_middle]))
    shift = float(np.mean([-b / a for a, b in to_middle]))
    together = [(scale * a, scale * b + shift) for a, b in to_middle]
    for k, affine in enumerate(together):
        z[k] = adjust_depth(keys.z[k], *affine)
    return KeyFrames(keys.index, keys.pictures, z, keys.world_from_camera, keys.lens), together


def align_all(scene: Scene, keys: KeyFrames, of_keys: list[Affine]) -> tuple[Affine, ...]:
    """The same for every frame of the clip, by the nearest of the aligned key frames."""
    found: list[Affine] = []
    for frame in range(len(scene.mesh_depth)):
        k = int(np.abs(keys.index - frame).argmin())
        if keys.index[k] == frame:
            found.append(of_keys[k])
            continue
        pose, lens = (scene.camera.world_from_camera[frame], scene.camera.intrinsics[frame])
        found.append(fit(depth_of(scene, frame), pose, lens, keys.z[k], keys.world_from_camera[k], keys.lens[k]))
    return tuple(found)


def fit(z: F32, world_from_camera: F64, lens: F64, other_z: F32, other_from: F64, other_lens: F64) -> Affine:
    """Scale and shift of one frame's disparity under which it agrees best with another frame's depth.

    Least absolute differences, by reweighting, and without things that move once it is clear which those are.

    Returns:
        (1, 0) where the two agree already, or no scale and shift make them agree much better.
    """
    height, width = z.shape
    step = max(1, min(height, width) // _SAMPLES)
    chosen = np.zeros(z.shape, np.bool_)
    chosen[step // 2 :: step, step // 2 :: step] = True
    rows, columns = np.nonzero(chosen & ~jumps(z))
    if not len(rows):
        return 1.0, 0.0
    smooth = ~jumps(other_z)
    disparity = 1.0 / z[rows, columns].astype(np.float64)
    typical = float(np.median(disparity))
    ray = np.stack([(columns + 0.5 - lens[2]) / lens[0], (rows + 0.5 - lens[3]) / lens[1], np.ones(len(rows))])
    matrix = np.linalg.inv(other_from) @ world_from_camera
    change = np.array([1.0, 0.0])  # scale, and shift as a share of the typical disparity
    before = np.inf
    for round_ in range(_ROUNDS):
        at = np.maximum(change[0] * disparity + change[1] * typical, 1e-3 * typical)
        there, seen, ok = _look(matrix[:3, :3] @ (ray / at) + matrix[:3, 3:], other_lens, other_z, smooth)
        if ok.sum() < _SAMPLES:
            return 1.0, 0.0
        off = (1.0 - seen / there)[ok]  # of the other frame's disparity
        size = np.abs(off)
        after = float(size[size < _OUTLIER].mean()) if (size < _OUTLIER).any() else _OUTLIER
        if round_ == 0:
            before = after
            if before < _AGREES:
                return 1.0, 0.0
        slope = (seen / there / at)[ok]
        terms = np.stack([slope * disparity[ok], slope * typical])
        weighted = terms / np.maximum(size, max(_FINEST, _COARSEST * _FINER**round_))
        if round_ >= _COMMON:
            weighted[:, size > _OUTLIER] = 0.0
        ridge = _RIDGE * np.trace(weighted @ terms.T) * np.eye(2)
        change += np.linalg.solve(weighted @ terms.T + ridge, weighted @ off)
    return (float(change[0]), float(change[1] * typical)) if after < 0.75 * before else (1.0, 0.0)


def _look(points: F64, lens: F64, z: F32, usable: Bool) -> tuple[F64, F64, Bool]:
    """Depth of points [3, N] in a camera, the depth that it sees there, and where it can be asked."""
    height, width = z.shape
    there = np.where(points[2] > 0.0, points[2], 1.0)
    u, v = points[0] / there * lens[0] + lens[2], points[1] / there * lens[1] + lens[3]
    inside = (points[2] > 0.0) & (u >= 0.0) & (u < width) & (v >= 0.0) & (v < height)
    i, j = np.where(inside, u, 0.0).astype(int), np.where(inside, v, 0.0).astype(int)
    return there, z[j, i].astype(np.float64), inside & usable[j, i]
