# SPDX-License-Identifier: Apache-2.0
"""Checking a model against the hub, and fetching again what is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ex4d.files import disk_error
from ex4d.models.download import Plan, plan_into
from ex4d.models.hub import listing
from ex4d.models.places import snapshot_folder
from ex4d.models.record import KnownFile, Record, read_record, write_record
from ex4d.models.spec import ModelSpec
from ex4d.models.verify import measure


def record_of(spec: ModelSpec, folder: Path) -> Record:
    """What the files of a model should be: from its download, else from the hub.

    For files that came here in another way, the record is made now: sums of large files are the hub's, of the others
    ours.

    Raises:
        Ex4dError: as `plan`.
    """
    record = read_record(spec, folder)
    if record is not None:
        return record
    commit = folder.name if folder == snapshot_folder(spec, folder.name) else spec.revision
    found = listing(replace(spec, revision=commit))
    here = {file.path: file for file in found.files if (folder / file.path).is_file()}
    files = {path: KnownFile(file.size, file.sha256 or measure(folder / path)) for path, file in here.items()}
    record = Record(spec.repository, found.commit, True, files)
    write_record(spec, folder, record)
    return record


def plan_repair(spec: ModelSpec, folder: Path, record: Record, paths: Sequence[str]) -> Plan:
    """Removes damaged files, and plans to complete the model where it lies, at the commit that it came from.

    Raises:
        Ex4dError: DISK when a file cannot be removed, else as `ex4d.models.download.plan`. Nothing is removed when the
            hub cannot be reached.
    """
    files = listing(replace(spec, revision=record.revision))
    write_record(spec, folder, replace(record, whole=False))
    _remove(folder, paths)
    return plan_into(folder, spec, files)


def _remove(folder: Path, paths: Sequence[str]) -> None:
    """Removes files; where the hub's cache has a link, also what it points to."""
    for path in (folder / name for name in paths):
        try:
            path.resolve().unlink(missing_ok=True)
            path.unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(path, error) from error
