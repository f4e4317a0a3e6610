# SPDX-License-Identifier: Apache-2.0
"""What was fetched, written down beside it: the commit, every file's size and sha256, and whether all has arrived."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from ex4d.files import replacing
from ex4d.models.spec import ModelSpec


@dataclass(frozen=True)
class KnownFile:
    """A file of a model as it should be."""

    size: int  # bytes
    sha256: str  # "" until it is known: the hub tells it of large files alone


@dataclass(frozen=True)
class Record:
    """A download of a model. While it goes on, and after it was interrupted, `whole` is False."""

    repository: str
    revision: str  # the commit
    whole: bool
    files: Mapping[str, KnownFile]  # by path below the model's folder, with "/"


def record_path(spec: ModelSpec, folder: Path) -> Path:
    """Where the record of a model in `folder` lies. Models that share a folder have a record each."""
    return folder / f"ex4d-{spec.name}.json"


def read_record(spec: ModelSpec, folder: Path) -> Record | None:
    """The record of the model in this folder, None where it did not come by `ex4d models download`.

    One that cannot be read counts as that of a download that was interrupted: the next one looks at every file, and
    writes it anew.
    """
    path = record_path(spec, folder)
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        files = {str(name): KnownFile(int(item["size"]), str(item["sha256"])) for name, item in told["files"].items()}
        return Record(str(told["repository"]), str(told["revision"]), told["whole"] is True, files)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return Record(spec.repository, spec.revision, False, {})


def write_record(spec: ModelSpec, folder: Path, record: Record) -> None:
    """Writes or replaces the record of the model in this folder.

    Raises:
        Ex4dError: DISK when it cannot be written.
    """
    with replacing(record_path(spec, folder)) as temporary:
        temporary.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
