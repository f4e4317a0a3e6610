# SPDX-License-Identifier: GPL-3.0-or-later
"""Materials of the ground-truth scenes: the sample's textures, turned into light.

They emit their colour, so a point looks the same from everywhere and the pictures have no noise but that of the
pixel's own area. What would be light and shade is a share of the colour that depends on the surface's direction.
"""

from __future__ import annotations

import colorsys
import math
import random

import bpy
from _sample_materials import Colour, Shader, brick, mottled, stripes, wood
from mathutils import Vector

LIGHT = Vector((-0.45, -0.6, 0.66)).normalized()  # towards it


class Paints:
    """Draws materials; the same random numbers give the same materials."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw

    def colour(self, value: float | None = None, saturation: float | None = None, hue: float | None = None) -> Colour:
        """A linear colour; what is not given is drawn."""
        h = self._draw.random() if hue is None else hue
        s = self._draw.uniform(0.25, 0.75) if saturation is None else saturation
        v = self._draw.uniform(0.25, 0.75) if value is None else value
        return colorsys.hsv_to_rgb(h, s, v)

    def _pair(self, **known: float) -> tuple[Colour, Colour]:
        """A colour and a darker one of almost the same hue."""
        light = self.colour(**known)
        h, s, v = colorsys.rgb_to_hsv(*light)
        h = (h + self._draw.uniform(-0.05, 0.05)) % 1.0
        return colorsys.hsv_to_rgb(h, min(1.0, 1.15 * s), v * self._draw.uniform(0.4, 0.65)), light

    def plaster(self, scale: float | None = None, **known: float) -> bpy.types.Material:
        """Two tones that wander into each other, with a finer grain."""
        dark, light = self._pair(**known)
        return self._glow(mottled("plaster", dark, light, scale or self._draw.uniform(0.8, 2.5)))

    def bricks(self, turn: tuple[float, float, float], size: tuple[float, float] | None = None) -> bpy.types.Material:
        """Bricks or tiles that lie as `turn` says."""
        size = size or (self._draw.uniform(0.3, 0.6), self._draw.uniform(0.12, 0.3))
        dark, light = self._pair(saturation=self._draw.uniform(0.2, 0.6))
        joint = self.colour(value=self._draw.choice((0.12, 0.6)), saturation=0.1)
        return self._glow(brick("bricks", size, self._draw.choice((0.0, 0.5)), (dark, light, joint), turn))

    def tiles(self) -> bpy.types.Material:
        """Square tiles for a floor."""
        size = self._draw.uniform(0.35, 0.7)
        turned = (0.0, 0.0, math.radians(self._draw.choice((0.0, 45.0, 20.0))))
        dark, light = self._pair(saturation=self._draw.uniform(0.1, 0.4))
        return self._glow(brick("tiles", (size, size), 0.0, (dark, light, self.colour(0.15, 0.1)), turned))

    def planks(self) -> bpy.types.Material:
        """Wood."""
        dark, light = self._pair(hue=self._draw.uniform(0.04, 0.11), saturation=self._draw.uniform(0.4, 0.75))
        return self._glow(wood("wood", dark, light))

    def wedges(self) -> bpy.types.Material:
        """A beach ball."""
        colours = [self.colour(value=self._draw.uniform(0.3, 0.85)) for _ in range(3)]
        pale = self.colour(value=0.85, saturation=0.12)
        return self._glow(stripes("wedges", (colours[0], pale, colours[1], pale, colours[2], pale)), shifted=False)

    def smooth(self, **known: float) -> bpy.types.Material:
        """One colour that drifts slowly: hardly any texture."""
        dark, light = self._pair(**known)
        shader = Shader("smooth")
        return self._glow(shader.done(shader.ramp(shader.noise(0.7, 0.0), (0.3, dark), (0.7, light))))

    def sky(self) -> bpy.types.Material:
        """Clouds, without any shading."""
        shader = Shader("sky")
        blue = self.colour(value=0.8, saturation=0.45, hue=self._draw.uniform(0.54, 0.64))
        clouds = shader.ramp(shader.noise(0.03, 5.0), (0.4, blue), (0.66, (0.9, 0.9, 0.92)))
        return self._glow(shader.done(clouds), shaded=False)

    def _glow(self, material: bpy.types.Material, *, shaded: bool = True, shifted: bool = True) -> bpy.types.Material:
        """Makes a diffuse material emit its colour, and takes its texture from a place of its own."""
        tree = material.node_tree
        nodes = {node.bl_idname: node for node in tree.nodes}
        diffuse, coordinates = nodes["ShaderNodeBsdfDiffuse"], nodes["ShaderNodeTexCoord"]
        if shifted:
            mapping = tree.nodes.new("ShaderNodeMapping")
            mapping.inputs["Location"].default_value = [self._draw.uniform(0.0, 50.0) for _ in range(3)]
            for link in list(coordinates.outputs["Object"].links):
                tree.links.new(mapping.outputs[0], link.to_socket)
            tree.links.new(coordinates.outputs["Object"], mapping.inputs["Vector"])
        colour = diffuse.inputs["Color"].links[0].from_socket
        if shaded:
            colour = _shade(tree, colour)
        emission = tree.nodes.new("ShaderNodeEmission")
        tree.links.new(colour, emission.inputs["Color"])
        tree.links.new(emission.outputs[0], nodes["ShaderNodeOutputMaterial"].inputs["Surface"])
        tree.nodes.remove(diffuse)
        material.cycles.emission_sampling = "NONE"  # nothing is lit by it
        return material


def _shade(tree: bpy.types.NodeTree, colour: bpy.types.NodeSocket) -> bpy.types.NodeSocket:
    """Darker where the surface looks away from the light."""
    geometry = tree.nodes.new("ShaderNodeNewGeometry")
    towards = tree.nodes.new("ShaderNodeVectorMath")
    towards.operation = "DOT_PRODUCT"
    towards.inputs[1].default_value = LIGHT
    tree.links.new(geometry.outputs["Normal"], towards.inputs[0])
    share = tree.nodes.new("ShaderNodeMath")
    share.operation = "MULTIPLY_ADD"
    share.inputs[1].default_value, share.inputs[2].default_value = 0.33, 0.67
    tree.links.new(towards.outputs["Value"], share.inputs[0])
    scaled = tree.nodes.new("ShaderNodeVectorMath")
    scaled.operation = "SCALE"
    tree.links.new(colour, scaled.inputs[0])
    tree.links.new(share.outputs[0], scaled.inputs["Scale"])
    return scaled.outputs[0]
