# SPDX-License-Identifier: Apache-2.0
"""The table of rasterizers. All they do is say which triangle is seen at each pixel; the rest is shared code."""

from __future__ import annotations

import importlib.util
from typing import Protocol

from ex4d.doors import Door
from ex4d.render.raster_nvdiffrast import NvdiffrastRasterizer
from ex4d.values import F64, I32

DEFAULT = "numba"  # nothing ever chooses another one by itself


class Rasterizer(Door, Protocol):
    """Which triangle is seen at each pixel."""

    def visible(self, pos_clip: F64, faces: I32, resolution: tuple[int, int]) -> I32:
        """The nearest triangle at each pixel's centre.

        Args:
            pos_clip: [V, 4] clip coordinates x, y, z, w, w > 0 in front of the camera. Row 0 of the picture is at
                y/w = -1, column 0 at x/w = -1; what lies outside -w <= z <= w is cut off.
            faces: [F, 3] vertex indices; both sides of a face are seen.
            resolution: (height, width).

        Returns:
            [height, width] int32: index of the face + 1, 0 where there is none.
        """
        ...


class NumbaRasterizer:
    """Exact, in float64, on the CPU; the same picture on every machine and with any number of threads."""

    name = "numba"
    label = "CPU (Numba)"
    licence = "Apache-2.0"  # the code is ours; what compiles it stands under "built on" in `ex4d doctor`
    commercial_use = True

    def available(self) -> tuple[bool, str]:
        """It works wherever Numba is installed."""
        if importlib.util.find_spec("numba") is None:
            return False, "Numba is not installed (pip install numba)."
        return True, ""

    def visible(self, pos_clip: F64, faces: I32, resolution: tuple[int, int]) -> I32:
        """See `Rasterizer.visible`. A tie goes to the lower index."""
        from ex4d.render.raster_numba import visible  # compiling and loading Numba takes a moment

        return visible(pos_clip, faces, resolution)


RASTERIZERS: dict[str, Rasterizer] = {"numba": NumbaRasterizer(), "nvdiffrast": NvdiffrastRasterizer()}
