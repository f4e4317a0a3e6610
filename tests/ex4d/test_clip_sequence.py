# SPDX-License-Identifier: Apache-2.0
"""Image sequences in."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_maker import numbered, numbers

from ex4d.clip import read_clip
from ex4d.images import write_exr, write_png
from ex4d.media.sequence import encode_srgb
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, NOT_FOUND, Ex4dError


def write_all(folder: Path, pattern: str, count: int = 12) -> list[Path]:
    paths = [folder / pattern.format(t) for t in range(count)]
    for path, frame in zip(paths, numbered(count), strict=True):
        write_png(path, frame)
    return paths


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    write_all(tmp_path / "shot", "f{}.png")  # f10 sorts before f2 as text
    (tmp_path / "shot" / "notes.txt").write_text("not a picture")
    clip = read_clip([tmp_path / "shot"], fps=Fraction(24000, 1001))
    np.testing.assert_array_equal(clip.frames, numbered(12))
    assert clip.fps == Fraction(24000, 1001)
    assert clip.notes == ()
    on_disk = read_clip([tmp_path / "shot"], workspace=tmp_path).frames
    assert isinstance(on_disk, np.memmap)
    np.testing.assert_array_equal(on_disk, clip.frames)
    assert read_clip([tmp_path / "shot"], first=3, count=2).frames.shape[0] == 2
    assert numbers(read_clip([tmp_path / "shot"], first=10).frames) == [10, 11]


def test_a_list_is_read_in_its_own_order(tmp_path: Path) -> None:
    paths = write_all(tmp_path, "shot_{:04}.png", 4)
    clip = read_clip(paths[::-1])
    assert numbers(clip.frames) == [3, 2, 1, 0]
    assert clip.name == "shot"
    assert clip.fps == 24
    assert "24 fps is assumed" in clip.notes[-1]


def test_sixteen_bit_and_grey_pictures(tmp_path: Path) -> None:
    wide = numbered(1)[0].astype(np.uint16) * 257
    write_png(tmp_path / "a.png", wide)
    clip = read_clip([tmp_path / "a.png"])
    np.testing.assert_array_equal(clip.frames[0], numbered(1)[0])
    assert any("16-bit" in note for note in clip.notes)
    write_png(tmp_path / "g.png", wide[..., 0])
    grey = read_clip([tmp_path / "g.png"]).frames[0]
    np.testing.assert_array_equal(grey, np.repeat(numbered(1)[0][..., :1], 3, axis=2))


@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_transparency_is_left_out_and_said(tmp_path: Path, depth: type) -> None:
    colours = numbered(1)[0]
    stored = np.dstack([colours[..., ::-1], np.full(colours.shape[:2], 7, np.uint8)]).astype(depth)
    if depth is np.uint16:
        stored *= 257
    assert cv2.imwrite(str(tmp_path / "a.png"), stored)
    clip = read_clip([tmp_path / "a.png"])
    np.testing.assert_array_equal(clip.frames[0], colours)
    assert "transparency left out" in clip.notes


def test_linear_exr_becomes_srgb(tmp_path: Path) -> None:
    light = np.linspace(-0.5, 2.0, 48 * 64, dtype=np.float32).reshape(48, 64)
    light[0, 0] = np.nan
    layers = {f"ViewLayer.Combined.{c}": light * k for c, k in (("R", 1.0), ("G", 0.5), ("B", 0.25), ("A", 1.0))}
    write_exr(tmp_path / "a.exr", {**layers, "ViewLayer.Normal.R": light, "ViewLayer.Depth.Z": light})
    clip = read_clip([tmp_path / "a.exr"])
    assert clip.frames.dtype == np.uint8
    np.testing.assert_array_equal(clip.frames[0, ..., 1], encode_srgb(light * np.float32(0.5)))
    assert any("sRGB" in note for note in clip.notes)


def test_srgb_encoding_is_the_standard_one() -> None:
    # 18 % grey is 118 of 255, and the two pieces of the curve meet.
    linear = np.array([0.0, 0.18, 0.0031308, 1.0, 7.0, -1.0, np.nan, np.inf], np.float32)
    assert encode_srgb(linear).tolist() == [0, 118, 10, 255, 255, 0, 0, 255]


def test_large_pictures_are_scaled_down(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((30, 90, 3), 77, np.uint8))
    clip = read_clip([tmp_path / "a.png"], max_side=9)
    assert clip.frames.shape == (1, 3, 9, 3)
    assert (clip.frames == 77).all()


def test_gaps_are_noted(tmp_path: Path) -> None:
    paths = write_all(tmp_path, "a.{:03}.png", 5)
    paths[2].unlink()
    clip = read_clip([tmp_path], fps=Fraction(25))
    assert numbers(clip.frames) == [0, 1, 3, 4]
    assert "1 numbers are missing" in clip.notes[0]


def test_wrong_sequences_get_one_clear_line(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    paths = write_all(folder, "f{:03}.png", 3)
    with pytest.raises(Ex4dError, match="Frame 4 is beyond the end: shot has 3 frames") as caught:
        read_clip([folder], first=3)
    assert caught.value.code == BAD_INPUT
    write_png(paths[1], np.zeros((5, 7, 3), np.uint8))
    with pytest.raises(Ex4dError, match=r"f001\.png is 7x5, f000\.png is 64x48") as caught:
        read_clip([folder])
    assert caught.value.code == BAD_INPUT
    paths[1].write_bytes(paths[0].read_bytes()[:200])
    with pytest.raises(Ex4dError, match=r"f001\.png is not whole") as caught:
        read_clip([folder])
    assert caught.value.code == NOT_A_CLIP
    write_png(folder / "other7.png", numbered(1)[0])
    with pytest.raises(Ex4dError, match="several sequences"):
        read_clip([folder])
    (tmp_path / "empty").mkdir()
    with pytest.raises(Ex4dError, match="no pictures"):
        read_clip([tmp_path / "empty"])
    with pytest.raises(Ex4dError) as caught:
        read_clip([paths[0], folder / "gone.png"])
    assert caught.value.code == NOT_FOUND
    write_exr(tmp_path / "z.exr", {"Z": np.ones((4, 4), np.float32)})
    with pytest.raises(Ex4dError, match="no colour, only: Z"):
        read_clip([tmp_path / "z.exr"])
