# SPDX-License-Identifier: GPL-3.0-or-later
"""Options of the generators, as the backend tells them, kept with each scene.

Each is a custom property of the scene's record of its generator, with range, default and tooltip, so that Blender draws
it like any other. What was set stays in the .blend when no backend is there, or one that lacks the generator.
"""

from __future__ import annotations

import functools
import hashlib
import zlib
from collections.abc import Iterator
from typing import Any

import bpy

from shared_protocol.messages import Door, OptionValue, SettingInfo

from . import runtime

_PREFIX = "option_"  # so that no option can have the name of a property of the record itself
_INT = 2**31 - 1
_DIGITS = 3  # of fractions


def keep_up() -> None:
    """Give every scene the options of every generator that the backend told of. Cheap where nothing is new."""
    for door in runtime.doors("generator"):
        if not door.settings:
            continue
        stamp = _stamp(door.settings)
        for scene in bpy.data.scenes:
            if scene.library is not None:
                continue
            record = scene.ex4d.generators.get(door.name)
            if record is None:
                record = scene.ex4d.generators.add()
                record.name = door.name
            if record.stamp != stamp:
                for setting in door.settings:
                    _settle(record, setting)
                record.stamp = stamp


@functools.lru_cache(maxsize=64)
def _stamp(settings: tuple[SettingInfo, ...]) -> str:
    return hashlib.sha256(repr(settings).encode()).hexdigest()


def _settle(record: bpy.types.PropertyGroup, setting: SettingInfo) -> None:
    """Makes one option's property, or fits it to what the backend says now; a value that can be kept is kept."""
    key, default = _PREFIX + setting.name, _kept(setting, setting.default)
    numbers = [_number(choice) for choice in setting.choices]
    if type(record.get(key)) is not type(default) or (numbers and record[key] not in numbers):
        record[key] = default
    about: dict[str, Any] = {"description": setting.help, "default": default}
    if setting.choices:
        about["items"] = [(c, c, "", 0, number) for c, number in zip(setting.choices, numbers, strict=True)]
    elif type(default) in (int, float):
        kind = type(default)
        if setting.least is not None:
            about["min"] = about["soft_min"] = kind(max(setting.least, -_INT) if kind is int else setting.least)
        if setting.most is not None:
            about["max"] = about["soft_max"] = kind(min(setting.most, _INT) if kind is int else setting.most)
        if kind is float:
            about["precision"] = _DIGITS
    record.id_properties_ui(key).update(**about)


def _number(choice: str) -> int:
    """Blender keeps a choice as a number: one that stays the same when choices come and go."""
    return zlib.crc32(choice.encode()) & _INT


def _kept(setting: SettingInfo, value: OptionValue) -> OptionValue:
    """A value as the property has it."""
    return _number(str(value)) if setting.choices else value


def _values(scene: bpy.types.Scene, door: Door) -> Iterator[tuple[SettingInfo, OptionValue]]:
    """What the scene has for each of a generator's options."""
    record = scene.ex4d.generators.get(door.name)
    for setting in door.settings:
        value = None if record is None else record.get(_PREFIX + setting.name)
        if setting.choices:
            value = next((choice for choice in setting.choices if _number(choice) == value), None)
        yield setting, setting.default if type(value) is not type(setting.default) else value


def changed(scene: bpy.types.Scene) -> dict[str, OptionValue]:
    """The options of the scene's generator that differ from their defaults."""
    return {
        setting.name: value for door in of(scene) for setting, value in _values(scene, door) if value != setting.default
    }


def of(scene: bpy.types.Scene) -> list[Door]:
    """The scene's generator, as the backend told of it; none where it did not."""
    return [door for door in runtime.doors("generator") if door.name == scene.ex4d.generator]


def reset(scene: bpy.types.Scene) -> None:
    """Set the options of the scene's generator to their defaults."""
    for door in of(scene):
        record = scene.ex4d.generators.get(door.name)
        for setting in door.settings if record is not None else ():
            record[_PREFIX + setting.name] = _kept(setting, setting.default)


def draw(layout: bpy.types.UILayout, scene: bpy.types.Scene, door: Door) -> None:
    """A field for each option, under the headings of their groups."""
    record = scene.ex4d.generators.get(door.name)
    for group in dict.fromkeys(["", *(setting.group for setting in door.settings)]):
        shown = [s for s in door.settings if s.group == group and record is not None and _PREFIX + s.name in record]
        if not shown:
            continue
        column = layout.column()
        if group:
            column.label(text=group)
        for setting in shown:
            column.prop(record, f'["{_PREFIX}{setting.name}"]', text=setting.label)
