# SPDX-License-Identifier: GPL-3.0-or-later
"""Differences between Blender versions, and nothing else. Every other module is written for the newest API.

Supported: 4.5 LTS to 5.2 LTS. Each function says which versions differ.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    """The F-curves that animate a data block (a collection with `find` and `remove`); None if there are none.

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
    """Value of a geometry nodes modifier's input. A menu's is a number before 5.2, and the name of the choice since."""
    inputs = _modifier_inputs(modifier)
    return modifier[identifier] if inputs is None else getattr(inputs, identifier).value


def set_modifier_input(modifier: bpy.types.Modifier, identifier: str, value: Any, choices: Sequence[str] = ()) -> None:
    """Sets a geometry nodes modifier's input and has it evaluated again.

    Args:
        modifier: whose.
        identifier: of the input's socket.
        value: the new value; of a menu, the name of the choice.
        choices: of a menu, all names in the order in which they were made.
    """
    inputs = _modifier_inputs(modifier)
    if inputs is None:
        modifier[identifier] = choices.index(value) if choices else value
    else:
        getattr(inputs, identifier).value = value
    modifier.id_data.update_tag()


def modifier_input_path(modifier: bpy.types.Modifier, identifier: str) -> str:
    """What to append to the modifier's own data path for keyframes and drivers of an input."""
    if _modifier_inputs(modifier) is None:
        return f'["{identifier}"]'
    return f".properties.inputs.{identifier}.value"


def modifier_input_property(modifier: bpy.types.Modifier, identifier: str) -> tuple[Any, str]:
    """An input as the two arguments that `UILayout.prop` takes."""
    inputs = _modifier_inputs(modifier)
    return (modifier, f'["{identifier}"]') if inputs is None else (getattr(inputs, identifier), "value")


def _modifier_inputs(modifier: bpy.types.Modifier) -> Any:
    """Where 5.2 keeps the inputs of a geometry nodes modifier; None before, when they were custom properties."""
    properties = getattr(modifier, "properties", None)
    return None if properties is None else properties.inputs


def use_nodes(material: bpy.types.Material) -> None:
    """Gives a material a node tree. From 5.0 on each has one, and setting this warns."""
    if material.node_tree is None:
        material.use_nodes = True


def sequencer_scene(context: bpy.types.Context) -> bpy.types.Scene:
    """The scene that the sequencer shows. Since 5.0 a workspace may show another one than it edits."""
    return getattr(context, "sequencer_scene", None) or context.scene


def show_in_sequencer(context: bpy.types.Context, scene: bpy.types.Scene) -> None:
    """Have the sequencer show this scene, where it shows none. Before 5.0 it always shows the context's."""
    workspace = context.workspace
    if workspace is not None and hasattr(workspace, "sequencer_scene") and workspace.sequencer_scene is None:
        workspace.sequencer_scene = scene


def strip_range(strip: bpy.types.Strip) -> tuple[int, int]:
    """First frame of a strip, and the one after its last. 5.1 gave both new names."""
    if hasattr(strip, "left_handle"):
        return int(strip.left_handle), int(strip.right_handle)
    return int(strip.frame_final_start), int(strip.frame_final_end)
