# SPDX-License-Identifier: Apache-2.0
"""Which weights of Video-Depth-Anything: of the registry, or of a path. Needs no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from ex4d.depth.door import Gives, Nature
from ex4d.depth.network import AUTO, Network, of_registry
from ex4d.depth.vda.architecture import Architecture
from ex4d.models.convert import converted_path
from ex4d.models.places import find_model
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, Ex4dError

OUTPUTS: Final[tuple[str, ...]] = (AUTO, "disparity", "metric")  # what unknown weights may give

# The larger ones first; of one size, metres before what is known up to a scale and a shift only. Where commercial use
# is asked for, the Small ones are what is left.
_SIZES: Final = {"large": "Large", "base": "Base", "small": "Small"}
NAMES: Final = tuple(f"{family}-{size}" for size in _SIZES for family in ("vda-metric", "vda"))

_PICKLES: Final = (".pth", ".pt", ".ckpt")


def networks(model: str, output: str) -> Sequence[Network]:
    """The networks that the settings `model` and `output` allow, the best one first.

    Raises:
        Ex4dError: BAD_INPUT or NOT_FOUND for a model that there is not.
    """
    if model == AUTO:
        return [_published(name, AUTO) for name in NAMES if output in (AUTO, _gives(name))]
    if model in NAMES:
        return [_published(model, output)]
    file = _file(Path(model).expanduser())
    known = next((name for name in NAMES if _is_there(name, file)), None)
    return [_published(known, output) if known is not None else _unknown(file, output)]


def check_size(network: Network, found: Architecture) -> None:
    """Sees that a file is the model whose name and licence it goes by.

    Raises:
        Ex4dError: BAD_INPUT for another published size.
    """
    if network.path is None and found.name and found.name != _SIZES[network.model.rsplit("-", 1)[1]]:
        text = f"The weights that lie in the place of {network.model} are those of the {found.name} model."
        raise Ex4dError(BAD_INPUT, text, "Its licence is another: give their path as the model, or put them right.")


def usable(file: Path) -> Path:
    """The safetensors file of a file of weights.

    Raises:
        Ex4dError: UNAVAILABLE for a pickle that was not converted yet.
    """
    if file.suffix.lower() not in _PICKLES:
        return file
    converted = converted_path(file)
    if not converted.is_file():
        raise Ex4dError(UNAVAILABLE, f"{file} must be converted once.", f'Run: ex4d models convert "{file}"')
    return converted


def _published(name: str, output: str) -> Network:
    gives = _gives(name)
    if output not in (AUTO, gives):
        text = f"{name} gives {gives}, not {output}."
        raise Ex4dError(BAD_INPUT, text, "Leave the option output at auto, or choose another model.")
    return of_registry(name, gives, steady=True)


def _gives(name: str) -> Gives:
    return "metric" if name.startswith("vda-metric") else "disparity"


def _unknown(file: Path, output: str) -> Network:
    # The published files differ in their names alone: metric_video_depth_anything_*.pth has metres.
    metric = output == "metric" or (output == AUTO and file.name.startswith("metric"))
    nature = Nature(
        model=str(file),
        licence="not known: weights given by their path",
        commercial_use=False,
        gives="metric" if metric else "disparity",
        steady=True,
        size=file.stat().st_size,
    )
    return Network(str(file), nature, path=file)


def _file(path: Path) -> Path:
    """The one file of weights at a path."""
    if path.is_file():
        return path
    if not path.is_dir():
        hint = f"Choose {AUTO}, {', '.join(NAMES)}, or the path of a file of weights."
        raise Ex4dError(NOT_FOUND, f"There is no model '{path}'.", hint)
    for suffixes in ((".safetensors",), _PICKLES):
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
        if len(found) > 1:
            named = ", ".join(file.name for file in found[:4])
            raise Ex4dError(BAD_INPUT, f"{path} has {len(found)} files of weights: {named}.", "Name one of them.")
        if found:
            return found[0]
    raise Ex4dError(NOT_FOUND, f"{path} has no file of weights.", "One that ends in .safetensors or .pth is needed.")


def _is_there(name: str, file: Path) -> bool:
    """Whether this is the file of that model, where models are looked for."""
    found = find_model(name)
    return found is not None and _placed(found) == _placed(file)


def _placed(file: Path) -> Path:
    """Where a file lies, or would lie converted. Not what it links to: in the hub's cache, that has no such name."""
    return converted_path(file.parent.resolve() / file.name)
