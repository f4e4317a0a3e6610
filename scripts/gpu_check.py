# SPDX-License-Identifier: Apache-2.0
"""On a machine with an NVIDIA GPU: does nvdiffrast see what our exact rasterizer sees, and how long do both take?

    python scripts/gpu_check.py --out gpu_check.json

Exit status: 0 where all views agree, 1 where one does not, 2 where nvdiffrast does not work here.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks._agreement import LEAST_IDS, LEAST_IOU, MOST_COLOUR, agreement
from benchmarks._rivals import Ours
from benchmarks._scene import ANGLES, SIZES, view
from benchmarks._timing import machine, medians
from ex4d.render import RASTERIZERS

WANTED = {"iou": LEAST_IOU, "colour": MOST_COLOUR, "ids": LEAST_IDS}


def main(words: list[str] | None = None) -> int:
    """Prints a table and writes it as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write: date, versions, a row for each view")
    parser.add_argument("--repetitions", type=int, default=9, help="of each rasterizer, in turns (default 9)")
    arguments = parser.parse_args(words)
    about = _about()
    for name, value in about.items():
        print(f"{name:12}{value}")
    works, reason = RASTERIZERS["nvdiffrast"].available()
    if not works:
        print(f"nvdiffrast does not work here: {reason}", file=sys.stderr)
        return 2
    rows = compare("nvdiffrast", arguments.repetitions)
    good = all(row["good"] for row in rows)
    if arguments.out is not None:
        found = {**about, "wanted": WANTED, "good": good, "views": rows}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print("all views agree" if good else "NOT all views agree")
    return 0 if good else 1


def compare(name: str, repetitions: int) -> list[dict[str, Any]]:
    """A row for each view: how a rasterizer agrees with numba, and the median milliseconds of both.

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


def _about() -> dict[str, Any]:
    """Date, processor, and what there is of torch, CUDA, the GPU and nvdiffrast."""
    about: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine()}
    for package in ("torch", "nvdiffrast"):
        try:
            about[package] = version(package)
        except PackageNotFoundError:
            about[package] = None
    try:
        import torch
    except (ImportError, OSError):
        return {**about, "cuda": None, "gpu": None}
    there = torch.cuda.is_available()
    return {**about, "cuda": torch.version.cuda, "gpu": torch.cuda.get_device_name() if there else None}


if __name__ == "__main__":
    sys.exit(main())
