# SPDX-License-Identifier: GPL-3.0-or-later
"""The ground-truth scenes under a sky: `figure` (someone walks past pillars) and `street` (a car drives)."""

from __future__ import annotations

import math

from _truth_rooms import camera_at
from _truth_shapes import Matrix4, Shape, ball, block, box, join, limb, pole, shift, turn
from _truth_stage import Motion, Stage


def figure(stage: Stage) -> None:
    """Someone walks across a courtyard, before a row of pillars."""
    draw, paints = stage.draw, stage.paints
    view = camera_at(0.0, 0.0, draw.uniform(1.35, 1.6), draw.uniform(-6.0, -2.0))
    stage.camera = lambda u: view
    _ground_and_sky(stage, 40.0)
    far, half = draw.uniform(7.5, 9.5), draw.uniform(6.0, 7.5)
    _walls(stage, half, -6.0, far, draw.uniform(3.5, 5.0))
    row, gap = draw.uniform(5.2, 6.2), draw.uniform(1.1, 1.7)
    radius, high, stone = draw.uniform(0.13, 0.24), draw.uniform(2.8, 3.3), paints.plaster(2.5, saturation=0.2)
    start = draw.uniform(0.0, gap)
    for k in range(-4, 4):
        shaft = join(
            pole(radius, high, 32, top=0.85 * radius),
            block(3.0 * radius, 3.0 * radius, 0.18),
            block(3.0 * radius, 3.0 * radius, 0.2).at(0.0, 0.0, high),
        )
        stage.add(shaft.at(start + gap * k, row, 0.0), stone)
    stage.add(box((-half, row - 0.25, high + 0.2), (half, row + 0.25, high + 0.6)), stone)
    for _ in range(draw.randint(3, 5)):
        x, y, size = draw.uniform(-3.0, 3.0), draw.uniform(row + 0.7, far - 0.6), draw.uniform(0.25, 0.5)
        pot = pole(0.6 * size, size, 28, top=0.9 * size)
        stage.add(join(pot, ball(0.85 * size, stretch=1.2).at(0.0, 0.0, 1.7 * size)).at(x, y, 0.0), paints.plaster(5.0))
    for _ in range(2):
        x = draw.choice((-1, 1)) * draw.uniform(0.8, 1.6)
        radius, tall, y = draw.uniform(0.012, 0.03), draw.uniform(1.5, 2.8), draw.uniform(3.4, 5.0)
        stage.add(pole(stage.thin(radius, y), tall).at(x, y, 0.0), paints.smooth())
    walk = draw.choice((-1.0, 1.0))
    reach, near = draw.uniform(1.4, 1.8), draw.uniform(3.2, 3.8)
    _walker(stage, draw.uniform(0.92, 1.08), lambda u: shift(walk * reach * (2.0 * u - 1.0), near + 0.4 * u, 0.0)
            @ turn("z", 0.0 if walk > 0 else 180.0), 2.0 * reach)  # fmt: skip


def street(stage: Stage) -> None:
    """A deep street between facades with relief, with lamp posts and a car that drives along it."""
    draw, paints = stage.draw, stage.paints
    half, far = draw.uniform(5.0, 5.8), draw.uniform(36.0, 48.0)
    view = camera_at(0.0, 0.0, draw.uniform(1.5, 1.8), draw.uniform(-3.0, 1.0), draw.uniform(-3.0, 3.0))
    stage.camera = lambda u: view
    _ground_and_sky(stage, 90.0)
    for side in (-1, 1):
        kerb = paints.tiles()
        stage.add(box((min(side * 3.9, side * half), -14.0, -0.5), (max(side * 3.9, side * half), far, 0.12)), kerb)
        y = -14.0
        while y < far:
            wide = draw.uniform(4.5, 8.0)
            _house(stage, shift(side * half, y + wide / 2, 0.0) @ turn("z", 90.0 * side), wide)
            y += wide
    _house(stage, shift(0.0, far, 0.0) @ turn("z", 180.0), 2 * half + 4.0)
    _house(stage, shift(0.0, -14.0, 0.0), 2 * half + 4.0)
    metal = paints.smooth(value=0.15, saturation=0.2)
    place, step = draw.uniform(5.5, 7.0), draw.uniform(5.0, 7.0)
    for k in range(6):
        lamp = join(
            pole(0.07, 0.9), pole(0.035, 4.2), block(0.7, 0.06, 0.05).at(0.3, 0.0, 4.2), ball(0.15).at(0.6, 0, 4.1)
        )
        for side in (-1, 1):
            along = place + step * k + (step / 2 if side > 0 else 0.0)
            stage.add(lamp.moved(shift(side * 4.1, along, 0.1) @ turn("z", 0.0 if side < 0 else 180.0)), metal)
    for _ in range(5):
        side = draw.choice((-1, 1))
        stage.add(pole(0.03, 2.3).at(side * 4.0, draw.uniform(6.0, 24.0), 0.1), metal)
    lane = draw.choice((-1, 1)) * draw.uniform(1.3, 1.9)
    nearest, farthest = draw.uniform(6.5, 7.5), draw.uniform(14.0, 18.0)
    a, b = (farthest, nearest) if lane < 0 else (nearest, farthest)  # towards us on the left
    _car(stage, lambda u: shift(lane, a + (b - a) * u, 0.0) @ turn("z", 90.0 if b > a else -90.0), abs(b - a))


