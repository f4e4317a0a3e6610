# SPDX-License-Identifier: Apache-2.0
"""Depth for tests, which need no place of their own for it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import ex4d.depth
from ex4d.values import Clip, DepthVideo


def estimate_depth(clip: Clip, **how: Any) -> DepthVideo:
    """As `ex4d.depth.estimate_depth`; the array outlives its file."""
    with tempfile.TemporaryDirectory() as folder:
        found = ex4d.depth.estimate_depth(clip, Path(folder), **how)
        return found
