# SPDX-License-Identifier: Apache-2.0
"""From what depth files hold to z-depth that is finite and above zero everywhere."""

from __future__ import annotations

import numpy as np

from ex4d.values import F32, Bool
from shared_protocol.errors import BAD_INPUT, Ex4dError

NOTHING = 1e9  # Blender writes 1e10 where a ray hits nothing
BEHIND = 4.0  # background lies this many times as far as the 99th percentile of what is there
NEAR, FAR = 1.0, 10.0  # range that relative disparity is mapped to: it has no units of its own
OVERSHOOT = 1.5  # how far values above the robust maximum may go before they are cut


def finite_depth(z: F32) -> tuple[F32, str]:
    """Puts background (infinite, not a number, zero or less, Blender's 1e10) at a finite distance.

    Args:
        z: [T, H, W] z-depth.

    Returns:
        The depth, finite and > 0, and a note ("" when there was no background).

    Raises:
        Ex4dError: BAD_INPUT when nothing of it is depth.
    """
    there: Bool = np.isfinite(z) & (z > 0) & (z < NOTHING)
    if not there.any():
        raise Ex4dError(BAD_INPUT, "The depth is empty: no value is finite and above zero.", "Is it the right pass?")
    if there.all():
        return np.ascontiguousarray(z, np.float32), ""
    far = BEHIND * _percentile(z, there, 99.0)
    missing = 1.0 - float(there.mean())
    filled = np.where(there, z, np.float32(far)).astype(np.float32)
    return filled, f"{missing:.0%} of the depth is background; placed at {far:.4g}" if missing >= 0.005 else ""


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
        Ex4dError: BAD_INPUT when no value can be used.
    """
    there: Bool = np.isfinite(disparity)
    if not there.any() or not (disparity[there] > 0).any():
        raise Ex4dError(
            BAD_INPUT, "The disparity is empty: no value is finite and above zero.", "Is it the right file?"
        )
    if not _is_relative(disparity[there]):
        with np.errstate(divide="ignore", over="ignore"):
            z, said = finite_depth(np.where(there & (disparity > 0), 1.0 / disparity, np.inf).astype(np.float32))
        return z, "; ".join(filter(None, ("disparity read as 1 / z in scene units", said)))
    low, high = _percentile(disparity, there, 1.0), _percentile(disparity, there, 99.0)
    if high <= low:
        low, high = float(disparity[there].min()), float(disparity[there].max())
    span = (high - low) or 1.0
    share = np.clip((np.where(there, disparity, low) - low) / span, 0.0, OVERSHOOT)
    placed = 1.0 / (1.0 / FAR + (1.0 / NEAR - 1.0 / FAR) * share)
    return placed.astype(np.float32), f"relative disparity placed between {NEAR:g} and {FAR:g} scene units"


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
