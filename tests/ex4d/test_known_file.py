# SPDX-License-Identifier: Apache-2.0
"""Files of known points."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ex4d.depth.known import file as points_file
from ex4d.depth.known.file import load_points
from ex4d.depth.known.values import KnownPoints, WorldPoints
from shared_protocol.errors import BAD_INPUT, LIMIT, NOT_FOUND, Ex4dError

POINTS = {
    "version": 1,
    "points": [{"frame": 1, "x": 10.5, "y": 20.5, "z": 3}, {"frame": 4, "x": 0, "y": 7.25, "z": 0.5, "name": "door"}],
}
BUNDLES = {
    "version": 1,
    "bundles": [
        {"xyz": [0.0, 1.0, 5.0], "track": [[1, 10.0, 20.0], [2, 11.0, 20.0]], "name": "Track.001"},
        {"xyz": [-1, 2, 6], "track": []},
        {"xyz": [-1, 2, 7], "track": [[3, 4, 5]]},
    ],
}


def written(folder: Path, value: Any, name: str = "points.json") -> Path:
    path = folder / name
    path.write_bytes(value if isinstance(value, bytes) else json.dumps(value).encode())
    return path


def packed(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "points.npz", **arrays)
    return folder / "points.npz"


def test_points_with_their_depth(tmp_path: Path) -> None:
    found = load_points(written(tmp_path, POINTS), first=2)
    assert isinstance(found, KnownPoints)
    np.testing.assert_array_equal(found.frame, [-2, 1])
    np.testing.assert_array_equal(found.at, [[10.5, 20.5], [0.0, 7.25]])
    np.testing.assert_array_equal(found.z, [3.0, 0.5])


def test_bundles_with_their_tracks(tmp_path: Path) -> None:
    found = load_points(written(tmp_path, BUNDLES))
    assert isinstance(found, WorldPoints)
    np.testing.assert_array_equal(found.frame, [0, 1, 2])
    np.testing.assert_array_equal(found.at, [[10.0, 20.0], [11.0, 20.0], [4.0, 5.0]])
    np.testing.assert_array_equal(found.world, [[0.0, 1.0, 5.0], [0.0, 1.0, 5.0], [-1.0, 2.0, 7.0]])


def test_arrays(tmp_path: Path) -> None:
    frame, at = np.array([1, 2]), np.array([[1.0, 2.0], [3.0, 4.0]], np.float32)
    found = load_points(packed(tmp_path, frame=frame, at=at, z=np.array([1, 2])))
    assert isinstance(found, KnownPoints)
    np.testing.assert_array_equal(found.z, [1.0, 2.0])
    found = load_points(packed(tmp_path, frame=frame, at=at, world=np.eye(3)[:2]), first=1)
    assert isinstance(found, WorldPoints)
    np.testing.assert_array_equal(found.frame, [-1, 0])


def one(**changed: Any) -> dict[str, Any]:
    return {"version": 1, "points": [POINTS["points"][0], {**POINTS["points"][0], **changed}]}  # type: ignore[index]


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (b"", "is not a file of known points"),
        (b"{", "is not a file of known points"),
        (b"[" * 100_000, "is not a file of known points"),
        (b"\xff\xfe\x00", "is not a file of known points"),
        ([], "is not a file of known points"),
        ({}, "is of version None"),
        ({**POINTS, "version": 2}, "is of version 2"),
        ({"version": 1}, "has neither points nor bundles"),
        ({**POINTS, **BUNDLES}, "has both points and bundles"),
        ({"version": 1, "points": []}, "has no points"),
        ({"version": 1, "bundles": [{"xyz": [0, 0, 1], "track": []}]}, "has no points"),
        ({"version": 1, "points": 7}, "is not a file of known points"),
        ({"version": 1, "points": [{"frame": 1, "x": 1, "y": 2}]}, "is not a file of known points"),
        ({"version": 1, "bundles": [{"xyz": [0, 0], "track": [[1, 2, 3]]}]}, "is not a file of known points"),
        ({"version": 1, "bundles": [{"xyz": [0, 0, 1], "track": [[1, 2]]}]}, "is not a file of known points"),
        (one(z="3"), "Point 2 of points.json has '3' where a number belongs"),
        (one(z=True), "Point 2 of points.json has True where a number belongs"),
        (one(x=None), "Point 2 of points.json has None where a number belongs"),
        (one(z=0), "Known point 2 of points.json has a depth that is not above 1e-06"),
        (one(z=-1), "Known point 2 of points.json has a depth that is not above 1e-06"),
        (one(x=float("nan")), "Known point 2 of points.json has a value that is not a number"),
        (one(z=float("inf")), "Known point 2 of points.json has a value that is not a number"),
        (one(z=1e30), "Known point 2 of points.json is too far away"),
        (one(frame=0), "Known point 2 of points.json has no frame number from 1 on"),
        (one(frame=1.5), "Known point 2 of points.json has no frame number from 1 on"),
        (one(frame=1e12), "Known point 2 of points.json has no frame number from 1 on"),
        (json.dumps(one()).replace("10.5", "1" * 400).encode(), "is not a file of known points"),
    ],
)
def test_what_is_no_such_json_is_refused(tmp_path: Path, value: Any, message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        load_points(written(tmp_path, value))
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint


def test_what_are_no_such_arrays_is_refused(tmp_path: Path) -> None:
    frame, at, z = np.array([1, 2]), np.zeros((2, 2)), np.ones(2)
    for arrays, message in (
        ({"frame": frame, "at": at}, "neither z nor world"),
        ({"frame": frame, "at": at, "z": z, "world": np.zeros((2, 3))}, "both z and world"),
        ({"frame": frame, "at": at, "z": np.ones(3)}, "arrays of the shapes"),
        ({"frame": frame, "at": np.zeros((2, 3)), "z": z}, "arrays of the shapes"),
        ({"frame": np.array(["a", "b"]), "at": at, "z": z}, "arrays of the shapes"),
        ({"frame": frame, "at": at, "z": np.array([None, 1])}, "is not a file of known points"),
        ({"frame": 1, "at": at, "z": z}, "is not a file of known points"),
        ({"at": at, "z": z}, "is not a file of known points"),
        ({"frame": frame[:0], "at": at[:0], "z": z[:0]}, "has no points"),
    ):
        with pytest.raises(Ex4dError, match=message):
            load_points(packed(tmp_path, **arrays))
    for data in (b"PK\x05\x06" + b"\0" * 18, b"PK\x03\x04 broken", b"no zip"):
        with pytest.raises(Ex4dError, match=r"is not a file of known points|neither z nor world"):
            load_points(written(tmp_path, data, "points.npz"))


def test_files_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="There is no file") as caught:
        load_points(tmp_path / "points.json")
    assert caught.value.code == NOT_FOUND
    with pytest.raises(Ex4dError, match="cannot be read"):
        load_points(tmp_path)


def test_files_that_are_too_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("z.npy", b"\0" * (1 << 20))
    monkeypatch.setattr(points_file, "LARGEST", 1 << 16)
    for path in (written(tmp_path, bomb.getvalue(), "points.npz"), written(tmp_path, b" " * (1 << 17))):
        with pytest.raises(Ex4dError, match="Known points take 0 MiB at most") as caught:
            load_points(path)
        assert caught.value.code == LIMIT
    monkeypatch.setattr(points_file, "MOST", 1)
    with pytest.raises(Ex4dError, match="has 2 points") as caught:
        load_points(written(tmp_path, POINTS))
    assert caught.value.code == LIMIT
