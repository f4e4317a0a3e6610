# SPDX-License-Identifier: GPL-3.0-or-later
"""The diffuse materials of the sample scene, put together from nodes."""

from __future__ import annotations

import math

import bpy

Colour = tuple[float, float, float]


class Shader:
    """A diffuse material whose colour is put together from nodes."""

    def __init__(self, name: str) -> None:
        self.material = bpy.data.materials.new(name)
        self.material.use_nodes = True
        self.tree = self.material.node_tree
        self.tree.nodes.clear()
        self.output = self.tree.nodes.new("ShaderNodeOutputMaterial")
        self.diffuse = self.tree.nodes.new("ShaderNodeBsdfDiffuse")
        self.tree.links.new(self.diffuse.outputs[0], self.output.inputs["Surface"])
        self.coordinates = self.tree.nodes.new("ShaderNodeTexCoord")

    def node(self, kind: str, **inputs: object) -> bpy.types.Node:
        """A node with its input sockets set, or linked where the value is a socket."""
        node = self.tree.nodes.new(f"ShaderNode{kind}")
        for name, value in inputs.items():
            socket = node.inputs[name.replace("_", " ")]
            if isinstance(value, bpy.types.NodeSocket):
                self.tree.links.new(value, socket)
            else:
                socket.default_value = value
        return node

    def noise(self, scale: float, detail: float = 4.0, vector: object = None) -> bpy.types.NodeSocket:
        """Fractal noise, 0..1, in the object's own coordinates unless others are given."""
        vector = vector if vector is not None else self.coordinates.outputs["Object"]
        return self.node("TexNoise", Vector=vector, Scale=scale, Detail=detail).outputs[0]

    def ramp(self, factor: bpy.types.NodeSocket, *stops: tuple[float, Colour]) -> bpy.types.NodeSocket:
        """Colours along a factor."""
        node = self.node("ValToRGB", Fac=factor)
        elements = node.color_ramp.elements
        while len(elements) < len(stops):
            elements.new(0.5)
        for element, (position, colour) in zip(elements, stops, strict=True):
            element.position, element.color = position, (*colour, 1.0)
        return node.outputs[0]

    def multiply(self, a: bpy.types.NodeSocket, b: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
        """The product of two colours."""
        node = self.tree.nodes.new("ShaderNodeMix")
        node.data_type, node.blend_type = "RGBA", "MULTIPLY"
        node.inputs[0].default_value = 1.0
        self.tree.links.new(a, node.inputs[6])
        self.tree.links.new(b, node.inputs[7])
        return node.outputs[2]

    def done(self, colour: bpy.types.NodeSocket) -> bpy.types.Material:
        """Links the colour and gives the material."""
        self.tree.links.new(colour, self.diffuse.inputs["Color"])
        return self.material


def mottled(name: str, dark: Colour, light: Colour, scale: float) -> bpy.types.Material:
    """Two tones that wander into each other, with a finer grain over them."""
    shader = Shader(name)
    broad = shader.ramp(shader.noise(scale, 6.0), (0.35, dark), (0.65, light))
    fine = shader.ramp(shader.noise(scale * 14.0, 3.0), (0.3, (0.78, 0.78, 0.78)), (0.7, (1.0, 1.0, 1.0)))
    return shader.done(shader.multiply(broad, fine))


def brick(
    name: str,
    size: tuple[float, float],
    offset: float,
    tones: tuple[Colour, Colour, Colour],
    turn: tuple[float, float, float],
) -> bpy.types.Material:
    """Bricks or tiles of `size` metres in two tones with joints, in object coordinates turned by `turn`."""
    shader = Shader(name)
    mapping = shader.node("Mapping", Vector=shader.coordinates.outputs["Object"], Rotation=turn)
    node = shader.node(
        "TexBrick",
        Vector=mapping.outputs[0],
        Scale=1.0,
        Color1=(*tones[0], 1.0),
        Color2=(*tones[1], 1.0),
        Mortar=(*tones[2], 1.0),
        Mortar_Size=0.012,
        Mortar_Smooth=0.25,
        Brick_Width=size[0],
        Row_Height=size[1],
    )
    node.offset = offset
    wear = shader.ramp(shader.noise(1.1, 8.0), (0.3, (0.55, 0.55, 0.58)), (0.68, (1.0, 1.0, 1.0)))
    grain = shader.ramp(shader.noise(24.0, 2.0), (0.3, (0.8, 0.8, 0.8)), (0.7, (1.0, 1.0, 1.0)))
    return shader.done(shader.multiply(shader.multiply(node.outputs[0], wear), grain))


def wood(name: str, dark: Colour, light: Colour) -> bpy.types.Material:
    """Boards: noise stretched along z."""
    shader = Shader(name)
    mapping = shader.node("Mapping", Vector=shader.coordinates.outputs["Object"], Scale=(14.0, 14.0, 1.2))
    return shader.done(shader.ramp(shader.noise(1.0, 5.0, mapping.outputs[0]), (0.3, dark), (0.7, light)))


def stripes(name: str, colours: tuple[Colour, ...]) -> bpy.types.Material:
    """A beach ball: wedges around the object's z axis."""
    shader = Shader(name)
    split = shader.node("SeparateXYZ", Vector=shader.coordinates.outputs["Object"])
    angle = shader.tree.nodes.new("ShaderNodeMath")
    angle.operation = "ARCTAN2"
    shader.tree.links.new(split.outputs[1], angle.inputs[0])
    shader.tree.links.new(split.outputs[0], angle.inputs[1])
    unit = shader.node("MapRange", Value=angle.outputs[0], From_Min=-math.pi, From_Max=math.pi)
    count = len(colours)
    colour = shader.ramp(unit.outputs[0], *((k / count, c) for k, c in enumerate(colours)))
    colour.node.color_ramp.interpolation = "CONSTANT"
    return shader.done(colour)
