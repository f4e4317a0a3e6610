# SPDX-License-Identifier: GPL-3.0-or-later
"""Folders, versions, sequences, side-cars and the slate."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from blender_addon.core import png, project, sidecar
from blender_addon.core.slate import slate
from shared_protocol.errors import BAD_INPUT, DISK, NOT_A_CLIP, NOT_FOUND, Ex4dError
from shared_protocol.messages import Render

from .test_session import CAMERA


def files(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())


def code(error: pytest.ExceptionInfo[Ex4dError]) -> str:
    assert "\n" not in str(error.value)
    return error.value.code


def test_a_saved_file_has_its_project_beside_it(tmp_path: Path) -> None:
    assert project.project_root(tmp_path / "shot.blend", tmp_path / "x") == tmp_path / "shot_ex4d"
    assert project.project_root(None, tmp_path / "x") == tmp_path / "x"


def test_versions_count_up_and_never_meet(tmp_path: Path) -> None:
    names = [project.new_version(tmp_path, "shot 1").name for _ in range(3)]
    assert names == ["shot_1_v001", "shot_1_v002", "shot_1_v003"]
    assert project.new_version(tmp_path, "shot_1_v001").name == "shot_1_v004", "a version in the name is no second one"
    (tmp_path / "shot_1_v002").rmdir()
    assert project.new_version(tmp_path, "shot 1").name == "shot_1_v005", "a number is not given twice"


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Ex4dError) as error:
        project.new_version(tmp_path / "file", "shot")
    assert code(error) == DISK


@pytest.mark.parametrize("name", ["", "../..", "  ", "ä/ö:*?"])
def test_names_never_lead_out_of_their_folder(name: str) -> None:
    clean = project.clean_name(name)
    assert clean
    assert "/" not in clean
    assert clean.strip(".") == clean


def test_a_picture_stands_for_its_sequence(tmp_path: Path) -> None:
    files(tmp_path, "a_0002.png", "a_0001.png", "b_0001.png", "a_0003.exr", "notes.txt")
    assert [p.name for p in project.input_files(tmp_path / "a_0002.png")] == ["a_0001.png", "a_0002.png"]
    assert [p.name for p in project.input_files(tmp_path / "a_0003.exr")] == ["a_0003.exr"]


def test_a_sequence_is_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    files(tmp_path, *(f"s{n}.png" for n in (9, 10, 11)))
    assert [p.name for p in project.input_files(tmp_path)] == ["s9.png", "s10.png", "s11.png"]


def test_a_movie_stands_for_itself(tmp_path: Path) -> None:
    files(tmp_path, "take1.mp4", "take2.mp4")
    assert project.input_files(tmp_path / "take1.mp4") == (tmp_path / "take1.mp4",)


def test_a_gap_in_a_sequence_is_named(tmp_path: Path) -> None:
    files(tmp_path, "a_0001.png", "a_0002.png", "a_0004.png")
    with pytest.raises(Ex4dError, match="Picture 3 ") as error:
        project.input_files(tmp_path / "a_0001.png")
    assert code(error) == BAD_INPUT


def test_folders_without_one_sequence_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError) as error:
        project.input_files(tmp_path)
    assert code(error) == NOT_A_CLIP
    files(tmp_path, "a_1.png", "b_1.png")
    with pytest.raises(Ex4dError, match="2 sequences"):
        project.input_files(tmp_path)
    with pytest.raises(Ex4dError) as error:
        project.input_files(tmp_path / "none.mp4")
    assert code(error) == NOT_FOUND


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/../../x", "C:x", "a\\b", "", "a//b", "a/.", "x\n"])
def test_names_from_outside_stay_inside(tmp_path: Path, name: str) -> None:
    with pytest.raises(Ex4dError):
        project.safe_target(tmp_path, name)
    assert project.safe_target(tmp_path, "frames/0001.png") == tmp_path / "frames" / "0001.png"


def test_a_failed_write_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "x").mkdir()
    with pytest.raises(Ex4dError) as error:
        project.write_file(tmp_path / "x", b"data")
    assert code(error) == DISK
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_linking_keeps_what_is_there(tmp_path: Path) -> None:
    files(tmp_path / "render", "colour/0001.png", "camera.json")
    files(tmp_path / "take", "frames/0001.png")
    (tmp_path / "take" / "camera.json").write_text("mine")
    project.link_shot(tmp_path / "render", tmp_path / "take")
    assert (tmp_path / "take" / "colour" / "0001.png").read_bytes() == b"colour/0001.png"
    assert (tmp_path / "take" / "camera.json").read_text() == "mine"
    project.link_shot(tmp_path / "gone", tmp_path / "take")


def test_a_takes_pictures_are_its_own_and_the_lead_in_stays_behind(tmp_path: Path) -> None:
    render, take = tmp_path / "render", tmp_path / "take"
    files(render, *(f"{kind}/{number:04d}.png" for kind in ("colour", "mask") for number in range(1, 6)))
    counts = {"coverage": [0.5, 0.25], "lead_in": 3, "lead_in_coverage": [1.0, 0.9, 0.8]}
    (render / "coverage.json").write_text(json.dumps(counts))
    files(take, "frames/0001.png", "frames/0002.png")
    project.link_shot(render, take)
    assert sorted(p.name for p in (take / "colour").iterdir()) == ["0001.png", "0002.png"]
    assert (take / "colour" / "0001.png").read_bytes() == b"colour/0004.png"
    assert (take / "mask" / "0002.png").read_bytes() == b"mask/0005.png"
    assert (take / "frames" / "0001.png").read_bytes() == b"frames/0001.png"
    assert sidecar.coverage(take) == (0.25, 0.375)
    (render / "coverage.json").write_text('{"lead_in": -1}')
    with pytest.raises(Ex4dError):
        project.link_shot(render, take)


def test_export_counts_from_where_the_artist_says_and_overwrites_nothing(tmp_path: Path) -> None:
    take, out = tmp_path / "take", tmp_path / "out"
    files(
        take, "frames/0001.png", "frames/0002.png", "colour/0001.png", "mask/0001.png", "take.json", "frames/.slate.png"
    )
    written = project.export_take(take, out, first=1001)
    assert sorted(p.relative_to(out).as_posix() for p in written) == [
        "colour/1001.png", "frames/1001.png", "frames/1002.png", "mask/1001.png", "take.json",
    ]  # fmt: skip
    (out / "take.json").unlink()
    (out / "frames" / "1001.png").write_text("graded")
    with pytest.raises(Ex4dError, match="exists already"):
        project.export_take(take, out, first=1001)
    assert (out / "frames" / "1001.png").read_text() == "graded"
    assert not (out / "take.json").exists(), "nothing was written"


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("plate.mov", "plate"),
        ("sh010.1001.png", "sh010"),
        ("sh010_v02_0001.exr", "sh010_v02"),
        ("shot 7.mp4", "shot_7"),
        ("plates/0001.png", "plates"),
    ],
)
def test_a_reconstruction_is_called_after_its_clip(tmp_path: Path, file: str, name: str) -> None:
    assert project.clip_name(tmp_path / file) == name


def test_a_take_whose_folder_is_gone_is_not_exported(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="is gone"):
        project.export_take(tmp_path / "take", tmp_path / "out")


def test_a_take_without_frames_is_not_exported(tmp_path: Path) -> None:
    (tmp_path / "take").mkdir()
    with pytest.raises(Ex4dError) as error:
        project.export_take(tmp_path / "take", tmp_path / "out")
    assert code(error) == NOT_FOUND


@pytest.mark.parametrize("size", [(64, 48), (37, 53), (1, 1), (300, 200)])
def test_the_slate_is_a_picture_of_the_size_asked_for(size: tuple[int, int]) -> None:
    picture = cv2.imdecode(np.frombuffer(slate(*size), np.uint8), cv2.IMREAD_UNCHANGED)
    assert picture.shape == (size[1], size[0])
    assert picture.dtype == np.uint8


def test_every_json_value_becomes_one_that_a_property_takes() -> None:
    value = {"a": 2**40, "b": [1, 2.5], "c": [24, 1], "d": ["x"], "e": {"f": None, "g": True}, "h": []}
    assert sidecar.as_property(value) == {
        "a": "1099511627776", "b": [1.0, 2.5], "c": [24, 1], "d": '["x"]', "e": {"g": True}, "h": "[]",
    }  # fmt: skip


def test_a_shot_is_named_by_all_that_it_is_made_of() -> None:
    shot = Render("ab" * 16, 32, 24, (24, 1), (CAMERA, CAMERA))
    changed = (
        replace(shot, width=33), replace(shot, fps=(25, 1)), replace(shot, scene="cd" * 16),
        replace(shot, cameras=(CAMERA, replace(CAMERA, disparity_scale=1.01))),
        replace(shot, geometry="bounded"), replace(shot, persist=True), replace(shot, lead_in=3),
    )  # fmt: skip
    assert len({sidecar.shot_hash(s) for s in (shot, *changed)}) == 8
    assert sidecar.shot_hash(replace(shot)) == sidecar.shot_hash(shot)


def test_coverage_is_read_as_least_and_mean(tmp_path: Path) -> None:
    (tmp_path / "coverage.json").write_text(json.dumps({"coverage": [1.0, 0.5]}))
    assert sidecar.coverage(tmp_path) == (0.5, 0.75)
    (tmp_path / "coverage.json").write_text("[]")
    with pytest.raises(Ex4dError):
        sidecar.coverage(tmp_path)


def test_a_folder_that_vanishes_while_a_file_is_written_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, write = tmp_path / "takes" / "frames" / "0001.png", Path.write_bytes
    removals = [place.parent.parent] * 2

    def removed_first(path: Path, data: bytes) -> int:
        if removals:
            shutil.rmtree(removals.pop())
        return write(path, data)

    monkeypatch.setattr(Path, "write_bytes", removed_first)
    project.write_file(place, b"x")
    assert place.read_bytes() == b"x"
    monkeypatch.setattr(Path, "write_bytes", lambda *_: (_ for _ in ()).throw(FileNotFoundError(2, "gone")))
    with pytest.raises(Ex4dError, match="gone"):
        project.write_file(place, b"y")


def test_the_size_of_a_picture_is_read_from_its_header(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(slate(848, 480))
    (tmp_path / "half.png").write_bytes(slate(848, 480)[:20])
    (tmp_path / "text.png").write_bytes(b"x" * 100)
    assert png.size_of(tmp_path / "a.png") == (848, 480)
    assert [png.size_of(tmp_path / name) for name in ("half.png", "text.png", "gone.png")] == [None] * 3
