# SPDX-License-Identifier: Apache-2.0
"""Which estimator "auto" means here, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ex4d.depth.door import DepthEstimator
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.depth.table import DEPTH_DOORS
from ex4d.doors import choose
from ex4d.settings import Value, read_settings
from shared_protocol.errors import Ex4dError

# Steady over time and in metres first; then per frame; a guess last. What may not be used commercially is passed over
# where that is asked for.
BEST_FIRST = ("video-depth-anything", "da3", "depthcrafter", "depth-pro", "depth-anything", "draft")


@dataclass(frozen=True, eq=False)
class Choice:
    """An estimator, with everything it is told."""

    door: DepthEstimator
    options: dict[str, Value]  # its own, all of them
    stage: dict[str, Value]  # of `STAGE_SETTINGS`, all of them
    notes: tuple[str, ...]  # which one "auto" took and why


def choose_estimator(
    name: str, files: Sequence[Path], options: Mapping[str, Value], height: int = 0, width: int = 0
) -> Choice:
    """The estimator of a name, or the best that is here, fits the memory that is free, and has a licence that allows
    what is asked for.

    Args:
        name: of `DEPTH_DOORS`, or "auto".
        files: depth that was brought along: "auto" takes it.
        options: of the estimator and of `STAGE_SETTINGS`.
        height, width: of the frames; 0 where they are not known yet, then memory is not asked.

    Raises:
        Ex4dError: BAD_INPUT for an unknown name or option, UNAVAILABLE for an estimator that cannot work here.
    """
    if name != "auto" or files:
        door = choose(DEPTH_DOORS, "file" if name == "auto" else name, "depth estimator")
        return _with(door, options, ())
    stage = read_settings(
        STAGE_SETTINGS, {k: v for k, v in options.items() if k in {s.name for s in STAGE_SETTINGS}}, "auto", "estimator"
    )
    passed: list[str] = []
    for candidate in (DEPTH_DOORS[each] for each in BEST_FIRST if each in DEPTH_DOORS):
        reason = _why_not(candidate, options, bool(stage["commercial"]), height, width)
        if not reason:
            break
        passed.append(f"{candidate.name}: {reason}")
    why = f"depth by {candidate.name}, the best that can be used here"
    return _with(candidate, options, (f"{why} ({'; '.join(passed)})" if passed else why,))


def _why_not(door: DepthEstimator, options: Mapping[str, Value], commercial: bool, height: int, width: int) -> str:
    """Why an estimator cannot be taken; "" where it can."""
    works, reason = door.available()
    if not works:
        return reason
    own = {name: value for name, value in options.items() if name in {s.name for s in door.settings}}
    try:
        door.nature(own, commercial)
        return door.fits(height, width, own, commercial) if height and width else ""
    except Ex4dError as error:
        return error.message


def _with(door: DepthEstimator, options: Mapping[str, Value], notes: tuple[str, ...]) -> Choice:
    values = read_settings((*door.settings, *STAGE_SETTINGS), options, door.name, "estimator")
    stage = {setting.name: values.pop(setting.name) for setting in STAGE_SETTINGS}
    return Choice(door, values, stage, notes)
