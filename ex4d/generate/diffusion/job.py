# SPDX-License-Identifier: Apache-2.0
"""A shot for a generator with a diffusion model: options become weights, a plan, and a model to paint it with."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from ex4d.generate.diffusion.memory import MemoryWish, Workload, encoder_of, network
from ex4d.generate.diffusion.painter import Plan, paint
from ex4d.generate.diffusion.pin import CONTEXT
from ex4d.generate.diffusion.rig import Kit, ModelRig
from ex4d.generate.diffusion.speed.distilled import Distillation, all_loras, sampling
from ex4d.generate.diffusion.speed.settings import LoraFile, Speed, read_speed
from ex4d.generate.diffusion.windows import TIME, plan_windows
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.models.repository import Repository
from ex4d.models.verify import fingerprints
from ex4d.models.weights import WeightFiles
from ex4d.settings import Value
from ex4d.values import U8


@dataclass(frozen=True, eq=False, kw_only=True)
class Job:
    """A generator's options, and the weights that they mean."""

    values: Mapping[str, Value]  # of all of the generator's settings
    wish: MemoryWish
    speed: Speed
    loras: tuple[LoraFile, ...]
    repository: Repository
    files: Mapping[str, Path]  # of weights beside the repository, the LoRAs and a GGUF file
    steps: int
    cfg: float
    shift: float

    @classmethod
    def of(
        cls,
        values: Mapping[str, Value],
        wish: MemoryWish,
        repository: Repository,
        distillation: Distillation | None,
        files: Mapping[str, Path],
    ) -> Job:
        """Reads the options that all such generators have.

        Args:
            values: of all of the generator's settings, those of `SPEED_SETTINGS` among them.
            wish: of memory, as it was read from them.
            repository: the model.
            distillation: the step-distilled LoRA for this model, None where there is none.
            files: see above; names are those of the side-car.

        Raises:
            Ex4dError: BAD_INPUT for an option, UNAVAILABLE for a LoRA that is not here.
        """
        speed = read_speed(values)
        steps, cfg, shift = int(values["steps"]), float(values["cfg"]), float(values["shift"])
        loras = speed.loras
        if distillation is not None:
            loras = all_loras(speed, distillation)
            steps, cfg, shift = sampling(speed, distillation, steps=steps, cfg=cfg, shift=shift)
        return cls(
            values=values,
            wish=wish,
            speed=speed,
            loras=loras,
            repository=repository,
            files=files,
            steps=steps,
            cfg=cfg,
            shift=shift,
        )

    @property
    def batched(self) -> bool:
        """Whether both prompts are run in one pass."""
        return self.speed.batched_cfg and self.cfg != 1.0

    @property
    def device(self) -> torch.device:
        """Where the work is done."""
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def identity(self, progress: Progress = nobody) -> dict[str, str]:
        """sha256 of every file that decides the pixels, by its name."""
        folder = self.repository.folder
        files = {file.relative_to(folder).as_posix(): file for file in self.repository.files()}
        files |= self.files
        files |= {f"lora/{number} {lora.file.name}": lora.file for number, lora in enumerate(self.loras, 1)}
        if self.wish.gguf is not None:
            files[f"gguf/{self.wish.gguf.name}"] = self.wish.gguf
        return fingerprints(files, lambda done: progress("Checking the weights", done, 100))

    def paint(
        self, request: GenerateRequest, size: tuple[int, int], kit: Kit, *, more_frames: int = 0, **sizes: Any
    ) -> Iterator[tuple[int, U8]]:
        """The frames of a shot.

        Args:
            request: what is asked for.
            size: width and height of the frames.
            kit: loads the model.
            more_frames: that the network sees beside those of a window.
            sizes: fields of `Workload` that are this generator's own.
        """
        plan = self.plan(size, request.seed)
        weights = self.identity(request.progress)
        request.record({"weights": weights, "sampling": asdict(plan)})
        spans = plan_windows(len(request.conditioning.mask), plan.window, plan.overlap)
        before = TIME * min(spans[-1].first_latent, CONTEXT)
        workload = self.workload(spans[0].length + more_frames, size, before=before, **sizes)
        rig = self.rig(kit, workload, progress=request.progress, record=request.record)
        identity = {"weights": weights, "options": {name: self.values[name] for name in sorted(self.values)}}
        yield from paint(request, plan, rig, identity)

    def plan(self, size: tuple[int, int], seed: int) -> Plan:
        """How a shot of that width and height is sampled."""
        values = self.values
        return Plan(
            width=size[0],
            height=size[1],
            steps=self.steps,
            cfg=self.cfg,
            shift=self.shift,
            window=int(values["window"]),
            overlap=int(values["overlap"]),
            glimpse_every=int(values["glimpse_every"]),
            seed=seed,
            whole_windows=self.speed.remembers(self.steps),
        )

    def rig(
        self,
        kit: Kit,
        workload: Workload,
        *,
        progress: Callable[[str, int, int], None],
        record: Callable[[Mapping[str, Any]], None],
    ) -> ModelRig:
        """What loads the model for a window of that size. Raises Ex4dError as `ModelRig` does."""
        prompts = str(self.values["prompt"]), str(self.values["negative_prompt"])
        return ModelRig(kit, prompts, workload, self.wish, self.speed, self.steps, progress=progress, record=record)

    def workload(self, frames: int, size: tuple[int, int], **own: Any) -> Workload:
        """What memory is predicted from.

        Args:
            frames: that the network sees of a window.
            size: width and height.
            own: fields that are this generator's own.
        """
        part = self.repository.part
        vae = part("vae").config
        loras = sum(values_in(lora.file) for lora in self.loras)
        return Workload(
            frames=frames,
            width=size[0],
            height=size[1],
            transformer=network(part("transformer").config),
            vae=encoder_of(vae, "vae"),
            vae_base=int(vae.get("base_dim", 96)),
            vae_bytes=2 if self.device.type == "cuda" else 4,
            text_encoder=encoder_of(part("text_encoder").config, "text_encoder"),
            batched=self.batched,
            # Three for each prompt in the first-block cache; next to nothing in the other (measured on a small model).
            cached=6 if self.speed.remembers(self.steps) and self.speed.cache != "taylor" else 0,
            gguf=0 if self.wish.gguf is None else self.wish.gguf.stat().st_size,
            fused=self.speed.fuse_loras,
            **{**own, "adapters": loras + own.get("adapters", 0)},
        )


def values_in(file: Path, prefix: str = "") -> int:
    """Numbers in the tensors of a safetensors file whose names begin with `prefix`."""
    shapes = (header.shape for name, header in WeightFiles([file]).items() if name.startswith(prefix))
    return sum(torch.Size(shape).numel() for shape in shapes)
