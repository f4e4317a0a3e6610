# SPDX-License-Identifier: Apache-2.0
"""Depth of a clip, through one of several doors (`table.py`), cleaned up and brought to real units."""

from ex4d.depth.door import DepthEstimator, DepthRequest
from ex4d.depth.estimate import estimate_depth
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.depth.table import DEPTH_DOORS

__all__ = ["DEPTH_DOORS", "STAGE_SETTINGS", "DepthEstimator", "DepthRequest", "estimate_depth"]
