# SPDX-License-Identifier: GPL-3.0-or-later
"""The Geometry Nodes group that turns a sequence of depth EXRs into the mesh that the engine renders.

Texel (row j, column i) of the EXR lies on the ray through the picture position u = clamp(i - 1.5, 0, W),
v = clamp(j - 1.5, 0, H); R is its depth, G and B say whether the lower and the upper triangle of the quad to its lower
right were seen by the source camera. A back over the corners closes it. What was not seen is divided along its edges
(`mesh_parts`). Only native nodes: files work where this extension is not installed, and every number is an input that
can be dragged and keyed.
"""

from __future__ import annotations

from typing import Any

import bpy

from shared_protocol.errors import NOT_FOUND, Ex4dError

from . import compat
from .mesh_parts import build_parts, build_width
from .node_builder import TreeBuilder

GROUP = "EX-4D Mesh"
MODIFIER = "EX-4D Mesh"
VERSION = 2  # of the group; a file may hold several
VERSION_KEY = "ex4d_mesh_nodes"

UV_MAP = "UVMap"
SEEN = "seen"  # boolean per face
TINT = "unseen_tint"  # float per face: how much of the tint the material shows

UNSEEN_TINT, UNSEEN_SHOW, UNSEEN_HIDE = "Tint", "Show", "Hide"
UNSEEN_CHOICES = (UNSEEN_TINT, UNSEEN_SHOW, UNSEEN_HIDE)

CLOSED, BOUNDED = "Closed", "Bounded"
WALL_CHOICES = (CLOSED, BOUNDED)
_CHOICES = {"Unseen": UNSEEN_CHOICES, "Walls": WALL_CHOICES}  # the menus

_PICTURE_PANEL = "Reconstruction"
# Name, socket type, default, minimum, maximum, description. An artist's own first, then what belongs to the files.
_INPUTS: tuple[tuple[str, str, Any, Any, Any, str], ...] = (
    ("Disparity Scale", "Float", 1.0, 1e-3, 1e3, "Depth becomes 1 / (scale / depth + shift): more brings all nearer"),
    ("Disparity Shift", "Float", 0.0, -10.0, 10.0, "Depth becomes 1 / (scale / depth + shift): more flattens the far"),
    ("Focal", "Float", 500.0, 1e-3, 1e6, "Focal length of the source camera in pixels of its picture"),
    ("Principal X", "Float", 0.0, -1e6, 1e6, "Where the source camera's axis meets the picture, pixels from the left"),
    ("Principal Y", "Float", 0.0, -1e6, 1e6, "Where the source camera's axis meets the picture, pixels from the top"),
    ("Frame Start", "Int", 1, -1_000_000, 1_000_000, "Scene frame that shows the first picture"),
    ("Unseen", "Menu", UNSEEN_TINT, None, None, "What becomes of faces that the source camera did not see"),
    ("Walls", "Menu", CLOSED, None, None, "What hangs behind the edges of things; as it is rendered"),
    ("Depth", "Image", None, None, None, "EXR sequence with depth and validity"),
    ("Material", "Material", None, None, None, "Shows the pictures"),
    ("Width", "Int", 1, 1, 16384, "Width of the pictures"),
    ("Height", "Int", 1, 1, 16384, "Height of the pictures"),
    ("Frames", "Int", 1, 1, 1_000_000, "Number of pictures"),
)
_FILES = (
    "Walls",
    "Depth",
    "Material",
    "Width",
    "Height",
    "Frames",
)  # these go with the files and are not for dragging


def ensure_group() -> bpy.types.NodeTree:
    """The node group of this version, made when the file has none."""
    for group in bpy.data.node_groups:
        if group.bl_idname == "GeometryNodeTree" and group.get(VERSION_KEY) == VERSION and group.library is None:
            return group
    group = bpy.data.node_groups.new(GROUP, "GeometryNodeTree")
    group[VERSION_KEY] = VERSION
    group.is_modifier = True
    _build(group)
    return group


def add_modifier(obj: bpy.types.Object, values: dict[str, Any]) -> bpy.types.Modifier:
    """Puts the group on an object and sets its inputs by name."""
    modifier = obj.modifiers.new(MODIFIER, "NODES")
    modifier.node_group = ensure_group()
    for name, value in values.items():
        set_input(modifier, name, value)
    return modifier


def find_modifier(obj: bpy.types.Object) -> bpy.types.Modifier | None:
    """The object's modifier with the mesh group; None when it has none (applied or removed)."""
    for modifier in obj.modifiers:
        if modifier.type == "NODES" and modifier.node_group and VERSION_KEY in modifier.node_group:
            return modifier
    return None


