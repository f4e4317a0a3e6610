# SPDX-License-Identifier: Apache-2.0
"""The demo as a new user runs it: extension from its zip, Blender, backend, files at the end."""

from __future__ import annotations

import json
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from ex4d.clip import read_clip, write_video
from ex4d.images import read_png

ROOT = Path(__file__).resolve().parents[2]
FRAMES, WIDTH, HEIGHT = 6, 97, 53  # odd on purpose
RATE = Fraction(60000, 1001)

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-blender" / "made_from.sha256").is_file(),
    reason="no .venv-blender (scripts/test.py makes it)",
)


def demo(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "demo.py"), *(str(argument) for argument in arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)


def test_an_odd_sized_clip_at_59_94_comes_through_the_whole_way(tmp_path: Path) -> None:
    source = read_clip([ROOT / "samples" / "courtyard.mp4"], count=FRAMES).frames
    clip = tmp_path / "plate"
    clip.mkdir()
    for index, frame in enumerate(source):
        small = cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(clip / f"plate_{index + 1:04d}.png"), small[..., ::-1])
    movie = tmp_path / "plate.mp4"
    write_video(movie, [read_png(path) for path in sorted(clip.iterdir())], RATE)  # 98x54: 4:2:0 needs even sides
    z = np.load(ROOT / "samples" / "courtyard_depth.npz")["depth"][:FRAMES].astype(np.float32)
    for name, given, size in (("pictures", clip, (WIDTH, HEIGHT)), ("movie", movie, (98, 54))):
        depth = tmp_path / f"{name}.npz"
        np.savez(depth, depth=np.stack([cv2.resize(f, size, interpolation=cv2.INTER_NEAREST) for f in z]))
        out = tmp_path / name
        done = demo("--clip", given, "--depth", depth, "--cam", 30, "--out", out)
        assert done.returncode == 0, done.stdout + done.stderr
        take = json.loads((out / "take.json").read_text())
        assert take["size"] == list(size)
        for folder in ("frames", "colour", "mask"):
            names = sorted(path.name for path in (out / folder).iterdir())
            assert names == [f"{number:04d}.png" for number in range(1, FRAMES + 1)]
        edit = read_clip([out / "edit.mp4"])
        assert len(edit.frames) == FRAMES
        assert edit.fps == Fraction(*take["fps"]) == (RATE if name == "movie" else 24)
        frame = read_png(out / "frames" / "0001.png")
        assert frame.shape == (size[1], size[0], 3)
        shown = edit.frames[0][: size[1], : size[0]].astype(float)
        assert np.abs(shown - frame).mean() < 8.0, "the edit shows the take, as far as a lossy movie can"
        assert (out / "contact_sheet.png").is_file()
        assert (out / "reshoot.blend").stat().st_size < 2 << 20
    assert read_png(
        tmp_path / "pictures" / "reshoot_ex4d" / "scenes" / "plate_v001" / "source" / "0001.png"
    ).tolist() == (read_png(clip / "plate_0001.png").tolist())


def test_a_file_that_is_no_clip_ends_the_demo_with_one_line(tmp_path: Path) -> None:
    wrong = tmp_path / "notes.mp4"
    wrong.write_text("not a movie")
    done = demo("--clip", wrong, "--out", tmp_path / "out")
    assert done.returncode == 2
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert "notes.mp4" in errors[0]
    assert "Traceback" not in done.stdout + done.stderr


def test_results_of_an_earlier_run_are_kept(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("mine")
    done = demo("--out", out)
    assert done.returncode == 2
    assert "not a demo's results" in done.stderr
    assert (out / "mine.txt").read_text() == "mine"
