# SPDX-License-Identifier: GPL-3.0-or-later
"""The material that shows the clip's pictures on the mesh, as they are: light-less, and tinted where unseen."""

from __future__ import annotations

import contextlib
from pathlib import Path

import bpy

from . import compat, depth_colours
from .core.scene_manifest import SceneManifest
from .mesh_nodes import TINT, UV_MAP
from .node_builder import TreeBuilder

PICTURE = "Picture"
TINT_COLOUR = "Unseen Tint"
TINT_AMOUNT = "Unseen Tint Amount"
_DEFAULT_TINT = (0.8, 0.05, 0.45, 1.0)  # linear; a hue that film rarely has
_LONG_AGO = -100_000  # before its start a sequence asks for file 0000, which is not there
_STRENGTH = 0.65  # of the tint over the picture


def build(name: str, first_picture: Path, manifest: SceneManifest) -> bpy.types.Material:
    """A material with the picture sequence that `first_picture` belongs to, standing at its first frame.

    Which frame is shown is for a driver of the image user's `frame_offset` to say. The manifest tells how far the
    depth's colours go, which it shows instead where that is switched on.

    Emission at strength 1 passes the pictures' own colours on to the view transform: with Standard the render has the
    very values of the files. In between pixels it is bilinear in the encoded values, and the edge's colours go on
    outside.
    """
    material = bpy.data.materials.new(name)
    compat.use_nodes(material)
    tree = material.node_tree
    tree.nodes.clear()
    b = TreeBuilder(tree)
    image = load_sequence(first_picture, f"{name} pictures", "sRGB")
    picture = b.node("ShaderNodeTexImage", interpolation="Linear", extension="EXTEND", image=image)
    picture.name = PICTURE
    user = picture.image_user
    user.frame_duration, user.frame_start, user.frame_offset = 1, _LONG_AGO, 0
    user.use_auto_refresh = True
    b.feed(picture, "Vector", b.node("ShaderNodeUVMap", uv_map=UV_MAP).outputs[0])
    tint = b.node("ShaderNodeRGB", TINT_COLOUR)
    tint.name = TINT_COLOUR
    tint.outputs[0].default_value = _DEFAULT_TINT
    unseen = b.node("ShaderNodeAttribute", attribute_type="GEOMETRY", attribute_name=TINT)
    amount = b.math("MULTIPLY", unseen.outputs["Fac"], _STRENGTH, label=TINT_AMOUNT)
    amount.node.name = TINT_AMOUNT
    colour = b.call(
        "ShaderNodeMix",
        {"Factor": amount, "A": picture.outputs["Color"], "B": tint.outputs[0]},
        data_type="RGBA",
        clamp_factor=True,
    )
    colour = depth_colours.over(b, colour, manifest)
    emission = b.call("ShaderNodeEmission", {"Color": colour, "Strength": 1.0})
    b.feed(b.node("ShaderNodeOutputMaterial"), "Surface", emission)
    b.arrange()
    tree.nodes.active = picture  # what the viewport's texture mode shows
    return material


def load_sequence(first_file: Path, name: str, colour_space: str) -> bpy.types.Image:
    """An image data block for the numbered sequence that starts with `first_file`; its path relative if possible."""
    image = bpy.data.images.load(_stored_path(first_file), check_existing=False)
    image.name = name
    image.source = "SEQUENCE"
    image.colorspace_settings.name = colour_space
    if colour_space == "Non-Color":
        image.alpha_mode = "CHANNEL_PACKED"
    return image


def _stored_path(file: Path) -> str:
    if bpy.data.filepath:
        with contextlib.suppress(ValueError):  # another drive on Windows: only the absolute path can name it
            return bpy.path.relpath(str(file))
    return str(file)
