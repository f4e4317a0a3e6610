# SPDX-License-Identifier: Apache-2.0
"""The `ex4d` command: what it writes, and what it says when something is wrong."""

from __future__ import annotations

import json
import os
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from clip_maker import encode

from ex4d.cli import main
from ex4d.clip import read_clip
from ex4d.images import read_png, write_png
from ex4d.values import U8

ROOT = Path(__file__).resolve().parents[2]
FRAMES, WIDTH, HEIGHT = 6, 97, 53
RATE = Fraction(60000, 1001)


@pytest.fixture(scope="module")
def sample() -> U8:
    """A few frames of the project's sample, at an odd size."""
    clip = read_clip([ROOT / "samples" / "courtyard.mp4"], count=FRAMES)
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in clip.frames])


@pytest.fixture(scope="module")
def clip(sample: U8, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same as a lossless movie at 60000/1001 frames a second."""
    path = tmp_path_factory.mktemp("clip") / "odd.mkv"
    return encode(path, sample, "60000/1001", "-c:v", "ffv1", "-pix_fmt", "bgr0")


@pytest.fixture(scope="module")
def depth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample's depth for these frames and this size."""
    z = np.load(ROOT / "samples" / "courtyard_depth.npz")["depth"][:FRAMES].astype(np.float32)
    small = np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_NEAREST) for frame in z])
    path = tmp_path_factory.mktemp("depth") / "odd.npz"
    np.savez(path, depth=small)
    return path


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def test_recon_writes_the_public_codes_file_names_and_lossless_sequences(
    clip: Path, depth: Path, sample: U8, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    shot = ("--input_video", clip, "--depth", depth, "--output_dir", out, "--num_frames", 4)
    assert run("recon", *shot, "--cam", 30, "--save_mesh", "--save_camera") == 0
    for name in ("color_30.mp4", "mask_30.mp4", "DW-Mesh.ply", "camera_30.npz", "camera.json", "scene/scene.json"):
        assert (out / name).is_file(), name
    assert sorted(path.name for path in (out / "colour").iterdir()) == [f"{n:04d}.png" for n in range(1, 5)]
    movie = read_clip([out / "color_30.mp4"])
    assert (len(movie.frames), movie.fps) == (4, RATE)
    colour, mask = read_png(out / "colour" / "0001.png"), read_png(out / "mask" / "0001.png")
    assert set(np.unique(mask)) <= {0, 255}
    assert mask.mean() > 0.9 * 255  # the first camera stands where the source camera stood ...
    seen = mask == 255
    assert np.abs(colour[seen].astype(int) - sample[0][seen]).max() <= 1  # ... and sees the source picture
    poses = np.load(out / "camera_30.npz")["extrinsics"]
    assert poses.shape == (4, 4, 4)
    assert np.allclose(poses[0], np.eye(4), atol=1e-6)


def test_dropping_stretched_faces_uncovers_what_they_hide(clip: Path, depth: Path, tmp_path: Path) -> None:
    coverage, size = {}, {}
    for keep in (1, 0):
        out = tmp_path / str(keep)
        shot = ("--input_video", clip, "--depth", depth, "--output_dir", out, "--num_frames", 3)
        assert run("recon", *shot, "--cam", 60, "--geometry", "upstream", "--use_dwmesh", keep, "--save_mesh") == 0
        coverage[keep] = json.loads((out / "coverage.json").read_text())["coverage"][-1]
        size[keep] = (out / "DW-Mesh.ply").stat().st_size
    assert coverage[0] > coverage[1] + 0.01
    assert size[0] < size[1]  # they are not in the saved mesh either


def test_reshoot_keeps_size_rate_and_every_frame(clip: Path, depth: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("reshoot", "--input_video", clip, "--depth", depth, "--cam", 60, "--output_dir", out, "--seed", 3) == 0
    take = json.loads((out / "take.json").read_text())
    assert take["fps"] == [60000, 1001]
    assert take["size"] == [WIDTH, HEIGHT]
    assert take["frames"] == FRAMES
    assert take["parameters"]["seed"] == 3
    assert [item["name"] for item in take["scene"]["inputs"]] == [clip.name, depth.name]
    assert not take["depth"]["draft"]
    frames = sorted((out / "frames").glob("*.png"))
    assert [path.stem for path in frames] == [f"{n:04d}" for n in range(1, FRAMES + 1)]
    assert read_png(frames[-1]).shape == (HEIGHT, WIDTH, 3)
    result = read_clip([out / "result.mp4"])
    assert (len(result.frames), result.fps) == (FRAMES, RATE)
    assert read_png(out / "contact_sheet.png").shape[1] <= 2000


def test_flicker_of_a_take_is_told_beside_the_sources(
    clip: Path, depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("reshoot", "--input_video", clip, "--depth", depth, "--cam", 60, "--output_dir", out) == 0
    folders = ("--scene", out / "scene", "--conditioning", out / "conditioning")
    capsys.readouterr()
    assert run("evaluate", "flicker", *folders, "--frames", out / "frames", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["ratio"] == pytest.approx(told["painted"] / told["source"])
    assert told["source"] > 0
    noisy = tmp_path / "noisy"
    noise = np.random.default_rng(3)
    for file in (out / "frames").iterdir():
        picture = read_png(file).astype(int) + noise.integers(-60, 60, (HEIGHT, WIDTH, 1))
        write_png(noisy / file.name, np.clip(picture, 0, 255).astype(np.uint8))
    assert run("evaluate", "flicker", *folders, "--frames", noisy, "--json") == 0
    assert json.loads(capsys.readouterr().out)["painted"] > 5 * told["painted"]
    assert run("evaluate", "flicker", *folders, "--frames", tmp_path) == 2
    assert "0 frames and 6 masks" in capsys.readouterr().err
    gone = ("--scene", tmp_path / "gone", *folders[2:])
    assert run("evaluate", "flicker", *gone, "--frames", out / "frames") == 2
    assert "no scene" in capsys.readouterr().err


def test_a_camera_file_is_followed_exactly(clip: Path, depth: Path, tmp_path: Path) -> None:
    first, again = tmp_path / "preset", tmp_path / "file"
    shot = ("--input_video", clip, "--depth", depth, "--num_frames", 3)
    assert run("recon", *shot, "--cam", "zoom_in", "--output_dir", first) == 0
    assert run("recon", *shot, "--camera", first / "camera.json", "--output_dir", again) == 0
    for name in ("0001.png", "0003.png"):
        assert np.array_equal(read_png(first / "colour" / name), read_png(again / "colour" / name))


def test_a_camera_file_of_another_size_and_rate_gives_its_size_at_the_clips_rate(
    clip: Path, depth: Path, tmp_path: Path
) -> None:
    lens = {"world_from_camera": np.eye(4).tolist(), "fx": 60, "fy": 60, "cx": 20, "cy": 32}
    camera = tmp_path / "portrait.json"
    camera.write_text(json.dumps({"width": 40, "height": 64, "fps": [30, 1], "frames": [lens] * 3}))
    out = tmp_path / "out"
    assert run("recon", "--input_video", clip, "--depth", depth, "--camera", camera, "--output_dir", out) == 0
    movie = read_clip([out / "color_portrait.mp4"])
    assert movie.frames.shape == (3, 64, 40, 3)
    assert movie.fps == RATE


def test_without_depth_the_take_is_marked_as_draft(clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert run("reshoot", "--input_video", clip, "--cam", 30, "--output_dir", out, "--num_frames", 2) == 0
    assert json.loads((out / "take.json").read_text())["depth"]["draft"] is True


def test_a_typed_focal_length_follows_the_picture_when_it_is_scaled(clip: Path, depth: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    shot = ("--input_video", clip, "--depth", depth, "--num_frames", 1, "--cam", 30, "--output_dir", out)
    assert run("recon", *shot, "--focal", 100, "--max_side", 49) == 0
    scene = json.loads((out / "scene" / "scene.json").read_text())
    assert scene["width"] == 49
    assert scene["focal"] == pytest.approx(100 * 49 / 97)


def test_the_doctor_lists_every_door_with_its_licence(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("doctor", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    doors = {(door["kind"], door["name"]): door for door in told["doors"]}
    assert {("depth", "file"), ("depth", "draft"), ("rasterizer", "numba"), ("generator", "preview")} <= set(doors)
    assert all(door["licence"] for door in doors.values())
    pro = doors["depth", "depth-pro"]
    assert (pro["gives"], pro["steady"], pro["draft"], pro["commercial_use"]) == ("metric", False, False, False)
    assert pro["size"] > 1_000_000_000
    parts = {part["name"]: part for part in told["parts"]}
    assert {"numpy", "numba", "opencv-contrib-python-headless", "OpenEXR", "pyzmq", "ffmpeg (a program)"} <= set(parts)
    assert all(part["version"] and part["licence"] for part in parts.values())
    assert "pytest" not in parts, "what the tests need is no part of the product"
    assert run("doctor") == 0
    said = capsys.readouterr().out
    assert "preview" in said
    assert "in metres; frame by frame; 1.9 GB of weights" in said


def test_wrong_input_gives_one_line_and_status_2(
    clip: Path, depth: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    behind = tmp_path / "behind.json"
    turned = np.diag([-1.0, 1.0, -1.0, 1.0])
    turned[2, 3] = -50.0
    lens = {"world_from_camera": turned.tolist(), "fx": 90, "fy": 90, "cx": WIDTH / 2, "cy": HEIGHT / 2}
    behind.write_text(json.dumps({"width": WIDTH, "height": HEIGHT, "fps": [24, 1], "frames": [lens, lens]}))
    wrong = tmp_path / "wrong.npz"
    np.savez(wrong, depth=np.ones((FRAMES, 20, 20), np.float32))
    text = tmp_path / "notes.mp4"
    text.write_text("not a movie")
    nested = tmp_path / "nested.json"
    nested.write_text("[" * 100_000)
    full = tmp_path / "full"
    full.mkdir()
    (full / "keep.txt").write_text("mine")
    for name, arguments, words in (
        ("missing clip", ("--input_video", tmp_path / "no.mp4", "--cam", 30), "no.mp4"),
        ("text", ("--input_video", text, "--cam", 30), "notes.mp4"),
        ("depth of another size", ("--input_video", clip, "--depth", wrong, "--cam", 30), "20 x 20"),
        ("camera turned away", ("--input_video", clip, "--depth", depth, "--camera", behind), "sees none"),
        ("missing camera", ("--input_video", clip, "--depth", depth, "--camera", tmp_path / "no.json"), "no.json"),
        ("nested camera", ("--input_video", clip, "--depth", depth, "--camera", nested), "nested.json"),
        ("focal", ("--input_video", clip, "--depth", depth, "--cam", 30, "--focal", -3), "focal"),
        ("estimator", ("--input_video", clip, "--cam", 30, "--estimator", "magic"), "magic"),
    ):
        out = tmp_path / name.replace(" ", "_")
        assert run("recon", *arguments, "--output_dir", out) == 2, name
        error = capsys.readouterr().err.strip().splitlines()[-1]
        assert error.startswith("error: "), name
        assert words in error, (name, error)
        assert not out.exists(), name  # so the same command can be repeated
    assert run("reshoot", "--input_video", clip, "--cam", 30, "--output_dir", full) == 2
    assert "already has files" in capsys.readouterr().err
    assert os.listdir(full) == ["keep.txt"]
    out = tmp_path / "generator"
    assert run("reshoot", "--input_video", clip, "--cam", 30, "--output_dir", out, "--generator", "wand") == 2
    assert "wand" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "COMMAND"),
        (("recon", "--input_video", "a.mp4", "--cam", "31", "--output_dir", "out"), "31"),
        (("recon", "--input_video", "a.mp4", "--cam", "30", "--output_dir", "out", "--num_frames", "-2"), "-2"),
        (("reshoot", "--input_video", "a.mp4", "--cam", "30", "--output_dir", "out", "--focal", "wide"), "'wide'"),
        (("reshoot", "--cam", "30", "--output_dir", "out"), "--input_video"),
    ],
)
def test_a_slip_in_the_options_is_one_line(
    arguments: tuple[str, ...], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert words in line


def test_a_file_where_the_output_folder_should_be_is_named(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    taken = tmp_path / "taken"
    taken.write_text("mine")
    assert run("reshoot", "--input_video", clip, "--cam", 30, "--output_dir", taken) == 2
    assert str(taken) in capsys.readouterr().err
    assert taken.read_text() == "mine"


def test_stopping_leaves_nothing_half_done(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("ex4d.pipeline.render_conditioning", stop)
    out = tmp_path / "out"
    out.mkdir()
    assert run("reshoot", "--input_video", clip, "--cam", 30, "--output_dir", out) == 130
    assert os.listdir(out) == []


def test_zero_frames_are_refused_before_anything_is_made(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    with pytest.raises(SystemExit) as stop:
        run("recon", "--input_video", clip, "--cam", 30, "--output_dir", out, "--num_frames", 0)
    assert stop.value.code == 2
    assert "0 frames make no shot" in capsys.readouterr().err.splitlines()[-1]
    assert not out.exists()
