# SPDX-License-Identifier: Apache-2.0
"""Which estimator "auto" means here, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from ex4d.depth.door import DepthEstimator
from ex4d.depth.network import AUTO, MODEL
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.depth.table import DEPTH_DOORS
from ex4d.doors import named
from ex4d.models.places import find_model
from ex4d.settings import Value, read_settings
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError

# Steady over time and in metres first; then per frame. What may not be used commercially is passed over where that is
# asked for. A guess comes last, and always works.
BEST_FIRST = ("video-depth-anything", "da3", "depthcrafter", "depth-pro", "depth-anything")
LAST = "draft"
FIRST_MODEL = "vda-metric-small"  # what a person without any weights does best to fetch; free for commercial use

_STAGE = {setting.name for setting in STAGE_SETTINGS}


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

    What was chosen stays chosen: one whose memory runs out during the work is not replaced by the next, since a result
    is known by what made it, and a person should hear of it.

    Args:
        name: of `DEPTH_DOORS`, or "auto".
        files: depth that was brought along: "auto" takes it.
        options: of the estimator and of `STAGE_SETTINGS`. With "auto", those of all estimators are understood, and what
            the one that is taken does not have is left out.
        height, width: of the frames; 0 where they are not known yet, then memory is not asked.

    Raises:
        Ex4dError: BAD_INPUT for an unknown name or option, UNAVAILABLE for an estimator that cannot work here.
    """
    if name != AUTO or files:
        door = named(DEPTH_DOORS, "file" if name == AUTO else name, "depth estimator")
        values = read_settings((*door.settings, *STAGE_SETTINGS), options, door.name, "estimator")
        stage = {setting.name: values.pop(setting.name) for setting in STAGE_SETTINGS}
        own, larger = door.settle(values, bool(stage["commercial"]), height, width)
        return Choice(door, own, stage, _smaller(own, larger))
    known = _STAGE.union(*({setting.name for setting in door.settings} for door in DEPTH_DOORS.values()))
    for option in options:
        if option not in known:
            raise Ex4dError(BAD_INPUT, f"No depth estimator has an option '{option}'.", f"Known: {', '.join(known)}.")
    stage = read_settings(STAGE_SETTINGS, _of(_STAGE, options), AUTO, "estimator")
    passed: dict[str, list[str]] = {}  # estimators, by why they were not taken
    commercial = bool(stage["commercial"])
    taken = DEPTH_DOORS[LAST]
    for candidate in (DEPTH_DOORS[each] for each in BEST_FIRST if each in DEPTH_DOORS):
        own, larger, reason = _tried(candidate, options, commercial, height, width)
        if not reason:
            taken = candidate
            break
        passed.setdefault(reason, []).append(candidate.name)
    else:
        own, larger, _ = _tried(taken, options, commercial, height, width)
    notes = (*_notes(taken, own, passed, commercial), *_smaller(own, larger))
    if unused := [option for option in options if option not in _STAGE | own.keys()]:
        notes = (*notes, f"{taken.name} has no option {', '.join(unused)}: left out")
    return Choice(taken, own, stage, notes)


def _tried(
    door: DepthEstimator, options: Mapping[str, Value], commercial: bool, height: int, width: int
) -> tuple[dict[str, Value], str, str]:
    """All options of an estimator and which larger model it has no memory for (`DepthEstimator.settle`); and why it
    cannot be taken, in a few words, "" where it can."""
    own = _of({setting.name for setting in door.settings}, options)
    try:
        door.nature(own, commercial)
    except Ex4dError as error:
        return own, "", _why_not_here(door, own, commercial) if error.code == UNAVAILABLE else error.message.rstrip(".")
    try:
        own, larger = door.settle(own, commercial, height, width)
        return own, larger, door.fits(height, width, own, commercial).rstrip(".") if height and width else ""
    except Ex4dError as error:
        return own, "", error.message.rstrip(".")


def _why_not_here(door: DepthEstimator, own: Mapping[str, Value], commercial: bool) -> str:
    if commercial:
        with suppress(Ex4dError):
            door.nature(own, False)
            return "not for commercial use"
    return "not on this machine"


def _notes(
    door: DepthEstimator,
    own: Mapping[str, Value],
    passed: Mapping[str, Sequence[str]],
    commercial: bool,
) -> tuple[str, ...]:
    """What a person should know of the choice: short, and with what would make it better."""
    model = door.nature(own, commercial).model
    why = "; ".join(f"{reason}: {', '.join(names)}" for reason, names in passed.items())
    said = f"depth by {door.name}{f' ({model})' if model else ''}, the best that can be used here"
    notes = [f"{said}; {why}" if why else said]
    if door.name == LAST and find_model(FIRST_MODEL) is None:
        packages = "" if find_spec("torch") is not None else "`pip install 'ex4d-blender[depth]'` and "
        notes.append(f"{packages}`ex4d models download {FIRST_MODEL}` would give better depth")
    return tuple(notes)


def _smaller(own: Mapping[str, Value], passed: str) -> tuple[str, ...]:
    """That a better model was passed over, as `DepthEstimator.settle` tells it."""
    return (f"{passed.rstrip('.')}: {own[MODEL]} is taken instead",) if passed else ()


def _of(names: set[str], options: Mapping[str, Value]) -> dict[str, Value]:
    return {name: value for name, value in options.items() if name in names}
