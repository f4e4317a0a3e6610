# SPDX-License-Identifier: Apache-2.0
"""The `wan-vace` generator as a member of the table of generators. Importing this loads no torch."""

from __future__ import annotations

from collections.abc import Mapping

from ex4d.generate.diffusion.generator import DiffusionGenerator, ShotJob
from ex4d.generate.vace.settings import VACE_SETTINGS
from ex4d.settings import Value


class VaceGenerator(DiffusionGenerator):
    """Wan2.1-VACE: paints what the source camera did not see. The 1.3B model is the one for small cards."""

    name = "wan-vace"
    label = "Wan2.1-VACE (small cards)"
    licence = "Apache-2.0 (code and weights)"
    commercial_use = True
    # It keeps what the mask says was seen, and was not trained on walls: the less of them hide true background, the
    # less it has to make up.
    geometry = "bounded"
    lead_in = 0  # any pixels that were seen will do, in whichever frames: none has to be whole
    settings = VACE_SETTINGS

    def need_models(self) -> None:
        """The small model, in the layout for diffusers."""
        from ex4d.models.places import need_model

        need_model("wan-vace-1.3b")

    def job(self, values: Mapping[str, Value]) -> ShotJob:
        """See `DiffusionGenerator.job`."""
        from ex4d.generate.vace.job import VaceJob

        return VaceJob(values)
