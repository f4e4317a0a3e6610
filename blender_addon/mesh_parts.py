# SPDX-License-Identifier: GPL-3.0-or-later
"""Nodes that divide what the source camera did not see: stretched triangles, between something near and something far.

The same as the engine does (`ex4d.mesh.surface`). Between two corners with a gap between them the surface goes on from
each for half a pixel at its own depth, and was seen; a wall along the source camera's rays joins the two, unseen. So a
stretched triangle becomes 3, 5 or 12 small ones, by the number of its sides with a gap. Copies of it are made, and each
copy's corners are put where one of the small ones has its own.
"""

from __future__ import annotations

from typing import Any

from .node_builder import TreeBuilder

EDGE_RATIO = 1.07  # of depths: beyond it there is a gap; the engine's (`ex4d.mesh.edges`)

# Where a small triangle's corner lies: at a corner of the large one, in the middle between two, in the middle of all.
_PLACES = {
    "p": (1.0, 0.0, 0.0),
    "q": (0.0, 1.0, 0.0),
    "r": (0.0, 0.0, 1.0),
    "pq": (0.5, 0.5, 0.0),
    "pr": (0.5, 0.0, 0.5),
    "pqr": (1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0),
}
# How deep: as a corner, or at the near or back end of the wall between p and another.
_DEPTHS = ("p", "q", "r", "near q", "back q", "near r", "back r")
_Corner = tuple[str, str]  # place, depth
_Point = tuple[Any, Any, Any, Any]  # u, v, depth, reach
# The small triangles. With one gap it is between p and q; with two, p is on the one side and q, r on the other; with
# three these are a third of them, and each corner is p once.
_WHOLE = ((("p", "p"), ("q", "q"), ("r", "r")),)
_ONE = (
    (("p", "p"), ("pq", "p"), ("r", "r")),
    (("q", "q"), ("r", "r"), ("pq", "q")),
    (("r", "r"), ("pq", "near q"), ("pq", "back q")),
)
_TWO = (
    (("p", "p"), ("pq", "p"), ("pr", "p")),
    (("q", "q"), ("r", "r"), ("pr", "r")),
    (("q", "q"), ("pr", "r"), ("pq", "q")),
    (("pq", "near q"), ("pr", "near r"), ("pr", "back r")),
    (("pq", "near q"), ("pr", "back r"), ("pq", "back q")),
)
_THREE = (
    (("p", "p"), ("pq", "p"), ("pqr", "p")),
    (("p", "p"), ("pqr", "p"), ("pr", "p")),
    (("pq", "near q"), ("pqr", "near q"), ("pqr", "back q")),
    (("pq", "near q"), ("pqr", "back q"), ("pq", "back q")),
)
_CASES: tuple[tuple[tuple[_Corner, ...], ...], ...] = (_WHOLE, _ONE, _TWO, _THREE)  # by the number of gaps
_TRIANGLES = tuple(triangle for case in _CASES for triangle in case)
_STARTS = tuple(sum(len(case) for case in _CASES[:k]) for k in range(len(_CASES)))
_COPIES = (len(_WHOLE), len(_ONE), len(_TWO), 3 * len(_THREE))


def build_parts(b: TreeBuilder, geometry: Any, told: Any, bounded: Any) -> tuple[Any, Any]:
    """The parts of unseen triangles.

    Args:
        b: what the node is added to.
        geometry: the unseen triangles: stretched ones, those of the skirt around the picture, the back. A point's
            position is its u, v and depth.
        told: per point, as a vector: the depth as it was reconstructed, which tells where gaps are; how far back a
            bounded wall goes from there, as a share of its depth; how many edges of the grid it lies on: 0, 1 or, at
            the grid's corners, 2.
        bounded: 1 for walls and a skirt that end after that reach, and no back; 0 for closed ones.

    Returns:
        The geometry, positions as before; whether it was seen, per face.
    """
    inputs = {
        "Geometry": ("Geometry", geometry),
        "Told": ("Vector", told),
        "Bounded": ("Int", bounded),
    }
    made = b.group("EX-4D Mesh Parts", inputs, _parts)
    return made["Geometry"], made["Seen"]


