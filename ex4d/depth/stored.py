# SPDX-License-Identifier: Apache-2.0
"""Depth files that were opened: what is known of them before their frames are read."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from ex4d.values import F32

Kind = Literal["depth", "disparity"]

# What our own files say of their numbers: attributes of an EXR's header, and the ends of these names in an npz.
HOLDS, UNITS = "ex4d/holds", "ex4d/units"
HOLDS_DEPTH, HOLDS_DISPARITY = "z along the camera's axis", "1 / z"
METRES, SCENE_UNITS, RELATIVE = "metres", "scene units", "relative"

_DISPARITY = re.compile(r"[Dd]isp(arity)?(?![a-z])|DISP(ARITY)?")  # not "display", not "displacement"


def kind_of(name: str) -> Kind:
    """What a channel or an array holds, by its name."""
    return "disparity" if _DISPARITY.search(name) else "depth"


@dataclass(frozen=True, eq=False)
class Stored:
    """Depth in files. Frames are read one by one, so that any number of them takes the memory of one."""

    name: str  # for messages
    total: int  # frames
    kind: Kind  # by the type of the files, or by what stands in them
    # Reads frames [h, w] by their index, which ascends; all are of one size.
    read: Callable[[Sequence[int]], Iterator[F32]]
    numbers: tuple[int, ...] = ()  # of the frames, by the names of their files; () = they have none
    whole: bool = False  # whole numbers of pictures: disparity of this kind is relative, depth counts millimetres
    inverse: bool = False  # disparity that says itself to be 1 / z in scene units
    metric: bool = False  # it says itself to be in metres
    notes: tuple[str, ...] = ()
    remarks: tuple[tuple[Kind, str], ...] = ()  # notes for when it is read as this kind
