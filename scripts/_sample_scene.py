# SPDX-License-Identifier: GPL-3.0-or-later
"""The courtyard of the sample clip: geometry, materials, light and the ball's movement, all made from numbers.

Blender axes: x right, y away from the camera, z up, metres. Every surface is diffuse, so that its colour does not
depend on where one looks from, as the re-shooting of a clip has to assume.
"""

from __future__ import annotations

import math
import random

import bpy
from _sample_materials import Colour, brick, mottled, stripes, wood
from mathutils import Matrix, Vector

BALL_RADIUS = 0.42
CAMERA_HEIGHT = 1.55


def _add(name: str, mesh_or_curve: object, material: bpy.types.Material, place: Vector) -> bpy.types.Object:
    thing = bpy.data.objects.new(name, mesh_or_curve)
    thing.data.materials.append(material)
    thing.location = place
    bpy.context.scene.collection.objects.link(thing)
    return thing


def _box(name: str, low: Colour, high: Colour, material: bpy.types.Material) -> bpy.types.Object:
    """An axis-aligned box between two corners; its own origin stays the world's, so textures run on across boxes."""
    corners = [(x, y, z) for x in (low[0], high[0]) for y in (low[1], high[1]) for z in (low[2], high[2])]
    faces = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(corners, [], faces)
    return _add(name, mesh, material, Vector())


def _turned(
    name: str, profile: list[tuple[float, float]], material: bpy.types.Material, place: Vector
) -> bpy.types.Object:
    """A body of revolution about z from (radius, height) points, as a potter would make it."""
    steps = 48
    points = [
        (r * math.cos(2 * math.pi * k / steps), r * math.sin(2 * math.pi * k / steps), z)
        for r, z in profile
        for k in range(steps)
    ]
    faces = [
        (a * steps + k, a * steps + (k + 1) % steps, (a + 1) * steps + (k + 1) % steps, (a + 1) * steps + k)
        for a in range(len(profile) - 1)
        for k in range(steps)
    ]
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(points, [], faces)
    mesh.shade_smooth()
    return _add(name, mesh, material, place)


def _bush(
    name: str, radius: float, stretch: float, seed: int, material: bpy.types.Material, place: Vector
) -> bpy.types.Object:
    """A clipped bush: a ball with bumps."""
    draw = random.Random(seed)  # noqa: S311 - looks, not secrets
    bumps = [(Vector([draw.gauss(0, 1) for _ in range(3)]).normalized(), draw.uniform(0.03, 0.1)) for _ in range(220)]
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5, radius=1.0, location=place)
    thing = bpy.context.object
    thing.name = name
    for vertex in thing.data.vertices:
        way = vertex.co.normalized()
        grow = max(h * max(0.0, 1.0 - (way - b).length / 0.26) for b, h in bumps)
        vertex.co = way * radius * (0.93 + 1.3 * grow)
        vertex.co.z *= stretch
    thing.data.shade_smooth()
    thing.data.materials.append(material)
    return thing


def _arch_wall(material: bpy.types.Material, y: float, arches: list[tuple[float, float, float]]) -> None:
    """A wall across the picture with round-topped openings (centre x, half width, height of the springing)."""
    curve = bpy.data.curves.new("back wall", "CURVE")
    curve.dimensions, curve.fill_mode, curve.extrude = "2D", "BOTH", 0.2
    outlines = [[(-9.0, -0.1), (9.0, -0.1), (9.0, 4.1), (-9.0, 4.1)]]
    for centre, half, spring in arches:
        top = [
            (centre + half * math.cos(a), spring + half * math.sin(a)) for a in (math.pi * k / 24 for k in range(25))
        ]
        outlines.append([(centre + half, -0.05), *top, (centre - half, -0.05)])
    for outline in outlines:
        spline = curve.splines.new("POLY")
        spline.points.add(len(outline) - 1)
        spline.use_cyclic_u = True
        for point, (a, b) in zip(spline.points, outline, strict=True):
            point.co = (a, b, 0.0, 1.0)
    wall = _add("back wall", curve, material, Vector((0.0, y, 0.0)))
    wall.rotation_euler = (math.pi / 2, 0.0, 0.0)


