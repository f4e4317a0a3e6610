# SPDX-License-Identifier: Apache-2.0
"""Where the model lies that a setting names: of the registry, a folder, or a repository in the hub's cache."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, Final

from ex4d.depth.door import Gives, Nature
from ex4d.depth.hub.families import DEPTH_ANYTHING, DEPTH_PRO, family_of, meaning, seen_size
from ex4d.depth.network import AUTO, Network, of_registry
from ex4d.models.places import find_files, find_model, models_folders
from ex4d.models.registry import MODELS
from ex4d.models.spec import ModelSpec
from ex4d.models.weights import WeightFiles
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, Ex4dError

CONFIG, PICTURES = "config.json", "preprocessor_config.json"
_WEIGHTS: Final = "model*.safetensors"
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")
_UNKNOWN: Final = "not known"  # and what is not known is not allowed


@dataclass(frozen=True)
class Described:
    """What the files beside the weights say."""

    family: str
    config: Mapping[str, Any]
    pictures: Mapping[str, Any]  # how pictures are prepared


def published(names: Iterable[str], gives: Mapping[str, Gives]) -> list[Network]:
    """Networks of the registry, in that order."""
    return [of_registry(name, gives[name], steady=False) for name in names]


def brought(model: str, output: str, gives: Mapping[str, Gives]) -> Network:
    """The network that a path or a repository's name means.

    Args:
        model: a folder, or "owner/name".
        output: what its numbers mean, of `families.OUTPUTS`.
        gives: models of the registry that the estimator has, and what they give.

    Raises:
        Ex4dError: NOT_FOUND where there is no such folder, UNAVAILABLE for a repository that is not on this machine,
            BAD_INPUT and UNSUPPORTED for one that cannot be used.
    """
    known = {MODELS[name].repository: name for name in gives}
    if model in known:
        return of_registry(known[model], gives[known[model]], steady=False)
    folder = Path(model).expanduser()
    if not folder.is_dir():
        folder = _in_cache(model, gives)
    for name in gives:  # the place proves which one it is, and so its licence
        found = find_model(name)
        if found is not None and found.resolve() == folder.resolve():
            return of_registry(name, gives[name], steady=False)
    config = described(folder).config
    nature = Nature(
        model=model,
        licence=_UNKNOWN,
        commercial_use=False,
        gives=meaning(config, model, output),
        steady=False,
        size=sum(file.stat().st_size for file in weight_files(folder)),
    )
    return Network(model, nature, path=folder)


def described(folder: Path) -> Described:
    """Reads what lies beside the weights.

    Raises:
        Ex4dError: NOT_FOUND, BAD_INPUT for files that cannot be read or make no sense, UNSUPPORTED as `family_of`.
    """
    config = _json(folder / CONFIG)
    family = family_of(config, str(folder))
    pictures = _json(folder / PICTURES)
    # What is used here, and not by transformers, which finds its own faults.
    for name in ("fusion_hidden_size", "patch_size") if family == DEPTH_ANYTHING else ():
        if not isinstance(config.get(name, 1), int):
            raise _wrong(folder / CONFIG, name)
    for name in ("image_mean", "image_std") if family == DEPTH_PRO else ():
        told = pictures.get(name, [1.0])
        if not isinstance(told, list) or not all(isinstance(each, int | float) for each in told):
            raise _wrong(folder / PICTURES, name)
    try:
        seen_size(family, pictures, 480, 640)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        raise _wrong(folder / PICTURES, "size") from error
    return Described(family, config, pictures)


def weight_files(folder: Path) -> list[Path]:
    """The files of weights in a folder.

    Raises:
        Ex4dError: NOT_FOUND where there is no safetensors file.
    """
    files = sorted(folder.glob(_WEIGHTS))
    if files:
        return files
    pickled = next(iter(sorted(folder.glob("*.bin"))), None)
    what = f"{pickled.name} is a pickle, which is not opened here" if pickled is not None else "it has no weights"
    raise Ex4dError(NOT_FOUND, f"{folder} has no {_WEIGHTS}: {what}.", "Take a model that is published as safetensors.")


def count_numbers(folder: Path) -> int:
    """Of all weights in a folder. Raises Ex4dError: BAD_INPUT where a file of them is cut off."""
    return sum(prod(header.shape) for header in WeightFiles(weight_files(folder)).values())


def all_files(folder: Path) -> dict[str, Path]:
    """Every file that decides the depth, by name."""
    return {file.name: file for file in (folder / CONFIG, folder / PICTURES, *weight_files(folder))}


def _in_cache(model: str, names: Iterable[str]) -> Path:
    here = ", ".join((AUTO, *names))
    if not _REPOSITORY.fullmatch(model):
        text = f"There is no model '{model}'."
        raise Ex4dError(NOT_FOUND, text, f"Give one of {here}, a folder, or a repository's name (owner/name).")
    files = (CONFIG, PICTURES, _WEIGHTS)
    found = find_files(ModelSpec(model, model, model, "main", files, files, 0, _UNKNOWN, False, "depth"))
    if found is None:
        places = ", ".join(str(place) for place in models_folders())
        raise Ex4dError(
            UNAVAILABLE,
            f"{model} is not on this machine{f' (nor in {places})' if places else ''}: nothing is fetched here.",
            f"`hf download {model}` fetches it; needed are {', '.join(files)}. With a licence that is known: {here}.",
        )
    return found


def _wrong(file: Path, name: str) -> Ex4dError:
    return Ex4dError(
        BAD_INPUT, f"{file} makes no sense: what it says of '{name}' is no number.", "Download the model again."
    )


def _json(file: Path) -> Mapping[str, Any]:
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        text = f"{file.parent} has no {file.name}."
        raise Ex4dError(
            NOT_FOUND, text, "Give the folder of a model of transformers, with all of its files."
        ) from error
    except (OSError, ValueError) as error:
        raise Ex4dError(BAD_INPUT, f"{file} cannot be read: {error}.", "Download the model again.") from error
    if not isinstance(told, dict):
        raise Ex4dError(BAD_INPUT, f"{file} holds no table of names.", "Download the model again.")
    return told
