# SPDX-License-Identifier: Apache-2.0
"""The parts of the preview: membrane, clean plate, peeling, continuing beyond the picture."""

from __future__ import annotations

import numpy as np
import pytest

from ex4d.generate.preview.behind import peel, solid, without_fringes
from ex4d.generate.preview.beyond import dome, extend
from ex4d.generate.preview.fill import membrane
from ex4d.generate.preview.plate import clean_plate

HEIGHT, WIDTH, FOCAL = 54, 96, 94.0


def floor_and_wall() -> np.ndarray:
    """z of a floor 0.6 below the camera that meets a wall at 8."""
    v = np.arange(HEIGHT) + 0.5 - HEIGHT / 2
    floor = np.where(v > 0, 0.6 * FOCAL / np.maximum(v, 1e-9), np.inf)
    return np.repeat(np.minimum(floor, 8.0)[:, None], WIDTH, axis=1).astype(np.float32)


def test_a_membrane_over_a_hole_in_a_plane_is_that_plane() -> None:
    y, x = np.mgrid[:40, :60].astype(np.float32)
    plane = 3.0 + 0.5 * x - 0.25 * y
    known = np.ones(plane.shape, np.bool_)
    known[10:30, 20:45] = False
    filled = membrane(np.where(known, plane, 999.0).astype(np.float32), known, relaxations=60)
    assert np.abs(filled - plane)[~known].max() < 0.5
    assert np.array_equal(filled[known], plane[known])


def test_a_membrane_stays_within_what_it_is_held_by() -> None:
    rng = np.random.default_rng(1)
    values = rng.uniform(10, 20, (33, 47, 3)).astype(np.float32)
    known = rng.random((33, 47)) < 0.05
    filled = membrane(values, known)
    assert values[known].min() - 1e-3 <= filled.min()
    assert filled.max() <= values[known].max() + 1e-3


def test_a_panorama_is_filled_across_its_seam() -> None:
    values = np.zeros((16, 64), np.float32)
    known = np.zeros(values.shape, np.bool_)
    known[:, 2] = known[:, 32] = True
    values[:, 2], values[:, 32] = 100.0, 0.0
    assert membrane(values, known, wrap=True)[:, -1].mean() > 80.0
    assert membrane(values, known, wrap=False)[:, -1].mean() < 20.0


def test_nothing_known_gives_nothing() -> None:
    assert not membrane(np.ones((5, 7), np.float32), np.zeros((5, 7), np.bool_)).any()


def test_the_plate_has_the_background_without_what_passed_and_without_its_grain() -> None:
    rng = np.random.default_rng(5)
    frames = rng.normal(120.0, 6.0, (30, HEIGHT, WIDTH, 3)).clip(0, 255)
    z = np.full((30, HEIGHT, WIDTH), 8.0, np.float32)
    for t in range(30):
        frames[t, 20:40, 3 * t : 3 * t + 9] = 250.0
        frames[t, 20:40, 3 * t + 9 : 3 * t + 10] = 190.0  # its soft edge, with the depth of the background
        z[t, 20:40, 3 * t : 3 * t + 9] = 2.0
    colour, plate_z = clean_plate(frames.astype(np.uint8), z)
    assert np.array_equal(plate_z, np.full((HEIGHT, WIDTH), 8.0, np.float32))
    assert np.abs(colour - 119.5).max() < 8.0
    assert colour.std() < 3.0


def test_one_frame_that_is_wrongly_too_far_does_not_make_the_plate() -> None:
    frames = np.full((25, 8, 8, 3), 100, np.uint8)
    z = np.full((25, 8, 8), 5.0, np.float32)
    frames[7], z[7] = 255, 50.0
    colour, plate_z = clean_plate(frames, z)
    assert (colour == 100).all()
    assert (plate_z == 5.0).all()


def test_peeling_keeps_floor_and_wall_as_they_are() -> None:
    z = floor_and_wall()
    colour = np.full((*z.shape, 3), 90.0, np.float32)
    for share in (0.06, 0.24, 0.5):
        assert not peel(colour, z, share, 2).removed.any()


