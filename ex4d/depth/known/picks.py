# SPDX-License-Identifier: Apache-2.0
"""Points that a person picked: where they lie in the clip's frames, and how far away depth says they are."""

from __future__ import annotations

import numpy as np

from ex4d.source_camera.rescale import EDGE, disparity_at, without_specks
from ex4d.values import F32, F64, Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

_REACH = 3  # pixels around a picked point that tell whether it lies on an outline
_FLAT = 0.02  # of the disparity there: what it may be off a plane, as root of the mean square, by noise


def placed(what: str, frame: int, point: tuple[float, float], clip: Clip, first: int = 0) -> tuple[float, float]:
    """A picked point in pixels of the clip's frames.

    Args:
        what: it is, for messages: "point A of measure 1".
        frame: from 0.
        point: x, y pixels of the clip as it comes in.
        clip: the pictures.
        first: index of the clip's first frame within the shot, from which messages count.

    Raises:
        Ex4dError: BAD_INPUT for a point outside the clip.
    """
    total, height, width = clip.frames.shape[:3]
    if not 0 <= frame < total:
        used = f"frames {first + 1} to {first + total} are" if total != 1 else f"frame {first + 1} is"
        raise Ex4dError(BAD_INPUT, f"{what} is in frame {first + frame + 1}; {used} used.", "Pick it in one of these.")
    x, y = (value * clip.scale for value in point)
    if not (0.0 <= x <= width and 0.0 <= y <= height):
        raise Ex4dError(
            BAD_INPUT,
            f"{what} lies at {point[0]:.6g}, {point[1]:.6g}; the picture has "
            f"{round(width / clip.scale)}x{round(height / clip.scale)} pixels.",
            "Pick it within the picture.",
        )
    return x, y


def picked_disparity(z: F32, x: float, y: float) -> float:
    """Disparity of one frame's depth [H, W] at x, y: between pixels, or of the nearer surface where it is an outline.

    Ends of things lie on outlines, and of the two surfaces there it is never the background that is measured. An
    outline is where disparity is not that of a plane, however steep.
    """
    height, width = z.shape
    left, top = (int(np.clip(value, 0, side - 1)) for value, side in ((x, width), (y, height)))
    reach = 2 * _REACH  # the median needs pixels beyond those that are looked at
    rows, columns = (slice(max(value - reach, 0), value + reach + 1) for value in (top, left))
    steady = without_specks(z[rows, columns])
    top, left = top - rows.start, left - columns.start
    inner = 1.0 / steady[max(top - _REACH, 0) : top + _REACH + 1, max(left - _REACH, 0) : left + _REACH + 1]
    v, u = np.indices(inner.shape)
    plane = np.stack([u.ravel(), v.ravel(), np.ones(inner.size)], axis=1)
    bent = inner.ravel() - plane @ np.linalg.lstsq(plane, inner.ravel(), rcond=None)[0]
    if float(np.sqrt((bent**2).mean())) <= _FLAT * float(inner.mean()):
        return float(disparity_at(steady, np.array([[x - columns.start, y - rows.start]]))[0])
    return float(np.median(inner[inner * EDGE >= float(inner.max())]))


def rays(at: F64, lens: F64) -> F64:
    """[..., 3] with z = 1, through pixels [..., 2], by fx, fy, cx, cy [..., 4]."""
    plane = (at - lens[..., 2:]) / lens[..., :2]
    return np.concatenate([plane, np.ones((*plane.shape[:-1], 1))], axis=-1)
