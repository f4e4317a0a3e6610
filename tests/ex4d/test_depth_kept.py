# SPDX-License-Identifier: Apache-2.0
"""Depth of earlier runs: found again as it was, bounded, and never half."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ex4d.depth import kept
from ex4d.depth.door import DepthRequest, nobody
from ex4d.depth.draft import DraftDepth
from ex4d.depth.kept import KeptDepth, key_of
from ex4d.depth.raw import Raw
from ex4d.on_disk import workspace
from ex4d.values import Clip

SHAPE = (3, 8, 10)
SIZE = 3 * 8 * 10 * 4
CLIP = Clip(np.arange(720, dtype=np.uint8).reshape(*SHAPE, 3), Fraction(25), "c")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    with workspace(tmp_path) as folder:
        yield folder


@pytest.fixture(autouse=True)
def _no_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "SPARE_BYTES", 0)


def raw(seed: int = 0, *, sky: bool = False) -> Raw:
    values = np.random.default_rng(seed).random(SHAPE, np.float32)
    return Raw(
        values,
        "metric",
        values > 0.5 if sky else None,
        41.5,
        np.tile(np.eye(4), (3, 1, 1)) if sky else None,
        ("a note",),
    )


@pytest.mark.parametrize("sky", [False, True])
def test_what_was_kept_comes_back_as_it_was(tmp_path: Path, place: Path, sky: bool) -> None:
    folder, given = KeptDepth(tmp_path / "depth"), raw(sky=sky)
    assert folder.find("a", CLIP, place, nobody) is None
    folder.keep("a", given)
    found = KeptDepth(tmp_path / "depth").find("a", CLIP, place, nobody)
    assert found is not None
    np.testing.assert_array_equal(found.values, given.values)
    assert (found.sky is None) == (not sky)
    assert (found.poses is None) == (not sky)
    if found.sky is not None and given.sky is not None:
        np.testing.assert_array_equal(found.sky, given.sky)
    assert (found.gives, found.focal, found.notes) == ("metric", 41.5, ("a note",))
    found.values[:] = 0.0
    again = folder.find("a", CLIP, place, nobody)
    assert again is not None
    np.testing.assert_array_equal(again.values, given.values)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda entry: (entry / "depth").write_bytes(b"short"),
        lambda entry: (entry / "depth").unlink(),
        lambda entry: (entry / "facts.json").write_text("{"),
        lambda entry: (entry / "facts.json").write_text("{}"),
    ],
)
def test_what_is_damaged_is_not_there(tmp_path: Path, place: Path, spoil: Callable[[Path], object]) -> None:
    folder = KeptDepth(tmp_path / "depth")
    folder.keep("a", raw())
    spoil(tmp_path / "depth" / "a")
    assert folder.find("a", CLIP, place, nobody) is None
    folder.keep("a", raw(1))
    found = folder.find("a", CLIP, place, nobody)
    assert found is not None
    np.testing.assert_array_equal(found.values, raw(1).values)


def test_what_was_not_used_for_the_longest_time_makes_room(tmp_path: Path, place: Path) -> None:
    folder = KeptDepth(tmp_path / "depth", most=int(3.9 * SIZE))
    for age, key in enumerate("abc"):
        folder.keep(key, raw())
        os.utime(tmp_path / "depth" / key, (1000.0 + age, 1000.0 + age))
    assert folder.find("a", CLIP, place, nobody) is not None  # used just now
    folder.keep("d", raw())
    assert sorted(entry.name for entry in (tmp_path / "depth").iterdir()) == ["a", "c", "d"]


def test_what_is_too_large_or_leaves_too_little_of_the_disk_is_not_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    KeptDepth(tmp_path / "depth", most=SIZE - 1).keep("a", raw())
    monkeypatch.setattr(kept, "SPARE_BYTES", 1 << 60)
    KeptDepth(tmp_path / "depth").keep("a", raw())
    assert not list((tmp_path / "depth").iterdir())


def test_what_was_begun_by_a_process_that_was_killed_is_removed(tmp_path: Path, place: Path) -> None:
    left = tmp_path / "depth" / ".new-a"
    left.mkdir(parents=True)
    (left / "depth").write_bytes(b"half")
    KeptDepth(tmp_path / "depth").keep("a", raw())
    assert [entry.name for entry in (tmp_path / "depth").iterdir()] == ["a"]


def test_a_folder_that_cannot_be_written_is_no_error(tmp_path: Path, place: Path) -> None:
    (tmp_path / "depth").write_text("in the way")
    folder = KeptDepth(tmp_path / "depth")
    folder.keep("a", raw())
    assert folder.find("a", CLIP, place, nobody) is None


def test_the_key_is_of_all_that_decides_the_depth_and_of_nothing_else() -> None:
    door, request = DraftDepth(), DepthRequest(CLIP, {"resolution": 518}, focal=None)

    def key(identity: str = "x", **changes: object) -> str:
        return key_of(door, replace(request, **changes), {"weights": identity})  # type: ignore[arg-type]

    same = key()
    assert key(clip=replace(CLIP, name="other", fps=Fraction(24), notes=("n",)), first=7, commercial=False) == same
    other = CLIP.frames.copy()
    other[2, 7, 9, 2] += 1
    different = [
        key("y"),
        key(clip=replace(CLIP, frames=other)),
        key(clip=replace(CLIP, frames=CLIP.frames[:2])),
        key(clip=replace(CLIP, frames=CLIP.frames.reshape(3, 10, 8, 3))),
        key(options={"resolution": 400}),
        key(focal=30.0),
    ]
    assert len({same, *different}) == 7
