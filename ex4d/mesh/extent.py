# SPDX-License-Identifier: Apache-2.0
"""How near and how far a clip's depth is, looked at frame by frame."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from ex4d.values import F32

FURTHEST = 1e6  # scene units; scale and shift of the mesh never give more, so neither may the mesh itself

_NEAR, _FAR = 1.0, 99.0  # percentiles: a few stray pixels are neither
_FAR_FACTOR = 4.0  # the skirt, in multiples of the depth that 99 % of the clip is nearer than
_SAMPLES = 4_000_000  # for percentiles; a regular subset of longer clips does as well


class Extent:
    """Of all frames that were added. `size` is how many values these have in all."""

    def __init__(self, size: int) -> None:
        step = max(1, -(-size // _SAMPLES)) | 1  # odd, so that it does not walk down one column of the picture
        self._step = step if size > _SAMPLES else 1
        self._next = 0  # of the next frame's values, the first that is looked at
        self._samples: list[F32] = []
        self._most = 0.0

    def add(self, z: F32) -> None:
        """One more frame, [H, W] z > 0."""
        flat = z.reshape(-1)
        self._samples.append(flat[self._next :: self._step].copy())
        self._next = (self._next - flat.size) % self._step
        self._most = max(self._most, float(flat.max()))

    def measured(self, background: Iterable[float] = ()) -> tuple[float, float, float]:
        """Near and far, and where the skirt and the back of the mesh stand.

        Args:
            background: depths that sky and what else is no surface was given: a clip does not reach as far as these.

        Returns:
            1st and 99th percentile of depth; 4 x the latter with the background, at least 1.05 x the maximum, at most
            `FURTHEST`.
        """
        samples = np.concatenate(self._samples)
        skirt = min(max(_FAR_FACTOR * float(np.percentile(samples, _FAR)), 1.05 * self._most), FURTHEST)
        solid = samples[~np.isin(samples, np.array(list(background), np.float32))]
        near, far = (float(v) for v in np.percentile(solid if solid.size else samples, (_NEAR, _FAR)))
        return near, far, skirt


def far_depth(z: F32) -> float:
    """Depth of the skirt and the back for a whole clip [T, H, W], see `Extent.measured`."""
    extent = Extent(z.size)
    for frame in z:
        extent.add(frame)
    return extent.measured()[2]
