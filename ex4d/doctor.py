# SPDX-License-Identifier: Apache-2.0
"""What works on this machine, what is missing, and under which licence all of it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution

from ex4d.depth import DEPTH_DOORS
from ex4d.doors import Door
from ex4d.generate import GENERATORS
from ex4d.media import ffmpeg
from ex4d.render import RASTERIZERS
from shared_protocol.errors import Ex4dError

_PROJECT = "ex4d-blender"
# Packages whose metadata do not name the licence that is in them.
_KNOWN = {"openexr": "BSD-3-Clause"}


@dataclass(frozen=True)
class Part:
    """A package or program that the engine and the backend are built on."""

    name: str
    version: str  # "" when it is missing
    licence: str


def doors() -> Iterator[tuple[str, Door]]:
    """Every estimator, rasterizer and generator, with its kind ("depth", "rasterizer", "generator")."""
    for kind, table in (("depth", DEPTH_DOORS), ("rasterizer", RASTERIZERS), ("generator", GENERATORS)):
        for door in table.values():
            yield kind, door


def parts() -> Iterator[Part]:
    """The packages that the installed project asks for, and the ffmpeg program that one of them brings."""
    try:
        required = distribution(_PROJECT).requires or []
    except PackageNotFoundError:  # run from a checkout that was never installed: nothing tells what belongs to it
        required = []
    for requirement in required:
        if "extra ==" in requirement:
            continue
        name = re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0]
        try:
            found = distribution(name)
            yield Part(name, found.version, _licence(found))
        except PackageNotFoundError:
            yield Part(name, "", "")
    try:
        yield Part("ffmpeg (a program)", *ffmpeg.version())
    except Ex4dError as error:
        yield Part("ffmpeg (a program)", "", error.message)


def _licence(found: Distribution) -> str:
    about = found.metadata
    stated = next((about[field] for field in ("License-Expression", "License") if field in about), "").strip()
    return stated.splitlines()[0] if stated else _KNOWN.get(about["Name"].lower(), "see its package")