def _ground_and_sky(stage: Stage, radius: float) -> None:
    ground = box((-radius, -radius, -1.0), (radius, radius, 0.0))
    stage.add(Shape(ground.points, [ground.faces[5]]), stage.paints.tiles())
    dome = ball(radius, 16, 32)
    stage.add(Shape(dome.points, [face[::-1] for face in dome.faces], True), stage.paints.sky())


def _walls(stage: Stage, half: float, back: float, far: float, high: float) -> None:
    """Walls around a courtyard, thick ones, with a base, piers and openings painted on as panels."""
    draw, paints = stage.draw, stage.paints
    for k, (low, top) in enumerate((
        ((-half - 0.4, back, -0.2), (-half, far, high)), ((half, back, -0.2), (half + 0.4, far, high)),
        ((-half - 0.4, far, -0.2), (half + 0.4, far + 0.4, high + 1.0)),
        ((-half - 0.4, back - 0.4, -0.2), (half + 0.4, back, high)),
    )):  # fmt: skip
        across = k >= 2
        paint = paints.bricks((math.pi / 2, 0.0, 0.0 if across else math.pi / 2)) if k != 3 else paints.plaster()
        stage.add(box(low, top), paint)
        pier = paints.smooth()
        length = top[0] - low[0] if across else top[1] - low[1]
        for j in range(1, 7):
            at = (low[0] if across else low[1]) + length * j / 7 + draw.uniform(-0.2, 0.2)
            x, y = (at, (low[1] + top[1]) / 2) if across else ((low[0] + top[0]) / 2, at)
            wide, deep = (draw.uniform(0.3, 0.6), 0.7) if across else (0.7, draw.uniform(0.3, 0.6))
            stage.add(block(wide, deep, draw.uniform(1.5, high + 0.2)).at(x, y, 0.0), pier)


def _house(stage: Stage, place: Matrix4, wide: float) -> None:
    """A house that stands behind `place`'s origin and looks along its y; relief stands out by up to 0.6 m."""
    draw, paints = stage.draw, stage.paints
    floors, storey = draw.randint(2, 4), draw.uniform(2.8, 3.3)
    high = floors * storey + 0.5
    turned = place @ turn("z", 180.0)
    wall = draw.choice((paints.plaster, lambda: paints.bricks((math.pi / 2, 0.0, 0.0))))()
    stage.add(block(wide, 3.0, high + 0.5).at(0.0, 1.5, -0.5), wall, lambda u: turned)
    trim: list[Shape] = [block(wide - 0.02, 0.7, 0.25).at(0.0, 0.0, high - 0.3), block(wide, 0.16, 0.5)]
    glass: list[Shape] = []
    count = max(2, round(wide / 2.2))
    for floor in range(floors):
        base = floor * storey
        trim.append(block(wide, 0.24, 0.12).at(0.0, 0.0, base + storey - 0.05))
        for k in range(count):
            x = wide * ((k + 0.5) / count - 0.5)
            w, h, low = 0.95, 1.5, base + 0.9
            if floor == 0 and k == count // 2:
                w, h, low = 1.1, 2.2, 0.1
            glass.append(block(w, 0.06, h).at(x, 0.0, low))
            trim += [block(0.12, 0.3, h + 0.2).at(x + i * (w / 2 + 0.06), 0.0, low - 0.1) for i in (-1, 1)]
            trim += [block(w + 0.4, 0.44, 0.09).at(x, 0.0, low - 0.12), block(w + 0.3, 0.36, 0.12).at(x, 0.0, low + h)]
            if floor and draw.random() < 0.25:
                trim.append(block(w + 0.8, 1.2, 0.12).at(x, 0.0, base + 0.2))
                bars = [pole(0.015, 0.85, 6).at(x + 0.2 * i, -0.57, base + 0.3) for i in range(-4, 5)]
                trim += [*bars, block(w + 0.8, 0.05, 0.05).at(x, -0.57, base + 1.15)]
    stage.add(join(*trim), paints.smooth(saturation=0.2), lambda u: turned)
    stage.add(join(*glass), paints.plaster(1.5, value=0.2, saturation=0.4), lambda u: turned)