def build(frames: int, seed: int) -> None:
    """Fills the current, empty scene: courtyard, camera, light, and a ball that rolls across."""
    plaster = mottled("plaster", (0.62, 0.36, 0.17), (0.83, 0.6, 0.34), 0.55)
    white = mottled("limewash", (0.62, 0.58, 0.5), (0.82, 0.79, 0.72), 0.8)
    blue = mottled("blue", (0.05, 0.19, 0.33), (0.1, 0.33, 0.48), 1.2)
    clay = mottled("clay", (0.42, 0.14, 0.06), (0.6, 0.24, 0.11), 3.0)
    glaze = mottled("glaze", (0.03, 0.22, 0.27), (0.08, 0.42, 0.45), 2.0)
    leaf = mottled("leaves", (0.025, 0.1, 0.02), (0.15, 0.3, 0.05), 5.0)
    orange = mottled("orange", (0.8, 0.22, 0.02), (0.9, 0.34, 0.04), 6.0)
    boards = wood("wood", (0.16, 0.07, 0.03), (0.36, 0.19, 0.09))
    green = wood("shutter", (0.05, 0.17, 0.13), (0.1, 0.28, 0.21))
    tiles = brick(
        "tiles", (0.5, 0.5), 0.0, ((0.5, 0.22, 0.12), (0.64, 0.42, 0.27), (0.3, 0.25, 0.21)), (0, 0, math.radians(45))
    )
    bricks = brick(
        "brick",
        (0.42, 0.14),
        0.5,
        ((0.42, 0.17, 0.1), (0.55, 0.27, 0.16), (0.55, 0.49, 0.42)),
        (math.pi / 2, 0, math.pi / 2),
    )

    _box("floor", (-12, -4, -0.2), (12, 20, 0.0), tiles)
    _arch_wall(plaster, 8.6, [(-0.95, 0.85, 1.75), (1.75, 0.85, 1.75)])
    _box("garden wall", (-9, 12.4, 0), (9, 12.7, 7.5), blue)
    _box("dado", (-9, 8.36, 0), (-1.8, 8.4, 0.5), white)
    _box("dado", (-0.1, 8.36, 0), (0.9, 8.4, 0.5), white)
    _box("dado", (2.6, 8.36, 0), (9, 8.4, 0.5), white)
    _box("left wall", (-3.7, -3, 0), (-3.4, 8.5, 3.8), bricks)
    _box("right wall", (3.6, -3, 0), (3.9, 8.5, 3.8), white)
    for y in (6.55, 7.2):
        _box("shutter", (-3.4, y, 1.15), (-3.33, y + 0.55, 2.45), green)
    _box("sill", (-3.4, 6.45, 1.02), (-3.2, 7.85, 1.12), white)
    _bush("garden bush", 0.8, 1.2, seed + 3, leaf, Vector((-1.3, 11.2, 0.75)))
    _bush("garden bush", 0.6, 1.0, seed + 4, leaf, Vector((2.1, 11.0, 0.5)))

    pot = [(0.0, 0.0), (0.24, 0.0), (0.34, 0.42), (0.37, 0.42), (0.37, 0.5), (0.31, 0.5), (0.3, 0.44), (0.0, 0.44)]
    _turned("pot", pot, clay, Vector((-1.95, 5.9, 0)))
    _turned("trunk", [(0.05, 0.4), (0.04, 1.1)], boards, Vector((-1.95, 5.9, 0)))
    _bush("topiary", 0.52, 1.0, seed + 1, leaf, Vector((-1.95, 5.9, 1.5)))
    _turned("pot", pot, glaze, Vector((2.75, 7.2, 0)))
    _bush("cypress", 0.42, 2.1, seed + 2, leaf, Vector((2.75, 7.2, 1.3)))

    for x, y in ((2.3, 5.6), (-0.62 + 0.95, 8.05)):
        _turned(
            "column",
            [(0.27, 0), (0.27, 0.16), (0.2, 0.24), (0.17, 2.5), (0.17, 2.7), (0.28, 2.8), (0.28, 2.95), (0, 2.95)],
            white,
            Vector((x, y, 0)),
        )
    _box("beam", (2.14, 5.3, 2.95), (2.46, 8.5, 3.2), boards)
    for k in range(5):
        _box("rafter", (1.7, 5.55 + 0.62 * k, 3.2), (3.7, 5.67 + 0.62 * k, 3.36), boards)

    top = Vector((1.15, 4.05, 0.0))
    _turned(
        "table",
        [(0, 0), (0.3, 0), (0.3, 0.05), (0.06, 0.1), (0.06, 0.7), (0.56, 0.72), (0.58, 0.77), (0, 0.77)],
        boards,
        top,
    )
    jug = [
        (0.0, 0.0),
        (0.1, 0.0),
        (0.15, 0.12),
        (0.14, 0.24),
        (0.065, 0.34),
        (0.06, 0.4),
        (0.09, 0.44),
        (0.05, 0.42),
        (0.0, 0.3),
    ]
    _turned("jug", jug, glaze, top + Vector((0.2, 0.06, 0.77)))
    for dx, dy, dz in ((-0.28, -0.1, 0), (-0.1, -0.22, 0), (-0.12, 0.02, 0), (-0.17, -0.1, 0.125)):
        _bush("orange", 0.085, 1.0, seed + 9, orange, top + Vector((dx, dy, 0.855 + dz)))
    _box("crate", (-1.55, 3.55, 0), (-1.0, 4.05, 0.36), boards).rotation_euler = (0, 0, 0.0)
    _bush("herbs", 0.26, 0.7, seed + 6, leaf, Vector((-1.28, 3.8, 0.42)))

    _ball(frames)
    _light_and_camera(seed)


