# SPDX-License-Identifier: Apache-2.0
"""Which code computes attention."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, Final

import torch
from diffusers.utils import logging as diffusers_logging

from ex4d.generate.diffusion.speed.settings import ATTENTION
from shared_protocol.errors import UNAVAILABLE, Ex4dError

# Packages that must be there, and the least compute capability of the GPU.
_NEEDS: Final[dict[str, tuple[str, tuple[int, int]]]] = {
    "cudnn": ("", (9, 0)),  # before Hopper, PyTorch's own choice is as quick
    "flash": ("flash_attn", (8, 0)),
    "flash3": ("flash_attn_interface", (9, 0)),
    "flash_hub": ("kernels", (8, 0)),
    "flash3_hub": ("kernels", (9, 0)),
    "sage": ("sageattention", (8, 0)),
    "sage_hub": ("kernels", (8, 0)),
    "xformers": ("xformers", (7, 5)),
}
# Quickest first. None of these rounds to integers, as sage does, or is fetched from the network, as hub kernels are.
_BEST: Final = ("flash3", "cudnn", "flash")


def missing(name: str, device: torch.device) -> str:
    """What stands in the way of an attention on a device, in words; "" where nothing does."""
    package, capability = _NEEDS.get(name, ("", None))
    if capability is None:
        return ""
    if device.type != "cuda":
        return "it works on NVIDIA GPUs alone"
    if package and find_spec(package) is None:
        return f"the Python package '{package}' is not installed"
    if torch.cuda.get_device_capability(device) < capability:
        return f"it needs a GPU of compute capability {capability[0]}.{capability[1]}"
    return ""


def resolve_attention(name: str, device: torch.device) -> str:
    """The key of `ATTENTION` that a setting means on a device.

    Raises:
        Ex4dError: UNAVAILABLE for one that was named and does not work here.
    """
    if name == "auto":
        return next((best for best in _BEST if not missing(best, device)), "exact")
    if reason := missing(name, device):
        raise Ex4dError(
            UNAVAILABLE, f"The attention '{name}' cannot be used here: {reason}.", "Choose the attention auto or exact."
        )
    return name


def set_attention(transformer: Any, name: str) -> None:
    """Has a diffusers model compute its attention by this key of `ATTENTION`.

    Raises:
        Ex4dError: UNAVAILABLE when the package that does it is too old, broken, or cannot be fetched.
    """
    try:
        with quiet():
            transformer.set_attention_backend(ATTENTION[name])
    except Exception as error:  # whatever a foreign package raises when it is loaded
        text = re.sub(r"\s+", " ", str(error)).strip()[:200]
        raise Ex4dError(
            UNAVAILABLE, f"The attention '{name}' cannot be used here: {text}", "Choose the attention auto or exact."
        ) from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without the remarks of diffusers that a feature is experimental."""
    before = diffusers_logging.get_verbosity()
    diffusers_logging.set_verbosity_error()
    try:
        yield
    finally:
        diffusers_logging.set_verbosity(before)
