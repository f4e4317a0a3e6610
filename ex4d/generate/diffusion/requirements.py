# SPDX-License-Identifier: Apache-2.0
"""What has to be installed for a diffusion model. Needs none of it."""

from __future__ import annotations

from importlib.util import find_spec

from shared_protocol.errors import UNAVAILABLE, Ex4dError

_PACKAGES = ("torch", "diffusers", "transformers", "accelerate", "peft", "safetensors", "tokenizers", "ftfy", "psutil")


def missing_packages() -> str:
    """Which are missing and what to do, in a sentence; "" where none is."""
    missing = [package for package in _PACKAGES if find_spec(package) is None]
    return f"{', '.join(missing)}: not installed (pip install 'ex4d-blender[wan]')." if missing else ""


def need_packages() -> None:
    """Raises Ex4dError(UNAVAILABLE) where one is missing."""
    if missing := missing_packages():
        raise Ex4dError(UNAVAILABLE, f"The generator does not work here: {missing}")