def _parts(b: TreeBuilder, given: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    geometry, told, bounded = given.values()
    point = b.node("GeometryNodeInputPosition").outputs[0]
    lifted, reach, edges = b.split(told)

    depths = [_of_face(b, lifted, k) for k in range(3)]
    gaps = [_gap(b, depths[k], depths[(k + 1) % 3]) for k in range(3)]
    on_edges = _sum(b, [_of_face(b, edges, k) for k in range(3)])
    outer = b.math("GREATER_THAN", on_edges, 0.5, label="Skirt or back")
    back = b.math("GREATER_THAN", on_edges, 5.5, label="Back")
    count = b.math("MULTIPLY", _sum(b, gaps), b.math("SUBTRACT", 1.0, outer), label="Gaps")
    first = _switch(b, "INT", b.to_integer(count), [0, _only(b, gaps), _apart(b, gaps), 0])
    copies = _switch(b, "INT", b.to_integer(count), list(_COPIES))
    gone = b.math("MULTIPLY", back, bounded)

    keep = b.node("GeometryNodeCaptureAttribute", domain="FACE")
    for kind, name, value in (("INT", "Gaps", b.to_integer(count)), ("INT", "First", first), ("FLOAT", "Outer", outer)):
        keep.capture_items.new(kind, name)
        b.feed(keep, name, value)
    b.feed(keep, "Geometry", geometry)
    amount = b.call("GeometryNodeSwitch", {"Switch": gone, "False": copies, "True": 0}, input_type="INT")
    copy = b.node("GeometryNodeDuplicateElements", domain="FACE")
    b.feed(copy, "Geometry", keep.outputs[0])
    b.feed(copy, "Amount", amount)
    gaps_of, first_of, outer_of = (keep.outputs[name] for name in ("Gaps", "First", "Outer"))

    # Each copy has three points of its own, in the order of its corners.
    number = copy.outputs["Duplicate Index"]
    third = b.integer("DIVIDE_FLOOR", number, len(_THREE))
    is_three = b.integer("DIVIDE_FLOOR", gaps_of, 3)
    turn = b.integer("ADD", first_of, b.integer("MULTIPLY", third, is_three), label="Which corner is p")
    within = b.integer("SUBTRACT", number, b.integer("MULTIPLY", b.integer("MULTIPLY", third, len(_THREE)), is_three))
    triangle = b.integer("ADD", _switch(b, "INT", gaps_of, list(_STARTS)), within, label="Small triangle")
    index = b.node("GeometryNodeInputIndex").outputs[0]
    corner = b.integer("MULTIPLY_ADD", triangle, 3, b.integer("MODULO", index, 3), label="Its corner")
    start = b.integer("MULTIPLY", b.integer("DIVIDE_FLOOR", index, 3), 3)
    p, q, r = (_corner(b, point, reach, start, b.integer("ADD", turn, k)) for k in range(3))

    place = [_PLACES[where] for small in _TRIANGLES for where, _ in small]
    depth = [_DEPTHS.index(how) for small in _TRIANGLES for _, how in small]
    weights = b.split(_switch(b, "VECTOR", corner, place))
    u, v = (
        _sum(b, [b.math("MULTIPLY", w, c[axis]) for w, c in zip(weights, (p, q, r), strict=True)]) for axis in (0, 1)
    )
    z = _switch(b, "FLOAT", _switch(b, "INT", corner, depth), _depths(b, p, q, r, bounded))
    limit = _end(b, _nearer(b, _nearer(b, p, q), r))
    is_cut = b.math("MULTIPLY", outer_of, bounded, label="Bounded skirt")
    z = _float_switch(b, is_cut, z, b.math("MINIMUM", z, limit))
    seen = [int(all(how in "pqr" for _, how in small)) for case in _CASES for small in case]
    seen[0] = 0  # the whole triangle
    placed = b.call("GeometryNodeSetPosition", {"Geometry": copy.outputs[0], "Position": b.vector(u, v, z)})
    return {
        "Geometry": ("Geometry", placed),
        "Seen": ("Int", _switch(b, "INT", triangle, seen)),
    }


def _depths(b: TreeBuilder, p: _Point, q: _Point, r: _Point, bounded: Any) -> list[Any]:
    """In the order of `_DEPTHS`."""
    found = [p[2], q[2], r[2]]
    for other in (q, r):
        near, far = _nearer(b, p, other), b.math("MAXIMUM", p[2], other[2])
        found += [near[2], _float_switch(b, bounded, far, b.math("MINIMUM", far, _end(b, near)))]
    return found


def _nearer(b: TreeBuilder, one: _Point, other: _Point) -> _Point:
    """Depth and reach of the nearer of two, the first where they are equally near."""
    second = b.math("LESS_THAN", other[2], one[2])
    return None, None, b.math("MINIMUM", one[2], other[2]), _float_switch(b, second, one[3], other[3])


def _end(b: TreeBuilder, near: _Point) -> Any:
    """How deep a bounded wall goes that begins there."""
    return b.math("MULTIPLY_ADD", near[2], near[3], near[2])


def _float_switch(b: TreeBuilder, switch: Any, no: Any, yes: Any) -> Any:
    return b.call("GeometryNodeSwitch", {"Switch": switch, "False": no, "True": yes}, input_type="FLOAT")


def _gap(b: TreeBuilder, one: Any, other: Any) -> Any:
    far, near = b.math("MAXIMUM", one, other), b.math("MINIMUM", one, other)
    return b.math("GREATER_THAN", far, b.math("MULTIPLY", near, EDGE_RATIO), label="Gap")


def _only(b: TreeBuilder, gaps: list[Any]) -> Any:
    """Which of three is 1, where only one is."""
    return b.to_integer(b.math("MULTIPLY_ADD", gaps[2], 2.0, gaps[1]))


def _apart(b: TreeBuilder, gaps: list[Any]) -> Any:
    """The corner between two gaps; side k, from corner k to the next, is the one that has none."""
    none = b.math("ADD", b.math("SUBTRACT", 1.0, gaps[1]), b.math("MULTIPLY_ADD", gaps[2], -2.0, 2.0))
    return b.integer("MODULO", b.integer("ADD", b.to_integer(none), 2), 3)


def _of_face(b: TreeBuilder, value: Any, k: int) -> Any:
    """A point's value at a face's corner k, per face."""
    face = b.node("GeometryNodeInputIndex").outputs[0]
    corner = b.call("GeometryNodeCornersOfFace", {"Face Index": face, "Sort Index": k})
    vertex = b.call("GeometryNodeVertexOfCorner", {"Corner Index": corner})
    return b.call("GeometryNodeFieldAtIndex", {"Value": value, "Index": vertex}, domain="POINT", data_type="FLOAT")


def _corner(b: TreeBuilder, point: Any, reach: Any, start: Any, k: Any) -> _Point:
    index = b.integer("ADD", start, b.integer("MODULO", k, 3))
    at = {"Index": index}
    place = b.call("GeometryNodeFieldAtIndex", {"Value": point} | at, domain="POINT", data_type="FLOAT_VECTOR")
    return *b.split(place), b.call("GeometryNodeFieldAtIndex", {"Value": reach} | at, domain="POINT", data_type="FLOAT")


def _switch(b: TreeBuilder, kind: str, index: Any, values: list[Any]) -> Any:
    """The value with that index."""
    node = b.node("GeometryNodeIndexSwitch", data_type=kind)
    while len(node.index_switch_items) < len(values):
        node.index_switch_items.new()
    b.feed(node, "Index", index)
    for number, value in enumerate(values):
        b.feed(node, str(number), value)
    return next(s for s in node.outputs if s.enabled)


def _sum(b: TreeBuilder, values: list[Any]) -> Any:
    total = values[0]
    for value in values[1:]:
        total = b.math("ADD", total, value)
    return total


def build_width(b: TreeBuilder, lifted: Any, rows: Any, columns: Any) -> Any:
    """How wide the thing is that each point of the grid belongs to, across or down, whichever is less: in points."""
    inputs = {"Lifted": ("Float", lifted), "Rows": ("Int", rows), "Columns": ("Int", columns)}
    return b.group("EX-4D Mesh Width", inputs, _width)["Width"]


def _width(b: TreeBuilder, given: dict[str, Any]) -> dict[str, tuple[str, Any]]:
    lifted, rows, columns = given.values()
    index = b.node("GeometryNodeInputIndex").outputs[0]
    across = _runs(b, lifted, index, 1, columns)
    # Down the columns: at place k of this order is the point in column k / rows, row k % rows.
    here = b.integer("MULTIPLY_ADD", b.integer("MODULO", index, rows), columns, b.integer("DIVIDE_FLOOR", index, rows))
    down = _runs(b, lifted, here, columns, rows)
    column, row = b.integer("MODULO", index, columns), b.integer("DIVIDE_FLOOR", index, columns)
    place = b.integer("MULTIPLY_ADD", column, rows, row)
    return {"Width": ("Float", b.math("MINIMUM", across, _at(b, down, place)))}


def _runs(b: TreeBuilder, lifted: Any, here: Any, step: Any, length: Any) -> Any:
    """Points between the gaps on either side, in an order in which lines of `length` points come one after the other.

    Args:
        b: what the nodes are added to.
        lifted: depth of each point.
        here: which point stands at each place of the order.
        step: from a point to the one before it in its line.
        length: of a line.
    """
    index = b.node("GeometryNodeInputIndex").outputs[0]
    gap = _gap(b, _at(b, lifted, here), _at(b, lifted, b.integer("SUBTRACT", here, step)))
    first = b.math("LESS_THAN", b.integer("MODULO", index, length), 0.5)
    starts = b.to_integer(b.math("MAXIMUM", gap, first))
    run = b.call("GeometryNodeAccumulateField", {0: starts, 1: 0}, domain="POINT", data_type="INT")
    count = b.node("GeometryNodeAccumulateField", domain="POINT", data_type="INT")
    b.feed(count, 0, 1)
    b.feed(count, 1, run)
    return next(s for s in count.outputs if s.enabled and s.name == "Total")


def _at(b: TreeBuilder, value: Any, index: Any) -> Any:
    return b.call("GeometryNodeFieldAtIndex", {"Value": value, "Index": index}, domain="POINT", data_type="FLOAT")
