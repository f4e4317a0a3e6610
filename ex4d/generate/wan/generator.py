# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator as a member of the table of generators. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping

from ex4d.generate.diffusion.generator import DiffusionGenerator, ShotJob
from ex4d.generate.wan.settings import WAN_SETTINGS
from ex4d.settings import Value


class WanGenerator(DiffusionGenerator):
    """Wan2.1-I2V-14B with the EX-4D adapter."""

    name = "wan"
    label = "EX-4D (Wan2.1 14B)"
    licence = "Apache-2.0 (code, Wan2.1 and EX-4D weights)"
    commercial_use = True
    geometry = "closed"  # what the released weights were trained on
    lead_in = 16  # the first frame has to be a real one
    settings = WAN_SETTINGS

    def need_models(self) -> None:
        """The model in either layout, and the adapter."""
        from ex4d.models.places import find_model, need_model

        if find_model("wan-i2v-14b-480p-original") is None:
            need_model("wan-i2v-14b-480p")
        need_model("ex4d")

    def job(self, values: Mapping[str, Value]) -> ShotJob:
        """See `DiffusionGenerator.job`."""
        from ex4d.generate.wan.job import WanJob

        return WanJob.of(values)
