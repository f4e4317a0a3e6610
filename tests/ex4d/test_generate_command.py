# SPDX-License-Identifier: Apache-2.0
"""`ex4d generate`: what it takes, what it writes, what it takes up again, and what it says when something is wrong."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_maker import encode, numbered
from painter import Painter

from ex4d.cli import main
from ex4d.clip import read_clip
from ex4d.generate import GENERATORS
from ex4d.generate.flags import add_settings, typed_options
from ex4d.generate.video_input import read_videos
from ex4d.images import read_png
from ex4d.settings import Setting, read_settings
from ex4d.values import U8
from shared_protocol.errors import BAD_INPUT, Ex4dError

FRAMES, WIDTH, HEIGHT = 5, 40, 24
SIZE = (48, 32)  # that the painter makes of it


@pytest.fixture
def painter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Painter:
    weights = tmp_path / "painter.safetensors"
    weights.write_bytes(b"weights")
    made = Painter(weights)
    monkeypatch.setitem(GENERATORS, made.name, made)
    return made


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """Flags for a colour and a mask video whose right half comes into view."""
    folder = tmp_path_factory.mktemp("videos")
    masks = np.zeros((FRAMES, HEIGHT, WIDTH, 3), np.uint8)
    for t in range(FRAMES):
        masks[t, :, : WIDTH - 4 * t] = 255
    lossless = ("-c:v", "ffv1", "-pix_fmt", "bgr0")
    colour = encode(folder / "color.mkv", numbered(FRAMES, WIDTH, HEIGHT), "24000/1001", *lossless)
    mask = encode(folder / "mask.mkv", masks, "24000/1001", *lossless)
    return "--color_video", str(colour), "--mask_video", str(mask)


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def generate(*arguments: object) -> int:
    return run("generate", "--generator", "painter", *arguments)


def frames(folder: Path) -> U8:
    return np.stack([read_png(path) for path in sorted((folder / "frames").glob("*.png"))])


def take(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "take.json").read_text())
    return found


def told(capsys: pytest.CaptureFixture[str]) -> str:
    """The error's own line."""
    (line,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
    return line


def stop_at(painter: Painter, step: int, error: BaseException) -> None:
    def stops(now: int) -> None:
        if now == step:
            raise error

    painter.at_step = stops


def go_on(painter: Painter) -> None:
    painter.at_step = lambda step: None
    painter.steps.clear()


def test_two_videos_become_lossless_frames_a_movie_and_a_side_car(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    assert generate(*videos, "--output_dir", out, "--num_inference_steps", 3, "--seed", 7, "--glow", "--gain", 2) == 0
    assert painter.steps == [0, 1, 2]
    assert all("glimpse.png" in names for names in painter.scratch)
    made = frames(out)
    assert made.shape == (FRAMES, SIZE[1], SIZE[0], 3)
    movie = read_clip([out / "result.mp4"])
    assert (movie.frames.shape, movie.fps) == (made.shape, Fraction(24000, 1001))
    assert sorted(os.listdir(out)) == ["frames", "request.json", "result.mp4", "take.json"]
    found = take(out)
    options = {"steps": 3, "gain": 2.0, "style": "oil", "prompt": "a wide view", "glow": True, "model": ""}
    assert found["parameters"] == {"seed": 7, "options": options}
    assert found["size"] == list(SIZE)
    weights = painter.identity({})
    assert found["generator"]["made_with"] == {"device": "none", "weights": weights, "notes": ["the paint is wet"]}  # type: ignore[index]
    assert [about["name"] for about in found["inputs"]] == ["color.mkv", "mask.mkv"]  # type: ignore[attr-defined]
    assert found["coverage"]["least"] == pytest.approx(1 - 16 / WIDTH)  # type: ignore[index]


def test_a_movie_asked_for_alone_has_its_take_beside_it(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    movie = tmp_path / "films" / "shot.mp4"
    assert generate(*videos, "--output_video", movie) == 0
    folder = tmp_path / "films" / "shot_take"
    said = capsys.readouterr()
    assert str(folder / "frames") in said.out
    assert "note: the paint is wet" in said.err.splitlines()
    assert sorted(os.listdir(folder)) == ["frames", "request.json", "take.json"]
    assert len(read_clip([movie]).frames) == len(frames(folder)) == FRAMES
    shutil.rmtree(folder)
    assert generate(*videos, "--output_video", movie) == 2
    assert "shot.mp4 is there already" in told(capsys)
    assert not folder.exists()


def test_both_outputs_hold_the_same_movie(painter: Painter, videos: tuple[str, ...], tmp_path: Path) -> None:
    out, movie = tmp_path / "out", tmp_path / "shot.mp4"
    assert generate(*videos, "--output_dir", out, "--output_video", movie) == 0
    assert movie.read_bytes() == (out / "result.mp4").read_bytes()


def test_our_own_folders_give_what_reshoot_gives(videos: tuple[str, ...], tmp_path: Path) -> None:
    shot = ("--input_video", videos[1], "--cam", 30, "--geometry", "bounded")
    assert run("recon", *shot, "--output_dir", tmp_path / "recon") == 0
    assert run("reshoot", *shot, "--output_dir", tmp_path / "reshoot") == 0
    folders = ("--scene", tmp_path / "recon" / "scene", "--conditioning", tmp_path / "recon")
    assert run("generate", *folders, "--output_dir", tmp_path / "out", "--generator", "preview") == 0
    assert np.array_equal(frames(tmp_path / "out"), frames(tmp_path / "reshoot"))
    assert take(tmp_path / "out")["scene"] == take(tmp_path / "reshoot")["scene"]


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("--steps", "11"), "steps cannot be 11. Give 1 to 10."),
        (("--steps", "7" * 400), f"steps cannot be {'7' * 20}…. Give 1 to 10."),
        (("--gain", "1e999"), "gain cannot be inf. Give 0 or more."),
        (("--steps", "many"), "steps is a whole number, not 'many'."),
        (("--style", "ink"), "There is no style 'ink'. Choose: oil, chalk."),
        (("--generator", "preview", "--steps", "3"), "The generator 'preview' has no option 'steps'."),
        (("--generator", "wand"), "no generator called 'wand'"),
        (("--num_frames", "0"), "0 frames make no shot"),
        (("--seed", str(1 << 32)), "too large for a seed"),
        (("--options_from", "gone/take.json"), "gone/take.json"),
        (("--scene", "scene", "--conditioning", "shot"), "--color_video and --mask_video, or --scene and"),
        (("--output_video", "shot.gif"), "shot.gif is not a name for a movie"),
        (("--vae_path", "a/vae.pth", "--clip_path", "b/clip.pth"), "does not lie in"),
    ],
)
def test_a_wrong_flag_is_one_line_and_nothing_is_made(
    painter: Painter,
    videos: tuple[str, ...],
    flags: tuple[str, ...],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    try:
        status = generate(*videos, "--output_dir", out, *flags)
    except SystemExit as ended:
        status = int(ended.code or 0)
    assert status == 2
    assert words in told(capsys)
    assert not out.exists()


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        ((), "--color_video and --mask_video"),
        (("--color_video", "a.mp4"), "--color_video and --mask_video"),
        (("--scene", "s", "--conditioning", "c", "--num_frames", "3"), "--num_frames is for videos"),
    ],
)
def test_what_is_not_said_is_asked_for(
    painter: Painter, flags: tuple[str, ...], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(*flags, "--output_dir", tmp_path / "out") == 2
    assert words in told(capsys)
    assert generate(*flags) == 2
    assert "--output_video or --output_dir" in told(capsys)


def test_the_preview_says_that_videos_are_not_enough(
    videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("generate", *videos, "--output_dir", tmp_path / "out", "--generator", "preview") == 2
    assert "paints from the scene" in told(capsys)
    assert not (tmp_path / "out").exists()


def test_the_public_codes_paths_name_the_folder_that_they_lie_in(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path
) -> None:
    wan = tmp_path / "Wan2.1"
    parts = ("--text_encoder_path", wan / "t5.pth", "--vae_path", wan / "vae.pth", "--clip_path", wan / "clip.pth")
    for name, given in (("parts", parts), ("both", (*parts, "--dit_dir", wan)), ("folder", ("--model", wan))):
        assert generate(*videos, *given, "--output_dir", tmp_path / name) == 0
        assert take(tmp_path / name)["parameters"]["options"]["model"] == str(wan)  # type: ignore[index]


def test_the_options_of_a_generator_are_listed_with_defaults_and_ranges(
    painter: Painter, capsys: pytest.CaptureFixture[str]
) -> None:
    for flags, more in ((("--list_options", "painter"), "Words"), (("--help",), "--num_frames")):
        with pytest.raises(SystemExit) as ended:
            run("generate", *flags)
        assert ended.value.code == 0
        said = " ".join(capsys.readouterr().out.split())
        for part in ("--num_inference_steps", "1 to 10", "oil, chalk", "100 % of it", "--no-glow", "a wide view", more):
            assert part in said, (flags, part)


def test_a_side_car_gives_the_same_frames_again(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, again, other = (tmp_path / name for name in ("first", "again", "other"))
    assert generate(*videos, "--output_dir", first, "--seed", 5, "--gain", 0.5, "--glow") == 0
    for out, flags in ((again, ()), (other, ("--no-glow", "--seed", 6))):
        options = ("--options_from", first / "take.json", *flags)
        assert run("generate", *videos, "--output_dir", out, *options) == 0  # the generator is taken from it as well
    assert np.array_equal(frames(first), frames(again))
    assert take(first) == take(again)
    assert take(other)["parameters"] == {
        "seed": 6,
        "options": {**take(first)["parameters"]["options"], "glow": False},  # type: ignore[index]
    }
    notes = {line for line in capsys.readouterr().err.splitlines() if line.startswith("note: ")}
    assert notes == {"note: the paint is wet"}  # nothing about the take that the options came from
    assert painter.weights is not None
    painter.weights.write_bytes(b"other weights")
    assert run("generate", *videos, "--output_dir", tmp_path / "new", "--options_from", first) == 0
    assert "note: the weights painter.safetensors differ from the take" in capsys.readouterr().err
    flags = ("--options_from", first, "--generator", "preview")
    assert run("generate", *videos, "--output_dir", tmp_path / "wrong", *flags) == 2
    assert "by the generator 'painter', not by 'preview'" in told(capsys)


def test_a_name_means_the_same_kind_of_option_in_every_generator() -> None:
    """One flag serves all generators that have a setting of its name."""
    kinds: dict[str, set[type]] = {}
    for generator in GENERATORS.values():
        for setting in generator.settings:
            kinds.setdefault(setting.name, set()).add(type(setting.default))
    assert all(len(found) == 1 for found in kinds.values()), kinds


def test_a_number_of_the_wire_may_be_of_any_size() -> None:
    settings = (Setting("gain", 1.0, "How strong."), Setting("steps", 4, "How many.", least=1))
    assert read_settings(settings, {"gain": 3}, "painter") == {"gain": 3.0, "steps": 4}
    for name in ("gain", "steps"):
        with pytest.raises(Ex4dError, match=f"{name} cannot be 1{'0' * 19}…") as refused:
            read_settings(settings, {name: 10**999}, "painter")
        assert refused.value.code == BAD_INPUT


def test_what_auto_came_to_counts_in_a_side_car(painter: Painter, videos: tuple[str, ...], tmp_path: Path) -> None:
    assert generate(*videos, "--output_dir", tmp_path / "first") == 0
    found = take(tmp_path / "first")
    found["generator"]["made_with"]["options"] = {"style": "chalk"}  # type: ignore[index]
    (tmp_path / "edited.json").write_text(json.dumps(found))
    options = ("--options_from", tmp_path / "edited.json")
    assert run("generate", *videos, "--output_dir", tmp_path / "again", *options) == 0
    assert take(tmp_path / "again")["parameters"]["options"]["style"] == "chalk"  # type: ignore[index]


def test_files_in_options_are_found_from_any_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    wan, parser = GENERATORS["wan"], argparse.ArgumentParser()
    add_settings(parser, GENERATORS)
    flags = [
        "--gguf",
        "a/q8.gguf",
        "--model=~/wan",
        "--loras",
        "grain.safetensors:0.8, ~/b.safetensors",
        "--prompt",
        "a/b",
    ]
    assert typed_options(parser.parse_args(flags), wan.settings) == {
        "gguf": str(tmp_path / "a" / "q8.gguf"),
        "model": str(tmp_path / "home" / "wan"),
        "loras": f"{tmp_path / 'grain.safetensors:0.8'}, {tmp_path / 'home' / 'b.safetensors'}",
        "prompt": "a/b",
    }


def test_a_seed_that_no_command_takes_is_not_taken_from_a_side_car(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert generate(*videos, "--output_dir", tmp_path / "first") == 0
    found = take(tmp_path / "first")
    found["parameters"]["seed"] = 1 << 70  # type: ignore[index]
    (tmp_path / "edited.json").write_text(json.dumps(found))
    assert generate(*videos, "--output_dir", tmp_path / "out", "--options_from", tmp_path / "edited.json") == 2
    assert "edited.json is not the side-car of a take" in told(capsys)


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"parameters": {"seed": "x"}}', "[" * 100_000])
def test_a_file_that_is_no_side_car_is_named(
    painter: Painter, videos: tuple[str, ...], text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "take.json"
    file.write_text(text)
    assert generate(*videos, "--output_dir", tmp_path / "out", "--options_from", file) == 2
    assert f"{file} is not the side-car of a take" in told(capsys)


@pytest.mark.parametrize("end", ["error", "ctrl-c", "disk"])
def test_work_that_is_worth_keeping_is_kept_and_gone_on_with(
    end: str, painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert generate(*videos, "--output_dir", whole) == 0
    go_on(painter)
    reasons = {
        "error": Ex4dError(BAD_INPUT, "It broke.", "Mend it."),
        "ctrl-c": KeyboardInterrupt(),
        "disk": OSError(28, "No space left on device", str(out / "frames")),
    }
    stop_at(painter, 2, reasons[end])
    assert generate(*videos, "--output_dir", out) == (130 if end == "ctrl-c" else 2)
    said = capsys.readouterr().err.splitlines()[-1]
    assert f"kept in {out}: the same command goes on from there" in said
    assert {"error": "error: It broke. Mend it.", "ctrl-c": "stopped: ", "disk": "No space left"}[end] in said
    assert sorted(os.listdir(out)) == ["request.json", "unfinished"]
    go_on(painter)
    assert generate(*videos, "--output_dir", out) == 0
    assert painter.steps == [2, 3]
    assert np.array_equal(frames(out), frames(whole))
    assert sorted(os.listdir(out)) == sorted(os.listdir(whole))


def test_a_run_that_goes_on_tells_how_the_frames_before_were_made(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert generate(*videos, "--output_dir", whole) == 0
    go_on(painter)
    with monkeypatch.context() as full:
        full.setattr("ex4d.pipeline.TAKE", "no/such\0file")  # the side-car, which comes last, cannot be written
        with pytest.raises(ValueError, match="null"):
            generate(*videos, "--output_dir", out)
    assert len(frames(out)) == FRAMES
    go_on(painter)
    assert generate(*videos, "--output_dir", out) == 0
    assert painter.steps == []
    assert take(out) == take(whole)


@pytest.mark.parametrize("error", [Ex4dError(BAD_INPUT, "It broke."), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_a_run_that_ends_before_it_has_done_anything_leaves_nothing(
    error: BaseException, painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stop_at(painter, 0, error)
    assert generate(*videos, "--output_dir", tmp_path / "new" / "out") in (2, 130)
    assert not (tmp_path / "new").exists()
    assert "kept" not in capsys.readouterr().err


def test_a_run_that_was_killed_goes_on(painter: Painter, videos: tuple[str, ...], tmp_path: Path, root: Path) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    assert generate(*videos, "--output_dir", whole, "--seed", 3) == 0
    script = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from ex4d.cli import main\n"
        "from ex4d.files import replacing\n"
        "from ex4d.generate import GENERATORS\n"
        "from painter import Painter\n"
        "made = GENERATORS['painter'] = Painter(Path(sys.argv[1]))\n"
        "def at_step(step):\n"
        "    if step == 3:\n"
        "        with replacing(Path(sys.argv[2], 'frames', '0001.png')):\n"
        "            os.kill(os.getpid(), signal.SIGKILL)\n"
        "made.at_step = at_step\n"
        "main(sys.argv[3:])\n"
    )
    flags = ("generate", "--generator", "painter", *videos, "--output_dir", str(out), "--seed", "3")
    paths = os.pathsep.join((str(root), str(root / "tests" / "ex4d")))
    line = [sys.executable, "-c", script, str(painter.weights), str(out), *flags]
    ended = subprocess.run(line, env={**os.environ, "PYTHONPATH": paths}, capture_output=True)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert (out / "unfinished" / "glimpse.png").is_file()
    assert len(os.listdir(out / "frames")) == 1  # half a file
    go_on(painter)
    assert run(*flags) == 0
    assert painter.steps == [3]
    assert sorted(os.listdir(out / "frames")) == sorted(os.listdir(whole / "frames"))
    assert np.array_equal(frames(out), frames(whole))


def test_a_finished_take_is_not_made_again_and_another_request_is_refused(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert generate(*videos, "--output_dir", out, "--glow") == 0
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()}
    go_on(painter)
    assert generate(*videos, "--output_dir", out, "--glow") == 0
    assert painter.steps == []
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*") if path.is_file()} == before
    (out / "result.mp4").unlink()
    assert generate(*videos, "--output_dir", out, "--glow") == 0  # as after a kill between the last two files
    assert len(read_clip([out / "result.mp4"]).frames) == FRAMES
    assert take(out)["generator"]["made_with"]["device"] == "none"  # type: ignore[index]
    capsys.readouterr()
    for flags, differs in (
        (("--seed", 1, "--glow"), "seed differs"),
        (("--gain", 3), "options gain, options glow differ"),
        (("--glow", "--num_frames", 3), "inputs frames differs"),
    ):
        assert generate(*videos, "--output_dir", out, *flags) == 2
        line = told(capsys)
        assert f"{out} has a take of another request: {differs}" in line
        assert "another --output_dir" in line
    assert {path for path in out.rglob("*") if path.is_file()} == before.keys()
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "notes.txt").write_text("mine")
    assert generate(*videos, "--output_dir", mine) == 2
    assert "already has files" in told(capsys)
    assert os.listdir(mine) == ["notes.txt"]


def test_a_take_that_would_fill_the_disk_is_refused_before_it_begins(
    painter: Painter,
    videos: tuple[str, ...],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: usage._replace(free=10_000))
    out = tmp_path / "new" / "out"
    assert generate(*videos, "--output_dir", out) == 2
    assert f"{FRAMES} frames of 48x32 take about" in told(capsys)
    assert not (tmp_path / "new").exists()
    assert painter.steps == []


def test_reshoot_renders_at_the_size_that_the_generator_works_at(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    painter.lead_in = 4  # which a preset does not need: it starts at the source camera, stretched or not
    shot = ("--input_video", videos[1], "--cam", 30, "--generator", "painter", "--steps", 2)
    assert run("reshoot", *shot, "--output_dir", out) == 0
    found = take(out)
    assert (found["size"], found["lead_in"]) == (list(SIZE), 0)
    assert found["conditioning"]["parameters"]["geometry"] == "closed"  # type: ignore[index]
    assert found["parameters"]["options"]["steps"] == 2  # type: ignore[index]
    camera = json.loads((out / "conditioning" / "camera.json").read_text())
    assert (camera["width"], camera["height"]) == SIZE
    scene = json.loads((out / "scene" / "scene.json").read_text())
    lens = camera["frames"][0]
    assert (lens["fx"], lens["fy"]) == pytest.approx((scene["focal"] * 48 / WIDTH, scene["focal"] * 32 / HEIGHT))
    first = read_png(out / "conditioning" / "colour" / "0001.png").astype(int)
    assert (read_png(out / "conditioning" / "mask" / "0001.png") == 255).all()  # it is the source camera still
    whole = cv2.resize(numbered(1, WIDTH, HEIGHT)[0], SIZE, interpolation=cv2.INTER_CUBIC)
    assert np.abs(first - whole).max() <= 8  # the source's first frame to its edges, by another cubic filter
    mask = read_png(out / "conditioning" / "mask" / "0005.png")
    assert mask.shape == (SIZE[1], SIZE[0])
    seen = mask == 255
    colour = read_png(out / "conditioning" / "colour" / "0005.png")
    assert np.array_equal(frames(out)[4][seen], colour[seen])  # nothing was resampled on the way
    assert "lead-in" not in capsys.readouterr().err


def test_reshoot_gives_a_generator_the_lead_in_that_it_wants(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lens = {"fx": 40, "fy": 40, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    aside = np.eye(4)
    aside[0, 3] = 0.2
    path = {"width": WIDTH, "height": HEIGHT, "fps": [24, 1]}
    camera = tmp_path / "aside.json"
    camera.write_text(json.dumps({**path, "frames": [{"world_from_camera": aside.tolist(), **lens}] * FRAMES}))
    painter.lead_in = 4
    shot = ("--input_video", videos[1], "--camera", camera, "--generator", "painter")
    for flags, wanted in (((), 4), (("--lead_in", 0), 0), (("--lead_in", 2), 2)):
        out = tmp_path / f"out{wanted}"
        assert run("reshoot", *shot, *flags, "--output_dir", out) == 0
        assert (take(out)["lead_in"], take(out)["frames"]) == (wanted, FRAMES)
        assert ("got 4 frames of lead-in" in capsys.readouterr().err) == (not flags)


def test_a_reshoot_that_was_stopped_goes_on(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    shot = ("--input_video", videos[1], "--cam", 30, "--generator", "painter")
    assert run("reshoot", *shot, "--output_dir", whole) == 0
    go_on(painter)
    stop_at(painter, 1, KeyboardInterrupt())
    assert run("reshoot", *shot, "--output_dir", out) == 130
    go_on(painter)
    monkeypatch.setattr("ex4d.depth_step.estimate_depth", _never)  # the scene is there already
    assert run("reshoot", *shot, "--output_dir", out) == 0
    assert painter.steps == [1, 2, 3]
    assert np.array_equal(frames(out), frames(whole))
    assert run("reshoot", *shot, "--output_dir", out, "--max_side", 30) == 2
    assert len(frames(out)) == FRAMES


def _never(*_: object, **__: object) -> Callable[[], None]:
    raise AssertionError("this was done again")


def test_fewer_frames_are_spread_and_more_hold_the_last(
    painter: Painter, videos: tuple[str, ...], tmp_path: Path
) -> None:
    for wanted, shown in ((3, [0, 2, 4]), (7, [0, 1, 2, 3, 4, 4, 4])):
        out = tmp_path / str(wanted)
        assert generate(*videos, "--output_dir", out, "--num_frames", wanted) == 0
        given = read_videos(Path(videos[1]), Path(videos[3]), wanted).conditioning
        assert len(frames(out)) == wanted
        assert np.array_equal(given.colour, numbered(FRAMES, WIDTH, HEIGHT)[shown])
        assert take(out)["notes"]
