# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground-truth scenes that play indoors: `still_life` and `tracking`. The source camera stands near the origin.

The preset moves swing around a point two or three metres ahead, at that distance: all that lies outside what the
source camera sees at the start and within some five metres of it stays free.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from _truth_shapes import Matrix4, Shape, ball, block, box, join, pole, ring, shift, turn
from _truth_stage import Stage


def camera_at(x: float, y: float, height: float, pitch: float, yaw: float = 0.0) -> Matrix4:
    """A camera in Blender's axes that looks along y; pitch and yaw in degrees, up and left are positive."""
    return shift(x, y, height) @ turn("z", yaw) @ turn("x", 90.0 + pitch)


def room(stage: Stage, half: float, back: float, front: float, height: float) -> None:
    """Floor, walls, ceiling, and along the walls what a camera from the side should find there."""
    draw, paints = stage.draw, stage.paints
    shell = box((-half, back, 0.0), (half, front, height), inside=True)
    materials = [paints.plaster(), paints.bricks((math.pi / 2, 0.0, math.pi / 2)), paints.plaster(),
                 paints.bricks((math.pi / 2, 0.0, 0.0)), draw.choice((paints.tiles, paints.planks))(),
                 paints.smooth(value=0.8, saturation=0.1)]  # fmt: skip
    for face, material in zip(shell.faces, materials, strict=True):
        stage.add(Shape(shell.points, [face]), material)
    trim = paints.smooth(value=0.7, saturation=0.15)
    for y in _spread(draw, back + 0.8, front - 0.8, 4):
        for side in (-half, half):
            stage.add(box((side - 0.18, y - 0.15, 0.0), (side + 0.18, y + 0.15, height)), trim)
    # No two of a kind are equally thick: where they overlap, their fronts must not lie in one plane.
    for k, y in enumerate(_spread(draw, back + 1.4, front - 1.6, 4)):
        for side in (-half, half):
            low, tall, wide = draw.uniform(1.0, 1.5), draw.uniform(0.5, 1.1), draw.uniform(0.25, 0.45)
            thick = 0.05 + 0.01 * k
            stage.add(box((side - thick, y - wide, low), (side + thick, y + wide, low + tall)), paints.plaster(6.0))
    for k, x in enumerate(_spread(draw, -half + 0.8, half - 0.8, 3)):
        chest = block(draw.uniform(0.5, 1.0), 0.5 + 0.05 * k, draw.uniform(0.6, 1.9))
        stage.add(chest.at(x, back + 0.3, 0.0), paints.planks())


def still_life(stage: Stage) -> None:
    """Thin poles, boards seen almost edge-on, and round and square things on a table and a floor; nothing moves."""
    draw, paints = stage.draw, stage.paints
    height = draw.uniform(1.25, 1.5)
    view = camera_at(0.0, 0.0, height, draw.uniform(-13.0, -8.0))
    stage.camera = lambda u: view
    front = draw.uniform(4.9, 6.0)
    room(stage, draw.uniform(4.6, 5.4), -4.0, front, draw.uniform(3.3, 3.8))
    free = _Places(draw)

    x, y, top = draw.uniform(-0.35, 0.35), draw.uniform(2.7, 3.1), draw.uniform(0.68, 0.8)
    wide, deep = draw.uniform(0.5, 0.7), draw.uniform(0.3, 0.42)
    legs = [pole(0.022, top).at(x + i * (wide - 0.06), y + j * (deep - 0.06), 0.0) for i in (-1, 1) for j in (-1, 1)]
    stage.add(join(block(2 * wide, 2 * deep, 0.035).at(x, y, top), *legs), paints.planks())
    for k in range(draw.randint(3, 5)):
        place = x + wide * (0.4 * k - 0.8) + draw.uniform(-0.05, 0.05), y + draw.uniform(-0.2, 0.2), top + 0.035
        _thing(stage, draw.uniform(0.07, 0.16), place)
    free.take(x, y, max(wide, deep))

    for _ in range(draw.randint(3, 5)):
        size = draw.uniform(0.14, 0.34)
        _thing(stage, size, (*free.find(2.1, front - 0.6, 0.42, size), 0.0))
    for k in range(draw.randint(7, 10)):
        x, y = free.find(2.0, front - 0.4, 0.45, 0.05)
        pixels = (1.0, 1.4, 2.0, 3.0, 6.0, 12.0)[k % 6] * draw.uniform(0.9, 1.2)  # at 256 across
        radius = stage.thin(pixels * y / 500.0, y)
        tall = draw.choice((3.9, draw.uniform(1.1, 2.4)))
        lean = draw.choice((0.0, 0.0, draw.uniform(-24.0, 24.0)))
        stage.add(pole(radius, tall).moved(shift(x, y, 0.0) @ turn("y", lean)), paints.smooth(value=draw.random()))
    for _ in range(draw.randint(3, 4)):
        x, y = free.find(2.3, front - 1.0, 0.4, 0.25)
        along = math.degrees(math.atan2(y, x)) + draw.choice((-1, 1)) * draw.uniform(1.5, 6.0)
        board = block(draw.uniform(0.7, 1.2), draw.uniform(0.012, 0.03), draw.uniform(0.7, 1.8))
        stage.add(board.moved(shift(x, y, draw.choice((0.0, 0.0, 0.5))) @ turn("z", along)), paints.planks())
    level = height - draw.uniform(0.04, 0.12)  # a shelf just below the eye, held by wires
    x, y = draw.uniform(-0.8, 0.8), front - 1.2
    wires = [pole(0.006, 2.6).at(x + i * 0.45, y + j * 0.35, level) for i in (-1, 1) for j in (-1, 1)]
    stage.add(join(block(1.0, 0.8, 0.025).at(x, y, level), *wires), paints.planks())


