# SPDX-License-Identifier: GPL-3.0-or-later
"""Tracked points, as the backend reads them."""

from __future__ import annotations

import json

import numpy as np

from blender_addon.core import camera_math, tracks


def test_a_marker_is_told_in_pixels_from_the_top_left():
    assert tracks.pixel(0.0, 1.0, (1920, 1080)) == (0.0, 0.0)
    middle = tracks.pixel(0.5 / 1920, 1.0 - 0.5 / 1080, (1920, 1080))
    assert np.allclose(middle, 0.5), "of the first pixel"
    assert tracks.pixel(1.0, 0.0, (1920, 1080)) == (1920.0, 1080.0)


def test_points_and_cameras_are_told_in_one_world():
    draw = np.random.default_rng(3)
    for _ in range(20):
        turn, _ = np.linalg.qr(draw.normal(size=(3, 3)))
        camera = np.eye(4)
        camera[:3, :3], camera[:3, 3] = turn * np.sign(np.linalg.det(turn)), draw.normal(size=3) * 5.0
        local = np.array((0.3, -0.2, -4.0, 1.0))  # in front of a camera of Blender's
        told = np.append(tracks.our_world((camera @ local)[:3]), 1.0)
        pose = camera_math.world_from_camera(camera_math.UPRIGHT, camera)
        assert np.allclose(np.linalg.inv(pose) @ told, (0.3, 0.2, 4.0, 1.0))


def test_the_file_holds_position_and_track_of_every_point():
    data = tracks.to_json([tracks.Bundle((1.0, 2.0, 3.0), ((1, 10.25, 20.0), (2, 11.0, 20.0004)))])
    value = json.loads(data)
    assert value["version"] == 1
    (bundle,) = value["bundles"]
    assert bundle["xyz"] == [1.0, -3.0, 2.0], "x right, y down, z along Blender's Y"
    assert bundle["track"] == [[1, 10.25, 20.0], [2, 11.0, 20.0]]


def test_a_long_clips_tracks_are_thinned_evenly():
    bundles = [tracks.Bundle((0.0, 0.0, 1.0), tuple((n, 1.0, 1.0) for n in range(1, 101))) for _ in range(3)]
    told = json.loads(tracks.to_json(bundles, most=100))["bundles"]
    assert [[frame for frame, _, _ in bundle["track"]] for bundle in told] == [list(range(1, 101, 3))] * 3
    assert len(json.loads(tracks.to_json(bundles, most=300))["bundles"][0]["track"]) == 100