def _car(stage: Stage, motion: Motion, travel: float) -> None:
    """A car that looks along its own x; the wheels turn."""
    draw, paints = stage.draw, stage.paints
    low, high = draw.uniform(0.62, 0.75), draw.uniform(1.35, 1.55)
    cabin = Shape(box((-1.2, -0.72, low), (0.9, 0.72, high)).points, box((0, 0, 0), (1, 1, 1)).faces)
    cabin.points[cabin.points[:, 2] > low, 0] *= 0.68
    cabin.points[cabin.points[:, 2] > low, 1] *= 0.86
    stage.add(box((-2.0, -0.85, 0.28), (2.1, 0.85, low)), paints.plaster(1.5, saturation=0.8, value=0.7), motion)
    stage.add(cabin, paints.smooth(value=0.2), motion)
    lights = join(*(block(0.08, 0.3, 0.14).at(x, y, 0.48) for x in (-2.0, 2.1) for y in (-0.6, 0.6)))
    stage.add(lights, paints.smooth(value=0.9, saturation=0.3), motion)
    wheel = pole(0.34, 0.24, 28).moved(turn("x", 90.0) @ shift(0.0, 0.0, -0.12))
    rolled, tyre = math.degrees(travel / 0.34), paints.wedges()
    for x in (-1.3, 1.35):
        for y in (-0.78, 0.78):
            stage.add(wheel, tyre, lambda u, x=x, y=y: motion(u) @ shift(x, y, 0.34) @ turn("y", rolled * u))


def _walker(stage: Stage, size: float, motion: Motion, travel: float) -> None:
    """A body of simple parts that walks along its own x."""
    draw, paints = stage.draw, stage.paints
    steps = travel / (1.35 * size)
    begin = draw.uniform(0.0, 1.0)
    coat, trousers, skin = paints.plaster(5.0), paints.plaster(4.0, value=0.35), paints.smooth(hue=0.06, saturation=0.5)
    shoes = paints.smooth(value=0.2)

    def swing(u: float, late: float = 0.0) -> float:
        return math.sin(2.0 * math.pi * (begin + steps * u + late))

    def body(u: float) -> Matrix4:
        bob = 0.025 * math.cos(4.0 * math.pi * (begin + steps * u))
        return motion(u) @ shift(0.0, 0.0, 0.93 * size + bob) @ turn("y", 4.0)

    stage.add(limb(0.17 * size, 0.36 * size, 0.15 * size), coat, lambda u: body(u) @ shift(0.0, 0.0, 0.42 * size))
    stage.add(pole(0.055 * size, 0.2 * size), skin, lambda u: body(u) @ shift(0.0, 0.0, 0.5 * size))
    stage.add(ball(0.115 * size, stretch=1.2), skin, lambda u: body(u) @ shift(0.02, 0.0, 0.76 * size))
    for side in (-1.0, 1.0):
        late = 0.0 if side > 0 else 0.5

        def arm(u: float, side: float = side, late: float = late) -> Matrix4:
            return body(u) @ shift(0.0, 0.22 * side * size, 0.44 * size) @ turn("y", 30.0 * swing(u, late))

        def forearm(u: float, arm: Motion = arm, late: float = late) -> Matrix4:
            return arm(u) @ shift(0.0, 0.0, -0.29 * size) @ turn("y", -25.0 + 15.0 * swing(u, late))

        def thigh(u: float, side: float = side, late: float = late) -> Matrix4:
            return body(u) @ shift(0.0, 0.09 * side * size, 0.0) @ turn("y", -4.0 - 30.0 * swing(u, late))

        def shin(u: float, thigh: Motion = thigh, late: float = late) -> Matrix4:
            return thigh(u) @ shift(0.0, 0.0, -0.44 * size) @ turn("y", 8.0 + 26.0 * (1.0 + swing(u, late + 0.3)))

        stage.add(limb(0.06 * size, 0.29 * size, 0.05 * size), coat, arm)
        stage.add(limb(0.048 * size, 0.27 * size, 0.04 * size), skin, forearm)
        stage.add(limb(0.085 * size, 0.44 * size, 0.065 * size), trousers, thigh)
        stage.add(limb(0.062 * size, 0.38 * size, 0.045 * size), trousers, shin)
        shoe = block(0.24 * size, 0.09 * size, 0.07 * size).at(0.05 * size, 0.0, -0.44 * size)
        stage.add(shoe, shoes, shin)