def test_peeling_takes_a_post_off_and_finds_floor_and_wall_behind_it() -> None:
    truth = floor_and_wall()
    colour = np.full((*truth.shape, 3), 90.0, np.float32)
    z = truth.copy()
    z[5:45, 40:48] = 2.0
    colour[5:45, 40:48] = 240.0
    found = peel(colour, z, 0.24, 2)
    assert found.removed[5:45, 40:48].all()
    assert np.abs(found.colour - 90.0).max() < 1.0
    # At the foot of the wall the membrane cuts the corner.
    error = np.abs(found.z / truth - 1.0)
    assert error.mean() < 0.01
    assert error.max() < 0.3
    assert (found.z >= z - 1e-4).all()


def test_what_is_wider_than_asked_for_stays() -> None:
    z = np.full((HEIGHT, WIDTH), 8.0, np.float32)
    z[10:40, 20:60] = 3.0
    found = peel(np.zeros((HEIGHT, WIDTH, 3), np.float32), z, 0.1, 2)
    assert (found.z[14:36, 24:56] == 3.0).all()


def test_strips_that_hang_between_near_and_far_are_no_surface() -> None:
    z = np.full((20, 40), 8.0, np.float32)
    z[:, :18] = 3.0
    assert solid(z).all()
    z[:, 18:20] = 5.0
    surface = solid(z)
    assert not surface[:, 18:20].any()
    assert surface[:, :17].all()
    assert surface[:, 21:].all()


def test_the_far_side_of_an_edge_loses_the_colour_of_the_near_one() -> None:
    z = np.full((HEIGHT, WIDTH), 8.0, np.float32)
    z[:, :40] = 3.0
    colour = np.where(z[..., None] < 5.0, 200.0, 50.0).repeat(3, axis=-1).astype(np.float32)
    colour[:, 40:42] = 125.0
    clean = without_fringes(colour, z, 2)
    assert np.abs(clean[:, 40:] - 50.0).max() < 1.0
    assert (clean[:, :40] == 200.0).all()


def test_a_floor_goes_on_as_the_same_plane_beyond_the_edge() -> None:
    z = floor_and_wall()
    canvas = extend(np.zeros((*z.shape, 3), np.float32), z, (WIDTH, HEIGHT), nearest=0.01)
    below = np.flatnonzero((canvas.v > HEIGHT) & (canvas.v < 3 * HEIGHT))
    expected = 0.6 * FOCAL / (canvas.v[below] - HEIGHT / 2)
    middle = len(canvas.u) // 2
    assert len(below) > 10
    assert np.abs(canvas.z[below, middle] / expected - 1.0).max() < 0.05
    above = canvas.v < 0
    assert np.abs(canvas.z[above][:, middle] - 8.0).max() < 0.2


def test_the_canvas_joins_the_picture_and_marks_what_is_too_near() -> None:
    rng = np.random.default_rng(2)
    z = floor_and_wall()
    colour = rng.uniform(0, 255, (*z.shape, 3)).astype(np.float32)
    canvas = extend(colour, z, (WIDTH, HEIGHT), nearest=1.0)
    assert np.allclose(canvas.z[canvas.inside].reshape(z.shape), z, rtol=1e-6)
    assert np.allclose(canvas.colour[canvas.inside].reshape(colour.shape), colour, atol=1e-3)
    assert (canvas.z >= 1.0 - 1e-5).all()
    assert canvas.stopped.any()
    assert not (canvas.stopped & canvas.inside).any()


@pytest.mark.parametrize("size", [(96, 54), (54, 96)])
def test_the_dome_has_a_colour_in_every_direction(size: tuple[int, int]) -> None:
    width, height = size
    colour = np.full((height, width, 3), (10.0, 120.0, 230.0), np.float32)
    canvas = extend(colour, np.full((height, width), 5.0, np.float32), size, nearest=0.5)
    directions, colours, faces = dome(canvas, FOCAL, (width / 2, height / 2))
    assert np.allclose(np.linalg.norm(directions, axis=1), 1.0)
    assert np.abs(colours - (10.0, 120.0, 230.0)).max() < 0.5
    assert faces.max() == len(directions) - 1
