# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of generators and depth estimators, as the backend tells them, kept with each scene.

Each is a custom property of the scene's record of its door, with range, default and tooltip, so that Blender draws it
like any other. What was set stays in the .blend when no backend is there, or one that lacks the door.
"""

from __future__ import annotations

import functools
import hashlib
import logging
import zlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import bpy

from shared_protocol.errors import LIMIT, Ex4dError
from shared_protocol.limits import MAX_STRING
from shared_protocol.messages import Door, OptionValue, SettingInfo

from . import runtime

_log = logging.getLogger(__name__)
_PREFIX = "option_"  # so that no option can have the name of a property of the record itself
_INT = 2**31 - 1
_DIGITS = 3  # of fractions

GENERATOR, DEPTH = "generator", "depth"  # the kinds of doors that have options
AUTO = "auto"  # among estimators: the backend chooses
FROM_FILES = "file"  # the estimator that reads depth which was brought along
_RECORDS = {GENERATOR: "generators", DEPTH: "estimators"}  # collections of a scene's settings
_WORDS = {GENERATOR: "generator", DEPTH: "estimator"}  # for a person
_ELSEWHERE = frozenset({"commercial", "depth_kind"})  # options of estimators that have fields of their own in the panel


def doors(kind: str) -> tuple[Door, ...]:
    """The doors of a kind, each with the options that are to be set here. Estimators begin with the automatic choice,
    which has what all of them have."""
    found = runtime.doors(kind)
    if kind != DEPTH or not found:
        return found
    found = tuple(replace(d, settings=tuple(s for s in d.settings if s.name not in _ELSEWHERE)) for d in found)
    return Door(DEPTH, AUTO, "Automatic", "", True, True, "", settings=_shared(found)), *found


def _shared(found: tuple[Door, ...]) -> tuple[SettingInfo, ...]:
    return tuple(s for s in found[0].settings if all(s in door.settings for door in found))


def own(door: Door) -> tuple[SettingInfo, ...]:
    """The options of a door that not all of its kind have."""
    everywhere = _shared(runtime.doors(door.kind)) if door.kind == DEPTH else ()
    return tuple(s for s in door.settings if s not in everywhere)


def keep_up() -> None:
    """Give every scene the options of every door that the backend told of. Cheap where nothing is new."""
    for door in (door for kind in _RECORDS for door in doors(kind)):
        if not door.settings:
            continue
        stamp = _stamp(door.settings, tuple(type(setting.default) for setting in door.settings))
        for scene in bpy.data.scenes:
            if scene.library is not None:
                continue
            record = _record(scene, door)
            if record is None:
                record = getattr(scene.ex4d, _RECORDS[door.kind]).add()
                record.name = door.name
            if record.stamp != stamp:
                for setting in door.settings:
                    _settle_or_leave(record, setting)
                record.stamp = stamp


def _record(scene: bpy.types.Scene, door: Door) -> bpy.types.PropertyGroup | None:
    return getattr(scene.ex4d, _RECORDS[door.kind]).get(door.name)


@functools.lru_cache(maxsize=64)
def _stamp(settings: tuple[SettingInfo, ...], _kinds: tuple[type, ...]) -> str:
    # The kinds of the defaults are there for the cache: to it 5 and 5.0 are the same.
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def _settle_or_leave(record: bpy.types.PropertyGroup, setting: SettingInfo) -> None:
    """Settles one option; one that Blender cannot hold gets no field, and keeps the backend's default."""
    try:
        _settle(record, setting)
    except (OverflowError, TypeError, ValueError) as e:
        _log.warning("no field for the option '%s' of '%s': %s", setting.name, record.name, e)
        if _PREFIX + setting.name in record:
            del record[_PREFIX + setting.name]


def _settle(record: bpy.types.PropertyGroup, setting: SettingInfo) -> None:
    """Makes one option's property, or fits it to what the backend says now; a value that can be kept is kept."""
    key, default = _PREFIX + setting.name, _kept(setting, setting.default)
    if not _keeps(record, setting):
        record[key] = default
    about: dict[str, Any] = {"description": setting.help, "default": default}
    if setting.choices:
        about["items"] = [(choice, choice, "", 0, _number(choice)) for choice in setting.choices]
    elif type(default) in (int, float):
        kind = type(default)
        if setting.least is not None:
            about["min"] = about["soft_min"] = kind(max(setting.least, -_INT) if kind is int else setting.least)
        if setting.most is not None:
            about["max"] = about["soft_max"] = kind(min(setting.most, _INT) if kind is int else setting.most)
        if kind is float:
            about["precision"] = _DIGITS
    field = record.id_properties_ui(key)
    field.clear()  # of a range or of choices that are no more
    field.update(**about)