def need_modifier(obj: bpy.types.Object) -> bpy.types.Modifier:
    """The object's modifier with the mesh group.

    Raises:
        Ex4dError: NOT_FOUND, it has none.
    """
    modifier = find_modifier(obj)
    if modifier is None:
        raise Ex4dError(
            NOT_FOUND,
            f"'{obj.name}' is not an imported reconstruction: it lacks the modifier '{MODIFIER}'.",
            "Choose the imported mesh. If the modifier was applied, undo that.",
        )
    return modifier


def input_path(modifier: bpy.types.Modifier, name: str) -> str:
    """Data path of an input from its object, for keyframes and drivers: `modifiers["EX-4D Mesh"]["Socket_3"]`."""
    below = compat.modifier_input_path(modifier, _identifier(modifier.node_group, name))
    return f'modifiers["{bpy.utils.escape_identifier(modifier.name)}"]{below}'


def draw_input(layout: bpy.types.UILayout, modifier: bpy.types.Modifier, name: str) -> None:
    """Draws an input in a panel."""
    owner, prop = compat.modifier_input_property(modifier, _identifier(modifier.node_group, name))
    layout.prop(owner, prop, text=name)


def has_input(modifier: bpy.types.Modifier, name: str) -> bool:
    """Whether the modifier's group, which may be of an older release, has this input."""
    return any(
        item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name
        for item in modifier.node_group.interface.items_tree
    )


def limits(modifier: bpy.types.Modifier, name: str) -> tuple[float, float]:
    """Least and most that a numeric input of the modifier's group takes."""
    socket = _socket(modifier.node_group, name)
    return float(socket.min_value), float(socket.max_value)


def get_input(modifier: bpy.types.Modifier, name: str) -> Any:
    """An input's value. On an evaluated object's modifier: as animated. Of a menu: the name of the choice."""
    value = compat.modifier_input(modifier, _identifier(modifier.node_group, name))
    return _CHOICES[name][value] if name in _CHOICES and isinstance(value, int) else value


def set_input(modifier: bpy.types.Modifier, name: str, value: Any) -> None:
    """Sets an input by name. Menus take the name of a choice."""
    choices = _CHOICES.get(name, ())
    compat.set_modifier_input(modifier, _identifier(modifier.node_group, name), value, choices)


def _identifier(group: bpy.types.NodeTree, name: str) -> str:
    return str(_socket(group, name).identifier)


def _socket(group: bpy.types.NodeTree, name: str) -> bpy.types.NodeTreeInterfaceSocket:
    for item in group.interface.items_tree:
        if item.item_type == "SOCKET" and item.in_out == "INPUT" and item.name == name:
            return item
    raise KeyError(f"the node group {group.name!r} has no input {name!r}")


def _interface(group: bpy.types.NodeTree) -> None:
    face = group.interface
    face.new_socket("Geometry", in_out="OUTPUT", socket_type="NodeSocketGeometry")
    panel = face.new_panel(_PICTURE_PANEL, default_closed=True)
    for name, kind, default, low, high, description in _INPUTS:
        socket = face.new_socket(
            name,
            in_out="INPUT",
            socket_type=f"NodeSocket{kind}",
            description=description,
            parent=panel if name in _FILES else None,
        )
        if kind in ("Float", "Int"):
            socket.default_value, socket.min_value, socket.max_value = default, low, high


