# SPDX-License-Identifier: Apache-2.0
"""What was measured, as Markdown tables for a person and as JSON for programs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ex4d.evaluate.geometry import FIGURES, PERSISTENCE_FIGURES, Counts, figures

_TITLES = {
    "precision": "precision",
    "recall": "recall",
    "iou": "IoU",
    "certain_iou": "certain IoU",
    "decided_iou": "decided IoU",
    "depth_iou": "depth IoU",
    "psnr": "PSNR",
    "ssim": "SSIM",
    "seen_psnr": "seen PSNR",
    "coverage": "coverage",
    "true_coverage": "true coverage",
    "added": "added",
    "added_psnr": "added PSNR",
    "own_psnr": "own PSNR",
}
_DECIBELS = ("psnr", "seen_psnr", "added_psnr", "own_psnr")


@dataclass(frozen=True)
class Row:
    """What was measured on one move of one scene."""

    scene: str
    move: str
    depth: str  # "exact" or "degraded"
    variant: str  # geometry, with "+persist" behind it where background persists
    counts: Counts


def pooled(rows: Iterable[Row]) -> list[Row]:
    """All scenes and moves together, one row for each variant and kind of depth, in the order they first appear."""
    sums: dict[tuple[str, str], Counts] = {}
    for row in rows:
        key = (row.depth, row.variant)
        sums[key] = sums.get(key, Counts()) + row.counts
    return [Row("all", "all", depth, variant, counts) for (depth, variant), counts in sums.items()]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table, one line a row; persistence has columns where a row has it. PSNR in dB."""
    names = FIGURES + (PERSISTENCE_FIGURES if any(row.variant.endswith("+persist") for row in rows) else ())
    head = ["depth", "geometry", "scene", "move", *(_TITLES[name] for name in names)]
    lines = [head]
    for row in rows:
        found = figures(row.counts)
        lines.append([row.depth, row.variant, row.scene, row.move, *(text(name, found[name]) for name in names)])
    return aligned(lines, left=4)


def aligned(lines: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table whose columns line up as plain text; the first line is the head.

    Args:
        lines: cells.
        left: how many of the first columns hold words, and not numbers.
    """
    widths = [max(len(line[k]) for line in lines) for k in range(len(lines[0]))]

    def line_of(cells: Sequence[str]) -> str:
        padded = (
            cell.ljust(width) if k < left else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        return f"| {' | '.join(padded)} |"

    rule = [("-" * width) if k < left else "-" * (width - 1) + ":" for k, width in enumerate(widths)]
    return "\n".join([line_of(lines[0]), line_of(rule), *(line_of(cells) for cells in lines[1:])])


def text(name: str, value: float) -> str:
    """A figure as it is printed: decibels with two decimals, shares with four, "-" where there is nothing to say."""
    if math.isnan(value):
        return "-"
    return f"{value:.2f}" if name in _DECIBELS else f"{value:.4f}"


def title(name: str) -> str:
    """What a figure of `ex4d.evaluate.geometry.figures` is called."""
    return _TITLES[name]


def as_json(row: Row) -> dict[str, Any]:
    """A row for programs: figures (null where there is nothing to say, or no error at all) and the sums behind them."""
    found = {name: value if math.isfinite(value) else None for name, value in figures(row.counts).items()}
    return {
        "scene": row.scene,
        "move": row.move,
        "depth": row.depth,
        "geometry": row.variant,
        "figures": found,
        "sums": asdict(row.counts),
    }
