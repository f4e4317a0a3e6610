# SPDX-License-Identifier: Apache-2.0
"""Step-distilled LoRAs: a few steps without guidance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from ex4d.generate.diffusion.speed.settings import LoraFile, Speed
from ex4d.models.places import need_model


@dataclass(frozen=True)
class Distillation:
    """A step-distilled LoRA and how it is run."""

    model: str  # in `ex4d.models.registry.MODELS`
    steps: int
    cfg: float
    shift: float
    strength: float


# As its authors run it (ModelTC/LightX2V, configs/distill/wan21/wan_i2v_distill_lora_4step_cfg.json and
# schedulers/wan/step_distill: steps 1000, 750, 500, 250 of 1000, shifted by 5, Euler's step between them). With 4 steps
# and that shift, `ex4d.generate.diffusion.schedule.Schedule` has those very levels: 1, 0.9375, 0.8333, 0.625.
LIGHTX2V_I2V: Final = Distillation("lightx2v-4step", steps=4, cfg=1.0, shift=5.0, strength=1.0)


def all_loras(speed: Speed, distillation: Distillation) -> tuple[LoraFile, ...]:
    """The LoRAs that a run needs: the distilled one, where it is asked for, and those that were named.

    Raises:
        Ex4dError: UNAVAILABLE when the distilled one is not on this machine, with the command that fetches it.
    """
    if not speed.distilled:
        return speed.loras
    return (LoraFile(need_model(distillation.model), distillation.strength), *speed.loras)


def sampling(
    speed: Speed, distillation: Distillation, *, steps: int, cfg: float, shift: float
) -> tuple[int, float, float]:
    """Steps, guidance and shift that are run: the distilled LoRA's where it is asked for, else those given."""
    if not speed.distilled:
        return steps, cfg, shift
    return distillation.steps, distillation.cfg, distillation.shift