def _build(group: bpy.types.NodeTree) -> None:
    _interface(group)
    b = TreeBuilder(group)
    given = {s.name: s for s in b.node("NodeGroupInput").outputs if s.name}
    width, height = given["Width"], given["Height"]
    last_row, last_column = b.integer("ADD", height, 3), b.integer("ADD", width, 3)

    flat = _flat_grid(b, last_row, last_column)
    # On the flat grid a point's position is its texel: x counts rows, y columns, both from the grid's middle.
    x, y, _ = b.split(b.node("GeometryNodeInputPosition").outputs[0])
    row = b.math("ROUND", b.math("MULTIPLY_ADD", last_row, 0.5, x), label="Row")
    column = b.math("ROUND", b.math("MULTIPLY_ADD", last_column, 0.5, y), label="Column")
    u = b.clamp(b.math("SUBTRACT", column, 1.5), 0.0, width, label="u")
    v = b.clamp(b.math("SUBTRACT", row, 1.5), 0.0, height, label="v")
    edges = b.math("ADD", _at_either_end(b, row, last_row), _at_either_end(b, column, last_column), label="Edges")

    geometry, texel = _capture(b, flat, "Texel", _texel(b, given, row, column))
    bounded = _choice(b, given["Walls"], WALL_CHOICES)
    raw, _, _ = b.split(texel)
    geometry, told = _capture(b, geometry, "Told", b.vector(raw, _reach(b, raw, given, bounded), edges))
    # Until all of it is lifted a point's position is its u, v and depth, so that little has to be copied and joined;
    # and whether a face was seen is stored, since the parting asks for it twice.
    flat_place = b.vector(u, v, _adjusted(b, given, raw), label="u, v, depth")
    geometry = b.call("GeometryNodeSetPosition", {"Geometry": geometry, "Position": flat_place})
    separate = b.node("GeometryNodeSeparateGeometry", domain="FACE")
    b.feed(separate, "Geometry", _store(b, geometry, SEEN, "BOOLEAN", "FACE", _seen(b, texel, last_column)))
    b.feed(separate, "Selection", _stored_seen(b))
    whole, stretched = separate.outputs

    parts, seen = build_parts(b, stretched, told, bounded)
    shown = _choice(b, given["Unseen"], UNSEEN_CHOICES)
    parts = _store(b, parts, SEEN, "BOOLEAN", "FACE", seen)
    unseen = b.call("FunctionNodeBooleanMath", {0: _stored_seen(b)}, operation="NOT")
    tinted = b.math("MULTIPLY", unseen, b.math("COMPARE", shown, 0.0, 0.5), label="Tinted")
    parts = _store(b, parts, TINT, "FLOAT", "FACE", tinted)  # faces without it get 0 when they are joined
    hidden = b.math("MULTIPLY", unseen, b.math("COMPARE", shown, 2.0, 0.5), label="Hidden")
    parts = b.call("GeometryNodeDeleteGeometry", {"Geometry": parts, "Selection": hidden}, domain="FACE", mode="ALL")

    join = b.node("GeometryNodeJoinGeometry")
    for part in (parts, whole):  # the node takes the last link first
        b.feed(join, "Geometry", part)
    u, v, z = b.split(b.node("GeometryNodeInputPosition").outputs[0])
    geometry = _store(b, join.outputs[0], UV_MAP, "FLOAT2", "CORNER", _on_points(b, _uv(b, given, u, v)))
    geometry = b.call(
        "GeometryNodeSetPosition", {"Geometry": geometry, "Position": _lifted(b, given, u, v, z)}, label="Lift"
    )
    geometry = b.call("GeometryNodeSetMaterial", {"Geometry": geometry, "Material": given["Material"]})
    b.feed(b.node("NodeGroupOutput"), "Geometry", geometry)
    for item in group.interface.items_tree:  # a menu socket knows its choices once it is linked
        if item.item_type == "SOCKET" and item.name in _CHOICES:
            item.default_value = _CHOICES[item.name][0]
    b.arrange()


def _reach(b: TreeBuilder, depth: Any, given: dict[str, Any], bounded: Any) -> Any:
    """How far back bounded walls go from each point, as a share of its depth: a thing is as deep as it is wide."""
    width = build_width(b, depth, b.integer("ADD", given["Height"], 4), b.integer("ADD", given["Width"], 4))
    share = b.math("DIVIDE", width, given["Focal"])
    return b.call("GeometryNodeSwitch", {"Switch": bounded, "False": 0.0, "True": share}, input_type="FLOAT")


def _capture(b: TreeBuilder, geometry: Any, name: str, vector: Any) -> tuple[Any, Any]:
    """The geometry, and the vector as it is on its points now."""
    capture = b.node("GeometryNodeCaptureAttribute", domain="POINT")
    capture.capture_items.new("VECTOR", name)
    b.feed(capture, "Geometry", geometry)
    b.feed(capture, name, vector)
    return capture.outputs[0], capture.outputs[name]


def _at_either_end(b: TreeBuilder, number: Any, last: Any) -> Any:
    """1 for the first and the last row (column) of the grid, else 0."""
    return b.math(
        "ADD", b.math("LESS_THAN", number, 0.5), b.math("GREATER_THAN", number, b.math("SUBTRACT", last, 0.5))
    )


def _uv(b: TreeBuilder, given: dict[str, Any], u: Any, v: Any) -> Any:
    down = b.math("SUBTRACT", 1.0, b.math("DIVIDE", v, given["Height"]))
    return b.vector(b.math("DIVIDE", u, given["Width"]), down)


def _flat_grid(b: TreeBuilder, last_row: Any, last_column: Any) -> Any:
    """Grid with one point per texel at integer spacing, and the back over its corners, triangulated.

    Rows run along the primitive's x, which is its slow index: points count along the picture's rows. Each quad's
    first and third corner are then its top left and bottom right, which is where the fixed triangulation cuts; it
    happens here since the cut of a lifted quad would depend on the depth.
    """
    size = {"Size X": last_row, "Size Y": last_column}
    grid = b.call(
        "GeometryNodeMeshGrid",
        size | {"Vertices X": b.integer("ADD", last_row, 1), "Vertices Y": b.integer("ADD", last_column, 1)},
        label="Texels",
    )
    back = b.call("GeometryNodeMeshGrid", size | {"Vertices X": 2, "Vertices Y": 2}, label="Back")
    join = b.node("GeometryNodeJoinGeometry")
    for part in (back, grid):  # the node takes the last link first, and the back has to come after the grid
        b.feed(join, "Geometry", part)
    node = b.node("GeometryNodeTriangulate")
    compat.set_node_option(node, "quad_method", "FIXED")
    b.feed(node, "Mesh", join.outputs[0])
    return node.outputs[0]


