# SPDX-License-Identifier: GPL-3.0-or-later
"""Which programs on this side had a hand in a take: noted in its side-car and on its strip."""

from __future__ import annotations

import functools
import tomllib
from pathlib import Path

import bpy

from shared_protocol.messages import PROTOCOL


def of_this_side() -> dict[str, str]:
    """Versions of Blender, of this extension and of the protocol."""
    return {"blender": bpy.app.version_string, "extension": _extension(), "protocol": ".".join(map(str, PROTOCOL))}


@functools.cache
def _extension() -> str:
    manifest = Path(__file__).with_name("blender_manifest.toml")
    return str(tomllib.loads(manifest.read_text(encoding="utf-8"))["version"])
