# SPDX-License-Identifier: Apache-2.0
"""The depth estimators there are. Importing this loads no torch."""

from __future__ import annotations

from ex4d.depth.da3 import DepthAnything3
from ex4d.depth.depthcrafter import DepthCrafterDepth
from ex4d.depth.door import DepthEstimator
from ex4d.depth.draft import DraftDepth
from ex4d.depth.file import FileDepth
from ex4d.depth.hub import DepthAnything, DepthPro
from ex4d.depth.vda import VideoDepthAnything

_DOORS: tuple[DepthEstimator, ...] = (
    FileDepth(),
    VideoDepthAnything(),
    DepthCrafterDepth(),
    DepthAnything3(),
    DepthPro(),
    DepthAnything(),
    DraftDepth(),
)
DEPTH_DOORS: dict[str, DepthEstimator] = {door.name: door for door in _DOORS}
