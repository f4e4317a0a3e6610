# SPDX-License-Identifier: Apache-2.0
"""How right a rendered mask, colour and depth are, measured against what the new camera truly sees.

`measure` goes through the frames of a move and adds up sums; sums of several moves and scenes are added with `+`, and
`figures` turns them into the numbers that are reported. So a figure over several moves is one over all their pixels
together, and not a mean of means.

The definitions, with *mask* for the pixels that were rendered as seen, *visible* and *certain* for the truth
(`ex4d.evaluate.ground_truth`), *agreed* for mask and visible:

- precision, recall, IoU: agreed over mask, over visible, over mask or visible.
- certain IoU: (mask and certain) over (mask or certain). *certain* is what a watertight mesh can reach, so a mesh that
  rightly shows more than that loses here.
- decided IoU: the same with visible pixels that are not certain left out of both, so that they count neither way.
- depth IoU: as IoU, but a hit is only one where the rendered depth is within `DEPTH_TOLERANCE` of the true one.
  Painting stretched faces as seen raises IoU, and not this.
- PSNR, SSIM: over agreed pixels. SSIM is scikit-image's (7 x 7 uniform window, mean of the channels), its map averaged
  over these pixels; all other pixels are given the true colour first, so that a hole's edge counts neither way.
- seen PSNR: over visible pixels, those outside the mask counted as mid grey (127.5): errors and holes in one number.
- coverage: share of the picture in the mask; true coverage: share that is visible.
- with persistence: added share (pixels of the mask that were not in it without persistence, over all pixels), added
  PSNR (over these, against the true colour, whether visible in this frame or not), and own PSNR to compare it with
  (over agreed pixels that were there without persistence). What another frame saw is rarely visible in this one, so
  precision and the IoUs of such a mask are lower by intention.

PSNR is 10 log10(255^2 / mean squared error of the sRGB-encoded 8-bit channels). Frames in which the new camera is the
source camera (the first of every preset move) are left out: there is nothing to find out in them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields

import numpy as np

from ex4d.evaluate.ground_truth import MoveTruth, SceneTruth
from ex4d.values import F32, F64, U8, Bool
from shared_protocol.errors import SIZE_MISMATCH, UNAVAILABLE, Ex4dError

Rendered = tuple[U8, Bool, F32]  # [h, w, 3] sRGB, [h, w] True = seen, [h, w] z-depth in the new camera (0 = none)
Render = Callable[[int], Rendered]  # of a frame, counted from 0

DEPTH_TOLERANCE = 0.05  # of the true depth
GREY = 127.5
SAME_POSE = 1e-6  # largest difference in an entry of poses that are the same (metres, and cosines)

FIGURES: tuple[str, ...] = (
    "precision", "recall", "iou", "certain_iou", "decided_iou", "depth_iou",
    "psnr", "ssim", "seen_psnr", "coverage", "true_coverage",
)  # fmt: skip
PERSISTENCE_FIGURES: tuple[str, ...] = ("added", "added_psnr", "own_psnr")


@dataclass(frozen=True)
class Counts:
    """Sums over pixels. Squared errors are summed over the three channels, in levels of 255."""

    frames: int = 0
    pixels: int = 0
    mask: int = 0
    visible: int = 0
    certain: int = 0
    agreed: int = 0  # mask and visible
    certain_agreed: int = 0  # mask and certain
    depth_agreed: int = 0  # agreed, with the right depth
    agreed_squared: float = 0.0
    agreed_ssim: float = 0.0
    seen_squared: float = 0.0  # over visible, holes as grey
    added: int = 0  # in the mask by persistence alone
    added_squared: float = 0.0
    own: int = 0  # agreed without persistence
    own_squared: float = 0.0

    def __add__(self, other: Counts) -> Counts:
        return Counts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def measured_frames(scene: SceneTruth, move: MoveTruth) -> list[int]:
    """The frames, counted from 0, in which the new camera is not the source camera."""
    a, b = scene.camera, move.camera
    same_size = (a.width, a.height) == (b.width, b.height)
    moved = np.abs(a.world_from_camera - b.world_from_camera).max(axis=(1, 2)) > SAME_POSE
    other_lens = ~np.isclose(a.intrinsics, b.intrinsics, rtol=SAME_POSE, atol=0.0).all(axis=1)
    return [int(t) for t in np.flatnonzero(moved | other_lens | (not same_size))]


def measure(scene: SceneTruth, move: MoveTruth, render: Render, without: Callable[[int], Bool] | None = None) -> Counts:
    """Compares renders with the truth, over all frames in which the new camera is not the source camera.

    Args:
        scene: the source side.
        move: what the new camera sees.
        render: gives colour, mask and depth of a frame; called once for each measured frame, in order.
        without: gives the mask of a frame as it is without persistence, where `render` is with it.

    Raises:
        Ex4dError: SIZE_MISMATCH for a render of another size, UNAVAILABLE when scikit-image is not installed.
    """
    total = Counts()
    for t in measured_frames(scene, move):
        total += _measure_frame(move, t, render(t), None if without is None else without(t))
    return total


def _measure_frame(move: MoveTruth, t: int, rendered: Rendered, before: Bool | None) -> Counts:
    colour, mask, z = rendered
    visible, certain = move.visible[t], move.certain[t]
    if colour.shape != move.colour[t].shape or not (mask.shape == z.shape == visible.shape):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"Frame {t + 1} was rendered as {mask.shape[1]}x{mask.shape[0]}, the truth of '{move.name}' is "
            f"{visible.shape[1]}x{visible.shape[0]}.",
        )
    true_z = move.depth[t]
    squared = ((colour.astype(np.float64) - move.colour[t]) ** 2).sum(axis=-1)
    grey = ((GREY - move.colour[t]) ** 2).sum(axis=-1)
    agreed = mask & visible
    right = agreed & (true_z > 0.0) & (np.abs(z - true_z) <= DEPTH_TOLERANCE * true_z)
    own = agreed if before is None else agreed & before
    added = np.zeros_like(mask) if before is None else mask & ~before
    return Counts(
        frames=1,
        pixels=mask.size,
        mask=int(mask.sum()),
        visible=int(visible.sum()),
        certain=int(certain.sum()),
        agreed=int(agreed.sum()),
        certain_agreed=int((mask & certain).sum()),
        depth_agreed=int(right.sum()),
        agreed_squared=float(squared[agreed].sum()),
        agreed_ssim=_ssim(move.colour[t], colour, agreed),
        seen_squared=float(np.where(mask, squared, grey)[visible].sum()),
        added=int(added.sum()),
        added_squared=float(squared[added].sum()),
        own=int(own.sum()),
        own_squared=float(squared[own].sum()),
    )


def _ssim(truth: U8, colour: U8, where: Bool) -> float:
    """Sum of the structural similarity over the pixels of `where`."""
    try:
        from skimage.metrics import structural_similarity  # its import takes a second, and only this asks for it
    except ImportError as error:
        raise Ex4dError(
            UNAVAILABLE, "scikit-image is not installed.", "Install it: pip install 'ex4d-blender[evaluate]'."
        ) from error
    if not where.any():
        return 0.0
    ours = np.where(where[..., None], colour, truth)
    similar: Callable[..., tuple[float, F64]] = structural_similarity
    _, similarity = similar(truth, ours, channel_axis=2, data_range=255, full=True)
    return float(similarity.mean(axis=-1)[where].sum())


def figures(counts: Counts) -> dict[str, float]:
    """What is reported, by name: `FIGURES`, then `PERSISTENCE_FIGURES`.

    nan where there are no pixels to say something about; inf for the PSNR of what is exactly right.
    """
    c = counts
    undecided = c.agreed - c.certain_agreed  # in the mask, visible, not certain
    return {
        "precision": _share(c.agreed, c.mask),
        "recall": _share(c.agreed, c.visible),
        "iou": _share(c.agreed, c.mask + c.visible - c.agreed),
        "certain_iou": _share(c.certain_agreed, c.mask + c.certain - c.certain_agreed),
        "decided_iou": _share(c.certain_agreed, c.mask - undecided + c.certain - c.certain_agreed),
        "depth_iou": _share(c.depth_agreed, c.mask + c.visible - c.agreed),
        "psnr": _psnr(c.agreed_squared, c.agreed),
        "ssim": _share(c.agreed_ssim, c.agreed),
        "seen_psnr": _psnr(c.seen_squared, c.visible),
        "coverage": _share(c.mask, c.pixels),
        "true_coverage": _share(c.visible, c.pixels),
        "added": _share(c.added, c.pixels),
        "added_psnr": _psnr(c.added_squared, c.added),
        "own_psnr": _psnr(c.own_squared, c.own),
    }


def _share(part: float, whole: float) -> float:
    return part / whole if whole else math.nan


def _psnr(squared: float, pixels: int) -> float:
    if not pixels:
        return math.nan
    return 10.0 * math.log10(255.0**2 * 3 * pixels / squared) if squared else math.inf
