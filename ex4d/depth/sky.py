# SPDX-License-Identifier: Apache-2.0
"""Sky: found in the picture or told, and pushed far away."""

from __future__ import annotations

import numpy as np

from ex4d.depth.door import Progress
from ex4d.depth.sky_finder import SkyFinder, find_sky
from ex4d.depth.sky_mask import SkyMask
from ex4d.on_disk import FORGET_EVERY, forget
from ex4d.values import F32, U8, Beyond, Bool

BEYOND = 10.0  # the sky lies this many times as far as the 99th percentile of what is no sky
_SAMPLED = 1_000_000  # pixels of the clip, for that percentile


def push_sky(
    z: F32, frames: U8, known: Bool | SkyMask | None, metric: bool, progress: Progress
) -> tuple[list[str], Beyond | None]:
    """Changes z [T, H, W] in place: all sky of the clip gets one depth, so that nothing tears within it.

    Args:
        z: depth.
        frames: [T, H, W, 3] sRGB.
        known: [T, H, W] the sky, where somebody knows it; None: it is looked for.
        metric: z is in metres, so that what is near is no sky.
        progress: told at each frame; may raise.

    Returns:
        Notes for a person; and where the sky is now, None where there is none.

    Raises:
        Ex4dError: whatever `progress` raises.
    """
    finder = find_sky(z, frames, metric) if known is None else None
    if known is None and finder is None:
        return [], None
    total, found, below = len(z), 0, []
    step = -(-z.size // _SAMPLED) | 1  # odd, so that it does not walk down one column of the picture
    for t in range(total):
        sky = _sky(t, z, frames, known, finder)
        below.append(z[t][~sky][::step])
        found += int(np.count_nonzero(sky))
        progress("Looking for sky", t + 1, 2 * total)
        if t % FORGET_EVERY == 0:
            forget(z, frames, _array(known))
    solid = np.concatenate(below)
    if not found or not solid.size:
        everything = "nothing is" if not found else "all of it is"
        return [f"the sky masks tell no sky from the rest: {everything} white"] if isinstance(
            known, SkyMask
        ) else [], None
    far = np.float32(BEYOND * np.percentile(solid, 99.0))
    for t in range(total):
        z[t][_sky(t, z, frames, known, finder)] = far
        progress("Looking for sky", total + t + 1, 2 * total)
        if t % FORGET_EVERY == 0:
            forget(z, frames, _array(known))
    how = "found in the pictures" if known is None else "told"
    note = f"sky ({how}: {found / z.size:.0%} of the clip) was pushed to {BEYOND:g} times the depth of the rest"
    return [note], Beyond(float(far), BEYOND)


def _array(known: Bool | SkyMask | None) -> Bool | None:
    return None if isinstance(known, SkyMask) else known


def _sky(t: int, z: F32, frames: U8, known: Bool | SkyMask | None, finder: SkyFinder | None) -> Bool:
    if known is not None:
        return np.asarray(known[t], np.bool_)
    return np.zeros(z.shape[1:], np.bool_) if finder is None else finder.sky(z[t], frames[t])