def tracking(stage: Stage) -> None:
    """A camera that travels and turns through a room with columns, furniture, a rolling ball and a mobile."""
    draw, paints = stage.draw, stage.paints
    side = draw.choice((-1.0, 1.0))
    height, pitch = draw.uniform(1.3, 1.6), draw.uniform(-9.0, -5.0)
    aside, ahead, turned = side * draw.uniform(0.6, 1.0), draw.uniform(0.4, 0.8), side * draw.uniform(6.0, 12.0)
    stage.camera = lambda u: camera_at(aside * u, ahead * u, height + 0.1 * u, pitch, turned * u)
    stage.camera_moves = True
    front = draw.uniform(6.5, 8.5)
    room(stage, draw.uniform(5.0, 5.8), -4.5, front, draw.uniform(3.4, 4.2))
    free = _Places(draw)
    for _ in range(draw.randint(3, 4)):
        x, y = free.find(3.2, front - 0.6, 0.45, 0.3)
        radius = draw.uniform(0.08, 0.2)
        column = join(pole(radius, 4.3, 28), block(3.2 * radius, 3.2 * radius, 0.2))
        stage.add(column.at(x, y, 0.0), paints.plaster(3.0))
    for _ in range(draw.randint(4, 6)):
        size = draw.uniform(0.2, 0.45)
        _thing(stage, size, (*free.find(2.6, front - 0.6, 0.42, size), 0.0))
    for _ in range(draw.randint(3, 5)):
        x, y = free.find(2.5, front - 0.6, 0.45, 0.05)
        radius = stage.thin(draw.uniform(0.008, 0.03), y)
        stage.add(pole(radius, draw.uniform(1.2, 4.3)).at(x, y, 0.0), paints.smooth())
    x, y = free.find(3.5, front - 1.2, 0.4, 0.5)
    uprights = [block(0.04, 0.3, 1.7).at(i * 0.45, 0.0, 0.0) for i in (-1, 1)]
    shelves = [block(0.86, 0.3, 0.03).at(0.0, 0.0, z) for z in (0.1, 0.55, 1.0, 1.5)]
    stage.add(join(*uprights, *shelves).moved(shift(x, y, 0.0) @ turn("z", draw.uniform(-40.0, 40.0))), paints.planks())

    radius, start, way = draw.uniform(0.2, 0.32), draw.uniform(2.9, 3.3), draw.choice((-1.0, 1.0))
    rolled = math.degrees(2.4 / radius)
    stage.add(
        ball(radius),
        paints.wedges(),
        lambda u: shift(way * (2.4 * u - 1.2), start + 0.5 * u, radius) @ turn("y", way * rolled * u) @ turn("x", 60.0),
    )
    hang, high = draw.uniform(3.4, 4.4), draw.uniform(1.9, 2.3)
    arm = join(
        block(1.3, 0.03, 0.03), pole(0.008, 3.0), ball(0.13).at(0.6, 0.0, -0.12), ring(0.15, 0.03).at(-0.6, 0, 0)
    )
    stage.add(arm, paints.plaster(5.0), lambda u: shift(-0.5 * way, hang, high) @ turn("z", 20.0 + 130.0 * u))


class _Places:
    """Free places on a floor, within what the source camera sees."""

    def __init__(self, draw: random.Random) -> None:
        self._draw = draw
        self._taken: list[tuple[float, float, float]] = []

    def take(self, x: float, y: float, radius: float) -> None:
        """Keeps a place from others."""
        self._taken.append((x, y, radius))

    def find(self, near: float, far: float, slope: float, radius: float) -> tuple[float, float]:
        """A place for something of this radius, within +-slope of the view's axis; the freest of some."""
        tried = []
        for _ in range(12):
            y = self._draw.uniform(near + radius, far - radius)
            x = self._draw.uniform(-slope, slope) * y
            room_left = min((math.dist((x, y), (a, b)) - r for a, b, r in self._taken), default=9.0)
            tried.append((min(room_left - radius, 0.1), len(tried), x, y))
        _, _, x, y = max(tried, key=lambda one: (one[0], -one[1]))
        self.take(x, y, radius)
        return x, y


def _spread(draw: random.Random, low: float, high: float, count: int) -> list[float]:
    step = (high - low) / count
    return [low + step * (k + draw.uniform(0.2, 0.8)) for k in range(count)]


def _thing(stage: Stage, size: float, place: tuple[float, float, float]) -> None:
    """Something of about this radius that stands on a place."""
    draw, paints = stage.draw, stage.paints
    body: Callable[[], Shape] = draw.choice((
        lambda: ball(size).at(0.0, 0.0, size),
        lambda: ball(0.7 * size, stretch=1.6).at(0.0, 0.0, 1.12 * size),
        lambda: block(1.5 * size, 1.3 * size, draw.uniform(1.0, 2.2) * size),
        lambda: pole(0.7 * size, 2.0 * size, 36),
        lambda: pole(0.8 * size, 2.2 * size, 36, top=0.15 * size),
        lambda: ring(0.75 * size, 0.25 * size).moved(shift(0.0, 0.0, size) @ turn("x", 80.0)),
    ))  # fmt: skip
    material = draw.choice((paints.plaster, paints.planks, paints.wedges, paints.smooth))()
    stage.add(body().moved(shift(*place) @ turn("z", draw.uniform(0.0, 360.0))), material)
