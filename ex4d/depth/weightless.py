# SPDX-License-Identifier: Apache-2.0
"""What estimators without weights have in common: they always work, and have no model to choose."""

from __future__ import annotations

from collections.abc import Mapping

from ex4d.depth.door import Nature, Progress, nobody
from ex4d.settings import Setting, Value, read_settings


class Weightless:
    """The part of a `DepthEstimator` that tells about models, of one that has none."""

    name: str
    licence = "Apache-2.0"
    commercial_use = True
    steady = True
    uses_focal = False
    size = 0
    settings: tuple[Setting, ...] = ()

    def available(self) -> tuple[bool, str]:
        """Always."""
        return True, ""

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        """See `ex4d.depth.door.DepthEstimator.nature`."""
        read_settings(self.settings, options, self.name, "estimator")
        return Nature("", self.licence, True, "depth", True, 0)

    def settle(
        self, options: Mapping[str, Value], commercial: bool, height: int, width: int
    ) -> tuple[dict[str, Value], str]:
        """There is no model to choose."""
        return read_settings(self.settings, options, self.name, "estimator"), ""

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        """Always."""
        return ""

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: Progress = nobody) -> dict[str, str]:
        """No weights."""
        return {}
