# SPDX-License-Identifier: Apache-2.0
"""From what depth files hold to z-depth that is finite and above zero everywhere.

Estimators and renderers leave pixels without depth: sky, holes in a scan, rays that hit nothing. They become background
at one distance behind everything, and are told to the person. A frame that holds nothing else was not written right,
unless it says itself that it is infinitely far; so was depth below zero, which leaves open whether a sign or a unit is
wrong.
"""

from __future__ import annotations

import numpy as np

from ex4d.depth.door import Gives
from ex4d.mesh.lift import NEAREST
from ex4d.values import F32, Bool
from shared_protocol.errors import BAD_INPUT, Ex4dError

NOTHING = 1e9  # Blender writes 1e10 where a ray hits nothing
BEHIND = 4.0  # background lies this many times as far as the 99th percentile of what is there
NEAR, FAR = 1.0, 10.0  # range that relative disparity is mapped to: it has no units of its own
OVERSHOOT = 1.5  # how far values above the robust maximum may go before they are cut
_HUGE = 1e30  # disparity beyond is no measurement, and would leave float32 when it is reckoned with
_LISTED = 4  # stretches of frames that a note names


def to_depth(values: F32, gives: Gives) -> list[str]:
    """What an estimator gave [T, H, W] becomes z-depth in place, finite and > 0. Returns notes for a person.

    Relative disparity has its 1st and 99th percentile over the whole clip placed at `FAR` and `NEAR`.

    Raises:
        Ex4dError: BAD_INPUT, see `finite_depth` and `depth_from_disparity`.
    """
    z, said = (placed_disparity if gives == "disparity" else finite_depth)(values)
    values[:] = z
    return [said] if said else []


def finite_depth(z: F32) -> tuple[F32, str]:
    """Puts background (infinite, not a number, zero, Blender's 1e10) at a finite distance.

    Args:
        z: [T, H, W] z-depth.

    Returns:
        The depth, finite and > 0, and a note on how many pixels are background, in which frames ("" for none).

    Raises:
        Ex4dError: BAD_INPUT for negative depth, when nothing of it is depth, or when a frame has neither depth nor
            anything infinitely far.
    """
    with np.errstate(invalid="ignore"):
        there: Bool = np.isfinite(z) & (z >= NEAREST) & (z < NOTHING)
        negative, endless = np.isfinite(z) & (z < 0.0), z >= NOTHING
    if negative.any():
        raise Ex4dError(
            BAD_INPUT,
            f"The depth is negative at {_pixels(negative)}, down to {float(z[negative].min()):.4g}.",
            "Depth is the distance in front of the camera: change its sign, or write 0 where there is none.",
        )
    if not there.any():
        what = "all of it is infinitely far" if endless.any() else "no value is finite and above zero"
        raise Ex4dError(
            BAD_INPUT,
            f"The depth is empty: {what}, so there is no surface to move around.",
            "Is it the right pass?",
        )
    empty = ~_in_frames(there | endless)
    if empty.any():
        raise Ex4dError(
            BAD_INPUT,
            f"The depth of {_frames(empty)} is empty: no value is above zero.",
            "Make it again, or leave those frames out.",
        )
    if there.all():
        return np.ascontiguousarray(z, np.float32), ""
    far = BEHIND * _percentile(z, there, 99.0)
    filled = np.where(there, z, np.float32(far)).astype(np.float32)
    return filled, f"no depth at {_pixels(~there)}: taken for background, placed at {far:.4g}"


def depth_from_disparity(disparity: F32) -> tuple[F32, str]:
    """z-depth from values that grow towards the camera.

    Values that span 0 to 1, and integers (which is what image files hold), are relative: known up to a scale and a
    shift. Their 1st and 99th percentile over the whole clip are placed at `FAR` and `NEAR`. Anything else is 1 / z in
    scene units.

    Args:
        disparity: [T, H, W].

    Returns:
        z [T, H, W], and a note that says which it was.

    Raises:
        Ex4dError: BAD_INPUT when no value can be used, in the whole clip or in one of its frames.
    """
    there: Bool = np.asarray(np.abs(disparity) < _HUGE, np.bool_)
    if not there.any() or not (disparity[there] > 0).any():
        raise Ex4dError(
            BAD_INPUT, "The disparity is empty: no value is finite and above zero.", "Is it the right file?"
        )
    if not _is_relative(disparity[there]):
        with np.errstate(all="ignore"):
            z, said = finite_depth(np.where(there, 1.0 / np.abs(disparity), np.nan).astype(np.float32))
        return z, "; ".join(filter(None, ("disparity read as 1 / z in scene units", said)))
    empty = ~_in_frames(there)
    if empty.any():
        raise Ex4dError(
            BAD_INPUT,
            f"The disparity of {_frames(empty)} is empty: no value is a number.",
            "Make it again, or leave those frames out.",
        )
    return placed_disparity(disparity)


def placed_disparity(disparity: F32) -> tuple[F32, str]:
    """z-depth from relative disparity [T, H, W], and a note."""
    there: Bool = np.asarray(np.abs(disparity) < _HUGE, np.bool_)
    low, high = _percentile(disparity, there, 1.0), _percentile(disparity, there, 99.0)
    if high <= low:
        low, high = float(disparity[there].min()), float(disparity[there].max())
    span = (high - low) or 1.0
    share = (np.clip(np.where(there, disparity, low), low, low + OVERSHOOT * span) - low) / span
    placed = 1.0 / (1.0 / FAR + (1.0 / NEAR - 1.0 / FAR) * share)
    note = f"relative disparity placed between {NEAR:g} and {FAR:g} scene units"
    if not there.all():
        note += f"; no disparity at {_pixels(~there)}: taken for background"
    return placed.astype(np.float32), note


def _is_relative(values: F32) -> bool:
    low, high = float(values.min()), float(values.max())
    whole = high > 2.0 and bool((values == np.round(values)).all())
    return whole or low < 0 or (low < 0.005 and 0.98 < high <= 1.0)


def _percentile(values: F32, there: Bool, percent: float) -> float:
    """Percentile over at most about four million values, evenly taken."""
    step = max(1, values.size // 4_000_000)
    flat, use = values.reshape(-1)[::step], there.reshape(-1)[::step]
    some = flat[use] if use.any() else values[there]
    return float(np.percentile(some, percent))


def _pixels(where: Bool) -> str:
    """How many pixels, and in which frames."""
    count = int(where.sum())
    share = f" ({count / where.size:.0%})" if count >= 0.005 * where.size else ""
    return f"{count} pixel{'s' if count != 1 else ''}{share} of {_frames(_in_frames(where))}"


def _in_frames(where: Bool) -> Bool:
    """[T] which frames have any such pixel."""
    return np.asarray(where.any(axis=(1, 2)), np.bool_)


def _frames(which: Bool) -> str:
    """Which frames, counted from 1: "frame 3", "frames 1 to 4, 7", "every frame"."""
    if which.all() and len(which) > 1:
        return "every frame"
    edges = np.flatnonzero(np.diff(which.astype(np.int8), prepend=0, append=0))
    runs = [f"{a + 1}" if a + 1 == b else f"{a + 1} to {b}" for a, b in edges.reshape(-1, 2).tolist()]
    more = ", ..." if len(runs) > _LISTED else ""
    return f"frame{'s' if which.sum() != 1 else ''} {', '.join(runs[:_LISTED])}{more}"