def _texel(b: TreeBuilder, given: dict[str, Any], row: Any, column: Any) -> Any:
    """Each point's texel of the current frame's EXR."""
    u = b.math("DIVIDE", b.math("ADD", column, 0.5), b.integer("ADD", given["Width"], 4))
    v = b.math("DIVIDE", b.math("ADD", row, 0.5), b.integer("ADD", given["Height"], 4))
    time = b.node("GeometryNodeInputSceneTime").outputs["Frame"]
    since = b.integer("SUBTRACT", b.to_integer(time), given["Frame Start"])
    # Outside of the sequence an image reads as zero, which would put all points into the camera.
    number = b.integer(
        "MINIMUM", b.integer("MAXIMUM", b.integer("ADD", since, 1), 1), given["Frames"], label="File number"
    )
    return b.call(
        "GeometryNodeImageTexture",
        {"Image": given["Depth"], "Vector": b.vector(u, b.math("SUBTRACT", 1.0, v)), "Frame": number},
        interpolation="Closest",
        extension="EXTEND",
    )


def _seen(b: TreeBuilder, texel: Any, last_column: Any) -> Any:
    """Per face: whether the source camera saw it.

    Faces 2q and 2q + 1 are the lower and the upper triangle of quad q, whose top left corner has the texel. The two of
    the back come out in the last row, which has no quads and holds zeros. (Asking a face's own position instead of its
    index costs as much as all of the rest.)
    """
    face = b.node("GeometryNodeInputIndex").outputs[0]
    quad = b.integer("DIVIDE_FLOOR", face, 2, label="Quad")
    corner = b.integer("ADD", quad, b.integer("DIVIDE_FLOOR", quad, last_column), label="Top left corner")
    at_corner = b.call(
        "GeometryNodeFieldAtIndex", {"Value": texel, "Index": corner}, domain="POINT", data_type="FLOAT_VECTOR"
    )
    _, lower, upper = b.split(at_corner)
    is_upper = b.integer("MODULO", face, 2, label="Upper triangle")
    valid = b.call("GeometryNodeSwitch", {"Switch": is_upper, "False": lower, "True": upper}, input_type="FLOAT")
    return b.math("GREATER_THAN", valid, 0.5, label="Seen")


def _stored_seen(b: TreeBuilder) -> Any:
    return b.call("GeometryNodeInputNamedAttribute", {"Name": SEEN}, data_type="BOOLEAN")


def _adjusted(b: TreeBuilder, given: dict[str, Any], depth: Any) -> Any:
    """Depth with the artist's scale and shift of its disparity."""
    disparity = b.math("ADD", b.math("DIVIDE", given["Disparity Scale"], depth), given["Disparity Shift"])
    return b.math("DIVIDE", 1.0, b.math("MAXIMUM", disparity, 1e-6), label="Depth")


def _lifted(b: TreeBuilder, given: dict[str, Any], u: Any, v: Any, z: Any) -> Any:
    """Point at its depth on its ray, in Blender's camera axes (x right, y up, looking along -z)."""
    x = b.math("DIVIDE", b.math("SUBTRACT", u, given["Principal X"]), given["Focal"])
    y = b.math("DIVIDE", b.math("SUBTRACT", given["Principal Y"], v), given["Focal"])
    return b.vector(b.math("MULTIPLY", x, z), b.math("MULTIPLY", y, z), b.math("MULTIPLY", z, -1.0), label="Position")


def _choice(b: TreeBuilder, menu: Any, choices: tuple[str, ...]) -> Any:
    """A menu as a number, in the order of `choices`."""
    node = b.node("GeometryNodeMenuSwitch", data_type="INT")
    # The modifier stores the number that an item got when it was made: 0 and 1 are those the node comes with.
    for number, name in enumerate(choices):
        if number < len(node.enum_items):
            node.enum_items[number].name = name
        else:
            node.enum_items.new(name)
        b.feed(node, name, number)
    b.feed(node, "Menu", menu)
    return node.outputs[0]


def _on_points(b: TreeBuilder, value: Any) -> Any:
    """A vector evaluated once per point, wherever it is used."""
    return b.call("GeometryNodeFieldOnDomain", {"Value": value}, domain="POINT", data_type="FLOAT_VECTOR")


def _store(b: TreeBuilder, geometry: Any, name: str, data_type: str, domain: str, value: Any) -> Any:
    return b.call(
        "GeometryNodeStoreNamedAttribute",
        {"Geometry": geometry, "Name": name, "Value": value},
        data_type=data_type,
        domain=domain,
    )
