# SPDX-License-Identifier: Apache-2.0
"""The command `ex4d depth`: what it writes, and that it leaves nothing half done."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import OpenEXR
import pytest
from clip_maker import encode, numbered
from depths import estimate_depth
from test_depth_file import clip_of

import ex4d.depth.deliver
from ex4d.cli import main
from ex4d.clip import read_clip
from ex4d.images import read_exr, read_png
from shared_protocol.errors import DISK, Ex4dError

FRAMES, H, W = 4, 36, 48
METRES = np.random.default_rng(1).uniform(1.0, 9.0, (FRAMES, H, W)).astype(np.float32)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A movie at 24000/1001 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "plate.mkv"
    return encode(path, numbered(FRAMES, W, H), "24000/1001", "-c:v", "ffv1", "-pix_fmt", "bgr0")


@pytest.fixture(scope="module")
def z(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its depth."""
    path = tmp_path_factory.mktemp("z") / "z.npz"
    np.savez(path, depth=METRES)
    return path


def run(*arguments: object) -> int:
    return main(["depth", *(str(argument) for argument in arguments)])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def header(path: Path) -> dict[str, object]:
    with OpenEXR.File(str(path), header_only=True) as file:
        return dict(file.header())


def test_a_sequence_comes_back_bit_for_bit(clip: Path, z: Path, tmp_path: Path) -> None:
    assert run(clip, "--depth", z, "-o", tmp_path / "out" / "depth.exr") == 0
    assert names(tmp_path / "out") == [f"depth.{n}.exr" for n in range(1001, 1005)]
    files = sorted((tmp_path / "out").iterdir())
    for path, plane in zip(files, METRES, strict=True):
        channels = read_exr(path)
        assert list(channels) == ["Z"]
        np.testing.assert_array_equal(channels["Z"], plane)
    np.testing.assert_array_equal(estimate_depth(clip_of(FRAMES, H, W), files=[tmp_path / "out"]).z, METRES)
    again = tmp_path / "again"
    assert run(clip, "--depth", tmp_path / "out", "-o", again) == 0
    assert [path.read_bytes() for path in sorted(again.iterdir())] == [path.read_bytes() for path in files]


def test_the_header_says_what_the_numbers_are(
    clip: Path, z: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clip, "--depth", z, "--focal", 50, "--first", 2, "--num_frames", 2, "-o", tmp_path / "z.%05d.exr") == 0
    assert names(tmp_path) == ["z.01001.exr", "z.01002.exr"]
    found = header(tmp_path / "z.01002.exr")
    assert found["compression"] == OpenEXR.ZIP_COMPRESSION
    said = {name.removeprefix("ex4d/"): value for name, value in found.items() if name.startswith("ex4d/")}
    near, far = np.percentile(METRES[1:3], [1, 99])
    assert said.pop("near") == pytest.approx(near, rel=1e-5)
    assert said.pop("far") == pytest.approx(far, rel=1e-5)
    assert said.pop("version")
    assert said == {
        "holds": "z along the camera's axis",
        "units": "scene units",
        "estimator": "file",
        "model": "",
        "licence": "Apache-2.0",
        "commercial_use": "allowed",
        "disparity_scale": 1.0,
        "disparity_shift": 0.0,
        "lens": "pixels",
        "focal_pixels": 50.0,
        "focal_pixels_y": 50.0,
        "cx": W / 2,
        "cy": H / 2,
        "fps": "24000/1001",
        "source": "plate.mkv",
        "source_frame": 3,
    }
    out, _ = capsys.readouterr()
    assert f"near {near:.4g}, far {far:.4g}" in out
    assert "depth by file" in out
    assert "2 frames in" in out


def test_disparity_says_that_it_is_absolute(clip: Path, z: Path, tmp_path: Path) -> None:
    for name in ("d.exr", "d.npz"):
        assert run(clip, "--depth", z, "--disparity", "-o", tmp_path / name) == 0
    np.testing.assert_array_equal(
        read_exr(tmp_path / "d.1001.exr")["disparity"], (1.0 / METRES[0].astype(float)).astype("f4")
    )
    (tmp_path / "d").mkdir()
    for file in tmp_path.glob("d.*.exr"):
        file.rename(tmp_path / "d" / file.name)
    for source in (tmp_path / "d", tmp_path / "d.npz"):
        back = estimate_depth(clip_of(FRAMES, H, W), files=[source])
        np.testing.assert_allclose(back.z, METRES, rtol=3e-7)
        assert back.notes == ("disparity read as 1 / z in scene units",)


