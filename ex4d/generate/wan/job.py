# SPDX-License-Identifier: Apache-2.0
"""A shot for the `wan` generator: options become weights, a plan, and a model to paint it with."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from math import prod
from pathlib import Path

import torch

from ex4d.generate.diffusion.memory import Encoder, MemoryWish, Workload, encoder_of, network, read_wish
from ex4d.generate.diffusion.painter import Plan, paint
from ex4d.generate.diffusion.rig import ModelRig
from ex4d.generate.diffusion.speed.distilled import LIGHTX2V_I2V, all_loras, sampling
from ex4d.generate.diffusion.speed.settings import LoraFile, Speed, read_speed
from ex4d.generate.diffusion.windows import plan_windows
from ex4d.generate.door import GenerateRequest
from ex4d.generate.settings import Value
from ex4d.generate.wan.kit import WanKit
from ex4d.models.places import find_model, need_model
from ex4d.models.repository import Repository, open_repository
from ex4d.models.verify import fingerprints
from ex4d.models.weights import WeightFiles
from ex4d.values import U8
from shared_protocol.errors import UNAVAILABLE, Ex4dError

WAN = "wan-i2v-14b-480p"  # in `ex4d.models.registry.MODELS`


class WanJob:
    """Options that were read, and the weights that they mean."""

    def __init__(self, values: Mapping[str, Value]) -> None:
        """Finds the weights, and sees that they are the right ones; reads none.

        Args:
            values: of all of the generator's settings.

        Raises:
            Ex4dError: UNAVAILABLE where weights are missing, and others for weights or options that are wrong.
        """
        self._values = values
        self._wish: MemoryWish = read_wish(values)
        self._speed: Speed = read_speed(values)
        self._loras: tuple[LoraFile, ...] = all_loras(self._speed, LIGHTX2V_I2V)
        self._repository = _repository(str(values["model"]), self._wish.gguf)
        adapter = str(values["adapter"])
        self._adapter = Path(adapter).expanduser() if adapter else need_model("ex4d")
        _need_safetensors(self._adapter)

    def identity(self) -> dict[str, str]:
        """sha256 of every file that decides the pixels, by its name."""
        folder = self._repository.folder
        files = {file.relative_to(folder).as_posix(): file for file in self._repository.files()}
        files |= {f"ex4d/{self._adapter.name}": self._adapter}
        files |= {f"lora/{number} {lora.file.name}": lora.file for number, lora in enumerate(self._loras, 1)}
        if self._wish.gguf is not None:
            files[f"gguf/{self._wish.gguf.name}"] = self._wish.gguf
        return fingerprints(files)

    def frames(self, request: GenerateRequest, size: tuple[int, int]) -> Iterator[tuple[int, U8]]:
        """The frames of `request`, of `size` = width, height."""
        values, speed = self._values, self._speed
        steps, cfg, shift = sampling(
            speed,
            LIGHTX2V_I2V,
            steps=int(values["steps"]),
            cfg=float(values["cfg"]),
            shift=float(values["shift"]),
        )
        plan = Plan(
            width=size[0],
            height=size[1],
            steps=steps,
            cfg=cfg,
            shift=shift,
            window=int(values["window"]),
            overlap=int(values["overlap"]),
            glimpse_every=int(values["glimpse_every"]),
            seed=request.seed,
            whole_windows=speed.remembers(steps),
        )
        request.progress("Checking the weights", 0, 1)  # the first time they are all read
        weights = self.identity()
        request.record({"weights": weights, "sampling": asdict(plan)})
        frames = plan_windows(len(request.conditioning.mask), plan.window, plan.overlap)[0].length
        batched = speed.batched_cfg and cfg != 1.0
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        kit = WanKit(
            self._repository,
            self._adapter,
            strength=float(values["adapter_strength"]),
            loras=self._loras,
            fuse=speed.fuse_loras,
            gguf=self._wish.gguf,
            device=device,
            seed=request.seed,
            batched=batched,
        )
        rig = ModelRig(
            kit,
            (str(values["prompt"]), str(values["negative_prompt"])),
            self._workload(frames, size, batched),
            self._wish,
            speed,
            steps,
            progress=request.progress,
            record=request.record,
        )
        identity = {"weights": weights, "options": {name: values[name] for name in sorted(values)}}
        yield from paint(request, plan, rig, identity)

    def _workload(self, frames: int, size: tuple[int, int], batched: bool) -> Workload:
        """What memory is predicted from."""
        part = self._repository.part
        vae = part("vae").config
        shapes = {name: header.shape for name, header in WeightFiles([self._adapter]).items()}
        geometry = {name: shape for name, shape in shapes.items() if name.startswith("latent_")}
        lora = sum(prod(shape) for name, shape in shapes.items() if name not in geometry)
        others = (header.shape for file in self._loras for header in WeightFiles([file.file]).values())
        return Workload(
            frames=frames,
            width=size[0],
            height=size[1],
            transformer=network(part("transformer").config),
            vae=encoder_of(vae, "vae"),
            vae_base=int(vae.get("base_dim", 96)),
            vae_bytes=2 if torch.cuda.is_available() else 4,
            text_encoder=encoder_of(part("text_encoder").config, "text_encoder"),
            image_encoder=encoder_of(part("image_encoder").config, "image_encoder"),
            geometry_encoder=Encoder(sum(prod(shape) for shape in geometry.values())),
            adapters=0 if self._speed.fuse_loras else lora + sum(prod(shape) for shape in others),
            batched=batched,
            gguf=0 if self._wish.gguf is None else self._wish.gguf.stat().st_size,
        )


def _repository(folder: str, gguf: Path | None) -> Repository:
    """The Wan model that is named, or the first of those that would do which is on this machine."""
    without = ("transformer",) if gguf is not None else ()
    if folder:
        return open_repository(Path(folder).expanduser(), without=without)
    names = (WAN, f"{WAN}-original", *((f"{WAN}-encoders",) if without else ()))
    found = next((place for name in names if (place := find_model(name)) is not None), None)
    return open_repository(found or need_model(WAN), without=without)


def _need_safetensors(file: Path) -> None:
    if file.suffix.lower() in (".ckpt", ".pt", ".pth"):
        raise Ex4dError(UNAVAILABLE, f"{file} must be converted once.", f'Run: ex4d models convert "{file}"')
    WeightFiles([file])  # a broken file is told now, not after minutes of loading
