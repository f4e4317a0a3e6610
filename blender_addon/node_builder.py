# SPDX-License-Identifier: GPL-3.0-or-later
"""A few words for writing node trees in code: values or sockets in, sockets out, laid out in columns."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import bpy

Value = Any  # an output socket, or a default value for the input it goes into


class TreeBuilder:
    """Adds nodes to a tree and links them."""

    def __init__(self, tree: bpy.types.NodeTree) -> None:
        self.tree = tree

    def node(self, kind: str, label: str = "", **options: Any) -> bpy.types.Node:
        """A new node of type `kind`; options are properties of the node."""
        node = self.tree.nodes.new(kind)
        node.label = label
        for name, value in options.items():
            setattr(node, name, value)
        return node

    def feed(self, node: bpy.types.Node, socket: str | int, value: Value) -> None:
        """Links a socket to an input of the node, or sets the input's default value."""
        target = _usable(node.inputs, socket)
        if isinstance(value, bpy.types.NodeSocket):
            self.tree.links.new(value, target)
        else:
            target.default_value = value

    def call(self, kind: str, inputs: dict[str | int, Value], label: str = "", **options: Any) -> bpy.types.NodeSocket:
        """A new node with its inputs fed; returns its first usable output."""
        node = self.node(kind, label, **options)
        for socket, value in inputs.items():
            self.feed(node, socket, value)
        return next(s for s in node.outputs if s.enabled)

    def math(self, operation: str, *values: Value, label: str = "") -> bpy.types.NodeSocket:
        """Float arithmetic: 'ADD', 'FLOOR', 'GREATER_THAN', ..."""
        return self.call("ShaderNodeMath", dict(enumerate(values)), label, operation=operation)

    def integer(self, operation: str, *values: Value, label: str = "") -> bpy.types.NodeSocket:
        """Integer arithmetic, exact beyond the 24 bits of a float: 'ADD', 'MULTIPLY', 'MULTIPLY_ADD', ..."""
        return self.call("FunctionNodeIntegerMath", dict(enumerate(values)), label, operation=operation)

    def to_integer(self, value: Value, rounding: str = "FLOOR") -> bpy.types.NodeSocket:
        """Float to integer: 'FLOOR', 'ROUND', ..."""
        return self.call("FunctionNodeFloatToInt", {0: value}, rounding_mode=rounding)

    def clamp(self, value: Value, low: Value, high: Value, label: str = "") -> bpy.types.NodeSocket:
        """`value` held between `low` and `high`."""
        return self.call("ShaderNodeClamp", {0: value, 1: low, 2: high}, label)

    def vector(self, x: Value = 0.0, y: Value = 0.0, z: Value = 0.0, label: str = "") -> bpy.types.NodeSocket:
        """Three floats as a vector."""
        return self.call("ShaderNodeCombineXYZ", {0: x, 1: y, 2: z}, label)

    def split(self, vector: Value) -> tuple[bpy.types.NodeSocket, bpy.types.NodeSocket, bpy.types.NodeSocket]:
        """A vector's three components."""
        node = self.node("ShaderNodeSeparateXYZ")
        self.feed(node, 0, vector)
        return node.outputs[0], node.outputs[1], node.outputs[2]

    def group(
        self,
        name: str,
        inputs: dict[str, tuple[str, Value]],
        build: Callable[[TreeBuilder, dict[str, bpy.types.NodeSocket]], dict[str, tuple[str, Value]]],
    ) -> dict[str, bpy.types.NodeSocket]:
        """A node with a tree of its own; returns its outputs by name.

        Easier to read for a person, and quicker to make: Blender looks through a whole tree at each change of it.

        Args:
            name: of the new tree.
            inputs: kind of socket ("Float", "Vector", ...) and value, by name.
            build: adds the nodes to a builder of the new tree, given the sockets of its inputs; returns kind and value
                of each output.
        """
        tree = bpy.data.node_groups.new(name, self.tree.bl_idname)
        for key, (kind, _) in inputs.items():
            tree.interface.new_socket(key, in_out="INPUT", socket_type=f"NodeSocket{kind}")
        inner = TreeBuilder(tree)
        made = build(inner, {s.name: s for s in inner.node("NodeGroupInput").outputs if s.name})
        for key, (kind, _) in made.items():
            tree.interface.new_socket(key, in_out="OUTPUT", socket_type=f"NodeSocket{kind}")
        end = inner.node("NodeGroupOutput")
        for key, (_, value) in made.items():
            inner.feed(end, key, value)
        inner.arrange()
        node = self.node("GeometryNodeGroup", name, node_tree=tree)
        for key, (_, value) in inputs.items():
            self.feed(node, key, value)
        return {key: node.outputs[key] for key in made}

    def arrange(self) -> None:
        """Places the nodes in columns by how far they are from the output, so that a person can follow them."""
        fed: dict[str, set[str]] = {node.name: set() for node in self.tree.nodes}
        for link in self.tree.links:
            fed[link.from_node.name].add(link.to_node.name)

        @functools.cache
        def level_of(name: str) -> int:
            return 1 + max((level_of(other) for other in fed[name]), default=-1)

        heights: dict[int, float] = {}
        places: list[float] = []
        for node in self.tree.nodes:
            level = level_of(node.name)
            places += (-220.0 * level, -heights.get(level, 0.0))
            heights[level] = heights.get(level, 0.0) + 60.0 + 24.0 * (len(node.inputs) + len(node.outputs))
        self.tree.nodes.foreach_set("location", places)  # one by one, each would have the whole tree looked at


def _usable(sockets: Any, key: str | int) -> bpy.types.NodeSocket:
    """A socket by name or position among the enabled ones: a node keeps disabled twins for its other data types."""
    enabled = [s for s in sockets if s.enabled]
    if isinstance(key, int):
        return enabled[key]
    return next(s for s in enabled if s.name == key)
