# SPDX-License-Identifier: Apache-2.0
"""Fetching models: what is missing and whether it fits is known before the first byte; what was interrupted goes on.

Into the folder that is asked for, else the first that EX4D_MODELS names, else the cache of the Hugging Face hub. Large
files go through `ex4d.models.fetch`, the small ones through `huggingface_hub.snapshot_download`.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from ex4d.models.convert import convert
from ex4d.models.fetch import fetch, part_of
from ex4d.models.hub import Listing, RemoteFile, listing, telling
from ex4d.models.places import gigabytes, hub_cache, is_converted, models_folders, snapshot_folder
from ex4d.models.record import KnownFile, Record, write_record
from ex4d.models.spec import ModelSpec
from ex4d.models.verify import Progress, fingerprint, measure
from shared_protocol.errors import DISK, Ex4dError

_AT_ONCE: Final = 4  # connections; one alone seldom fills a fast line
_LEFT: Final = 500_000_000  # bytes that the disk keeps free


@dataclass(frozen=True)
class Plan:
    """What a download will do."""

    spec: ModelSpec
    files: Listing
    folder: Path  # where the files go
    missing: tuple[RemoteFile, ...]  # of the large files: those that are not there yet
    to_fetch: int  # bytes, without those that an earlier try left
    to_convert: int  # bytes that rewriting as safetensors takes besides


def plan(spec: ModelSpec, local_dir: Path | None = None) -> Plan:
    """Asks the hub what a model consists of, and looks what is there already.

    Args:
        spec: the model.
        local_dir: folder of models to put it into.

    Raises:
        Ex4dError: as `ex4d.models.hub.listing`.
    """
    files = listing(spec)
    roots = ((local_dir,) if local_dir is not None else ()) + models_folders()
    folder = roots[0].expanduser() / spec.place if roots else snapshot_folder(spec, files.commit)
    return plan_into(folder, spec, files)


def check_room(plans: Sequence[Plan]) -> None:
    """Refuses downloads that do not fit on the disk.

    Raises:
        Ex4dError: DISK, with what is needed and what is free.
    """
    needed = sum(item.to_fetch + item.to_convert for item in plans)
    if needed == 0:
        return
    folder = plans[0].folder
    free = free_bytes(folder)
    if free < needed + _LEFT:
        names = ", ".join(item.spec.name for item in plans)
        raise Ex4dError(
            DISK,
            f"{names} would take {gigabytes(needed)}; where it goes, {folder}, {gigabytes(free)} are free.",
            f"Free {gigabytes(needed + _LEFT - free)} there, or name another disk with --local-dir, EX4D_MODELS or "
            "HF_HOME. Nothing was fetched.",
        )


def free_bytes(folder: Path) -> int:
    """Bytes that are free on the disk of a folder, which need not exist yet."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.is_dir())
    return shutil.disk_usage(there).free


def download(item: Plan, progress: Progress) -> Path:
    """Fetches what is missing. Stopped at any moment, it goes on there the next time.

    Until all is there, the model's record says so, and nobody takes what is there for the model.

    Args:
        item: what `plan` gave.
        progress: is told how many bytes more are there; negative, when some turned out to be of no use.

    Returns:
        The folder.

    Raises:
        Ex4dError: UNAVAILABLE, NOT_FOUND: the hub; DISK: the folder.
    """
    spec, folder, commit = item.spec, item.folder, item.files.commit
    known = {file.path: KnownFile(file.size, file.sha256) for file in item.files.files}
    record = Record(spec.repository, commit, False, known)
    write_record(spec, folder, record)
    _fetch_small(item)
    progress(sum(file.size for file in item.missing if not file.sha256))
    _fetch_large(item, progress)
    ours = {
        path: file if file.sha256 else KnownFile((folder / path).stat().st_size, measure(folder / path))
        for path, file in known.items()
    }
    write_record(spec, folder, replace(record, whole=True, files=ours))
    return folder


def convert_pickles(
    spec: ModelSpec,
    folder: Path,
    fetched: Collection[str] = (),
    progress: Callable[[str, int, int], None] = lambda *_: None,
) -> list[Path]:
    """Rewrites as safetensors what is not yet, or was fetched anew.

    Args:
        spec: the model.
        folder: where its files lie.
        fetched: paths of files that are newer than what was made of them.
        progress: called with (phase, done, total).

    Returns:
        The files written.

    Raises:
        Ex4dError: as `ex4d.models.convert.convert`.
    """
    pickles = [path for path in spec.convert if path in fetched or not is_converted(spec, folder, path)]
    return [convert(folder / path, progress=progress) for path in pickles]


def plan_into(folder: Path, spec: ModelSpec, files: Listing) -> Plan:
    """As `plan`, into the model's own folder, for files that the hub was asked for."""
    missing = tuple(file for file in files.files if not _is_there(file, folder / file.path))
    left = {file.path: _bytes(part_of(folder / file.path)) for file in missing if file.sha256}
    pickles = [file for file in files.files if file.path in spec.convert]
    return Plan(
        spec=spec,
        files=files,
        folder=folder,
        missing=missing,
        to_fetch=sum(file.size - min(left.get(file.path, 0), file.size) for file in missing),
        to_convert=sum(file.size for file in pickles if not is_converted(spec, folder, file.path)),
    )


def _is_there(file: RemoteFile, path: Path) -> bool:
    """Whether a file need not be fetched. Files of another commit often have the same size, so it takes their sum."""
    return _bytes(path) == file.size and (not file.sha256 or fingerprint(path) == file.sha256)


def _fetch_small(item: Plan) -> None:
    small = [file.path for file in item.files.files if not file.sha256]
    if not small:
        return
    with telling(item.spec, item.folder):
        from huggingface_hub import snapshot_download
        from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

        shown = not are_progress_bars_disabled()
        disable_progress_bars()  # of files of a few kilobytes
        try:
            cached = item.folder == snapshot_folder(item.spec, item.files.commit)
            snapshot_download(
                item.spec.repository,
                revision=item.files.commit,
                allow_patterns=small,
                cache_dir=hub_cache(),
                local_dir=None if cached else item.folder,
            )
        finally:
            if shown:
                enable_progress_bars()


def _fetch_large(item: Plan, progress: Progress) -> None:
    stop, lock = threading.Event(), threading.Lock()

    def more(count: int) -> None:
        with lock:
            progress(count)

    with ThreadPoolExecutor(_AT_ONCE) as pool:
        jobs = [
            pool.submit(fetch, item.spec, item.files.commit, file, item.folder / file.path, more, stop)
            for file in item.missing
            if file.sha256
        ]
        try:
            for job in as_completed(jobs):
                job.result()
        except BaseException:  # Ctrl-C too: the others end at their next bytes, and keep what they have
            stop.set()
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _bytes(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
