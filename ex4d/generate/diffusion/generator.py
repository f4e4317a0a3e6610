# SPDX-License-Identifier: Apache-2.0
"""What generators with a diffusion model have in common as members of the table. Importing this loads no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Protocol

from ex4d.generate.diffusion.requirements import missing_packages, need_packages
from ex4d.generate.diffusion.sizes import working_size
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.settings import Setting, Value, read_settings
from ex4d.values import U8
from shared_protocol.errors import Ex4dError


class ShotJob(Protocol):
    """Options that were read, and the weights that they mean."""

    def identity(self, progress: Progress = nobody) -> dict[str, str]:
        """sha256 of every file that decides the pixels, by its name."""
        ...

    def frames(self, request: GenerateRequest, size: tuple[int, int]) -> Iterator[tuple[int, U8]]:
        """The frames of `request`, of `size` = width, height."""
        ...


class DiffusionGenerator(ABC):
    """A `Generator` whose options name a model that paints in windows."""

    name: str
    settings: tuple[Setting, ...]

    @abstractmethod
    def need_models(self) -> None:
        """Raises Ex4dError(UNAVAILABLE) where weights are not in the places where `ex4d models` keeps them."""

    @abstractmethod
    def job(self, values: Mapping[str, Value]) -> ShotJob:
        """The job that all of the settings' values mean. Raises Ex4dError as `Generator.identity` does."""

    def available(self) -> tuple[bool, str]:
        """Whether packages and weights are here."""
        missing = missing_packages()
        if missing:
            return False, missing
        try:
            self.need_models()
        except Ex4dError as error:
            return False, str(error)
        return True, ""

    def size(self, width: int, height: int, options: Mapping[str, Value]) -> tuple[int, int]:
        """The shot's aspect in multiples of 16 pixels, as many as the quality says."""
        values = read_settings(self.settings, options, self.name)
        wanted = int(values["width"]), int(values["height"])
        return working_size(width, height, str(values["quality"]), wanted)

    def identity(self, options: Mapping[str, Value], progress: Progress = nobody) -> Mapping[str, str]:
        """See `ex4d.generate.door.Generator.identity`. The first time, all weights are read once."""
        return self._job(options).identity(progress)

    def frames(self, request: GenerateRequest) -> Iterator[tuple[int, U8]]:
        """See `ex4d.generate.door.Generator.frames`."""
        if not request.wanted:
            return
        height, width = request.conditioning.mask.shape[1:]
        yield from self._job(request.options).frames(request, self.size(width, height, request.options))

    def _job(self, options: Mapping[str, Value]) -> ShotJob:
        values = read_settings(self.settings, options, self.name)
        need_packages()
        return self.job(values)
