# SPDX-License-Identifier: Apache-2.0
"""Frozen dataclasses to and from plain values (dict, tuple, str, int, float, bool, None), with every type checked.

The wire, the job journal and the pipe to the worker all use it. Nothing is built but the dataclasses that the type
itself names, so what arrives cannot choose what is made of it.
"""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from . import limits
from .errors import BAD_MESSAGE, LIMIT, Ex4dError

T = TypeVar("T")

# Where a field may hold one of several dataclasses, the plain value names which: {"type": name, "value": fields}.
_TYPE, _VALUE = "type", "value"

_HINTS: dict[type, dict[str, tuple[Any, bool]]] = {}


def to_plain(value: Any) -> Any:
    """Plain value of a dataclass and everything inside it."""
    if isinstance(value, type) or not dataclasses.is_dataclass(value):
        return tuple(to_plain(v) for v in value) if isinstance(value, tuple) else value
    hints = _hints(type(value))
    return {name: _field(hint, getattr(value, name)) for name, (hint, _) in hints.items()}


def from_plain(kind: type[T], value: object, *, newer: bool = False) -> T:
    """The dataclass `kind` from its plain value.

    Args:
        kind: a dataclass.
        value: what arrived.
        newer: whether the sender speaks a newer minor protocol, so that fields unknown here are skipped.

    Raises:
        Ex4dError: BAD_MESSAGE, LIMIT or BAD_INPUT, naming the field.
    """
    built = _build(kind, value, kind.__name__, newer)
    assert isinstance(built, kind)  # noqa: S101  for the type checker
    return built


def _hints(kind: type) -> dict[str, tuple[Any, bool]]:
    """Field name -> (type, whether it must be there)."""
    known = _HINTS.get(kind)
    if known is None:
        hints = typing.get_type_hints(kind)
        missing = dataclasses.MISSING
        known = _HINTS[kind] = {
            f.name: (hints[f.name], f.default is missing and f.default_factory is missing)
            for f in dataclasses.fields(kind)
        }
    return known


def _members(hint: Any) -> tuple[Any, ...]:
    """Members of a union, or the type alone."""
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        return typing.get_args(hint)
    return (hint,)


def _choices(hint: Any) -> dict[str, type]:
    """The dataclasses that a union offers, by name."""
    return {h.__name__: h for h in _members(hint) if dataclasses.is_dataclass(h) and isinstance(h, type)}


def _field(hint: Any, value: Any) -> Any:
    plain = to_plain(value)
    if isinstance(plain, dict) and len(_choices(hint)) > 1:
        return {_TYPE: type(value).__name__, _VALUE: plain}
    return plain


def _bad(where: str, text: str) -> Ex4dError:
    return Ex4dError(BAD_MESSAGE, f"{where}: {text}")


def _build(hint: Any, value: object, where: str, newer: bool) -> Any:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _dataclass(hint, value, where, newer)
    if typing.get_origin(hint) is tuple:
        return _tuple(typing.get_args(hint), value, where, newer)
    members = _members(hint)
    if len(members) > 1:
        return _union(hint, members, value, where, newer)
    return _scalar(hint, value, where)


def _dataclass(kind: type, value: object, where: str, newer: bool) -> Any:
    if not isinstance(value, Mapping):
        raise _bad(where, f"not the fields of {kind.__name__}")
    hints = _hints(kind)
    if not newer and not value.keys() <= hints.keys():
        raise _bad(where, "has fields that are not part of it")
    fields = {}
    for name, (hint, needed) in hints.items():
        if name in value:
            fields[name] = _build(hint, value[name], f"{where}.{name}", newer)
        elif needed:
            raise _bad(where, f"'{name}' is missing")
    built = kind(**fields)
    limits.check(built)
    return built


def _tuple(args: tuple[Any, ...], value: object, where: str, newer: bool) -> tuple[Any, ...]:
    if not isinstance(value, (tuple, list)):
        raise _bad(where, "not an array")
    if len(value) > limits.MAX_ARRAY:
        raise Ex4dError(LIMIT, f"{where}: {len(value):,} members are over the limit of {limits.MAX_ARRAY:,}.")
    if len(args) == 2 and args[1] is Ellipsis:
        return tuple(_build(args[0], v, where, newer) for v in value)
    if len(value) != len(args):
        raise _bad(where, f"needs {len(args)} members, and has {len(value)}")
    return tuple(_build(a, v, where, newer) for a, v in zip(args, value, strict=True))


def _union(hint: Any, members: tuple[Any, ...], value: object, where: str, newer: bool) -> Any:
    if value is None and type(None) in members:
        return None
    choices = _choices(hint)
    if len(choices) > 1:
        if not isinstance(value, Mapping) or value.keys() != {_TYPE, _VALUE}:
            raise _bad(where, "does not say which type it is")
        name = value[_TYPE]
        kind = choices.get(name) if isinstance(name, str) else None
        if kind is None:
            raise _bad(where, f"{str(name)[:40]!r} is none of {', '.join(choices)}")
        return _build(kind, value[_VALUE], where, newer)
    compound = [h for h in members if h not in (str, int, float, bool, type(None))]
    if compound:  # Optional[dataclass] or Optional[tuple]
        return _build(compound[0], value, where, newer)
    if type(value) in members:  # scalars: type() and not isinstance, since True is an int
        return _scalar(type(value), value, where)
    return _scalar(float if float in members else members[0], value, where)


def _scalar(hint: Any, value: object, where: str) -> Any:
    if hint is float and type(value) in (int, float):
        try:
            number = float(value)  # type: ignore[arg-type]
        except OverflowError:
            number = math.inf
        if not math.isfinite(number):
            raise _bad(where, "not a finite number")
        return number
    if type(value) is not hint:
        raise _bad(where, f"not of type {getattr(hint, '__name__', hint)}")
    if isinstance(value, int) and abs(value) > limits.MAX_INT:
        raise _bad(where, "an integer out of bounds")
    if isinstance(value, str):
        size = len(value) if value.isascii() else len(value.encode(errors="replace"))
        if size > limits.MAX_STRING:  # told here: a header that cannot be unpacked has no request to be answered under
            raise Ex4dError(LIMIT, f"{where}: a text of {size:,} bytes is over the limit of {limits.MAX_STRING:,}.")
        if "\0" in value:
            raise _bad(where, "holds a NUL character")
    return value
