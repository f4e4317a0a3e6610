# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between Blender versions, and nothing else. Every other module is written for the newest API.

Supported: 4.5 LTS to 5.2 LTS. Each function says which versions differ.
"""

from __future__ import annotations

from typing import Any

import bpy


def set_node_option(node: bpy.types.Node, option: str, value: str) -> None:
    """Sets a choice of a node, whether it is a property of the node or a menu socket.

    Blender 5.0 turned many properties of geometry nodes into menu sockets: Triangulate's `quad_method` = 'FIXED'
    became an input "Quad Method" = "Fixed".
    """
    if option in node.bl_rna.properties:
        setattr(node, option, value)
        return
    node.inputs[option.replace("_", " ").title()].default_value = value.replace("_", " ").title()


def fcurves(owner: bpy.types.ID) -> Any:
    """The F-curves that animate a data block, as a collection with `find`, `remove` and iteration; None if there are none.

    An object and its camera data may share one action with a slot each, so the slot decides. 5.0 removed
    `Action.fcurves`; layers and slots are in all supported versions.
    """
    data = owner.animation_data
    if data is None or data.action is None or data.action_slot is None:
        return None
    for layer in data.action.layers:
        for strip in layer.strips:
            bag = strip.channelbag(data.action_slot)
            if bag is not None:
                return bag.fcurves
    return None


def modifier_input(modifier: bpy.types.Modifier, identifier: str) -> Any:
    """Value of a geometry nodes modifier's input."""
    return modifier[identifier]


def set_modifier_input(modifier: bpy.types.Modifier, identifier: str, value: Any) -> None:
    """Sets a geometry nodes modifier's input and has it evaluated again."""
    modifier[identifier] = value
    modifier.id_data.update_tag()


def modifier_input_path(identifier: str) -> str:
    """Property path of an input below the modifier."""
    return f'["{identifier}"]'
