# SPDX-License-Identifier: Apache-2.0
"""Whether the memory of the depth step and of the reconstruction grows with the clip's length.

Each run is a process of its own. Printed are the most memory that it held at once (`ru_maxrss`, which counts the pages
of files that are mapped, although the system may have them back at any time), how much of that was its own and not a
file's (`RssAnon`, looked at twenty times a second), and the ratio between the longest clip and the shortest.

    python benchmarks/depth_memory.py --frames 100 300 600 --width 1024 --height 576

Ends with status 1 where a run held more than `--limit` GiB.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from ex4d.clip import write_video
from ex4d.values import U8

ROOT = Path(__file__).resolve().parents[1]
MODELS = """
import sys
from pathlib import Path
from scripts._tiny_depth import write_hub_model, write_vda
print(write_vda(Path(sys.argv[1])))
write_hub_model(Path(sys.argv[2]))
"""  # by a process of its own: what this one holds when it starts another counts as that one's
RECONSTRUCT = """
import json
import sys
from pathlib import Path
from ex4d.console import Console
from ex4d.depth_step import DepthOptions
from ex4d.pipeline import ReconstructOptions, reconstruct
clip, folder, frames, estimator, options = sys.argv[1:]
with Console() as console:
    wish = DepthOptions(estimator=estimator, options=json.loads(options))
    reconstruct(Path(folder), [Path(clip)], wish, ReconstructOptions(count=int(frames)), console)
"""
DEPTH = "import sys; from ex4d.cli import main; sys.exit(main(sys.argv[1:]))"
GIB = 2**30


def pictures(count: int, width: int, height: int) -> Iterator[U8]:
    """A textured wall that the camera pans over, and a disc that passes in front of it."""
    rng = np.random.default_rng(1)
    rough = rng.integers(0, 255, (height // 8, width // 8 * 2, 3), np.uint8)
    wall = cv2.resize(rough, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    for index in range(count):
        left = round(width * index / max(count, 1))
        frame = np.ascontiguousarray(wall[:, left : left + width])
        cv2.circle(frame, ((7 * index) % width, height * 2 // 3), height // 6, (230, 220, 90), -1)
        yield np.asarray(frame, np.uint8)


def measured(command: list[str]) -> tuple[int, int, float]:
    """Bytes held at most, of these its own, and seconds."""
    began = time.monotonic()
    child = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    own = 0
    while True:
        done, status, usage = os.wait4(child.pid, os.WNOHANG)
        if done:
            break
        own = max(own, anonymous(child.pid))
        time.sleep(0.05)
    child.returncode = os.waitstatus_to_exitcode(status)
    text = child.stderr.read() if child.stderr is not None else ""
    if child.returncode:
        raise SystemExit(f"{' '.join(command[2:])}\n{text}")
    return usage.ru_maxrss * 1024, own, time.monotonic() - began


def anonymous(pid: int) -> int:
    """Bytes that a process holds and that are no file's."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon")), 0)


def main() -> int:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, nargs="+", default=[100, 300, 600])
    parser.add_argument("--width", type=int, default=1024)
    parser.add_argument("--height", type=int, default=576)
    parser.add_argument("--limit", type=float, default=4.0, help="GiB (default: 4)")
    parser.add_argument("--only", nargs="+", help="names of runs")
    parser.add_argument("--folder", type=Path, help="where clips and results go, on a disk (default: temporary)")
    arguments = parser.parse_args()
    over = False
    with tempfile.TemporaryDirectory(dir=arguments.folder) as name:
        folder = Path(name)
        clip = folder / "clip.mp4"
        write_video(clip, pictures(max(arguments.frames), arguments.width, arguments.height), Fraction(24))
        made = [sys.executable, "-c", MODELS, str(folder / "vda"), str(folder / "hub")]
        vda = subprocess.run(made, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split()[-1]
        small = {"commercial": False, "input_size": 140}
        per_frame = {"model": str(folder / "hub"), "steady": "on", "edges": "on", "sky": "on", **small}
        runs: dict[str, tuple[str, str, dict[str, str | int | bool]]] = {
            "ex4d depth, draft": ("depth", "draft", {}),
            "ex4d depth, video-depth-anything (tiny)": ("depth", "video-depth-anything", {"model": vda, **small}),
            "reconstruct, draft": ("reconstruct", "draft", {}),
            "reconstruct, depth-anything (tiny), steady, edges, sky": ("reconstruct", "depth-anything", per_frame),
        }
        print(f"{arguments.width}x{arguments.height}\n{'':56} frames  most GiB  own GiB  seconds", flush=True)
        for title, (step, estimator, options) in runs.items():
            if arguments.only and not any(word in title for word in arguments.only):
                continue
            held = []
            for frames in arguments.frames:
                out = folder / f"out-{len(held)}"
                if step == "depth":
                    texts = {k: v if isinstance(v, str) else json.dumps(v) for k, v in options.items()}
                    told = [word for k, v in texts.items() for word in ("--depth_option", f"{k}={v}")]
                    given = ["depth", str(clip), "-o", str(out), "--num_frames", str(frames), "--estimator", estimator]
                    command = [sys.executable, "-c", DEPTH, *given, *told]
                else:
                    given = [str(clip), str(out), str(frames), estimator, json.dumps(options)]
                    command = [sys.executable, "-c", RECONSTRUCT, *given]
                most, own, seconds = measured(command)
                held.append((most, own))
                over |= most > arguments.limit * GIB
                print(f"{title:56} {frames:6} {most / GIB:9.2f} {own / GIB:8.2f} {seconds:8.0f}", flush=True)
                subprocess.run(["rm", "-r", str(out)], check=True)
            ratios = [last / first for last, first in zip(held[-1], held[0], strict=True)]
            print(f"{'':56}  ratio {ratios[0]:9.2f} {ratios[1]:8.2f}", flush=True)
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main())