def test_one_npz_holds_all_frames_and_what_the_headers_say(clip: Path, z: Path, tmp_path: Path) -> None:
    assert run(clip, "--depth", z, "-o", tmp_path / "depth.npz") == 0
    with np.load(tmp_path / "depth.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["depth"], METRES)
        about = json.loads(str(archive["about"]))
        assert [frame["ex4d/source_frame"] for frame in about] == [1, 2, 3, 4]
    np.testing.assert_array_equal(estimate_depth(clip_of(FRAMES, H, W), files=[tmp_path / "depth.npz"]).z, METRES)


def test_options_of_estimators_are_flags(
    clip: Path, z: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cut = ("--first", 2, "--num_frames", 2, "--depth_first", 3, "--depth_scale", 0.5)
    assert run(clip, "--depth", z, *cut, "-o", tmp_path / "z.exr") == 0
    np.testing.assert_array_equal(read_exr(tmp_path / "z.1001.exr")["Z"], METRES[2] * np.float32(0.5))
    assert run(clip, "--depth", z, "--depth_scale", "half", "-o", tmp_path / "y.exr") == 2
    assert "depth_scale is a number, not 'half'" in capsys.readouterr().err


def test_what_is_known_makes_metres_and_its_fit_is_told(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flat = tmp_path / "flat.npz"
    np.savez(flat, depth=np.full((FRAMES, H, W), 2.0, np.float32))  # 10 pixels are 0.4 wide with a focal length of 50
    known = ("--focal", 50, "--measure", "1,10,20,20,20,1.2")
    assert run(clip, "--depth", flat, *known, "-o", tmp_path / "z.exr") == 0
    said = header(tmp_path / "z.1001.exr")
    assert said["ex4d/units"] == "metres"
    assert said["ex4d/disparity_scale"] == pytest.approx(1 / 3, rel=1e-4)
    assert said["ex4d/disparity_shift"] == pytest.approx(0.0, abs=1e-4)
    assert said["ex4d/fit_residual"] == pytest.approx(0.0, abs=1e-4)
    np.testing.assert_allclose(read_exr(tmp_path / "z.1001.exr")["Z"], 6.0, rtol=1e-4)
    out = capsys.readouterr().out
    assert "metres" in out
    assert "residual 0.0" in out
    folder = tmp_path / "again"
    folder.mkdir()
    for file in tmp_path.glob("z.*.exr"):
        file.rename(folder / file.name)
    back = estimate_depth(clip_of(FRAMES, H, W), files=[folder])
    assert back.metric


def test_without_files_the_depth_is_estimated_and_relative(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(clip, "--estimator", "draft", "-o", tmp_path / "d.####.exr", "--first_frame", 7) == 0
    assert names(tmp_path) == [f"d.{n:04d}.exr" for n in range(7, 11)]
    assert header(tmp_path / "d.0007.exr")["ex4d/units"] == "relative"
    out, err = capsys.readouterr()
    assert "relative" in out
    assert "note: draft depth" in err


def test_previews_are_pictures_or_a_movie(clip: Path, z: Path, tmp_path: Path) -> None:
    assert run(clip, "--depth", z, "-o", tmp_path / "a.exr", "--preview", tmp_path / "look") == 0
    assert names(tmp_path / "look") == [f"{n}.png" for n in range(1001, 1005)]
    picture = read_png(tmp_path / "look" / "1001.png")
    nearest = np.unravel_index(METRES[0].argmin(), METRES[0].shape)
    farthest = np.unravel_index(METRES[0].argmax(), METRES[0].shape)
    assert picture[nearest][0] > picture[nearest][2]
    assert picture[farthest][2] > picture[farthest][0]
    assert run(clip, "--depth", z, "-o", tmp_path / "b.exr", "--preview", tmp_path / "look.mp4") == 0
    movie = read_clip([tmp_path / "look.mp4"])
    assert movie.frames.shape == (FRAMES, H, W, 3)
    assert movie.fps == read_clip([clip]).fps


def test_files_are_written_over_only_when_that_is_asked_for(
    clip: Path, z: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "depth.1003.exr"
    taken.write_text("mine")
    assert run(clip, "--depth", z, "-o", tmp_path / "depth.exr") == 2
    assert "depth.1003.exr would be written over. " in capsys.readouterr().err
    assert taken.read_text() == "mine"
    assert names(tmp_path) == ["depth.1003.exr"]
    assert run(clip, "--depth", z, "-o", tmp_path / "depth.exr", "--overwrite") == 0
    assert len(names(tmp_path)) == FRAMES
    np.testing.assert_array_equal(read_exr(taken)["Z"], METRES[2])
    assert "were there before" not in capsys.readouterr().err
    (tmp_path / "depth.extra.exr").write_text("of another name")
    arguments = ("--depth", z, "-o", tmp_path / "depth.exr", "--overwrite", "--num_frames", 2)
    assert run(clip, *arguments) == 0
    assert "depth.1003.exr and 1 more were there before, and are not of this run" in capsys.readouterr().err


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), Ex4dError(DISK, "No space left."), MemoryError()])
def test_what_is_interrupted_leaves_nothing(
    clip: Path, z: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    whole = ex4d.depth.deliver.write_exr
    written: list[Path] = []

    def failing(path: Path, *arguments: object, **named: object) -> None:
        if len(written) == 2:
            raise stop
        written.append(path)
        whole(path, *arguments, **named)

    monkeypatch.setattr(ex4d.depth.deliver, "write_exr", failing)
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "depth.1002.exr").write_text("old")
    assert run(clip, "--depth", z, "-o", tmp_path / "new" / "deep" / "depth.exr") in (2, 130)
    assert names(tmp_path) == ["old"]
    assert len(written) == 2
    written.clear()
    assert run(clip, "--depth", z, "-o", tmp_path / "old" / "depth.exr", "--overwrite") in (2, 130)
    assert names(tmp_path / "old") == ["depth.1002.exr"]
    assert (tmp_path / "old" / "depth.1002.exr").read_text() == "old"


def test_what_a_killed_run_left_is_removed(clip: Path, z: Path, tmp_path: Path) -> None:
    killed = (
        "import os, sys, ex4d.depth.deliver; from ex4d.cli import main;"
        "ex4d.depth.deliver.write_preview = lambda *_: os._exit(9); main(sys.argv[1:])"
    )
    arguments = ["depth", clip, "--depth", z, "-o", tmp_path / "new" / "d.exr", "--preview", tmp_path / "look"]
    assert subprocess.run([sys.executable, "-c", killed, *map(str, arguments)], check=False).returncode == 9
    assert any(name.startswith(".") for folder in ("new", "look") for name in names(tmp_path / folder))
    assert main([str(argument) for argument in arguments]) == 0
    assert len(names(tmp_path / "new")) == len(names(tmp_path / "look")) == FRAMES


def test_wrong_names_are_said_before_anything_is_done(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for arguments, words in (
        (("-o", tmp_path / "depth.tif"), "depth.tif is not a name for depth"),
        (("-o", tmp_path / "d.##.##.exr"), "more than one place"),
        (("-o", tmp_path / "d.exr", "--preview", tmp_path / "look.gif"), "look.gif is not a name for a preview"),
        (("-o", tmp_path / "d.exr", "--first", 9), "Frame 9 is beyond the end"),
        (("-o", tmp_path / "d.exr", "--estimator", "nobody"), "nobody"),
        (
            ("-o", tmp_path / "d.exr", "--first", 2, "--num_frames", 1, "--measure", "4,2,3,40,30,1"),
            "Point A of measure 1 is in frame 4; frame 2 is used",
        ),
    ):
        assert run(clip, *arguments) == 2
        error = capsys.readouterr().err
        assert words in error
        assert "Traceback" not in error
        assert not names(tmp_path)
