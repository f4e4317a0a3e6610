# SPDX-License-Identifier: Apache-2.0
"""`ex4d generate` and `ex4d reshoot` with the `wan` generator, on weights of its architecture with few numbers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from clip_maker import encode, numbered

from ex4d.cli import main
from ex4d.clip import read_clip
from ex4d.console import Console
from ex4d.images import read_png
from ex4d.values import U8
from scripts._tiny_models import write_adapter, write_vace, write_wan


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with wan/, vace/ and ex4d.safetensors."""
    folder = tmp_path_factory.mktemp("weights")
    write_wan(folder / "wan")
    write_vace(folder / "vace")
    write_adapter(folder / "ex4d.safetensors")
    return folder


@pytest.fixture(scope="module")
def models(weights: Path) -> tuple[str, ...]:
    """The public code's flags for them."""
    return "--ex4d_path", str(weights / "ex4d.safetensors"), "--dit_dir", str(weights / "wan")


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    folder = tmp_path_factory.mktemp("videos")
    masks = np.full((6, 48, 64, 3), 255, np.uint8)
    for t in range(6):
        masks[t, :, 64 - 6 * t :] = 0
    lossless = ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    colour = encode(folder / "color.mkv", numbered(6), "24", *lossless)
    return "--color_video", str(colour), "--mask_video", str(encode(folder / "mask.mkv", masks, "24", *lossless))


SMALL = ("--height", "48", "--width", "64", "--num_inference_steps", "3", "--seed", "7")


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def frames(folder: Path) -> U8:
    return np.stack([read_png(path) for path in sorted((folder / "frames").glob("*.png"))])


def test_the_public_example_goes_through_the_public_codes_flags(
    reference: Callable[[str], Path], models: tuple[str, ...], tmp_path: Path
) -> None:
    videos = (
        *("--color_video", reference("flower/render_180.mp4"), "--mask_video", reference("flower/mask_180.mp4")),
        *("--height", 64, "--width", 64, "--num_frames", 49, "--num_inference_steps", 2, "--seed", 0),
    )
    movie = tmp_path / "flower.mp4"
    assert run("generate", *videos, *models, "--output_video", movie) == 0
    shown = read_clip([movie])
    assert (shown.frames.shape, shown.fps) == ((49, 64, 64, 3), 30)
    take = json.loads((tmp_path / "flower_take" / "take.json").read_text())
    assert take["generator"]["name"] == "wan"
    made = frames(tmp_path / "flower_take")
    assert made.shape == (49, 64, 64, 3)
    assert len(np.unique(made)) > 20


def test_a_side_car_gives_the_same_frames_again(
    models: tuple[str, ...], videos: tuple[str, ...], tmp_path: Path
) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    assert run("generate", *videos, *models, *SMALL, "--cfg", 3, "--output_dir", first) == 0
    for out, flags in ((again, ()), (other, ("--seed", 8))):
        options = ("--options_from", first / "take.json", *flags)
        assert run("generate", *videos, *options, "--output_dir", out) == 0
    assert np.array_equal(frames(first), frames(again))
    assert not np.array_equal(frames(first), frames(other))
    take = json.loads((first / "take.json").read_text())
    assert take["parameters"]["options"]["cfg"] == 3
    assert "ex4d/ex4d.safetensors" in take["generator"]["made_with"]["weights"]


def test_a_run_that_was_stopped_between_steps_gives_the_same_frames(
    models: tuple[str, ...],
    videos: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    shot = ("generate", *videos, *models, *SMALL)
    assert run(*shot, "--output_dir", whole) == 0
    painted: list[int] = []

    class Stopped(Console):
        def progress(self, phase: str, done: int, total: int) -> None:
            if phase == "Painting":
                painted.append(done)
                if painted == [0, 1, 2]:
                    raise KeyboardInterrupt

    monkeypatch.setattr("ex4d.generate.command.Console", Stopped)
    monkeypatch.setattr("ex4d.generate.diffusion.unfinished.EVERY", 0.0)
    assert run(*shot, "--output_dir", out) == 130
    assert f"kept in {out}" in capsys.readouterr().err.splitlines()[-1]
    painted.clear()
    assert run(*shot, "--output_dir", out) == 0
    assert painted[0] == 2
    assert np.array_equal(frames(out), frames(whole))
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


def test_reshoot_paints_what_was_rendered_at_its_size(
    models: tuple[str, ...], videos: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shot = ("--input_video", videos[1], "--cam", 30, "--generator", "wan", *models, "--width", 80, "--steps", 1)
    assert run("reshoot", *shot, "--output_dir", out) == 0
    take = json.loads((out / "take.json").read_text())
    camera = json.loads((out / "conditioning" / "camera.json").read_text())
    assert take["size"] == [camera["width"], camera["height"]] == [80, 64]
    assert take["lead_in"] == 0  # the move starts at the source camera
    assert frames(out).shape == (6, 64, 80, 3)


def broken(weights: Path, tmp_path: Path, what: str) -> tuple[object, ...]:
    """Flags for weights that cannot be used."""
    adapter, wan = weights / "ex4d.safetensors", weights / "wan"
    if what == "no adapter":
        return "--model", wan, "--adapter", tmp_path / "gone.safetensors"
    if what == "no weights":
        return ()
    if what == "another model":
        return "--model", weights / "vace", "--adapter", adapter
    if what == "no model":
        return "--model", tmp_path, "--adapter", adapter
    if what == "cut off model":
        shutil.copytree(wan, tmp_path / "wan")
        part = next((tmp_path / "wan" / "transformer").glob("*-00002-of-*.safetensors"))
        part.write_bytes(part.read_bytes()[:-1000])
        return "--model", tmp_path / "wan", "--adapter", adapter
    whole = adapter.read_bytes()
    cut = tmp_path / "cut.safetensors"
    cut.write_bytes(whole[: len(whole) // 2])
    return "--model", wan, "--adapter", cut


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("no weights", "ex4d models download"),
        ("no adapter", "gone.safetensors"),
        ("no model", "is no folder of a Wan model"),
        ("another model", "VACE"),
        ("cut off adapter", "cut.safetensors"),
        ("cut off model", "-00002-of-"),
    ],
)
def test_weights_that_cannot_be_used_are_one_line_and_nothing_is_made(
    weights: Path,
    videos: tuple[str, ...],
    what: str,
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for variable in ("HF_HOME", "HF_HUB_CACHE", "EX4D_MODELS"):
        monkeypatch.setenv(variable, str(tmp_path / "none"))
    flags = ("--generator", "wan", *broken(weights, tmp_path, what), *SMALL[:4])
    for command, shot in (("generate", videos), ("reshoot", ("--input_video", videos[1], "--cam", "30"))):
        out = tmp_path / "new" / "out"
        assert run(command, *shot, *flags, "--output_dir", out) == 2
        (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert words in line
        assert not (tmp_path / "new").exists()
