# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator as a member of the table of generators. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ex4d.generate.diffusion.requirements import missing_packages, need_packages
from ex4d.generate.diffusion.sizes import working_size
from ex4d.generate.door import GenerateRequest, Progress, nobody
from ex4d.generate.settings import Value, read_settings
from ex4d.generate.wan.settings import WAN_SETTINGS
from ex4d.values import U8
from shared_protocol.errors import Ex4dError

if TYPE_CHECKING:
    from ex4d.generate.wan.job import WanJob


class WanGenerator:
    """Wan2.1-I2V-14B with the EX-4D adapter."""

    name = "wan"
    label = "EX-4D (Wan2.1 14B)"
    licence = "Apache-2.0 (code, Wan2.1 and EX-4D weights)"
    commercial_use = True
    geometry = "closed"  # what the released weights were trained on
    lead_in = 16  # the first frame has to be a real one
    settings = WAN_SETTINGS

    def available(self) -> tuple[bool, str]:
        """Whether packages and weights are here, in the places where `ex4d models` keeps them."""
        missing = missing_packages()
        if missing:
            return False, missing
        from ex4d.models.places import find_model, need_model

        try:
            if find_model("wan-i2v-14b-480p-original") is None:
                need_model("wan-i2v-14b-480p")
            need_model("ex4d")
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

    def _job(self, options: Mapping[str, Value]) -> WanJob:
        values = read_settings(self.settings, options, self.name)
        need_packages()
        from ex4d.generate.wan.job import WanJob

        return WanJob.of(values)
