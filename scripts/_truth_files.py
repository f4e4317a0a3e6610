# SPDX-License-Identifier: GPL-3.0-or-later
"""Files of the ground-truth sets: PNG and EXR through the OpenImageIO that comes with Blender, JSON. Each appears
under its name when it is whole.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import bpy
import numpy as np

# Blender's module form keeps its own packages apart; the package's own __init__ does not hand its names on there.
_version = f"python{sys.version_info.major}.{sys.version_info.minor}"
sys.path.append(str(Path(bpy.utils.resource_path("LOCAL"), "python", "lib", _version, "site-packages")))
oiio = importlib.import_module("OpenImageIO.OpenImageIO")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A file to write beside `path`, which takes its name at the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".part_{path.name}")
    try:
        yield part
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """`value` as JSON."""
    with replacing(path) as part:
        part.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")


def write_depth(path: Path, z: np.ndarray) -> None:
    """z [H, W] as the one channel Z, float32."""
    spec = oiio.ImageSpec(z.shape[1], z.shape[0], 1, "float")
    spec.channelnames = ("Z",)
    spec.attribute("compression", "zip")
    spec.attribute("DateTime", "")  # the same numbers make the same file
    _write(path, spec, z.astype(np.float32)[..., None])


def write_mask(path: Path, mask: np.ndarray) -> None:
    """A mask [H, W] bool as 0 and 255."""
    write_picture(path, np.where(mask, np.uint8(255), np.uint8(0))[..., None])


def write_picture(path: Path, pixels: np.ndarray) -> None:
    """A picture [H, W, C] uint8 as PNG."""
    spec = oiio.ImageSpec(pixels.shape[1], pixels.shape[0], pixels.shape[2], "uint8")
    spec.attribute("png:compressionLevel", 9)
    _write(path, spec, pixels)


def read(path: Path) -> np.ndarray:
    """The pixels of a PNG (uint8) or EXR (float32), [H, W] or [H, W, C], as they are stored."""
    file = oiio.ImageInput.open(str(path))
    if file is None:
        raise OSError(f"{path} cannot be read: {oiio.geterror()}")
    try:
        kind = "float" if path.suffix == ".exr" else "uint8"
        pixels = np.asarray(file.read_image(kind))
        return pixels[..., 0] if file.spec().nchannels == 1 else pixels
    finally:
        file.close()


def _write(path: Path, spec: Any, pixels: np.ndarray) -> None:
    with replacing(path) as part:
        file = oiio.ImageOutput.create(str(part))
        if file is None or not file.open(str(part), spec) or not file.write_image(pixels) or not file.close():
            raise OSError(f"{path} cannot be written: {file.geterror() if file else oiio.geterror()}")
