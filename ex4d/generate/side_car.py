# SPDX-License-Identifier: Apache-2.0
"""What a take's side-car (`take.json`) tells about how it was made, to make another one alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ex4d.arguments import LARGEST_SEED
from ex4d.images import read_file
from ex4d.settings import Value
from ex4d.versions import ALGORITHMS
from shared_protocol.errors import BAD_INPUT, Ex4dError


@dataclass(frozen=True)
class Earlier:
    """How a take was made."""

    file: Path
    generator: str
    seed: int
    options: Mapping[str, Value]
    weights: Mapping[str, str]  # name → sha256
    algorithms: Mapping[str, Any]


def read_side_car(path: Path) -> Earlier:
    """Reads a `take.json`, or that of a take's folder.

    Options that a generator settled while it worked (`made_with.options`: what "auto" came to) count instead of what
    was asked for, since they are what made the frames.

    Raises:
        Ex4dError: NOT_FOUND, or BAD_INPUT for a file that is no side-car of a take.
    """
    file = path / "take.json" if path.is_dir() else path
    try:
        take = json.loads(read_file(file))
        parameters, made_by = take["parameters"], take["generator"]
        made_with = made_by["made_with"]
        options = {**parameters["options"], **made_with.get("options", {})}
        weights = dict(made_with.get("weights", {}))
        algorithms = dict(take["made_by"]["algorithms"])
        name, seed = made_by["name"], parameters["seed"]
        fits = isinstance(name, str) and type(seed) is int and 0 <= seed <= LARGEST_SEED
        if not fits or not all(isinstance(value, str | int | float) for value in options.values()):
            raise ValueError
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Ex4dError(
            BAD_INPUT, f"{file} is not the side-car of a take.", "Give a take.json, or the folder that has it."
        ) from error
    return Earlier(file, name, seed, options, weights, algorithms)


def differences(earlier: Earlier, weights: Mapping[str, str]) -> list[str]:
    """What has changed since a take was made, in sentences; as long as there is something, its pixels may differ."""
    said = []
    unsure = "its frames may not come again"
    gone = sorted(earlier.weights.keys() - weights.keys())
    other = sorted(name for name, sha in earlier.weights.items() if weights.get(name, sha) != sha)
    added = sorted(weights.keys() - earlier.weights.keys()) if earlier.weights else []
    for names, what in ((other, "differ from"), (gone, "were in use for"), (added, "were not in use for")):
        if names:
            said.append(f"the weights {', '.join(names)} {what} the take of {earlier.file}: {unsure}")
    now = ALGORITHMS["generate"]
    if earlier.algorithms.get(earlier.generator) != now.get(earlier.generator):
        said.append(f"the take of {earlier.file} was made by another version: {unsure}")
    return said
