# SPDX-License-Identifier: Apache-2.0
"""The contact sheet."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import small_scene

from ex4d.contact_sheet import contact_sheet
from ex4d.images import read_png, write_png
from ex4d.values import Scene
from shared_protocol.errors import BAD_INPUT, SIZE_MISMATCH, Ex4dError

RED, GREEN = np.array([250, 10, 10], np.uint8), np.array([10, 250, 10], np.uint8)


def flat(colour: np.ndarray, height: int, width: int) -> np.ndarray:
    return np.broadcast_to(colour, (height, width, 3)).copy()


def columns_of(sheet: np.ndarray, colour: np.ndarray) -> int:
    """How many separate pictures of one colour lie side by side."""
    there = (sheet == colour).all(axis=-1).sum(axis=0) > 20
    return int((there[1:] & ~there[:-1]).sum() + there[0])


@pytest.mark.parametrize(("frames", "expected"), [(1, 1), (3, 3), (9, 5)])
@pytest.mark.parametrize("size", [(90, 160), (160, 90), (33, 33)])
def test_it_shows_up_to_five_frames_of_each_row(
    tmp_path: Path, frames: int, expected: int, size: tuple[int, int]
) -> None:
    conditioning, result = [flat(RED, *size)] * frames, [flat(GREEN, *size)] * frames
    out = tmp_path / "sheet.png"
    contact_sheet(small_scene(frames), conditioning, result, out, coverage=[0.5] * frames)
    sheet = read_png(out)
    assert columns_of(sheet, RED) == columns_of(sheet, GREEN) == expected
    assert 300 < sheet.shape[1] <= 2000
    assert sheet.shape[0] < 2000
    red, green = (np.flatnonzero((sheet == c).all(axis=-1).any(axis=1)) for c in (RED, GREEN))
    assert red.max() < green.min()


def test_pictures_come_from_files_too_and_are_those_of_the_chosen_frames(tmp_path: Path) -> None:
    scene = small_scene(2)
    files = []
    for k in range(6):
        files.append(tmp_path / f"{k}.png")
        write_png(files[-1], flat(np.array([40 * k + 5, 0, 99], np.uint8), 30, 40))
    contact_sheet(scene, files, files, tmp_path / "sheet.png", columns=2, source_frames=[1] * 6)
    sheet = read_png(tmp_path / "sheet.png").reshape(-1, 3)
    reds = {int(red) for red in np.unique(sheet[(sheet[:, 2] == 99) & (sheet[:, 1] == 0)][:, 0])}
    assert {5, 205} <= reds
    assert not reds & {45, 85, 125, 165}


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    scene, one = small_scene(1), [flat(RED, 8, 8)]
    with pytest.raises(Ex4dError, match="result 2") as caught:
        contact_sheet(scene, one, one * 2, tmp_path / "sheet.png")
    assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match="at least one frame") as caught:
        contact_sheet(scene, [], [], tmp_path / "sheet.png")
    assert caught.value.code == BAD_INPUT
    assert not list(tmp_path.iterdir())


def test_draft_depth_and_the_generator_are_named_beside_their_rows(tmp_path: Path) -> None:
    frames = [flat(RED, 90, 160)]

    def inks(scene: Scene, made_by: str = "") -> list[int]:
        """Inked pixels of the column of names, in each third of the sheet."""
        contact_sheet(scene, frames, frames, tmp_path / "sheet.png", made_by=made_by)
        names = (read_png(tmp_path / "sheet.png")[:, :130] > 60).any(axis=-1)
        return [int(part.sum()) for part in np.array_split(names, 3)]

    plain = inks(small_scene(1))
    draft = inks(replace(small_scene(1), draft=True), "preview")
    assert draft[0] == plain[0]
    assert draft[1] > plain[1] + 50
    assert draft[2] > plain[2] + 50
