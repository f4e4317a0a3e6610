# SPDX-License-Identifier: Apache-2.0
"""Does another rasterizer see what our exact one sees, and how long do both take?"""

from __future__ import annotations

import math
from dataclasses import asdict
from functools import partial
from typing import Any, Final

from benchmarks._agreement import LEAST_IDS, LEAST_IOU, MOST_COLOUR, agreement
from benchmarks._rivals import Ours
from benchmarks._scene import ANGLES, SIZES, view
from benchmarks._timing import medians
from ex4d.render import RASTERIZERS

WANTED: Final = {"iou": LEAST_IOU, "colour": MOST_COLOUR, "ids": LEAST_IDS}


def missing(name: str) -> str:
    """Why a rasterizer does not work here; "" where it does."""
    works, reason = RASTERIZERS[name].available()
    return "" if works else reason


def compare(name: str, repetitions: int) -> list[dict[str, Any]]:
    """Prints a row for each view: how a rasterizer agrees with numba, and the median milliseconds of both.

    Times hold the transform of the vertices and, on a GPU, their upload and the download of the indices.
    """
    rows = []
    print(f"\n{'view':24}{'cover IoU':>11}{'mask IoU':>11}{'colour':>9}{'index':>9}{'numba':>11}{name:>14}")
    for width, height in SIZES:
        for angle in ANGLES:
            seen = view(width, height, angle)
            both = {way: Ours(way) for way in dict.fromkeys(("numba", name))}
            found = agreement(seen, *(Ours(way).visible(seen) for way in ("numba", name)))
            seconds = medians({way: partial(door.visible, seen) for way, door in both.items()}, repetitions)
            figures = {key: None if math.isnan(value) else value for key, value in asdict(found).items()}
            times = {f"{way}_ms": 1e3 * taken for way, taken in seconds.items()}
            rows.append({"width": width, "height": height, "degrees": angle, **figures, "good": found.good, **times})
            print(
                f"{seen!s:24}{found.cover_iou:11.6f}{found.mask_iou:11.6f}{found.colour:9.5f}{found.ids:9.5f}"
                f"{1e3 * seconds['numba']:8.1f} ms{1e3 * seconds[name]:11.1f} ms{'' if found.good else '  DISAGREES'}"
            )
    return rows
