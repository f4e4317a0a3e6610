# SPDX-License-Identifier: Apache-2.0
"""On a machine with an NVIDIA GPU: how long does the generator take, in how much memory, and does it compute the same?

    python scripts/gpu_check.py --out gpu_check.json

Builds the 14B model with random weights, which changes neither time nor memory, and lets the generator's own code load
and run it: each memory profile, on a card of that size as far as torch is concerned, and each switch of speed. Before
that a small model paints the same shot on the CPU and on the GPU; and nvdiffrast is compared with our own rasterizer.
After it each depth network runs in its published size, with random weights too, over a clip of 1024x576.
`--tiny` does all of it with a small model, on the CPU too. What there is no time for can be asked for by itself:
`--only exact,switches`, `--only exact,profile 16,profile 8`, `--only depth`.

Exit status: 0 where all is well, 1 where something failed, disagreed, or took more memory than was predicted, 2 where
the check cannot run.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from ex4d.generate.diffusion.requirements import missing_packages


def main(words: list[str] | None = None) -> int:
    """Prints tables and writes them as JSON."""
    begun = time.monotonic()
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, help="JSON file to write: date, GPU, versions, all rows")
    parser.add_argument("--minutes", type=float, default=9.0, help="what would take longer is not run (default 9)")
    parser.add_argument("--tiny", action="store_true", help="a small model; works without a GPU")
    parser.add_argument("--only", default="", metavar="WORDS", help="groups alone with one of the words in the name")
    parser.add_argument("--repetitions", type=int, default=9, help="of each rasterizer, in turns (default 9)")
    arguments = parser.parse_args(words)
    if reason := _hindrance(arguments.tiny):
        print(f"The check cannot run here: {reason}", file=sys.stderr)
        return 2
    import torch

    from scripts._gpu_watch import baseline

    if arguments.tiny and not torch.cuda.is_available():
        torch.set_num_threads(1)  # layers this small are done before a second thread has heard of them
    baseline()
    report = {**_about(arguments.tiny), "complete": False}
    for name, value in report.items():
        print(f"{name:12}{value}")

    def keep(**more: Any) -> None:
        report.update(more)
        if arguments.out is not None:
            arguments.out.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")

    keep()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        parity = _parity(folder)
        keep(parity=parity)
        raster = _raster(arguments.repetitions)
        keep(rasterizers=raster)
        rows = _rows(folder, arguments, begun + 60 * arguments.minutes, keep)
        rows = [*rows, *_depth(arguments, begun + 60 * arguments.minutes, keep)]
    left = sum(row["state"] == "not run" for row in rows)
    good = bool(parity["good"] and raster["good"]) and not any(row["bad"] for row in rows)
    keep(complete=True, good=good, seconds=round(time.monotonic() - begun, 1))
    print(f"\n{'all is well' if good else 'NOT all is well'}; {left} of {len(rows)} rows not run")
    return 0 if good else 1


def _hindrance(tiny: bool) -> str:
    """Why the check cannot run; "" where it can."""
    if missing := missing_packages():
        return missing
    import torch

    if not tiny and not torch.cuda.is_available():
        return "PyTorch sees no NVIDIA GPU. With --tiny it goes through with a small model on the CPU."
    return ""


def _parity(folder: Path) -> dict[str, Any]:
    """The small model, which is written to `folder`, on the CPU and on the GPU."""
    import diffusers
    import transformers

    from scripts._gpu_parity import MOST_LATENTS, MOST_LEVELS, compare
    from scripts._tiny_models import write_adapter, write_wan

    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.disable_progress_bar()
    write_adapter(write_wan(folder / "wan").parent / "ex4d.safetensors")
    wanted = {"latents": MOST_LATENTS, "levels": MOST_LEVELS}
    print("\na small model, painted on the CPU in float32 and once more", flush=True)
    try:
        rows = compare(folder)
    except Exception as error:  # the rest of the check still tells something
        print(f"FAILED: {type(error).__name__}: {error}")
        return {"wanted": wanted, "rows": [], "good": False, "error": str(error)}
    for row in rows:
        judged = "" if not row["judged"] else "  agrees" if row["good"] else "  DISAGREES"
        print(
            f"{row['type']:10} on {row['on']:6} latents differ by {row['latents']:.2g} at most, "
            f"{row['relative_rms']:.2g} relative RMS; frames by {row['levels']} of 255{judged}"
        )
    return {"wanted": wanted, "rows": rows, "good": all(row["good"] for row in rows)}


def _raster(repetitions: int) -> dict[str, Any]:
    """nvdiffrast against numba."""
    from scripts._gpu_raster import WANTED, compare, missing

    if reason := missing("nvdiffrast"):
        print(f"\nnvdiffrast  not compared: {reason}", flush=True)
        return {"wanted": WANTED, "views": [], "good": True, "not_run": reason}
    try:
        views = compare("nvdiffrast", repetitions)
    except Exception as error:
        print(f"nvdiffrast FAILED: {type(error).__name__}: {error}")
        return {"wanted": WANTED, "views": [], "good": False, "error": str(error)}
    return {"wanted": WANTED, "views": views, "good": all(view["good"] for view in views)}


def _rows(
    folder: Path, arguments: argparse.Namespace, deadline: float, keep: Callable[..., None]
) -> list[dict[str, Any]]:
    """The model in each profile and with each switch."""
    import torch

    from benchmarks.memory_prediction import RANK
    from ex4d.generate.diffusion.speed.attention import missing
    from ex4d.generate.diffusion.speed.settings import ATTENTION
    from ex4d.models.repository import open_repository
    from scripts import _gpu_weights as random
    from scripts._gpu_model import Weights
    from scripts._gpu_plan import FULL, TINY, groups
    from scripts._gpu_rows import BAD, Check, Row
    from scripts._gpu_table import ANCHORS, OTHERS, REMARKS, heading, line

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    tiny = open_repository(folder / "wan")
    configs = {name: part.config for name, part in tiny.parts.items()} if arguments.tiny else random.FULL
    dtype = torch.float32 if arguments.tiny else torch.bfloat16
    rank, hidden, more = (4, 32, 8) if arguments.tiny else (RANK, random.GEOMETRY, random.DISTILLED_RANK)
    weights = Weights(
        random.random_repository(configs, tiny.tokenizer, device, dtype),
        random.write_random_adapter(folder / "adapter.safetensors", configs, rank, hidden, device, dtype),
        random.write_random_lora(folder / "distilled.safetensors", configs, more, device, dtype),
    )
    found: list[dict[str, Any]] = []

    def tell(row: Row) -> None:
        print(line(row, others=not arguments.tiny), flush=True)
        found.append({**row.record(), "bad": row.state in BAD})
        keep(rows=found)

    keep(anchors=[{"shot": shot, "kind": kind, **ours} for (shot, kind), ours in ANCHORS.items()], anchors_are=OTHERS)
    print(f"\n{heading()}", flush=True)
    # The two that need the network to be fetched are left out, and the one whose scores take 28 GB.
    unfit = ("exact", "math", *(name for name in ATTENTION if name.endswith("_hub")))
    attentions = [name for name in ATTENTION if name not in unfit and not missing(name, device)]
    Check(weights, TINY if arguments.tiny else FULL, deadline, tell, arguments.only).run(groups(attentions))
    print("\n".join([*REMARKS, *([] if arguments.tiny else [OTHERS])]))
    return found


def _depth(arguments: argparse.Namespace, deadline: float, keep: Callable[..., None]) -> list[dict[str, Any]]:
    """The depth networks."""
    from scripts._gpu_depth import GROUP, DepthRow, depth_rows, heading, line
    from scripts._gpu_rows import BAD

    if not any(word.strip() in GROUP for word in arguments.only.split(",")):
        return []
    found: list[dict[str, Any]] = []

    def tell(row: DepthRow) -> None:
        print(line(row), flush=True)
        found.append({**row.record(), "bad": row.state in BAD})
        keep(depth=found)

    print(f"\n{heading()}", flush=True)
    depth_rows(arguments.tiny, deadline, tell)
    return found


def _about(tiny: bool) -> dict[str, Any]:
    """Date, machine, GPU, driver and versions."""
    import torch

    from benchmarks._timing import machine
    from scripts._gpu_model import versions

    about: dict[str, Any] = {"date": datetime.now(UTC).date().isoformat(), "machine": machine(), "gpu": None}
    if torch.cuda.is_available():
        about["gpu"] = torch.cuda.get_device_name()
        about["gpu_gib"] = round(torch.cuda.mem_get_info()[1] / 2**30, 1)
        about["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
        about["driver"] = _driver()
    return {**about, "model": "small" if tiny else "14B", "weights": "random", **versions()}


def _driver() -> str | None:
    """Its version, as nvidia-smi tells it."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return None
    return next(iter(said.split()), None)


if __name__ == "__main__":
    sys.exit(main())