def _keeps(record: bpy.types.PropertyGroup, setting: SettingInfo) -> bool:
    """Whether the scene has a value for an option that the backend would take."""
    key = _PREFIX + setting.name
    value = record.get(key)
    if type(value) is not type(_kept(setting, setting.default)):
        return False
    was_choice = "items" in record.id_properties_ui(key).as_dict()  # which is a number to Blender, see `_number`
    if setting.choices or was_choice:
        return was_choice and value in [_number(choice) for choice in setting.choices]
    if isinstance(value, str):
        return True
    return not (
        (setting.least is not None and value < setting.least) or (setting.most is not None and value > setting.most)
    )


def _number(choice: str) -> int:
    """Blender keeps a choice as a number: one that stays the same when choices come and go."""
    return zlib.crc32(choice.encode()) & _INT


def _kept(setting: SettingInfo, value: OptionValue) -> OptionValue:
    """A value as the property has it."""
    return _number(str(value)) if setting.choices else value


def _values(scene: bpy.types.Scene, door: Door) -> Iterator[tuple[SettingInfo, OptionValue]]:
    """What the scene has for each of a door's options."""
    record = _record(scene, door)
    for setting in door.settings:
        value = None if record is None else record.get(_PREFIX + setting.name)
        if setting.choices:
            value = next((choice for choice in setting.choices if _number(choice) == value), None)
        yield setting, setting.default if type(value) is not type(setting.default) else value


def changed(scene: bpy.types.Scene, kind: str) -> dict[str, OptionValue]:
    """The options of the scene's generator or estimator that differ from their defaults."""
    return {
        setting.name: value
        for door in of(scene, kind)
        for setting, value in _values(scene, door)
        if value != setting.default
    }


def asked(scene: bpy.types.Scene, kind: str) -> dict[str, OptionValue]:
    """The same, as a job takes them.

    Raises:
        Ex4dError: LIMIT for a text that is too long to be sent.
    """
    given = changed(scene, kind)
    for setting in (setting for door in of(scene, kind) for setting in door.settings):
        value = given.get(setting.name)
        size = len(value.encode(errors="replace")) if isinstance(value, str) else 0
        if size > MAX_STRING:
            raise Ex4dError(
                LIMIT,
                f"The {_WORDS[kind]}'s option '{setting.label}' has {size:,} bytes of text; {MAX_STRING:,} can be "
                "sent.",
                "Shorten it. Letters beyond English ones take two to four bytes each.",
            )
    return given


def of(scene: bpy.types.Scene, kind: str) -> list[Door]:
    """The scene's generator or estimator, as the backend told of it; none where it did not."""
    settings = scene.ex4d
    name = settings.generator if kind == GENERATOR else FROM_FILES if settings.depth_path else settings.estimator
    return [door for door in doors(kind) if door.name == name]


def reset(scene: bpy.types.Scene, kind: str) -> None:
    """Set the options of the scene's generator or estimator to their defaults."""
    for door in of(scene, kind):
        record = _record(scene, door)
        for setting in door.settings if record is not None else ():
            if _PREFIX + setting.name in record:
                record[_PREFIX + setting.name] = _kept(setting, setting.default)


def draw(layout: bpy.types.UILayout, scene: bpy.types.Scene, door: Door) -> None:
    """A field for each option, under the headings of their groups."""
    record = _record(scene, door)
    for group in dict.fromkeys(["", *(setting.group for setting in door.settings)]):
        shown = [s for s in door.settings if s.group == group and record is not None and _PREFIX + s.name in record]
        if not shown:
            continue
        column = layout.column()
        if group:
            column.label(text=group)
        for setting in shown:
            column.prop(record, f'["{_PREFIX}{setting.name}"]', text=setting.label)
