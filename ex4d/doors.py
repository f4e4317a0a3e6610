# SPDX-License-Identifier: Apache-2.0
"""What every estimator, rasterizer and generator tells about itself, and how one is chosen by name.

Nothing else in the code asks which one it has. The tables live beside their members: `ex4d.depth.DEPTH_DOORS`,
`ex4d.render.RASTERIZERS`, `ex4d.generate.GENERATORS`; importing them loads nothing heavy.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, TypeVar

from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError


class Door(Protocol):
    """The part that the three kinds share."""

    name: str  # what one types
    label: str  # what a menu shows
    licence: str  # of the code and, where it has any, of the weights
    commercial_use: bool

    def available(self) -> tuple[bool, str]:
        """Whether it works here, and if not, why, in words that say what to do."""
        ...


D = TypeVar("D", bound=Door)


def named(table: Mapping[str, D], name: str, what: str) -> D:
    """The member of that name.

    Args:
        table: one of the three tables.
        name: which member.
        what: the kind, for the message ("generator").

    Raises:
        Ex4dError: BAD_INPUT for an unknown name.
    """
    door = table.get(name)
    if door is None:
        raise Ex4dError(BAD_INPUT, f"There is no {what} called '{name}'.", f"Choose one of: {', '.join(table)}.")
    return door


def choose(table: Mapping[str, D], name: str, what: str) -> D:
    """The member of that name, ready to work. Arguments as of `named`.

    Raises:
        Ex4dError: BAD_INPUT for an unknown name, UNAVAILABLE for one that cannot work here.
    """
    door = named(table, name, what)
    works, reason = door.available()
    if not works:
        raise Ex4dError(UNAVAILABLE, f"The {what} '{name}' does not work here: {reason}")
    return door
