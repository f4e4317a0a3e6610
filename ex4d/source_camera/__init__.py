# SPDX-License-Identifier: Apache-2.0
"""A source camera that moves: its path is brought to the clip, and the clip's depth to the path's scale."""

from __future__ import annotations

from ex4d.source_camera.path import fit_to_clip, rebased
from ex4d.source_camera.scale import Fit, scale_depth

__all__ = ["Fit", "fit_to_clip", "rebased", "scale_depth"]
