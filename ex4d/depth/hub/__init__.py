# SPDX-License-Identifier: Apache-2.0
"""Estimators on networks that transformers has: each frame by itself. Importing this loads no torch."""

from ex4d.depth.hub.depth_anything import DepthAnything
from ex4d.depth.hub.depth_pro import DepthPro

__all__ = ["DepthAnything", "DepthPro"]
