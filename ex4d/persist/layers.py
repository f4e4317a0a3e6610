# SPDX-License-Identifier: Apache-2.0
"""The still background as a few depth pictures, each seen from one of the clip's cameras.

A camera that stands still needs one. A camera that moves adds one for each stretch of background that the ones before
do not show.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from ex4d.mesh.edges import seen
from ex4d.persist.evidence import SAME_COLOUR, SAME_DEPTH, KeyFrames, extremes, grown, still_pixels
from ex4d.persist.kernels import medians, on_layer
from ex4d.render.compiled import in_parallel, threads
from ex4d.values import F32, F64, U8, Bool

MOST_LAYERS = 8
_LEAST = 0.002  # of a picture: a layer that would add less is not made
_OVERLAP = 2  # pixels by which a layer reaches under those before it
_STEEPEST = 1.05  # ratio of depths within a face: steeper ones are not worth the risk
_SAME_POSE = 1e-6  # entries of the relative pose; pixels of the lens


@dataclass(frozen=True, eq=False)
class Layer:
    """Background from one camera of the clip."""

    picture: U8  # [H, W, 3] sRGB
    z: F32  # [H, W]: of the background where known, elsewhere of whatever stood before it
    known: Bool  # [H, W]
    drawn: Bool  # [H + 3, W + 3, 2] the faces that show it, as `DWMesh.valid`
    world_from_camera: F64  # [4, 4]
    lens: F64  # [4] fx, fy, cx, cy

    def same_camera(self, world_from_camera: F64, lens: F64) -> bool:
        """Whether a camera stands where the layer's stands, and looks the same way through the same lens."""
        distance = float(np.median(self.z))
        return bool(same_cameras(self.world_from_camera, self.lens, world_from_camera[None], lens[None], distance)[0])


def build_layers(keys: KeyFrames, progress: Callable[[], None]) -> list[Layer]:
    """Chooses cameras one after another, each time the one that sees most of what is not in a layer yet.

    Args:
        keys: frames of the clip.
        progress: called once for each of them.

    Returns:
        At most `MOST_LAYERS`; none where nothing is known to stand still.
    """
    still = still_pixels(keys, progress)
    missing = still.copy()
    layers: list[Layer] = []
    while len(layers) < MOST_LAYERS:
        count = missing.sum(axis=(1, 2))
        best = int(count.argmax())
        if count[best] < max(1.0, _LEAST * missing[0].size):
            break
        layers.append(_stack(keys, still, best, layers))
        for k in range(len(missing)):
            missing[k] &= ~shows(layers[-1], keys.z[k], keys.world_from_camera[k], keys.lens[k])
        missing[best] = False
    return layers


def shows(layer: Layer, z: F32, world_from_camera: F64, lens: F64, picture: U8 | None = None) -> Bool:
    """Which points of a depth picture [H, W] lie on a layer; with `picture`, which have its colour too."""
    matrix = np.linalg.inv(layer.world_from_camera) @ world_from_camera
    nearest, furthest = extremes(layer.z)
    own, colour = (layer.picture, -1.0) if picture is None else (picture, SAME_COLOUR)
    out = np.zeros(z.shape, np.bool_)

    def rows(start: int, stop: int) -> None:
        on_layer(
            z, own, lens, matrix, layer.lens, layer.known, nearest, furthest, layer.picture, SAME_DEPTH, colour,
            start, stop, out,
        )  # fmt: skip

    in_parallel(rows, len(z), threads())
    return out


def same_cameras(pose: F64, lens: F64, poses: F64, lenses: F64, distance: float) -> Bool:
    """Which of some cameras [N, 4, 4] and lenses [N, 4] are the same as one, for what lies that far away."""
    apart = np.linalg.inv(pose) @ poses - np.eye(4)
    apart[:, :3, 3] /= distance  # the unit of length is anyone's
    moved = np.abs(apart).max(axis=(1, 2))
    return np.asarray((moved < _SAME_POSE) & (np.abs(lenses - lens).max(axis=1) < _SAME_POSE), np.bool_)


def _stack(keys: KeyFrames, still: Bool, key: int, before: list[Layer]) -> Layer:
    """The layer of one key frame's camera: medians over the frames in which that same camera sees still things."""
    pose, lens = keys.world_from_camera[key], keys.lens[key]
    here = same_cameras(pose, lens, keys.world_from_camera, keys.lens, float(np.median(keys.z[key])))
    averaged, z = keys.pictures[key].astype(np.float32), keys.z[key].copy()
    frames, depth, chosen = keys.pictures[here], keys.z[here], still[here]

    def rows(start: int, stop: int) -> None:
        medians(frames, depth, chosen, start, stop, averaged, z)

    in_parallel(rows, len(z), threads())
    picture = (averaged + 0.5).astype(np.uint8)
    known = np.asarray(chosen.sum(axis=0) >= min(2, len(chosen)), np.bool_)
    picture = _continued(picture, known)
    added = known.copy()
    for earlier in before:
        added &= ~shows(earlier, z, pose, lens)
    region = np.pad(known & grown(added, _OVERLAP), 1, mode="edge")  # out to the picture's edge, as the mesh reaches
    drawn = np.pad(_faces_within(region) & seen(np.pad(z, 1, mode="edge"), _STEEPEST), ((1, 1), (1, 1), (0, 0)))
    return Layer(picture, z, known, drawn, pose, lens)


def _continued(picture: U8, known: Bool) -> U8:
    """A picture with the colour of the nearest known pixel in all others: a filter that looks around there must not
    find the colours of what was taken out."""
    _, label = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL
    )
    found = np.zeros((int(label.max()) + 1, 3), np.uint8)
    found[label[known]] = picture[known]
    return np.asarray(found[label], np.uint8)


def _faces_within(region: Bool) -> Bool:
    """The faces of a grid with all corners in a region [R, C]: [R - 1, C - 1, 2]."""
    a, b, c, d = region[:-1, :-1], region[:-1, 1:], region[1:, :-1], region[1:, 1:]
    return np.stack([a & c & d, a & d & b], axis=-1)
