# SPDX-License-Identifier: Apache-2.0
"""Seconds and peak memory of each stage while the painter works, taken where it calls the model."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from ex4d.generate.diffusion.glimpse import LatentPalette
from ex4d.generate.diffusion.model import LatentVideo, VideoModel, Window
from ex4d.generate.diffusion.speed.caches import begin_window
from ex4d.generate.wan.model import WanConditioned
from shared_protocol.errors import LIMIT, Ex4dError

# Stages, by the names that memory predictions have for them.
PROMPTS, ENCODING = "reading the prompts", "encoding the pictures"
PAINTING, DECODING = "painting", "developing the frames"


class EnoughError(Exception):
    """As many steps as were wanted are done, or time is up."""


@dataclass(frozen=True)
class Stage:
    """What one stage took."""

    seconds: float
    reserved: int = 0  # bytes of the GPU: the most that torch held, and what libraries took since the start
    allocated: int = 0  # the most that tensors took


class Meter:
    """Measures stages, one after the other."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stages: dict[str, Stage] = {}
        self._name, self._start = "", 0.0

    def now(self) -> float:
        """Seconds, once the GPU is done with what it was given."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def begin(self, name: str) -> None:
        """Ends the stage before, and begins one. What nobody holds is given back first, so that peaks are its own."""
        self.end()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)
        self._name, self._start = name, self.now()

    def end(self) -> None:
        """Ends the stage that is on."""
        if not self._name:
            return
        stage = Stage(self.now() - self._start)
        if self.device.type == "cuda":
            grown = max(outside(self.device) - baseline(), 0)
            reserved = torch.cuda.max_memory_reserved(self.device) + grown
            stage = replace(stage, reserved=reserved, allocated=torch.cuda.max_memory_allocated(self.device))
        self.stages[self._name], self._name = stage, ""


def outside(device: torch.device) -> int:
    """Bytes of the GPU that are taken, but not by torch's tensors: CUDA's context, libraries, other programs."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return int(total - free - torch.cuda.memory_reserved(device))


@cache
def baseline() -> int:
    """What was `outside` when this was first asked, which is to be before anything was computed."""
    return outside(torch.device("cuda" if torch.cuda.is_available() else "cpu"))


@contextmanager
def card_of(gib: int | None, device: torch.device) -> Iterator[None]:
    """Lets torch take no more than it could on a card of so many GiB: what CUDA itself takes counts as well."""
    if gib is None or device.type != "cuda":
        yield
        return
    total = torch.cuda.mem_get_info(device)[1]
    share = ((gib << 30) - outside(device)) / total
    torch.cuda.set_per_process_memory_fraction(min(share, 1.0))  # of the current device: it takes none without an index
    try:
        yield
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


def forget() -> None:
    """Gives the GPU's memory back that nobody holds."""
    if torch.cuda.is_available():
        gc.collect()
        torch.cuda.empty_cache()


@dataclass
class Trace:
    """A run of the painter."""

    stop: int | None = None  # after so many steps; None: none
    deadline: float = float("inf")  # of `time.monotonic`: no step is begun after it
    starts: list[float] = field(default_factory=list)  # of each step, and the end of the last
    latents: list[Tensor] = field(default_factory=list)  # before each step, and after the last; on the CPU

    @property
    def step_seconds(self) -> list[float]:
        """Of each step."""
        return [end - start for start, end in zip(self.starts, self.starts[1:], strict=False)]


class KeptRig:
    """`ex4d.generate.diffusion.painter.Rig` of a model that is loaded, and stays so when the painter is done."""

    def __init__(self, model: VideoModel, meter: Meter, trace: Trace, *, batched: bool, shown: dict[Any, Any]) -> None:
        """`shown` keeps what the model was shown last, for further runs of the same window."""
        self.notes: list[str] = []
        self._model = _Model(model, meter, trace, batched, shown)

    def open(self) -> VideoModel:
        """See `Rig.open`."""
        return self._model

    def shrink(self) -> None:
        """A profile is measured as it is."""
        raise Ex4dError(LIMIT, "The GPU's memory ran out.")

    def close(self) -> None:
        """The model stays."""


class _Model:
    """`VideoModel` that is watched."""

    def __init__(self, model: VideoModel, meter: Meter, trace: Trace, batched: bool, shown: dict[Any, Any]) -> None:
        self.vae: LatentVideo = _Video(model.vae, meter, trace)
        self.device = model.device
        self._model, self._meter, self._trace, self._batched, self._shown = model, meter, trace, batched, shown

    def condition(self, window: Window) -> _Conditioned:
        size = window.colour.shape
        if size not in self._shown:
            self._shown.clear()  # a job has one on the GPU
            self._meter.begin(ENCODING)
            self._shown[size] = self._model.condition(window)
        self._meter.begin(PAINTING)
        shown = replace(self._shown[size], batched=self._batched)
        begin_window(shown.transformer)
        return _Conditioned(shown, self._meter, self._trace)


class _Conditioned:
    """`Conditioned` that is watched: of each step, its time and what it began with."""

    def __init__(self, shown: WanConditioned, meter: Meter, trace: Trace) -> None:
        self._shown, self._meter, self._trace = shown, meter, trace

    @property
    def palette(self) -> LatentPalette:
        return self._shown.palette

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        trace = self._trace
        trace.starts.append(self._meter.now())
        trace.latents.append(latents.cpu())
        done = len(trace.starts) - 1
        if done == trace.stop or (done > 1 and time.monotonic() > trace.deadline):
            raise EnoughError
        return self._shown.velocity(latents, timestep, cfg)


class _Video:
    """`LatentVideo` that is watched. The stage of decoding lasts until the meter is told: the frames come from it."""

    def __init__(self, vae: LatentVideo, meter: Meter, trace: Trace) -> None:
        self._vae, self._meter, self._trace = vae, meter, trace

    def encode(self, video: Tensor) -> Tensor:
        return self._vae.encode(video)

    def decode(self, latents: Tensor) -> Tensor:
        self._trace.starts.append(self._meter.now())
        self._trace.latents.append(latents.cpu())
        self._meter.begin(DECODING)
        return self._vae.decode(latents)
