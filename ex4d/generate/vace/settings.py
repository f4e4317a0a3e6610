# SPDX-License-Identifier: Apache-2.0
"""The options of the `wan-vace` generator."""

from __future__ import annotations

from typing import Final

from ex4d.generate.diffusion.settings import WAN_NEGATIVE, sampling_settings
from ex4d.generate.settings import Setting

# Neither a camera move nor a lens: what was seen tells them, and a prompt that says otherwise works against it.
PROMPT: Final = "Realistic footage of one continuous scene, natural light, sharp and rich in detail, cinematic quality"

# Steps and CFG are those of the example that comes with diffusers' pipeline. For the shift the authors give two values:
# 3 in the repository for diffusers (5 for 720p in its documentation), 16 in their own command, which takes 50 steps of
# a second-order solver. Ours are fewer steps of Euler's: the last of 30 goes from a noise level of 0.36 straight to 0
# with a shift of 16, from 0.09 with one of 3.
STEPS: Final = 30
CFG: Final = 5.0
SHIFT: Final = 3.0

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
)
