# SPDX-License-Identifier: Apache-2.0
"""PNG and EXR: exact round trips, whole files or none, clear words about broken ones."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import OpenEXR
import pytest

from ex4d.files import replacing
from ex4d.images import read_exr, read_png, read_raw_png, write_exr, write_png
from shared_protocol.errors import BAD_INPUT, DISK, NOT_A_CLIP, NOT_FOUND, Ex4dError

RNG = np.random.default_rng(3)
PICTURE = RNG.integers(0, 256, (13, 17, 3), dtype=np.uint8)
PLANE = RNG.normal(size=(13, 17)).astype(np.float32)


@pytest.mark.parametrize("image", [PICTURE, PICTURE[..., 0], PICTURE[:, ::2], PICTURE[:1, :1]])
def test_png_comes_back_exactly(tmp_path: Path, image: np.ndarray) -> None:
    write_png(tmp_path / "ä.png", image, durable=True)
    np.testing.assert_array_equal(read_png(tmp_path / "ä.png"), image)
    assert [p.name for p in tmp_path.iterdir()] == ["ä.png"]


def test_sixteen_bits_come_back_exactly_or_rounded(tmp_path: Path) -> None:
    wide = RNG.integers(0, 65536, (5, 6), dtype=np.uint16)
    write_png(tmp_path / "a.png", wide)
    np.testing.assert_array_equal(read_raw_png(tmp_path / "a.png"), wide)
    np.testing.assert_array_equal(read_png(tmp_path / "a.png"), np.round(wide / 257.0).astype(np.uint8))


def test_red_is_red_on_disk(tmp_path: Path) -> None:
    write_png(tmp_path / "a.png", np.full((2, 2, 3), (250, 10, 20), np.uint8))
    assert cv2.imread(str(tmp_path / "a.png"))[0, 0].tolist() == [20, 10, 250]  # OpenCV reads BGR


def test_transparency_is_left_out(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.full((3, 3, 4), (1, 2, 3, 128), np.uint8))
    assert read_png(tmp_path / "a.png")[0, 0].tolist() == [3, 2, 1]


def test_exr_comes_back_exactly(tmp_path: Path) -> None:
    channels = {"Z": PLANE, "R": PLANE * 2, "valid.lower": np.float32(PLANE > 0)}
    channels["Z"][0, :3] = (np.inf, 1e10, 0)
    write_exr(tmp_path / "a.exr", channels, durable=True)
    back = read_exr(tmp_path / "a.exr")
    assert back.keys() == channels.keys()
    for name, plane in channels.items():
        assert back[name].dtype == np.float32
        np.testing.assert_array_equal(back[name], plane)


def test_cropped_exr_is_put_where_it_belongs(tmp_path: Path) -> None:
    header = {
        "compression": OpenEXR.ZIP_COMPRESSION,
        "type": OpenEXR.scanlineimage,
        "dataWindow": (np.array([2, 1], np.int32), np.array([5, 3], np.int32)),
        "displayWindow": (np.array([0, 0], np.int32), np.array([7, 5], np.int32)),
    }
    with OpenEXR.File(header, {"Z": np.ones((3, 4), np.float32)}) as file:
        file.write(str(tmp_path / "a.exr"))
    whole = read_exr(tmp_path / "a.exr")["Z"]
    expected = np.zeros((6, 8), np.float32)
    expected[1:4, 2:6] = 1
    np.testing.assert_array_equal(whole, expected)


def test_parts_of_one_file_are_told_apart(tmp_path: Path) -> None:
    one, two = (OpenEXR.Part({"name": n}, {"Z": np.full((2, 2), v, np.float32)}) for n, v in (("a", 1), ("b", 2)))
    with OpenEXR.File([one, two]) as file:
        file.write(str(tmp_path / "a.exr"))
    assert {name: plane[0, 0] for name, plane in read_exr(tmp_path / "a.exr").items()} == {"Z": 1, "b.Z": 2}


@pytest.mark.parametrize("share", [0.0, 0.3, 0.9, 0.999])
def test_files_that_are_cut_off_are_refused(tmp_path: Path, share: float) -> None:
    write_png(tmp_path / "a.png", PICTURE)
    write_exr(tmp_path / "a.exr", {"Z": PLANE})
    for path, read in ((tmp_path / "a.png", read_png), (tmp_path / "a.exr", read_exr)):
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
        with pytest.raises(Ex4dError, match=path.name) as caught:
            read(path)
        assert caught.value.code == NOT_A_CLIP


def test_what_is_no_picture_is_refused(tmp_path: Path) -> None:
    for read, name in ((read_png, "a.png"), (read_exr, "a.exr")):
        with pytest.raises(Ex4dError) as caught:
            read(tmp_path / name)
        assert caught.value.code == NOT_FOUND
        (tmp_path / name).write_text("text")
        with pytest.raises(Ex4dError) as caught:
            read(tmp_path / name)
        assert caught.value.code == NOT_A_CLIP


def test_arrays_that_are_no_picture_are_refused(tmp_path: Path) -> None:
    for wrong in (PLANE, PICTURE[..., :2], np.zeros((0, 3, 3), np.uint8)):
        with pytest.raises(Ex4dError) as caught:
            write_png(tmp_path / "a.png", wrong)
        assert caught.value.code == BAD_INPUT
    for channels in ({}, {"Z": PLANE, "Y": PLANE[1:]}, {"Z": PICTURE}):
        with pytest.raises(Ex4dError) as caught:
            write_exr(tmp_path / "a.exr", channels)
        assert caught.value.code == BAD_INPUT
    assert not list(tmp_path.iterdir())


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("old")

    def fail_half_way() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_half_way()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


def test_folders_that_cannot_be_written_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Ex4dError, match="could not be written") as caught:
        write_png(tmp_path / "file" / "a.png", PICTURE)
    assert caught.value.code == DISK


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no /dev/full on this system")
def test_a_full_disk_is_said(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="No space") as caught, replacing(tmp_path / "a.bin"):
        with open("/dev/full", "wb", buffering=0) as full:
            full.write(b"x")
    assert caught.value.code == DISK
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(os.name != "posix", reason="permission bits are POSIX")
def test_written_files_have_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    write_png(tmp_path / "a.png", PICTURE)
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
