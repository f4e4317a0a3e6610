# SPDX-License-Identifier: Apache-2.0
"""Depth as the public EX-4D code has it, for its geometry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Value

CONVERSION: Final = "conversion"  # the setting of an estimator that can give depth in that code's units
_AS_IT_COMES: Final[Mapping[str, Value]] = MappingProxyType({"steady": "off", "edges": "off", "sky": "off"})


def as_upstream(estimator: str) -> dict[str, Value]:
    """What the depth step's options are where nobody says anything else: nothing is done to the estimator's depth,
    and an estimator that has that code's units takes these.

    Args:
        estimator: a name of `DEPTH_DOORS`; others, "auto" among them, are taken as they are.
    """
    door = DEPTH_DOORS.get(estimator)
    units = door is not None and any(setting.name == CONVERSION for setting in door.settings)
    return {**_AS_IT_COMES, **({CONVERSION: "upstream"} if units else {})}
