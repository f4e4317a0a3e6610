# SPDX-License-Identifier: GPL-3.0-or-later
"""What the parts of the panel share: text in lines, the menus of doors, their options."""

from __future__ import annotations

import bpy

from shared_protocol.messages import Door

from . import options, runtime
from .core import door_words

_CHARACTER, _MARGIN = 7.0, 80.0  # pixels at a scale of 1: of a letter on average, of what stands beside the text
_MENU = 60  # letters in a line of a menu
_TITLES = {options.GENERATOR: "Generator options", options.DEPTH: "Estimator options"}


class DoorMenu:
    """A menu of estimators or generators, with what each is; those that do not work here say why."""

    kind = ""

    def draw(self, context):
        layout = self.layout
        non_commercial = context.scene.ex4d.non_commercial
        if self.kind == options.DEPTH:
            self._choice(layout, options.AUTO, "Automatic", True)
        doors = [d for d in runtime.doors(self.kind) if d.name != options.FROM_FILES]  # which comes with a depth file
        for door in doors:
            forbidden = self.kind == options.DEPTH and not (door.commercial_use or non_commercial)
            # With options it can be chosen all the same: one of them may say where its weights lie.
            possible = door.available or bool(options.own(door))
            self._choice(layout, door.name, door.label, possible and not forbidden)
            words = [door_words.nature(door)] if self.kind == options.DEPTH else []
            # What helps is told where it is chosen, and in its tooltip: the menu has to fit onto the screen.
            words += [] if door.available else [door.reason.partition(". ")[0]]
            words += ["Only where Non-commercial work is ticked."] if forbidden else []
            for line in (line for text in words for line in lines(text, _MENU)):
                layout.label(text=line, icon="BLANK1")
        if not doors:
            layout.label(text="Connect a backend to see what it has.")

    def _choice(self, layout, name, label, available):
        row = layout.row()
        row.enabled = available
        button = row.operator("ex4d.choose_door", text=label)
        button.kind, button.name = self.kind, name


def door_field(layout: bpy.types.UILayout, text: str, name: str, menu: str, kind: str) -> None:
    """A field that opens the menu of a kind of doors."""
    automatic = "Automatic" if name == options.AUTO else name
    label = next((door.label for door in runtime.doors(kind) if door.name == name), automatic)
    row = layout.column().split(factor=0.4)
    left = row.row()
    left.alignment = "RIGHT"
    left.label(text=text)
    row.menu(menu, text=label)


def door_details(layout: bpy.types.UILayout, context: bpy.types.Context, kind: str) -> None:
    """Why what was chosen does not work, and its options: a part of the panel that is closed until it is wanted."""
    for door in options.of(context.scene, kind):
        if not door.available:
            told(layout, door.reason, context, "ERROR")
        if door.settings:
            _options(layout, context.scene, kind, door)


def _options(layout: bpy.types.UILayout, scene: bpy.types.Scene, kind: str, door: Door) -> None:
    header, body = layout.panel(f"ex4d_{kind}_options", default_closed=True)
    changed = len(options.changed(scene, kind))
    header.label(text=f"{_TITLES[kind]} ({changed} set)" if changed else _TITLES[kind])
    if body is not None:
        options.draw(body, scene, door)
        row = body.row()
        row.enabled = changed > 0
        row.operator("ex4d.reset_options", icon="LOOP_BACK").kind = kind


def choice(layout: bpy.types.UILayout, name: str, settings: bpy.types.PropertyGroup, text: str = "") -> None:
    """A checkbox whose text has the whole width: beside a column of names it would be cut off."""
    row = layout.row()
    row.use_property_split = False
    if text:
        row.prop(settings, name, text=text)
    else:
        row.prop(settings, name)


def told(layout: bpy.types.UILayout, text: str, context: bpy.types.Context, icon: str = "BLANK1") -> None:
    """A text in as many lines as the sidebar takes for it; the icon stands before the first."""
    for i, line in enumerate(lines(text, columns(context))):
        layout.label(text=line, icon="BLANK1" if i else icon)


def columns(context: bpy.types.Context) -> int:
    """How many letters fit into a line of the sidebar, about."""
    return max(16, int((width(context) - _MARGIN) / _CHARACTER))


def width(context: bpy.types.Context) -> float:
    """Of the sidebar, in pixels at a scale of 1."""
    if context.region is None:
        return 360.0
    return context.region.width / context.preferences.system.ui_scale


def lines(text: str, room: int) -> list[str]:
    """The text in lines of at most so many letters."""
    found, line = [], ""
    for word in text.split():
        if line and len(line) + len(word) >= room:
            found.append(line)
            line = ""
        line = f"{line} {word}".strip()
    return [*found, line] if line else found
