# SPDX-License-Identifier: Apache-2.0
"""The GPU check's table: our figures, and beside them those of others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from scripts._gpu_plan import LARGE, SMALL
from scripts._gpu_rows import Row

GIB: Final = 1 << 30

# Wan2.1-I2V-14B on one H200, by others: 832x480 x 81, 40 steps with guidance (4 without, where distilled), as the
# LightX2V project publishes them; "derived": the same scaled by the arithmetic of 512x512 x 49 in 25 steps.
ANCHORS: Final[Mapping[tuple[str, str], Mapping[str, Any]]] = {
    (LARGE, "plain"): {"seconds": 366, "gb": 71, "of": "Wan's own code"},
    (LARGE, "tuned"): {"seconds": 191, "gb": 35, "of": "LightX2V"},
    (LARGE, "cached"): {"seconds": 107, "gb": 35, "of": "LightX2V"},
    (LARGE, "distilled"): {"seconds": 14, "gb": 35, "of": "LightX2V"},
    (SMALL, "plain"): {"seconds": 64, "gb": None, "of": "derived"},
    (SMALL, "tuned"): {"seconds": 33, "gb": None, "of": "derived"},
    (SMALL, "distilled"): {"seconds": 5, "gb": None, "of": "derived"},
}
REMARKS: Final = (
    "s/step with guidance (not distilled); job: conditioning, all steps, decoding, without loading.",
    "GiB: the most that torch and CUDA's libraries took of the GPU in any stage; pred.: what was predicted.",
    "off: relative RMS from the exact latents after as many steps. The weights are random: it shows that a switch took",
    "effect, not how a picture suffers; and how many blocks a cache computes is as random.",
)
OTHERS: Final = "others: published figures of others on an H200, or derived from them; not measured here."

_HEAD: Final = ("configuration", "shot", "s/step", "job", "GiB", "pred.", "off", "blocks", "others", "state")
_WIDTHS: Final = (28, 16, 9, 15, 8, 8, 9, 7, 24)


def heading() -> str:
    """The first line."""
    return _line(_HEAD)


def line(row: Row, *, others: bool) -> str:
    """A row's line, and one for each of its notes. `others`: with figures that they published for this shot."""
    job = "" if row.job_seconds is None else f"{row.job_seconds:.1f} s/{row.job_steps}"
    cells = (
        row.name,
        row.shot,
        _number(row.step_seconds, ".3f"),
        job,
        _number(None if row.peak_bytes is None else row.peak_bytes / GIB, ".1f"),
        _number(None if row.predicted_bytes is None else row.predicted_bytes / GIB, ".1f"),
        _number(row.deviation, ".2g"),
        _number(row.computed, ".0%"),
        beside(row) if others else "",
        f"{row.state}{': ' if row.why else ''}{row.why}",
    )
    return "\n".join([_line(cells), *(f"    {note}" for note in row.notes)])


def beside(row: Row) -> str:
    """What others need for the same."""
    anchor = ANCHORS.get((row.size, row.anchor))
    if anchor is None:
        return ""
    memory = f" {anchor['gb']} GB" if anchor["gb"] else ""
    return f"{anchor['seconds']} s{memory} {anchor['of']}"


def _line(cells: tuple[str, ...]) -> str:
    return "".join(f"{cell:{width}}" for cell, width in zip(cells, _WIDTHS, strict=False)) + cells[-1]


def _number(value: float | None, how: str) -> str:
    return "" if value is None else format(value, how)
