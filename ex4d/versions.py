# SPDX-License-Identifier: Apache-2.0
"""Versions that go into side-cars and into the identity of what is made.

An entry of `ALGORITHMS` is raised whenever the same inputs would give other pixels than before, so that stored results
of the older code are not taken for results of the newer one.
"""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Final

ALGORITHMS: Final[dict[str, dict[str, int]]] = {
    "reconstruct": {"clip": 2, "depth": 3, "mesh": 2, "source_camera": 1},
    "render": {"mesh": 2, "raster": 3, "persist": 1, "lead_in": 1, "upstream": 1},
    "generate": {"preview": 4, "wan": 1, "wan-vace": 1},
}


def project_version() -> str:
    """Version of the installed project, "0+unknown" in a checkout that was never installed."""
    try:
        return version("ex4d-blender")
    except PackageNotFoundError:
        return "0+unknown"
