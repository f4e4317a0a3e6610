# SPDX-License-Identifier: Apache-2.0
"""What a depth estimator is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ex4d.doors import Door
from ex4d.values import Clip, DepthVideo

Progress = Callable[[int, int], None]  # (done, total); may raise Ex4dError(CANCELLED) to stop the work


@dataclass(frozen=True)
class DepthRequest:
    """What an estimator is told beside the clip."""

    files: Sequence[Path] = ()  # depth that was brought along
    kind: str = "auto"  # "depth" | "disparity" | "auto"
    first: int = 0  # the clip's first frame within the whole shot: depth files are counted from the shot's start


class DepthEstimator(Door, Protocol):
    """Gives a clip its depth."""

    def estimate(self, clip: Clip, request: DepthRequest, progress: Progress) -> DepthVideo:
        """z-depth of every frame, in the size of the clip's frames.

        Raises:
            Ex4dError: whatever `progress` raises, and the estimator's own.
        """
        ...
