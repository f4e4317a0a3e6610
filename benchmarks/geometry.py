# SPDX-License-Identifier: Apache-2.0
"""Measures every geometry on ground-truth sets and prints a report in Markdown.

    python benchmarks/geometry.py SET [SET …] [--seed N] [--date YYYY-MM-DD] > benchmarks/results/geometry.md

The report holds the figures of all scenes and moves together (`ex4d.evaluate.geometry` defines them), for each set and
for all sets, and every scene and move on which our default geometry is not above the public code's. The same sets and
seed give the same report.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import sys
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from ex4d.console import Console
from ex4d.evaluate.geometry import figures
from ex4d.evaluate.geometry_command import DEPTHS, Variant, evaluate
from ex4d.evaluate.ground_truth import GroundTruthSet, load_set
from ex4d.evaluate.report import Row, aligned, pooled, table, text, title
from ex4d.versions import project_version
from shared_protocol.errors import BAD_INPUT, Ex4dError

VARIANTS = {
    variant.name: variant
    for variant in (Variant("upstream"), Variant("closed"), Variant("bounded"), Variant("closed", persist=True))
}
OURS, THEIRS = "closed", "upstream"
COMPARED = ("certain_iou", "depth_iou", "psnr", "ssim", "seen_psnr")  # single ones that no mask can be tuned for alone


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the report. Returns 0, or 2 after a line on stderr that says what is wrong."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("sets", nargs="+", type=Path, metavar="SET", help="folder of a ground-truth set")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=list(VARIANTS), help="default: all")
    parser.add_argument("--depth", nargs="+", choices=DEPTHS, default=list(DEPTHS), help="default: both")
    parser.add_argument("--seed", type=int, default=0, help="of the degraded depth (default: 0)")
    parser.add_argument("--date", default=datetime.date.today().isoformat(), help="default: today")
    arguments = parser.parse_args(argv)
    variants = [VARIANTS[name] for name in arguments.variants]
    try:
        sets = [load_set(folder.resolve()) for folder in arguments.sets]
        names = [truth.folder.name for truth in sets]
        for name in names:
            if names.count(name) > 1:
                raise Ex4dError(BAD_INPUT, f"There are two sets called '{name}'.", "Rename one of the folders.")
        with Console() as console:
            rows = {
                truth.folder.name: list(
                    evaluate(truth, variants, arguments.depth, seed=arguments.seed, console=console)
                )
                for truth in sets
            }
    except Ex4dError as error:
        sys.stderr.write(f"error: {error}\n")
        return 2
    sys.stdout.write(report(sets, rows, arguments.seed, arguments.date) + "\n")
    return 0


def report(sets: Sequence[GroundTruthSet], rows: dict[str, list[Row]], seed: int, date: str) -> str:
    """The whole report.

    Args:
        sets: what was measured.
        rows: by the name of the set's folder.
        seed: of the degraded depth.
        date: as it shall stand there.
    """
    parts = [f"# Geometry against ground truth\n\n{date}. {_versions()}. Seed of the degraded depth: {seed}."]
    for truth in sets:
        about = (
            f"{truth.width}x{truth.height}, {truth.frames} frames, seed {truth.seed}, scenes {', '.join(truth.scenes)} "
            f"({truth.made_with})."
        )
        parts.append(f"## {truth.folder.name}\n\n{about}\n\n{table(pooled(rows[truth.folder.name]))}")
    everything = [replace(row, scene=f"{name}/{row.scene}") for name, found in rows.items() for row in found]
    if len(sets) > 1:
        parts.append(f"## All sets\n\n{table(pooled(everything))}")
    measured = {row.variant for row in everything}
    if {OURS, THEIRS} <= measured:
        behind = not_above(everything)
        pairs = sum(row.variant == OURS for row in everything)
        said = f"{pairs} pairs of scene, move and depth, {len(COMPARED)} figures each; {len(behind) - 1} are not above."
        parts.append(f"## Where {OURS} is not above {THEIRS}\n\n{said}")
        if len(behind) > 1:
            parts.append(aligned(behind, left=4))
    parts.append(f"## Every scene and move\n\n{table(everything)}")
    return "\n\n".join(parts)


def not_above(rows: Sequence[Row]) -> list[list[str]]:
    """Lines of a table, with its head: where a figure of `COMPARED` is not higher for ours than for theirs."""
    lines = [["depth", "scene", "move", "figure", OURS, THEIRS]]
    theirs = {(row.depth, row.scene, row.move): figures(row.counts) for row in rows if row.variant == THEIRS}
    for row in rows:
        other = theirs.get((row.depth, row.scene, row.move))
        if row.variant != OURS or other is None:
            continue
        found = figures(row.counts)
        lines += [
            [row.depth, row.scene, row.move, title(name), text(name, found[name]), text(name, other[name])]
            for name in COMPARED
            if not found[name] > other[name]  # nan is not above either
        ]
    return lines


def _versions() -> str:
    found = [f"ex4d {project_version()}", f"Python {platform.python_version()}"]
    for name in ("numpy", "numba", "scikit-image"):
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"{name} missing")
    return ", ".join(found)


if __name__ == "__main__":
    sys.exit(main())
