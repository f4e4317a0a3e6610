# SPDX-License-Identifier: Apache-2.0
"""Where models lie on this machine. Nothing here touches the network, and nothing heavy is imported.

Looked at, in this order: a folder that is given, the folders named by EX4D_MODELS (separated as in PATH), and the cache
of the Hugging Face hub (HF_HUB_CACHE, HF_HOME). A folder may be a model's own, or have it in a folder of the model's
name or of its repository's name.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from ex4d.models.convert import converted_path
from ex4d.models.record import read_record
from ex4d.models.registry import model_spec
from ex4d.models.spec import ModelSpec
from shared_protocol.errors import UNAVAILABLE, Ex4dError

PART = ".part"  # what the name of a file that is still on its way ends in
_SHARD = re.compile(r"-(\d+)-of-(\d+)(\.[^/]+)$")


def find_model(name: str, folder: Path | None = None) -> Path | None:
    """Where a model lies, if all of it is here: its folder, or its file where it is a single one.

    A checkpoint that was converted is found as its safetensors file.

    Args:
        name: as in `ex4d.models.registry.MODELS`.
        folder: looked at first: the model's own folder, or a folder of models.

    Raises:
        Ex4dError: BAD_INPUT when there is no model of that name.
    """
    return find_files(model_spec(name), folder)


def find_files(spec: ModelSpec, folder: Path | None = None) -> Path | None:
    """As `find_model`, of a model that may be in no registry."""
    found = next((place for place in _candidates(spec, folder) if is_whole(spec, place)), None)
    if found is None or not spec.only_file:
        return found
    file = found / spec.only_file
    return converted_path(file) if spec.only_file in spec.convert and _size(converted_path(file)) > 0 else file


def need_model(name: str, folder: Path | None = None) -> Path:
    """As `find_model`, for who cannot go on without it.

    Raises:
        Ex4dError: UNAVAILABLE when it is not here, or not all of it, with the command that fetches it.
    """
    found = find_model(name, folder)
    if found is not None:
        return found
    spec = model_spec(name)
    begun = next((place for place in _candidates(spec, folder) if read_record(spec, place) is not None), None)
    if begun is not None:
        raise Ex4dError(
            UNAVAILABLE,
            f"{spec.title} ({name}) is not all here: {begun} lacks some of its files.",
            f"`ex4d models download {name}` goes on where it stopped.",
        )
    raise Ex4dError(
        UNAVAILABLE,
        f"{spec.title} ({name}) is not on this machine.",
        f"`ex4d models download {name}` fetches it ({gigabytes(spec.size)}). Where it lies in another folder, set "
        "EX4D_MODELS to the folder above it.",
    )


def folder_of(spec: ModelSpec, found: Path) -> Path:
    """The model's folder, from what `find_model` gave: paths in its record are below that folder."""
    return found.parents[spec.only_file.count("/")] if spec.only_file else found


def models_folders() -> tuple[Path, ...]:
    """The folders that EX4D_MODELS names."""
    named = os.environ.get("EX4D_MODELS", "")
    return tuple(Path(part).expanduser() for part in named.split(os.pathsep) if part)


def hub_cache() -> Path:
    """The cache folder of the Hugging Face hub, as its documentation says where it is."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        if os.environ.get(variable):
            return Path(os.environ[variable]).expanduser()
    if os.environ.get("HF_HOME"):
        return Path(os.environ["HF_HOME"]).expanduser() / "hub"
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return caches.expanduser() / "huggingface" / "hub"


def snapshot_folder(spec: ModelSpec, commit: str) -> Path:
    """Where the hub's cache keeps this repository at this commit."""
    return _cached_repository(spec) / "snapshots" / commit


def is_whole(spec: ModelSpec, folder: Path) -> bool:
    """Whether all that is needed of a model lies in this folder.

    With a record: the download was finished, and every file has its size. Without one (files put there by hand, or by
    other programs): there is a file for everything needed, and of files in numbered parts all parts and their index.
    """
    if not folder.is_dir():
        return False
    record = read_record(spec, folder)
    if record is not None:
        return record.whole and all(
            _size(folder / path) == file.size or is_converted(spec, folder, path) for path, file in record.files.items()
        )
    return all(_has(folder, pattern) or is_converted(spec, folder, pattern) for pattern in spec.needed)


def is_converted(spec: ModelSpec, folder: Path, path: str) -> bool:
    """Whether this file of the model has been rewritten as safetensors, so that itself it is needed no more."""
    return path in spec.convert and _size(converted_path(folder / path)) > 0


def present_size(spec: ModelSpec, found: Path) -> int:
    """Bytes of the model's files, of the file or folder that `find_model` gave."""
    if spec.only_file:
        return max(_size(found), 0)
    below = (path for path in found.rglob("*") if path.is_file() and matches(spec, path.relative_to(found).as_posix()))
    return sum(_size(path) for path in below)


def matches(spec: ModelSpec, path: str) -> bool:
    """Whether a repository's file is one that is fetched for this model."""
    return any(fnmatchcase(path, pattern) for pattern in spec.files)


def gigabytes(size: int) -> str:
    """A size as the hub's pages write it, in powers of ten: "91.4 GB", "116 MB"."""
    if size >= 1_000_000_000:
        return f"{size / 1e9:.1f} GB"
    return f"{size / 1e6:.0f} MB" if size >= 1_000_000 else f"{size / 1e3:.0f} kB"


def _candidates(spec: ModelSpec, folder: Path | None) -> Iterator[Path]:
    owner, repository = spec.repository.split("/")
    if folder is not None:
        yield folder
    for root in (*((folder,) if folder is not None else ()), *models_folders()):
        yield from (root / spec.place, root / repository, root / owner / repository)
        if spec.only_file:
            yield root
    cached = _cached_repository(spec)
    yield cached / "snapshots" / spec.revision
    snapshots = [path for path in (cached / "snapshots").glob("*") if path.is_dir()]
    yield from sorted(snapshots, key=lambda path: path.stat().st_mtime, reverse=True)


def _cached_repository(spec: ModelSpec) -> Path:
    return hub_cache() / f"models--{spec.repository.replace('/', '--')}"


def _has(folder: Path, pattern: str) -> bool:
    found = [path for path in folder.glob(pattern) if path.suffix != PART and _size(path) > 0]
    for path in found:
        shard = _SHARD.search(path.name)
        if shard is None:
            continue
        stem, count, suffix = path.name[: shard.start()], int(shard[2]), shard[3]
        width = len(shard[1])
        parts = [f"{stem}-{number:0{width}d}-of-{shard[2]}{suffix}" for number in range(1, count + 1)]
        parts.append(f"{stem}{suffix}.index.json")
        if not all(_size(path.with_name(name)) > 0 for name in parts):
            return False
    return bool(found)


def _size(path: Path) -> int:
    """Bytes of a file, -1 where there is none."""
    try:
        return path.stat().st_size if path.is_file() else -1
    except OSError:
        return -1
