# SPDX-License-Identifier: Apache-2.0
"""Options of estimators and generators: declared once, read from the command line, the wire and side-cars alike."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from shared_protocol.errors import BAD_INPUT, Ex4dError

Value = str | int | float | bool

_LARGEST: Final = sys.float_info.max
_SHOWN: Final = 20  # characters of a number in a message
_ANSWERS: Final = {
    "yes": True,
    "true": True,
    "on": True,
    "1": True,
    "no": False,
    "false": False,
    "off": False,
    "0": False,
}


@dataclass(frozen=True)
class Setting:
    """One option. Its type is that of its default."""

    name: str  # snake_case: the key in side-cars, and the flag of the command line
    default: Value
    help: str  # one sentence, for --help and tooltips
    label: str = ""  # for a panel; the name in words where it is left out
    choices: tuple[str, ...] = ()  # of a text
    least: float | None = None  # of a number
    most: float | None = None
    group: str = ""  # heading of a panel's section; "" = first


def read_settings(
    settings: Sequence[Setting], options: Mapping[str, Value], owner: str, kind: str = "generator"
) -> dict[str, Value]:
    """All settings with their values: those given, and defaults.

    Whole numbers are taken for fractions, nothing else is converted.

    Raises:
        Ex4dError: BAD_INPUT for an option that its owner does not have, of another type, or out of range.
    """
    known = {setting.name: setting for setting in settings}
    for name in options:
        if name not in known:
            has = f"Its options: {', '.join(known)}." if known else "It has none: leave it out."
            raise Ex4dError(BAD_INPUT, f"The {kind} '{owner}' has no option '{name}'.", has)
    return {name: _value(setting, options.get(name, setting.default)) for name, setting in known.items()}


def from_text(setting: Setting, text: str) -> Value:
    """A value as it is typed: of the setting's type, its range not checked yet.

    Raises:
        Ex4dError: BAD_INPUT for a text that is not a number, or neither yes nor no, where that is wanted.
    """
    kind = type(setting.default)
    if kind is str:
        return text
    try:
        if kind is bool:
            return _ANSWERS[text.strip().lower()]
        return int(text) if kind is int else float(text)
    except (KeyError, ValueError) as error:
        wanted = {bool: "yes or no", int: "a whole number", float: "a number"}[kind]
        raise Ex4dError(BAD_INPUT, f"{setting.name} is {wanted}, not '{text}'.", setting.help) from error


def _value(setting: Setting, value: Value) -> Value:
    kind = type(setting.default)
    whole = kind is float and type(value) is int
    if type(value) is not kind and not whole:
        wanted = {bool: "yes or no", int: "a whole number", float: "a number", str: "a text"}[kind]
        raise Ex4dError(BAD_INPUT, f"{setting.name} is {wanted}, not {value!r}.", setting.help)
    if setting.choices and value not in setting.choices:
        raise Ex4dError(BAD_INPUT, f"There is no {setting.name} '{value}'.", f"Choose: {', '.join(setting.choices)}.")
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        _check_range(setting, value)
    return float(value) if whole else value


def _check_range(setting: Setting, value: int | float) -> None:
    least = -_LARGEST if setting.least is None else setting.least
    most = _LARGEST if setting.most is None else setting.most
    if least <= value <= most:
        return
    text = str(value)
    shown = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
    hint = f"Give {least:g} or more." if setting.most is None else f"Give {least:g} to {most:g}."
    raise Ex4dError(BAD_INPUT, f"{setting.name} cannot be {shown}.", hint)
