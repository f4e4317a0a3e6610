# SPDX-License-Identifier: GPL-3.0-or-later
"""What an estimator or a generator is, in words for menus. Plain Python, no Blender."""

from __future__ import annotations

from shared_protocol.messages import Door

_GIVES = {
    "disparity": "relative depth",
    "depth": "depth up to scale",
    "metric": "metric depth",
    "either": "metric or relative depth",
}


def nature(door: Door) -> str:
    """Of an estimator what its depth is and how large its weights are; of every door the licence."""
    words = [_GIVES[door.gives]] if door.gives in _GIVES else []
    if door.kind == "depth":
        words += ["steady over time"] if door.steady else []
        words += [_size(door.size)] if door.size else []
    words.append(door.licence if door.commercial_use else f"{door.licence}: not for commercial use")
    text = ", ".join(word for word in words if word)
    return text[:1].upper() + text[1:]


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"
