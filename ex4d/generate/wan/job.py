# SPDX-License-Identifier: Apache-2.0
"""A shot for the `wan` generator: what its options mean beside those that all models have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ex4d.generate.diffusion.job import Job, values_in
from ex4d.generate.diffusion.memory import Encoder, encoder_of, read_wish
from ex4d.generate.diffusion.speed.distilled import LIGHTX2V_I2V
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.generate.wan.kit import WanKit
from ex4d.models.places import find_model, need_model
from ex4d.models.repository import Repository, open_repository
from ex4d.models.weights import WeightFiles
from ex4d.settings import Value
from ex4d.values import U8
from shared_protocol.errors import NOT_FOUND, UNAVAILABLE, Ex4dError

WAN = "wan-i2v-14b-480p"  # in `ex4d.models.registry.MODELS`


class WanJob:
    """Options that were read, and the weights that they mean."""

    def __init__(self, job: Job, adapter: Path) -> None:
        """A job with Wan2.1-I2V, and the EX-4D checkpoint, a safetensors file."""
        self._job, self._adapter = job, adapter

    @classmethod
    def of(cls, values: Mapping[str, Value]) -> WanJob:
        """Finds the weights, and sees that they are the right ones; reads none.

        Args:
            values: of all of the generator's settings.

        Raises:
            Ex4dError: UNAVAILABLE where weights are missing, and others for weights or options that are wrong.
        """
        wish = read_wish(values)
        repository = _repository(str(values["model"]), wish.gguf)
        named = str(values["adapter"])
        adapter = Path(named).expanduser() if named else need_model("ex4d")
        _need_safetensors(adapter)
        files = {f"ex4d/{adapter.name}": adapter}
        return cls(Job.of(values, wish, repository, LIGHTX2V_I2V, files), adapter)

    def identity(self, progress: Progress = nobody) -> dict[str, str]:
        """sha256 of every file that decides the pixels, by its name."""
        return self._job.identity(progress)

    def frames(self, request: GenerateRequest, size: tuple[int, int]) -> Iterator[tuple[int, U8]]:
        """The frames of `request`, of `size` = width, height."""
        yield from self._job.paint(request, size, self.kit(request.seed), **self.sizes)

    def kit(self, seed: int) -> WanKit:
        """What loads the model; `seed` is that of the shot."""
        job = self._job
        return WanKit(
            job.repository,
            self._adapter,
            strength=float(job.values["adapter_strength"]),
            loras=job.loras,
            fuse=job.speed.fuse_loras,
            gguf=job.wish.gguf,
            device=job.device,
            seed=seed,
            batched=job.batched,
        )

    @property
    def sizes(self) -> dict[str, Any]:
        """Fields of `Workload` that other models do not have."""
        job = self._job
        geometry = values_in(self._adapter, "latent_")
        return {
            "image_encoder": encoder_of(job.repository.part("image_encoder").config, "image_encoder"),
            "geometry_encoder": Encoder(geometry),
            "adapters": values_in(self._adapter) - geometry,
        }


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
    if not file.is_file():
        what = f"{file} is a folder, not a file." if file.is_dir() else f"There is no file {file}."
        raise Ex4dError(NOT_FOUND, what, "Name the EX-4D checkpoint, a safetensors file.")
    WeightFiles([file])  # a broken file is told now, not after minutes of loading
