# SPDX-License-Identifier: GPL-3.0-or-later
"""Depth as colours on the mesh, in its material: red is near, blue is far, as the depth preview has it.

The colours follow the mesh as it stands, scale, shift and keys included: what the material measures is how far the
surface is from the source camera, whose axes are those of the mesh. Which distances are red and blue is set when they
are switched on, so that a mesh that was made many times as large has all of the colours, too.
"""

from __future__ import annotations

from typing import Any

import bpy

from .core.scene_manifest import SceneManifest
from .node_builder import TreeBuilder

SWITCH = "Depth Colours"  # the value node that shows them: 0 or 1
_RED, _BLUE = "Depth Colours Near", "Depth Colours Far"  # value nodes: distances
_NEAREST = 1e-6
# Every 15th colour of Turbo (A. Mikhailov, Google, 2019; the table is under Apache-2.0), 8-bit sRGB, from 0 to 255.
# A colour ramp of Blender holds 32 at most.
_TURBO = (
    (48, 18, 59),
    (63, 62, 156),
    (70, 102, 221),
    (69, 140, 253),
    (47, 178, 244),
    (26, 212, 208),
    (34, 235, 170),
    (82, 250, 122),
    (139, 255, 75),
    (183, 247, 53),
    (219, 226, 54),
    (245, 197, 58),
    (254, 161, 48),
    (249, 117, 29),
    (232, 75, 12),
    (206, 45, 4),
    (169, 22, 1),
    (122, 4, 3),
)


def over(b: TreeBuilder, colour: Any, manifest: SceneManifest) -> Any:
    """A material's colour, or that of the depth where it is switched on."""
    switch = b.node("ShaderNodeValue", SWITCH)
    switch.name = SWITCH
    switch.outputs[0].default_value = 0.0
    place = b.node("ShaderNodeTexCoord").outputs["Object"]
    _, _, z = b.split(place)
    disparity = _inverse(b, b.math("MULTIPLY", z, -1.0))
    near, far = (_inverse(b, _distance(b, *end)) for end in ((_RED, manifest.near), (_BLUE, manifest.far_depth)))
    share = b.math("DIVIDE", b.math("SUBTRACT", disparity, far), b.math("SUBTRACT", near, far), label="Nearness")
    ramp = b.node("ShaderNodeValToRGB", "Turbo")
    for index, stop in enumerate(_TURBO):
        at = index / (len(_TURBO) - 1)
        elements = ramp.color_ramp.elements
        element = elements[0] if index == 0 else elements[-1] if index == len(_TURBO) - 1 else elements.new(at)
        element.position = at
        element.color = (*(_linear(value / 255.0) for value in stop), 1.0)
    b.feed(ramp, 0, share)
    return b.call(
        "ShaderNodeMix",
        {"Factor": switch.outputs[0], "A": colour, "B": ramp.outputs[0]},
        data_type="RGBA",
        clamp_factor=True,
    )


def find(material: bpy.types.Material) -> bpy.types.NodeSocket | None:
    """The switch of a material; None in one of an earlier release."""
    node = material.node_tree.nodes.get(SWITCH) if material.node_tree is not None else None
    return None if node is None else node.outputs[0]


def fit(material: bpy.types.Material, near: float, far: float) -> None:
    """Have red stand for one distance and blue for the other. Materials of earlier releases stay as they are."""
    for name, distance in ((_RED, near), (_BLUE, far)):
        node = material.node_tree.nodes.get(name)
        if node is not None:
            node.outputs[0].default_value = distance


def _distance(b: TreeBuilder, name: str, value: float) -> Any:
    node = b.node("ShaderNodeValue", name)
    node.name = name
    node.outputs[0].default_value = value
    return node.outputs[0]


def _inverse(b: TreeBuilder, distance: Any) -> Any:
    return b.math("DIVIDE", 1.0, b.math("MAXIMUM", distance, _NEAREST), label="Disparity")


def _linear(value: float) -> float:
    """Of a value as sRGB encodes it (IEC 61966-2-1)."""
    return value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4
