# SPDX-License-Identifier: Apache-2.0
"""Options that all generators with a diffusion model have, beside those of memory and speed."""

from __future__ import annotations

from typing import Final

from ex4d.settings import Setting

# Wan's own: what its authors ask the model to keep away from (wan/configs/shared_config.py of Wan2.1, Apache-2.0).
WAN_NEGATIVE: Final = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，"
    "残缺的，多余的手指，画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，"
    "三条腿，背景人很多，倒着走"
)


def sampling_settings(
    *, steps: int, cfg: float, shift: float, prompt: str, negative_prompt: str, quality: str
) -> tuple[Setting, ...]:
    """The options of the sampling loop, with a generator's own defaults."""
    return (
        Setting("prompt", prompt, "What the shot shows, and how it is to look.", group="Prompt"),
        Setting("negative_prompt", negative_prompt, "What the model is to keep away from.", group="Prompt"),
        Setting("steps", steps, "Steps of denoising. More take longer.", least=1, most=200),
        Setting(
            "quality",
            quality,
            "Size of the picture: as many pixels as 512x512, 832x480 or 1280x720 have, in the shot's own aspect.",
            choices=("512", "480p", "720p"),
        ),
        Setting("width", 0, "Width of the frames in pixels, a multiple of 16; 0: by quality.", least=0, most=4096),
        Setting("height", 0, "Height of the frames in pixels, a multiple of 16; 0: by quality.", least=0, most=4096),
        Setting(
            "cfg",
            cfg,
            "How closely the prompt is followed. At 1 the negative prompt is not used.",
            label="CFG",
            least=1,
            most=30,
        ),
        Setting("shift", shift, "More of it spends more steps on the coarse look.", least=0.1, most=30),
        Setting(
            "window",
            81,
            "Frames painted in one go. Longer shots are painted in several that overlap.",
            least=1,
            most=241,
            group="Long shots",
        ),
        Setting("overlap", 17, "Frames that one of these shares with the next.", least=5, most=65, group="Long shots"),
        Setting("glimpse_every", 5, "Steps between two looks at the unfinished shot; 0: none.", least=0, most=200),
    )
