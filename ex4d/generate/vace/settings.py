# SPDX-License-Identifier: Apache-2.0
"""The options of the `wan-vace` generator."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Final

from ex4d.generate.diffusion.memory import MEMORY_SETTINGS
from ex4d.generate.diffusion.settings import WAN_NEGATIVE, sampling_settings
from ex4d.generate.diffusion.speed.settings import SPEED_SETTINGS
from ex4d.settings import Setting

# Neither a camera move nor a lens: what was seen tells them, and a prompt that says otherwise works against it.
PROMPT: Final = "Realistic footage of one continuous scene, natural light, sharp and rich in detail, cinematic quality"

# Steps and CFG are those of the example that comes with diffusers' pipeline. For the shift the authors give two values:
# 3 in the repository for diffusers (5 for 720p in its documentation), 16 in their own command, which takes 50 steps of
# a second-order solver. Ours are fewer steps of Euler's: the last of 30 goes from a noise level of 0.36 straight to 0
# with a shift of 16, from 0.09 with one of 3.
STEPS: Final = 30
CFG: Final = 5.0
SHIFT: Final = 3.0


def _speed_settings() -> Iterator[Setting]:
    """Those of speed that this model bears: no step-distilled LoRA is known for it, and no first-block cache."""
    for setting in SPEED_SETTINGS:
        if setting.name == "speed":
            yield replace(
                setting,
                help="exact: nothing is traded for time; fast: compiled, the best attention there is, and a cache. "
                "Each switch below can be set by itself.",
                choices=("exact", "fast"),
            )
        elif setting.name == "cache":
            yield replace(
                setting,
                help="Leave out steps that can be guessed: taylor leaves out steps in between and follows the trend. "
                "Not with 8 steps or fewer.",
                choices=tuple(choice for choice in setting.choices if choice != "first-block"),
            )
        elif setting.name not in ("distilled", "cache_threshold"):
            yield setting


VACE_SETTINGS: Final[tuple[Setting, ...]] = (
    *sampling_settings(steps=STEPS, cfg=CFG, shift=SHIFT, prompt=PROMPT, negative_prompt=WAN_NEGATIVE, quality="480p"),
    Setting("conditioning_scale", 1.0, "How strongly the model keeps to what the source camera saw.", least=0, most=2),
    Setting(
        "edge",
        2,
        "Pixels by which what was seen gives way along its edges, where colours are mixed.",
        least=0,
        most=32,
    ),
    Setting(
        "reference",
        False,
        "Show the model the source's own first frame as well: keeps what is painted closer to it in long shots.",
    ),
    Setting(
        "model", "", "Folder of Wan2.1-VACE, 1.3B or 14B; left empty, where `ex4d models` keeps it.", group="Weights"
    ),
    *MEMORY_SETTINGS,
    *_speed_settings(),
)
