# SPDX-License-Identifier: Apache-2.0
"""Which model of Depth Anything 3 a setting means. Needs neither torch nor the package."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ex4d.depth.door import Gives, Nature
from ex4d.depth.network import AUTO, Network, of_registry
from ex4d.models.places import find_model
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNSUPPORTED, Ex4dError

CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class Kind:
    """What one of the package's architectures does."""

    architecture: str  # the package's name for it
    gives: Gives
    views: bool  # sees several frames at once, and tells their cameras
    width: int  # of its tokens, for the memory that it takes
    features: int  # channels of its head


# Those that see several frames come first. The giant ones draw Gaussians besides, for which the package imports more
# than is installed with it here.
KINDS: Final[Mapping[str, Kind]] = {
    "da3-large": Kind("da3-large", "depth", True, 1024, 256),
    "da3-base": Kind("da3-base", "depth", True, 768, 128),
    "da3-small": Kind("da3-small", "depth", True, 384, 64),
    "da3-metric-large": Kind("da3metric-large", "metric", False, 1024, 256),
    "da3-mono-large": Kind("da3mono-large", "depth", False, 1024, 256),
}
_BY_ARCHITECTURE: Final = {kind.architecture: kind for kind in KINDS.values()}


def networks(model: str) -> Sequence[Network]:
    """The networks that the setting `model` allows, the best one first.

    Raises:
        Ex4dError: NOT_FOUND, BAD_INPUT or UNSUPPORTED for what is no folder of such a model.
    """
    if model == AUTO or model in KINDS:
        return [_published(name) for name in (KINDS if model == AUTO else (model,))]
    folder = Path(model).expanduser()
    if not folder.is_dir():
        text = f"There is no model '{model}'."
        raise Ex4dError(NOT_FOUND, text, f"Give one of {', '.join((AUTO, *KINDS))}, or a folder.")
    for name in KINDS:  # the place proves which one it is, and so its licence
        found = find_model(name)
        if found is not None and found.resolve() == folder.resolve():
            return [_published(name)]
    if not (folder / WEIGHTS).is_file():
        raise Ex4dError(NOT_FOUND, f"{folder} has no {WEIGHTS}.", "Give the folder of a model of Depth Anything 3.")
    kind = kind_in(folder)
    nature = Nature(model, "not known", False, kind.gives, kind.views, (folder / WEIGHTS).stat().st_size)
    return [Network(model, nature, path=folder)]


def kind_of(network: Network, place: Path) -> Kind:
    """What the network does. Raises Ex4dError as `kind_in`."""
    return KINDS[network.model] if network.path is None else kind_in(place)


def kind_in(folder: Path) -> Kind:
    """What the model in a folder is, by the one word of its config.json that is looked at: the rest could name code.

    Raises:
        Ex4dError: NOT_FOUND without that file, BAD_INPUT where it cannot be read, UNSUPPORTED for another model.
    """
    file = folder / CONFIG
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        name = str(told["model_name"])
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"{folder} has no {CONFIG}.", "Give a folder with all files of a model.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise Ex4dError(BAD_INPUT, f"{file} names no model.", "Download the model again.") from error
    if name not in _BY_ARCHITECTURE:
        text = f"{folder} is a model '{name}', which is not run here."
        raise Ex4dError(UNSUPPORTED, text, f"Known: {', '.join(_BY_ARCHITECTURE)}.")
    return _BY_ARCHITECTURE[name]


def _published(name: str) -> Network:
    return of_registry(name, KINDS[name].gives, steady=KINDS[name].views)
