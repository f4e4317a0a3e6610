# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator's model, loaded by its own code in a profile, and painting shots that were made up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ex4d.generate.diffusion.job import Job
from ex4d.generate.diffusion.latents import to_frames
from ex4d.generate.diffusion.memory import MemoryWish, Prediction, Profile, free_memory, pick_profile, predict
from ex4d.generate.diffusion.model import Window
from ex4d.generate.diffusion.painter import paint
from ex4d.generate.diffusion.pin import decode
from ex4d.generate.diffusion.speed.apply import apply_speed, remove_speed
from ex4d.generate.diffusion.speed.loras import fuse_loras
from ex4d.generate.diffusion.speed.settings import LoraFile, Speed
from ex4d.generate.diffusion.windows import plan_windows
from ex4d.generate.door import GenerateRequest
from ex4d.generate.wan.job import WanJob
from ex4d.generate.wan.settings import WAN_SETTINGS
from ex4d.models.repository import Repository
from ex4d.settings import read_settings
from ex4d.values import U8, Conditioning
from scripts._gpu_plan import Size
from scripts._gpu_watch import DECODING, PROMPTS, EnoughError, KeptRig, Meter, Trace

SEED = 0


@dataclass(frozen=True)
class Weights:
    """What is loaded."""

    repository: Repository
    adapter: Path
    distilled: Path | None = None  # the step-distilled LoRA


class Loaded:
    """A model in a profile."""

    def __init__(self, weights: Weights, profile: str, storage: str | None, size: Size, *, distilled: bool) -> None:
        """Loads it.

        Args:
            weights: see above.
            profile: name of the memory profile.
            storage: of the transformer's weights; None: as the profile has it.
            size: the largest that is painted.
            distilled: with the step-distilled LoRA.

        Raises:
            Ex4dError: as the generator does.
        """
        loras = (LoraFile(weights.distilled, 1.0),) if distilled and weights.distilled else ()
        values = read_settings(WAN_SETTINGS, {}, "wan")
        self.job = Job(
            values=values,
            wish=MemoryWish(profile, storage, None, None),  # type: ignore[arg-type]
            speed=Speed(loras=loras),
            loras=loras,
            repository=weights.repository,
            files={},
            steps=int(values["steps"]),
            cfg=float(values["cfg"]),
            shift=float(values["shift"]),
        )
        self._wan = WanJob(self.job, weights.adapter)
        self.device = self.job.device
        self.meter = Meter(self.device)
        self.facts: dict[str, Any] = {}  # of the loading, as a side-car has them
        self.frames: dict[int, U8] = {}  # that the painter finished in the last run
        self._shown: dict[Any, Any] = {}
        workload = self.job.workload(size.frames, (size.width, size.height), **self._wan.sizes)
        self.profile: Profile = pick_profile(self.job.wish, workload, free_memory(self.device))
        self._rig = self.job.rig(self._wan.kit(SEED), workload, progress=self._progress, record=self.facts.update)
        start = self.meter.now()
        try:
            self._model = self._rig.open()
        except BaseException:
            self._rig.close()
            raise
        self.load_seconds = self.meter.now() - start

    def predicted(self, size: Size, speed: Speed) -> Prediction:
        """Peaks of a shot of that size."""
        more = {"adapters": 0} if speed.fuse_loras else {}
        workload = self.job.workload(size.frames, (size.width, size.height), **{**self._wan.sizes, **more})
        workload = replace(workload, batched=speed.batched_cfg)
        return predict(self.profile, workload, on_gpu=self.device.type == "cuda")

    def run(self, size: Size, speed: Speed, steps: int, cfg: float, trace: Trace) -> tuple[dict[str, Any], float]:
        """Paints a shot through the painter, all of it or as many steps as `trace` says.

        Returns:
            What of the switches took effect, and the share of the blocks' passes that was computed (nan: not counted).
        """
        from benchmarks.switches import counted_blocks

        given = conditioning(size)
        window = Window(colour=given.colour, mask=given.mask, finished=0, start=0)
        rig = KeptRig(self._model, self.meter, trace, batched=speed.batched_cfg and cfg != 1.0, shown=self._shown)
        rig.open().condition(window)  # once for all rows; shows which transformer it is
        transformer = self._shown[window.colour.shape].transformer
        if speed.compile:  # compiled for this shot alone, as in a process of its own
            torch.compiler.reset()
        backend = "inductor" if self.device.type == "cuda" else "eager"
        plan = replace(self.job, steps=steps, cfg=cfg, speed=speed).plan((size.width, size.height), SEED)
        request = GenerateRequest(given, SEED, {}, range(size.frames))
        self.frames, count = {}, [0]
        try:
            effect = apply_speed(transformer, speed, steps, self.device, backend=backend)
            if speed.fuse_loras and (reason := fuse_loras(transformer)):
                effect["notes"].append(f"Not fused: {reason}.")
            with counted_blocks(transformer, off=effect["compile"]) as count:
                self.frames = dict(paint(request, plan, rig, {}))
        except EnoughError:
            pass
        finally:
            self.meter.end()
            remove_speed(transformer)
        passes = len(transformer.blocks) * len(trace.step_seconds) * (1 if cfg == 1.0 or speed.batched_cfg else 2)
        return effect, float("nan") if effect["compile"] or not passes else count[0] / passes

    def develop(self, latents: Tensor, size: Size) -> dict[int, U8]:
        """Frames of latents that the painter did not finish."""
        (span,) = plan_windows(size.frames, size.frames, 5)
        self.meter.begin(DECODING)
        frames = to_frames(decode(self._model.vae, latents, span))
        self.meter.end()
        return dict(enumerate(frames))

    def release(self) -> None:
        """Lets go of it."""
        self._shown.clear()
        del self._model
        self._rig.close()

    def _progress(self, phase: str, _done: int, _total: int) -> None:
        if phase == "Reading the prompts":
            if _done == 0:
                self.meter.begin(PROMPTS)
        else:
            self.meter.end()


def conditioning(size: Size) -> Conditioning:
    """A texture that moves; half of what it shows was not seen."""
    frames, height, width = size.frames, size.height, size.width
    texture = np.random.default_rng(SEED).integers(0, 256, (height, width + frames, 3), np.uint8)
    colour = np.stack([texture[:, shift : shift + width] for shift in range(frames)])
    mask = np.ones((frames, height, width), bool)
    mask[1:, :, width // 2 :] = False
    colour *= mask[..., None]
    return Conditioning(colour=colour, mask=mask, coverage=mask.mean((1, 2)), fps=Fraction(24))


def relative_rms(value: Tensor, reference: Tensor) -> float:
    """Root mean square of the difference over that of the reference."""
    difference = (value.double() - reference.double()).square().mean().sqrt()
    return float(difference / reference.double().square().mean().sqrt())


def versions() -> Mapping[str, str | None]:
    """Of the packages that the figures depend on."""
    from importlib.metadata import PackageNotFoundError, version

    found: dict[str, str | None] = {}
    for package in ("torch", "diffusers", "transformers", "accelerate", "peft", "torchao", "triton", "nvdiffrast"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = None
    return found | {"cuda": torch.version.cuda}