def _ball(frames: int) -> None:
    """A ball rolls and hops from the left wall past the topiary and behind the table."""
    cream, red, teal = (0.85, 0.8, 0.68), (0.7, 0.06, 0.04), (0.04, 0.3, 0.36)
    bpy.ops.mesh.primitive_uv_sphere_add(segments=64, ring_count=32, radius=BALL_RADIUS)
    ball = bpy.context.object
    ball.data.shade_smooth()
    ball.data.materials.append(stripes("ball", (red, cream, teal, cream, red, cream, teal, cream)))
    ball.rotation_mode = "QUATERNION"
    way = Vector((4.0, 0.35, 0.0))
    tilt = Matrix.Rotation(math.radians(62), 4, "X")
    for k in range(frames):
        u = k / max(frames - 1, 1)
        hop = 0.5 * abs(math.sin(2.5 * math.pi * u)) * (1.0 - 0.55 * u)
        ball.location = Vector((-2.05, 4.75, BALL_RADIUS + hop)) + way * u
        roll = Matrix.Rotation(way.length * u / BALL_RADIUS, 4, Vector((0, 0, 1)).cross(way).normalized())
        ball.rotation_quaternion = (roll @ tilt).to_quaternion()
        ball.keyframe_insert("location", frame=k + 1)
        ball.keyframe_insert("rotation_quaternion", frame=k + 1)


def _light_and_camera(seed: int) -> None:
    """Low sun through leaves that stand outside the picture, blue sky fill, and the camera that shot the clip."""
    scene = bpy.context.scene
    sun = bpy.data.lights.new("sun", "SUN")
    sun.energy, sun.angle, sun.color = 5.5, math.radians(1.2), (1.0, 0.9, 0.74)
    lamp = bpy.data.objects.new("sun", sun)
    shine = Vector((0.52, 0.62, -0.72)).normalized()
    lamp.rotation_euler = shine.to_track_quat("-Z", "Y").to_euler()
    scene.collection.objects.link(lamp)
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    world.node_tree.nodes["Background"].inputs[0].default_value = (0.62, 0.76, 1.0, 1.0)
    world.node_tree.nodes["Background"].inputs[1].default_value = 1.0
    scene.world = world

    draw = random.Random(seed)  # noqa: S311 - looks, not secrets
    points, faces = [], []
    aim = Vector((0.6, 8.4, 2.7))
    for _ in range(170):
        centre = aim - shine * 9.0 + Vector((draw.gauss(0, 1.5), draw.gauss(0, 0.9), draw.gauss(0, 0.8)))
        side = Vector([draw.gauss(0, 1) for _ in range(3)]).normalized() * draw.uniform(0.07, 0.17)
        up = side.orthogonal() * 0.5
        faces.append(tuple(range(len(points), len(points) + 4)))
        points += [centre - side, centre - up, centre + side, centre + up]
    leaves = bpy.data.meshes.new("leaves out of sight")
    leaves.from_pydata(points, [], faces)
    shade = _add("leaves out of sight", leaves, bpy.data.materials["leaves"], Vector())
    shade.visible_camera = False

    lens = bpy.data.cameras.new("source")
    lens.sensor_fit, lens.sensor_width = "HORIZONTAL", 36.0
    lens.lens = 36.0 * 500.0 / 512.0
    lens.clip_end = 100.0
    camera = bpy.data.objects.new("source", lens)
    camera.location = (0.0, 0.0, CAMERA_HEIGHT)
    camera.rotation_euler = (math.radians(90 - 3.5), 0.0, 0.0)
    scene.collection.objects.link(camera)
    scene.camera = camera
