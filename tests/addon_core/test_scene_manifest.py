# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading a reconstruction's description."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from blender_addon.core import scene_manifest
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, VERSION, Ex4dError

EYE = [[1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 0.0, 0.0, 1.0]]


def _still(**changes: Any) -> dict[str, Any]:
    return {"world_from_camera": EYE, "fx": 3.9, "fy": 3.9, "cx": 2.0, "cy": 1.5} | changes


GOOD: dict[str, Any] = {
    "version": 2,
    "name": "clip",
    "width": 4,
    "height": 3,
    "fps": [60000, 1001],
    "frames": 2,
    "focal": 3.9,
    "cx": 2.0,
    "cy": 1.5,
    "far": 40.0,
    "pivot": 2.5,
    "estimator": "draft",
    "draft": True,
    "notes": ["rotated"],
    "camera": {"width": 4, "height": 3, "fps": [60000, 1001], "frames": [_still(), _still()]},
}


def _moved(**changes: Any) -> dict[str, Any]:
    """A source camera whose second frame is another."""
    return {"camera": {"frames": [_still(), _still(**changes)]}}


def _folder(tmp_path: Path, **changes: Any) -> Path:
    (tmp_path / "source").mkdir()
    (tmp_path / "mesh").mkdir()
    for number in (1, 2):
        (tmp_path / "source" / f"{number:04d}.png").touch()
        (tmp_path / "mesh" / f"{number:04d}.exr").touch()
    (tmp_path / "scene.json").write_text(json.dumps(GOOD | changes))
    return tmp_path


def test_a_manifest_is_read_whole(tmp_path):
    manifest = scene_manifest.read(_folder(tmp_path))
    assert (manifest.width, manifest.height, manifest.fps, manifest.frames) == (4, 3, (60000, 1001), 2)
    assert (manifest.focal, manifest.pivot, manifest.draft, manifest.notes) == (3.9, 2.5, True, ("rotated",))


def test_a_source_camera_that_moves_or_zooms_says_so(tmp_path):
    still = scene_manifest.read(_folder(tmp_path)).camera
    assert (still.moves, still.zooms) == (False, False)
    shifted = [[1.0, 0.0, 0.0, 0.25], *EYE[1:]]
    moving = scene_manifest.from_dict(GOOD | _moved(world_from_camera=shifted), "x")
    assert (moving.camera.moves, moving.camera.zooms) == (True, False)
    assert moving.camera.world_from_camera[1][3] == 0.25
    assert scene_manifest.from_dict(GOOD | _moved(fx=5.0, fy=5.0), "x").camera.zooms
    assert scene_manifest.from_dict(json.loads(json.dumps(scene_manifest.to_dict(moving))), "x") == moving


def test_near_far_and_where_the_depth_comes_from_are_read():
    origin = {
        "depth": {"model": "vda-small", "licence": "CC-BY-NC-4.0", "commercial_use": False, "options": {}},
        "known": {"source": "points", "count": 41, "agreeing": 0.95, "residual": 0.012, "scale": 2.0, "note": "x"},
    }
    manifest = scene_manifest.from_dict(
        GOOD | {"near": 1.5, "far_depth": 20.0, "metric": True, "provenance": origin}, "x"
    )
    assert (manifest.near, manifest.far_depth, manifest.metric) == (1.5, 20.0, True)
    assert (manifest.model, manifest.licence, manifest.commercial_use) == ("vda-small", "CC-BY-NC-4.0", False)
    assert manifest.known == scene_manifest.Known("points", 41, 0.95, 0.012)
    assert scene_manifest.from_dict(json.loads(json.dumps(scene_manifest.to_dict(manifest))), "x") == manifest


def test_folders_of_earlier_releases_have_a_range_all_the_same():
    old = scene_manifest.from_dict(GOOD, "x")
    assert (old.near, old.far_depth, old.metric, old.commercial_use, old.known) == (2.5, 40.0, False, True, None)
    flat = scene_manifest.from_dict(GOOD | {"near": 3.0, "far_depth": 3.0}, "x")
    assert flat.far_depth > flat.near


@pytest.mark.parametrize(
    ("changes", "code", "words"),
    [
        ({"version": 3}, VERSION, "format 3.*[Uu]pdate"),
        ({"version": 1}, VERSION, "format 1.*Reconstruct the clip again"),
        ({"camera": None}, BAD_INPUT, "wrong value"),
        ({"camera": {"frames": [_still()]}}, BAD_INPUT, "each of its 2 frames"),
        (_moved(fx=0.0), BAD_INPUT, "no lens"),
        (_moved(cx=float("nan")), BAD_INPUT, "not numbers"),
        (_moved(world_from_camera=[[1.0] * 4] * 4), BAD_INPUT, "sheared"),
        (_moved(world_from_camera=EYE[:3]), BAD_INPUT, "each of its 2 frames"),
        ({"frames": 0}, BAD_INPUT, "not above zero"),
        ({"fps": [24, 0]}, BAD_INPUT, "not above zero"),
        ({"fps": 24}, BAD_INPUT, "wrong value"),
        ({"focal": float("nan")}, BAD_INPUT, "not above zero"),
        ({"pivot": -1.0}, BAD_INPUT, "not above zero"),
        ({"cx": float("inf")}, BAD_INPUT, "principal point"),
        ({"width": None}, BAD_INPUT, "wrong value"),
        ({"near": -1.0}, BAD_INPUT, "not above zero"),
        ({"far_depth": "far"}, BAD_INPUT, "wrong value"),
        ({"provenance": []}, BAD_INPUT, "wrong value"),
        ({"provenance": {"known": {"source": "points"}}}, BAD_INPUT, "wrong value"),
        ({"frames": 3, "camera": {"frames": [_still()] * 3}}, NOT_FOUND, r"0003\.png is missing"),
    ],
)
def test_what_cannot_be_used_is_named(tmp_path, changes, code, words):
    with pytest.raises(Ex4dError, match=words) as caught:
        scene_manifest.read(_folder(tmp_path, **changes))
    assert caught.value.code == code


@pytest.mark.parametrize(
    ("text", "code"), [(None, NOT_FOUND), ("{", BAD_INPUT), ("[]", BAD_INPUT), ("{}", VERSION), ("\xff", BAD_INPUT)]
)
def test_files_that_are_no_manifest_are_refused(tmp_path, text, code):
    if text is not None:
        (tmp_path / "scene.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(Ex4dError) as caught:
        scene_manifest.read(tmp_path)
    assert caught.value.code == code
