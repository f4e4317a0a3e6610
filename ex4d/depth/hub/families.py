# SPDX-License-Identifier: Apache-2.0
"""Families of depth networks in transformers: what their numbers mean, and how large the pictures are that they see.

Needs neither torch nor transformers: it reads what the folder of a model says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from ex4d.depth.door import Gives
from shared_protocol.errors import BAD_INPUT, UNSUPPORTED, Ex4dError

DEPTH_ANYTHING, DEPTH_PRO, DPT, GLPN, ZOEDEPTH = "depth_anything", "depth_pro", "dpt", "glpn", "zoedepth"
OUTPUTS: Final = ("auto", "disparity", "depth", "metric")

_IN_METRES: Final = (GLPN, ZOEDEPTH, "tipsv2_dpt")  # each was trained on measured distances
_NOT_FOR_US: Final = {
    "prompt_depth_anything": "needs measured depth beside each picture",
    "chmv2": "tells the height of trees seen from above",
}
# transformers' DPT has no word for it. Intel's are the MiDaS models, trained on disparity up to a scale and a shift.
_OF_MIDAS: Final = ("Intel/dpt-", "models--Intel--dpt-")


def family_of(config: Mapping[str, Any], name: str) -> str:
    """The family that a config.json names.

    Args:
        config: what it holds.
        name: of the model, for messages.

    Raises:
        Ex4dError: UNSUPPORTED for one that does not estimate depth from a picture alone, or takes parts from elsewhere.
    """
    family = str(config.get("model_type", ""))
    if family in _NOT_FOR_US:
        raise Ex4dError(UNSUPPORTED, f"{name} {_NOT_FOR_US[family]}.", "Choose another model.")
    if family not in (DEPTH_ANYTHING, DEPTH_PRO, DPT, *_IN_METRES):
        known = ", ".join((DEPTH_ANYTHING, DEPTH_PRO, DPT, *_IN_METRES))
        what = f"'{family}'" if family else "no type of model"
        raise Ex4dError(UNSUPPORTED, f"The config.json of {name} names {what}.", f"Known for depth: {known}.")
    if config.get("backbone") and not config.get("backbone_config"):
        text = f"{name} takes its backbone from elsewhere ({config['backbone']})."
        raise Ex4dError(UNSUPPORTED, text, "Choose a model that has all of its parts.")
    return family


def meaning(config: Mapping[str, Any], name: str, wish: str) -> Gives:
    """What a network's numbers mean.

    Args:
        config: of the model, its family a known one.
        name: a repository or a path.
        wish: of `OUTPUTS`; "auto": what the model says of itself.

    Raises:
        Ex4dError: BAD_INPUT where the model does not say it, or says another than `wish`.
    """
    family = str(config["model_type"])
    said: Gives | None = None
    if family == DEPTH_ANYTHING:
        said = "metric" if config.get("depth_estimation_type", "relative") == "metric" else "disparity"
    elif family in (DEPTH_PRO, *_IN_METRES):
        said = "metric"
    elif family == DPT and any(known in name for known in _OF_MIDAS):
        said = "disparity"
    if said is None and wish == "auto":
        raise Ex4dError(
            BAD_INPUT,
            f"{name} does not say what its numbers mean.",
            "Set the option output: disparity for one of MiDaS, metric for one trained on measured distances.",
        )
    if said is not None and wish not in ("auto", said):
        raise Ex4dError(BAD_INPUT, f"{name} gives {said}, not {wish}.", "Leave the option output out.")
    return said or _GIVES[wish]


_GIVES: Final[Mapping[str, Gives]] = {"disparity": "disparity", "depth": "depth", "metric": "metric"}


def stated_size(pictures: Mapping[str, Any], usual: int) -> tuple[int, int]:
    """Height and width that preprocessor_config.json states, `usual` where it says nothing."""
    size = pictures.get("size") or {}
    if isinstance(size, int):
        return size, size
    return int(size.get("height", usual)), int(size.get("width", usual))


def seen_size(family: str, pictures: Mapping[str, Any], height: int, width: int) -> tuple[int, int]:
    """Height and width of what the network sees of a frame, as the family's picture processor does it.

    Args:
        family: of `family_of`.
        pictures: what preprocessor_config.json holds.
        height, width: of the frame.
    """
    if family == GLPN:
        step = int(pictures.get("size_divisor", 32))
        return max(height // step, 1) * step, max(width // step, 1) * step
    tall, wide = stated_size(pictures, 1536 if family == DEPTH_PRO else 384)
    if not pictures.get("keep_aspect_ratio", False):
        return tall, wide
    step = int(pictures.get("ensure_multiple_of", 1))
    down, across = tall / height, wide / width
    scale = across if abs(1 - across) < abs(1 - down) else down
    return max(round(scale * height / step), 1) * step, max(round(scale * width / step), 1) * step
