# SPDX-License-Identifier: Apache-2.0
"""Do shots that are longer than a window jump where windows meet?

    python benchmarks/seams.py [--frames 57] [--window 25] [--overlap 9] [--steps 6] [--size 64x48]

Paints a small scene with the `wan` generator and a tiny model of random weights, and with the preview, which has no
windows. A random model paints no pictures, but it goes through the same windows, ties and decoder as a real one. For
comparison the same windows are painted apart.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._seams import Jump, jumps, moving_shot, painted, painted_apart, unevenness
from benchmarks._timing import machine
from ex4d.generate import GENERATORS
from ex4d.generate.diffusion.windows import plan_windows
from ex4d.settings import Value
from scripts._tiny_models import write_adapter, write_wan

GOAL = 1.25  # times the shot's own level, and the clip's
SEED = 5


def main() -> int:
    """Prints a table in Markdown; 0 where the goals are met."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--frames", type=int, default=57)
    parser.add_argument("--window", type=int, default=25)
    parser.add_argument("--overlap", type=int, default=9)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--size", default="64x48", help="WIDTHxHEIGHT, multiples of 16")
    parser.add_argument("--model", type=Path, help="a real Wan2.1-I2V folder instead of a tiny one")
    parser.add_argument("--adapter", type=Path, help="the EX-4D checkpoint that goes with it")
    arguments = parser.parse_args()
    width, height = (int(side) for side in arguments.size.split("x"))
    spans = plan_windows(arguments.frames, arguments.window, arguments.overlap)
    print(f"{machine()}\n{arguments.frames} frames of {width}x{height}, windows:")
    for span in spans:
        print(f"  frames {span.start + 1} to {span.start + span.length}, {span.overlap} of the window before")
    print(
        "\n| painted | after frame | of the median elsewhere | overlap, of the largest elsewhere |\n|---|---|---|---|"
    )
    with tempfile.TemporaryDirectory(prefix="ex4d-seams-") as name:
        model = arguments.model or write_wan(Path(name) / "wan")
        adapter = arguments.adapter or write_adapter(Path(name) / "adapter.safetensors")
        options: dict[str, Value] = {
            "model": str(model),
            "adapter": str(adapter),
            "width": width,
            "height": height,
            "window": arguments.window,
            "overlap": arguments.overlap,
            "steps": arguments.steps,
            "glimpse_every": 0,
        }
        shot, wan = moving_shot(arguments.frames, width, height, "closed"), GENERATORS["wan"]
        found = _table("in windows", jumps(painted(wan, shot, SEED, options), spans))
        _table("windows apart", jumps(painted_apart(wan, shot, SEED, options, spans), spans))
    shot = moving_shot(arguments.frames, 4 * width, 4 * height, "bounded")
    preview = unevenness(painted(GENERATORS["preview"], shot, SEED, {})) / unevenness(shot.shot.scene.clip.frames)
    worst = max((jump.overlap for jump in found), default=0.0)
    print(f"\nLargest jump where windows meet: {worst:.2f} times the shot's own (goal {GOAL:g}).")
    print(f"Preview, largest over usual difference: {preview:.2f} times the clip's (goal {GOAL:g}).")
    return 0 if max(worst, preview) <= GOAL else 1


def _table(name: str, found: list[Jump]) -> list[Jump]:
    for jump in found:
        print(f"| {name} | {jump.frame + 1} | {jump.there:.2f} | {jump.overlap:.2f} |")
    return found


if __name__ == "__main__":
    sys.exit(main())
