# SPDX-License-Identifier: Apache-2.0
"""A yard with exact depth, and depth of it as an estimator would give it, for tests of what is known of a shot."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from pathlib import Path

import cv2
import numpy as np
from mesh_cases import pose

from ex4d.cameras import standing_still
from ex4d.depth.known.values import Measure
from ex4d.evaluate.ground_truth import SceneTruth, load_scene_truth, load_set
from ex4d.mesh.lift import default_intrinsics
from ex4d.values import F32, F64, CameraPath, Clip, DepthVideo

WIDTH, HEIGHT, FRAMES = 160, 120, 5
FOCAL = 150.0
STANDS = 1.55  # metres above the ground
SKY = 400.0
SQUARE = np.ones((5, 5), np.uint8)
SET = Path(__file__).parents[1] / "data" / "geometry"


@cache
def yard(pitch: float = 0.12, roll: float = 0.03) -> tuple[Clip, F32, CameraPath]:
    """Ground, a wall 14 m away, two boxes on the ground, sky; a still camera that looks down a little."""
    turned = pose((0.0, 0.0, 0.0), (-pitch, 0.0, roll))[:3, :3]
    v, u = np.mgrid[0:HEIGHT, 0:WIDTH] + 0.5
    ray = np.stack([(u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, np.ones_like(u)], axis=-1)
    world = ray @ turned.T  # y down, the ground at y = STANDS
    z = np.full((HEIGHT, WIDTH), SKY)

    def put(distance: F64, hit: F64) -> None:
        there = (distance > 0.1) & (distance < z) & hit.astype(bool)
        z[there] = distance[there]

    with np.errstate(divide="ignore", invalid="ignore"):
        put(STANDS / world[..., 1], world[..., 1] > 0)
        for depth, left, right, height in ((14.0, -20.0, 3.0, 5.0), (4.0, -1.4, -0.4, 1.1), (7.0, 0.9, 2.2, 2.4)):
            along = depth / world[..., 2]
            x, y = along * world[..., 0], along * world[..., 1]
            put(along, (x > left) & (x < right) & (y < STANDS) & (y > STANDS - height))
    depth_video = np.tile(z.astype(np.float32), (FRAMES, 1, 1))
    clip = Clip(np.full((*depth_video.shape, 3), 90, np.uint8), Fraction(24), "yard")
    return clip, depth_video, standing_still(default_intrinsics(WIDTH, HEIGHT, FOCAL), FRAMES, Fraction(24))


def as_estimated(z: F32, scale: float, shift: float, noise: float = 0.0, gives: str = "disparity") -> DepthVideo:
    """Depth that `scale` and `shift` of its disparity bring back to z."""
    disparity = np.maximum((1.0 / z.astype(np.float64) - shift) / scale, 1e-5)
    error = np.random.default_rng(5).normal(0.0, noise, z.shape) if noise else 0.0
    z = (np.exp(error) / disparity).astype(np.float32)
    return DepthVideo(z, "test", False, ("as it came",), facts={"gives": gives})


@cache
def truth(scene: str) -> SceneTruth:
    return load_scene_truth(load_set(SET), scene)


def clear_places(z: F32, rng: np.random.Generator, count: int) -> tuple[F64, F64]:
    """Frames [N] and pixels [N, 2] at the middle of pixels that lie on one surface, near and far alike, no sky."""
    ratio = np.stack([cv2.dilate(frame, SQUARE) / cv2.erode(frame, SQUARE) for frame in z])
    usable = (ratio < 1.1) & (z < SKY)
    usable[:, :4], usable[:, -4:], usable[:, :, :4], usable[:, :, -4:] = False, False, False, False
    frame, row, column = np.nonzero(usable)
    step = np.digitize(np.log(z[usable]), np.linspace(*np.log(np.percentile(z[usable], (0.2, 99.8))), 8))
    rarity = 1.0 / np.bincount(step)[step]
    chosen = rng.choice(len(frame), count, p=rarity / rarity.sum())
    return frame[chosen], np.stack([column[chosen], row[chosen]], axis=1) + 0.5


def places(z: F32, frame: int, at: F64, lens: F64) -> F64:
    """[3] the point that a pixel sees."""
    depth = float(z[frame, int(at[1]), int(at[0])])
    return np.array([(at[0] - lens[2]) / lens[0], (at[1] - lens[3]) / lens[1], 1.0]) * depth


def measures(z: F32, camera: CameraPath, count: int, seed: int) -> tuple[Measure, ...]:
    """True distances between points that lie apart in the picture."""
    rng = np.random.default_rng(seed)
    found: list[Measure] = []
    while len(found) < count:
        (frame, _), (a, b) = clear_places(z[:1], rng, 2)
        if np.hypot(*(a - b)) < 12.0:
            continue
        lens = camera.intrinsics[frame]
        length = np.linalg.norm(places(z, int(frame), a, lens) - places(z, int(frame), b, lens))
        found.append(Measure(int(frame), tuple(a.tolist()), tuple(b.tolist()), float(length)))
    return tuple(found)


def off(found: F32, z: F32) -> float:
    """Median relative difference of depth, the sky left out."""
    there = z < SKY
    return float(np.median(np.abs(found[there] / z[there] - 1.0)))
