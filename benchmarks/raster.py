# SPDX-License-Identifier: Apache-2.0
"""Which triangle is seen at each pixel: our CPU rasterizer against Open3D's ray casting and OpenGL.

    python benchmarks/raster.py [--repetitions 9] [--size 1024x576]

Build and render of one frame, as a shot needs it: the mesh is new in every frame. All get float64 vertices and give
triangle indices in main memory; making pictures of indices is shared code and counts for nobody.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._agreement import agreement
from benchmarks._rivals import Contender, Ours, rivals
from benchmarks._scene import ANGLES, SIZES, view
from benchmarks._timing import machine, medians

GOALS = {"Open3D": 8.0, "moderngl": 1.0}  # ours must be this many times as fast at the median over all views


def main() -> int:
    """Prints two tables in Markdown; 0 where the goals are met by those rivals that are there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repetitions", type=int, default=9, help="of each, in turns (default 9)")
    parser.add_argument("--size", action="append", help="WIDTHxHEIGHT, may be repeated (default: both)")
    arguments = parser.parse_args()
    sizes = [(int(w), int(h)) for w, h in (text.split("x") for text in arguments.size or [])] or SIZES
    print(f"{machine()}\n{arguments.repetitions} repetitions in turns, median milliseconds of a frame\n")

    speed: list[str] = []
    agreed: list[str] = []
    ratios: dict[str, list[float]] = {}
    told: dict[str, str] = {}
    for size in sizes:
        others, told = rivals(view(*size, 0))
        contenders: dict[str, Contender] = {"ours": Ours("numba"), **others}
        for angle in ANGLES:
            seen = view(*size, angle)
            seconds = medians({k: partial(c.visible, seen) for k, c in contenders.items()}, arguments.repetitions)
            ours = contenders["ours"].visible(seen)
            row = f"| {seen} | {1e3 * seconds['ours']:.0f} |"
            for name in told:
                if name not in others:
                    row += " - | - |"
                    continue
                ratio = seconds[name] / seconds["ours"]
                ratios.setdefault(name, []).append(ratio)
                row += f" {1e3 * seconds[name]:.0f} | {ratio:.1f} |"
                found = agreement(seen, ours, others[name].visible(seen))
                agreed.append(
                    f"| {seen} | {name} | {found.cover_iou:.6f} | {found.mask_iou:.6f} | {found.colour:.5f} "
                    f"| {f'{found.ids:.5f}' if angle else 'no answer'} |"
                )
            speed.append(row)

    print("| view | ours |" + "".join(f" {name} | its time / ours |" for name in told))
    print("|---|---|" + "---|---|" * len(told))
    print("\n".join(speed))
    good = True
    print()
    for name, what in told.items():
        if name not in ratios:
            print(f"{name}: {what}")
            continue
        times = median(ratios[name])
        met = times >= GOALS[name]
        good &= met
        print(
            f"{name} {what}: {times:.1f} times our time at the median over {len(ratios[name])} views "
            f"(goal {GOALS[name]:g}: {'met' if met else 'MISSED'})"
        )
    if agreed:
        print("\n| view | against | cover IoU | mask IoU | colour, of 255 | same index |\n|---|---|---|---|---|---|")
        print("\n".join(agreed))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
