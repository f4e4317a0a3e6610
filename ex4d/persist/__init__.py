# SPDX-License-Identifier: Apache-2.0
"""Persistence: still background that other frames of the clip saw fills the holes of this frame."""

from ex4d.persist.background import Background, View, build_background, fill

__all__ = ["Background", "View", "build_background", "fill"]
