# SPDX-License-Identifier: Apache-2.0
"""What works on this machine, what is missing, and under which licence all of it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from typing import Any

from ex4d.depth import DEPTH_DOORS
from ex4d.doors import Door
from ex4d.generate import GENERATORS
from ex4d.media import ffmpeg
from ex4d.models.places import find_model, gigabytes, present_size
from ex4d.models.registry import MODELS
from ex4d.render import RASTERIZERS
from shared_protocol.errors import Ex4dError

_PROJECT = "ex4d-blender"
# Packages whose metadata do not name the licence that is in them.
_KNOWN = {"openexr": "BSD-3-Clause", "torchao": "BSD-3-Clause"}


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
    yield from _packages("")
    try:
        yield Part("ffmpeg (a program)", *ffmpeg.version())
    except Ex4dError as error:
        yield Part("ffmpeg (a program)", "", error.message)


def wan_parts() -> Iterator[Part]:
    """The packages that what has weights needs besides: the extras `models`, `depth` and `wan`."""
    yield from _packages("models")
    yield from _packages("depth")
    yield from _packages("wan")


_GIVES = {
    "disparity": "relative: scale and shift are open",
    "depth": "relative: the scale is open",
    "metric": "in metres",
    "either": "relative or in metres, by what it is given",
}


def depth_facts(name: str) -> dict[str, Any]:
    """What is known of an estimator beyond what every door tells, as JSON values."""
    door = DEPTH_DOORS[name]
    return {"gives": door.gives, "steady": door.steady, "draft": door.draft, "size": door.size}


def about_depth(name: str) -> str:
    """The same for a person: one line."""
    door = DEPTH_DOORS[name]
    steady = "steady over time" if door.steady else "frame by frame"
    weights = f"{gigabytes(door.size)} of weights" if door.size else "no weights"
    return f"{_GIVES[door.gives]}; {steady}; {weights}"


@dataclass(frozen=True)
class Card:
    """A GPU that PyTorch can use."""

    name: str
    memory: int  # bytes


@dataclass(frozen=True)
class Torch:
    """The PyTorch that is installed, and what it can compute on besides the CPU."""

    version: str
    cuda: str  # that it is built for, "" for none
    cards: tuple[Card, ...]
    problem: str  # why it cannot be used, "" where it can


def torch_here() -> Torch | None:
    """The installed PyTorch, None where there is none. Where there is one, this takes the seconds of its import."""
    try:
        found = distribution("torch").version
    except PackageNotFoundError:
        return None
    try:
        import torch

        count = torch.cuda.device_count()
        about = [torch.cuda.get_device_properties(number) for number in range(count)]
    except (ImportError, OSError, RuntimeError) as error:  # built for other libraries than those that are here
        return Torch(found, "", (), (str(error).splitlines() or [type(error).__name__])[0])
    return Torch(found, torch.version.cuda or "", tuple(Card(card.name, card.total_memory) for card in about), "")


@dataclass(frozen=True)
class Present:
    """A model that is on this machine."""

    name: str
    path: str
    size: int  # bytes
    licence: str
    commercial_use: bool


def models() -> Iterator[Present]:
    """The models that are here whole."""
    for spec in MODELS.values():
        found = find_model(spec.name)
        if found is not None:
            yield Present(spec.name, str(found), present_size(spec, found), spec.licence, spec.commercial_use)


def _packages(extra: str) -> Iterator[Part]:
    """What the installed project asks for, as a matter of course ("") or for one of its extras."""
    try:
        required = distribution(_PROJECT).requires or []
    except PackageNotFoundError:  # run from a checkout that was never installed: nothing tells what belongs to it
        required = []
    for requirement in required:
        asked_by = re.search(r"extra == ['\"]([\w-]+)", requirement)
        name = re.split(r"[\s<>=!~;\[(]", requirement, maxsplit=1)[0]
        if (asked_by[1] if asked_by else "") != extra or name == _PROJECT:
            continue
        try:
            found = distribution(name)
            yield Part(name, found.version, _licence(found))
        except PackageNotFoundError:
            yield Part(name, "", "")


def _licence(found: Distribution) -> str:
    about = found.metadata
    stated = next((about[field] for field in ("License-Expression", "License") if field in about), "").strip()
    if stated:
        return stated.splitlines()[0]
    kinds = [entry.split(" :: ")[-1] for entry in about.get_all("Classifier") or () if entry.startswith("License ::")]
    return ", ".join(kinds) or _KNOWN.get(about["Name"].lower(), "see its package")
