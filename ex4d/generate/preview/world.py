# SPDX-License-Identifier: Apache-2.0
"""A scene → the still world that the preview paints holes with. Made once for all frames of a shot."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from ex4d.generate.preview.behind import EDGE_RATIO, WIDTHS, peel, solid, without_fringes
from ex4d.generate.preview.beyond import NEAREST, dome, extend
from ex4d.generate.preview.layers import Layers, Sheet, merge
from ex4d.values import F32, Bool, Scene

_PEELED_SIDE = 640  # longest side at which what is invented behind things is made: there is no detail to lose
_CANVAS_SIDE = 240  # the same for what lies beyond the edges
_FURTHER = 1.004  # from one sheet to the one behind it, so that they do not fight over a pixel
_COVER = 1.6  # ratio of depths over which the canvas closes up rather than leave a gap

STEPS = 3 + len(WIDTHS)


def build_world(scene: Scene, plate: tuple[F32, F32], progress: Callable[[int], None]) -> Layers:
    """What is behind things that stand still, what is beyond the picture, and the dome, around a clean plate.

    Args:
        scene: the reconstructed clip.
        plate: [H, W, 3] colour 0..255 and [H, W] z, see `ex4d.generate.preview.plate`.
        progress: called with the number of steps done, out of `STEPS`.
    """
    size = (scene.intrinsics.width, scene.intrinsics.height)
    colour, z = plate
    colour = without_fringes(colour, z, _margin(z, scene.draft))
    progress(1)
    sheets = [_sheet(colour, z, size, solid(z), EDGE_RATIO, 1.0)]
    small_colour, small_z = _shrink(colour, z, _PEELED_SIDE)
    everywhere = np.ones(small_z.shape, np.bool_)
    step = size[0] / small_z.shape[1]
    peeled = []
    for k, share in enumerate(WIDTHS):
        peeled.append(peel(small_colour, small_z, share, _margin(small_z, scene.draft)))
        progress(2 + k)
    for k, sheet in enumerate(peeled):
        last = sheet is peeled[-1]  # it closes up: what the others leave open would show the dome
        # A few cells more than invented, so that the sheet tucks in under what is in front.
        wanted = everywhere if last else cv2.dilate(sheet.removed.astype(np.uint8), np.ones((5, 5), np.uint8)) > 0
        ratio = np.inf if last else 1.0 + (EDGE_RATIO - 1.0) * step
        sheets.append(_sheet(sheet.colour, sheet.z, size, wanted, ratio, _FURTHER ** (k + 1)))
    # The widest peeling may have taken off walls too; what goes on beyond the picture is rather those.
    canvas = extend(*_shrink(peeled[-2].colour, peeled[-2].z, _CANVAS_SIDE), size, NEAREST * scene.pivot)
    beyond = cv2.dilate((~canvas.inside).astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
    cells = Sheet(
        canvas.u, canvas.v, canvas.z, canvas.colour, beyond & ~canvas.stopped, _COVER, _FURTHER ** (len(WIDTHS) + 1)
    )
    sheets.append(cells)
    progress(2 + len(WIDTHS))
    around = dome(canvas, scene.intrinsics.fx, (scene.intrinsics.cx, scene.intrinsics.cy))
    layers = merge(sheets, around)
    progress(STEPS)
    return layers


def _margin(picture: F32, draft: bool) -> int:
    """How far beside a depth edge the colours of both sides may mix, in pixels. Edges of a draft are only roughly
    where those of the picture are."""
    return max(2, round((0.016 if draft else 0.007) * float(max(picture.shape))))


def _shrink(colour: F32, z: F32, longest: int) -> tuple[F32, F32]:
    """Colour averaged, depth picked (a mean of two surfaces is neither)."""
    height, width = z.shape
    scale = min(1.0, longest / max(height, width))
    new = (max(4, round(width * scale)), max(4, round(height * scale)))
    return (
        np.asarray(cv2.resize(colour, new, interpolation=cv2.INTER_AREA), np.float32),
        np.asarray(cv2.resize(z, new, interpolation=cv2.INTER_NEAREST), np.float32),
    )


def _sheet(colour: F32, z: F32, size: tuple[int, int], wanted: Bool, ratio: float, behind: float) -> Sheet:
    """A picture's grid with one more vertex all around, on the picture's very edge, as the mesh itself has."""
    height, width = z.shape
    u = np.clip((np.arange(-1, width + 1) + 0.5) * (size[0] / width), 0.0, size[0]).astype(np.float32)
    v = np.clip((np.arange(-1, height + 1) + 0.5) * (size[1] / height), 0.0, size[1]).astype(np.float32)
    return Sheet(
        u, v, np.pad(z, 1, mode="edge"), np.pad(colour, ((1, 1), (1, 1), (0, 0)), mode="edge"),
        np.pad(wanted, 1, mode="edge"), ratio, behind,
    )  # fmt: skip
