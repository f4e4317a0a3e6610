# SPDX-License-Identifier: Apache-2.0
"""The options of the `wan` generator. Defaults are those of the public EX-4D code."""

from __future__ import annotations

from typing import Final

from ex4d.generate.diffusion.memory import MEMORY_SETTINGS
from ex4d.generate.diffusion.settings import sampling_settings
from ex4d.generate.diffusion.speed.settings import SPEED_SETTINGS
from ex4d.settings import Setting

# What the released weights are run with (tau-yihouxiang/EX-4D, infer.py, Apache-2.0), word for word.
PROMPT: Final = "4K ultra HD, surround motion, realistic tone, panoramic shot, wide-angle view, cinematic quality"
NEGATIVE_PROMPT: Final = (
    "Bright tones, overexposed, static, blurred details, subtitles, style, works, paintings, images, static, overall "
    "gray, worst quality, low quality, JPEG compression residue, ugly, incomplete, extra fingers, poorly drawn hands, "
    "poorly drawn faces, deformed, disfigured, misshapen limbs, fused fingers, still picture, messy background, three "
    "legs, many people in the background, walking backwards"
)

WAN_SETTINGS: Final[tuple[Setting, ...]] = (
    *sampling_settings(steps=25, cfg=5.0, shift=5.0, prompt=PROMPT, negative_prompt=NEGATIVE_PROMPT, quality="512"),
    Setting("adapter_strength", 1.0, "Strength of the EX-4D LoRA.", least=0, most=2),
    Setting("model", "", "Folder of Wan2.1-I2V-14B-480P; left empty, where `ex4d models` keeps it.", group="Weights"),
    Setting(
        "adapter",
        "",
        "The EX-4D checkpoint, a safetensors file; left empty, the one of `ex4d models`.",
        group="Weights",
    ),
    *MEMORY_SETTINGS,
    *SPEED_SETTINGS,
)
