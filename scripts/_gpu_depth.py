# SPDX-License-Identifier: Apache-2.0
"""The GPU check's rows of depth: each architecture in its published size, through its estimator, on a clip of noise.

Frames per second, and the peak of the GPU's memory beside what was predicted: the prediction decides what "auto" takes,
so one that is too low fails.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch

from ex4d.depth.door import DepthRequest
from ex4d.depth.network import NetworkEstimator, is_wide
from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Value
from ex4d.values import Clip
from scripts._gpu_depth_weights import write_full, write_tiny
from scripts._gpu_rows import FAILED, NOT_RUN, OK, TOO_LOW, words_of
from scripts._gpu_watch import Meter, forget

GROUP: Final = "depth"
GIB: Final = 1 << 30
_STAGE: Final = "depth"


@dataclass(frozen=True)
class Spec:
    """An architecture."""

    estimator: str
    model: str  # of the registry
    frames: int
    seconds: float  # that writing, loading and estimating are expected to take
    tiny: Mapping[str, Value] | None = None  # options for a small clip
    tiny_model: str = ""  # where there is none in small: the smallest


SPECS: Final = (
    Spec("video-depth-anything", "vda-metric-small", 64, 20.0, {"input_size": 42}),
    Spec("depth-anything", "depth-anything-small", 32, 15.0),
    Spec("depth-anything", "depth-anything-base", 32, 15.0),
    Spec("video-depth-anything", "vda-large", 64, 40.0, {"input_size": 42}),
    Spec("depth-pro", "depth-pro", 12, 40.0),
    Spec("da3", "da3-base", 64, 30.0, {"long_side": 56, "window": 3, "overlap": 1}, "da3-small"),
    Spec("depthcrafter", "depthcrafter", 110, 150.0, {"max_res": 64, "window": 3, "overlap": 1, "steps": 1}),
)


@dataclass
class DepthRow:
    """What came of a `Spec`. Seconds and bytes; None: not measured."""

    estimator: str
    model: str
    shot: str
    state: str = NOT_RUN
    why: str = ""
    frames: int = 0
    load_seconds: float | None = None
    seconds: float | None = None  # of all frames, without loading
    frames_per_second: float | None = None
    peak_bytes: int | None = None
    predicted_bytes: int | None = None

    def record(self) -> dict[str, Any]:
        """JSON values."""
        return asdict(self)


def depth_rows(
    tiny: bool, deadline: float, tell: Callable[[DepthRow], None], specs: Sequence[Spec] = SPECS
) -> list[DepthRow]:
    """All rows, one after the other; one that fails does not end the others.

    Args:
        tiny: small networks and a small clip.
        deadline: of `time.monotonic`: what is not expected to end before is not begun.
        tell: is given each row when it is done.
        specs: what is run.
    """
    rows = []
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    for spec in specs:
        clip = noise(4, 48, 64) if tiny else noise(spec.frames, 576, 1024)
        total, height, width = clip.frames.shape[:3]
        model = (tiny and spec.tiny_model) or spec.model
        row = DepthRow(spec.estimator, model, f"{total} x {width}x{height}", frames=total)
        door = DEPTH_DOORS[spec.estimator]
        left = deadline - time.monotonic()
        if left < (2.0 if tiny else spec.seconds):
            row.why = f"no time: {max(left, 0.0):.0f} s left"
        elif not isinstance(door, NetworkEstimator) or (missing := door.missing()):
            row.why = f"not installed: {missing}"
        else:
            try:
                with _only_model(model, write_tiny if tiny else write_full, device):
                    _measure(row, door, clip, {**((spec.tiny or {}) if tiny else {}), "model": model}, device)
            except Exception as error:
                row.state, row.why = FAILED, words_of(error)
            forget()
        rows.append(row)
        tell(row)
    return rows


def judge(row: DepthRow, reserved: int, predicted: int) -> None:
    """Puts the peak and the prediction into a row, and whether that held."""
    row.state, row.predicted_bytes = OK, predicted
    if reserved:
        row.peak_bytes = reserved
    if reserved > predicted:
        row.state = TOO_LOW
        row.why = f"{reserved / GIB:.2f} GiB taken, {predicted / GIB:.2f} GiB predicted"


def heading() -> str:
    """The first line of the table."""
    return f"{'model':22}{'clip':20}{'frames/s':>9}{'load s':>9}{'GiB':>7}{'pred.':>7}  state"


def line(row: DepthRow) -> str:
    """A row of it."""
    cells = (
        _number(row.frames_per_second, 9, ".2f"),
        _number(row.load_seconds, 9, ".1f"),
        _number(None if row.peak_bytes is None else row.peak_bytes / GIB, 7, ".1f"),
        _number(None if row.predicted_bytes is None else row.predicted_bytes / GIB, 7, ".1f"),
    )
    return f"{row.model:22}{row.shot:20}{''.join(cells)}  {row.state}{': ' if row.why else ''}{row.why}"


def noise(frames: int, height: int, width: int) -> Clip:
    """A texture that moves by a pixel a frame."""
    texture = np.random.default_rng(0).integers(0, 256, (height, width + frames, 3), np.uint8)
    shown = np.stack([texture[:, shift : shift + width] for shift in range(frames)])
    return Clip(shown, Fraction(24), "noise")


def _measure(
    row: DepthRow, door: NetworkEstimator, clip: Clip, options: Mapping[str, Value], device: torch.device
) -> None:
    network, values = door.chosen(options, commercial=False)
    height, width = clip.frames.shape[1:3]
    predicted = door.peak(network, height, width, values) * (2 if is_wide(values) else 1)
    meter = Meter(device)
    loaded = [meter.now()]

    def progress(phase: str, _done: int, _total: int) -> None:
        if phase.startswith("Loading"):
            loaded[:] = [meter.now()]

    meter.begin(_STAGE)
    start = meter.now()
    count = sum(1 for _ in door.frames(DepthRequest(clip, options, commercial=False, progress=progress)))
    end = meter.now()
    meter.end()
    row.load_seconds, row.seconds = loaded[0] - start, end - loaded[0]
    row.frames_per_second = count / row.seconds
    judge(row, meter.stages[_STAGE].reserved, predicted)


@contextmanager
def _only_model(model: str, write: Callable[[str, Path, torch.device], None], device: torch.device) -> Iterator[None]:
    """A machine that has this one model, for a block."""
    before = {name: os.environ.get(name) for name in ("EX4D_MODELS", "HF_HUB_CACHE")}
    folder = tempfile.mkdtemp(prefix="ex4d-depth-")
    try:
        write(model, Path(folder), device)
        forget()
        os.environ.update(EX4D_MODELS=folder, HF_HUB_CACHE=folder)
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        shutil.rmtree(folder, ignore_errors=True)


def _number(value: float | None, width: int, how: str) -> str:
    return " " * width if value is None else format(value, f"{width}{how}")
