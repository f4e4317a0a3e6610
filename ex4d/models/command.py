# SPDX-License-Identifier: Apache-2.0
"""`ex4d models`: list, download, verify, convert, where."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ex4d.console import Console
from ex4d.models.meter import meter
from ex4d.models.places import (
    find_model,
    folder_of,
    gigabytes,
    hub_cache,
    is_whole,
    models_folders,
    need_model,
    present_size,
)
from ex4d.models.record import Record
from ex4d.models.registry import MODELS, model_spec
from ex4d.models.spec import ModelSpec
from ex4d.models.verify import check
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the subcommands of `ex4d models`."""
    commands = parser.add_subparsers(required=True, metavar="WHAT")

    table = commands.add_parser("list", help="what there is, how large, under which licence, and what is here")
    table.add_argument("--json", action="store_true", help="for programs")
    table.set_defaults(run=_list)

    download = commands.add_parser("download", help="fetch models; an interrupted download goes on where it stopped")
    download.add_argument("names", nargs="+", metavar="NAME", help="see `ex4d models list`")
    download.add_argument(
        "--local-dir",
        type=Path,
        metavar="DIR",
        help="folder of models to put them into (default: the one that EX4D_MODELS names, else the cache in HF_HOME)",
    )
    download.add_argument(
        "--accept-licence", action="store_true", help="accept licences that restrict commercial use, without a question"
    )
    download.set_defaults(run=_download)

    verify = commands.add_parser("verify", help="read every file and compare its sha256 with the hub's")
    verify.add_argument("names", nargs="*", metavar="NAME", help="(default: all that are here)")
    verify.add_argument("--repair", action="store_true", help="remove damaged files and fetch them again")
    verify.set_defaults(run=_verify)

    convert = commands.add_parser("convert", help="rewrite a .ckpt or .pth file as safetensors")
    convert.add_argument("file", type=Path, metavar="FILE")
    convert.add_argument("--output", type=Path, metavar="FILE", help="(default: beside it)")
    convert.set_defaults(run=_convert)

    where = commands.add_parser("where", help="where models are looked for, or where one lies")
    where.add_argument("name", nargs="?", metavar="NAME")
    where.set_defaults(run=_where)


def described() -> list[dict[str, Any]]:
    """Every model as plain values, with where it lies ("path", None where it is not here) and its bytes there."""
    rows = []
    for spec in MODELS.values():
        found = find_model(spec.name)
        rows.append(
            {
                "name": spec.name,
                "title": spec.title,
                "used_for": spec.used_for,
                "notes": spec.notes,
                "repository": spec.repository,
                "revision": spec.revision,
                "size": spec.size,
                "licence": spec.licence,
                "commercial_use": spec.commercial_use,
                "path": str(found) if found is not None else None,
                "bytes": present_size(spec, found) if found is not None else 0,
            }
        )
    return rows


def _list(arguments: argparse.Namespace) -> None:
    from ex4d.models.download import free_bytes

    rows = described()
    if arguments.json:
        print(json.dumps(rows, indent=1))
        return
    width = max(map(len, MODELS)) + 2
    for row in rows:
        print(f"{row['name']:{width}}{gigabytes(row['size']):>9}  {row['title']}")
        for line in (
            f"{row['licence']}; {'commercial use allowed' if row['commercial_use'] else 'NOT free for commercial use'}",
            f"for {row['used_for']}. {row['notes']}".rstrip(),
            f"here: {row['path']}" if row["path"] else "not here",
        ):
            print(f"    {line}")
    target = next(iter(models_folders()), hub_cache())
    print(f"\ndownloads go to {target}: {gigabytes(free_bytes(target))} free")


def _download(arguments: argparse.Namespace) -> None:
    from ex4d.models.download import check_room, download, free_bytes, plan

    wanted = [model_spec(name) for name in dict.fromkeys(arguments.names)]
    missing = []
    for spec in wanted:
        found = _already(spec, arguments.local_dir)
        if found is None:
            missing.append(spec)
            continue
        print(f"{spec.name} is here already: {found}")
        _convert_pickles(spec, folder_of(spec, found))
    plans = [plan(spec, arguments.local_dir) for spec in missing]
    for item in plans:
        paid = "commercial use allowed" if item.spec.commercial_use else "NOT free for commercial use"
        whole = sum(file.size for file in item.files.files)
        print(f"{item.spec.name}: {item.spec.title}")
        print(f"  {item.spec.repository} at {item.files.commit[:12]}; {item.spec.licence}; {paid}")
        rest = "" if item.to_fetch == whole else f", {gigabytes(item.to_fetch)} of it to fetch"
        more = f", and {gigabytes(item.to_convert)} once rewritten as safetensors" if item.to_convert else ""
        print(f"  {gigabytes(whole)}{rest}{more}; to {item.folder}, {gigabytes(free_bytes(item.folder))} free")
    sys.stdout.flush()
    check_room(plans)
    for item in plans:
        _accept(item.spec, arguments.accept_licence)
    for item in plans:
        with meter(item.spec.name, item.to_fetch) as progress:
            folder = download(item, progress)
        print(f"{item.spec.name} is here: {folder}")
        _convert_pickles(item.spec, folder, [file.path for file in item.missing])
    local = arguments.local_dir.absolute() if arguments.local_dir is not None else None
    if plans and local is not None and local not in [folder.absolute() for folder in models_folders()]:
        print(f"Set EX4D_MODELS={local} so that they are found there.")


def _already(spec: ModelSpec, local_dir: Path | None) -> Path | None:
    if local_dir is None:
        return find_model(spec.name)
    folder = local_dir / spec.place
    return find_model(spec.name, folder) if is_whole(spec, folder) else None


def _accept(spec: ModelSpec, accepted: bool) -> None:
    """Asks for a licence that restricts commercial use, unless the command line accepted it."""
    if spec.commercial_use or accepted:
        return
    if sys.stdin.isatty():
        asked = f"{spec.name} is not free for commercial use ({spec.licence}). Do you accept that? [y/N] "
        if input(asked).strip().lower() in ("y", "yes"):
            return
    raise Ex4dError(
        BAD_INPUT,
        f"{spec.name} is not free for commercial use: {spec.licence}.",
        f"Read it at https://huggingface.co/{spec.repository}; --accept-licence accepts it.",
    )


def _convert_pickles(spec: ModelSpec, folder: Path, fetched: Sequence[str] = ()) -> None:
    from ex4d.models.download import convert_pickles

    with Console() as console:
        try:
            written = convert_pickles(spec, folder, fetched, console.progress)
        except Ex4dError as error:
            if error.code != UNAVAILABLE:  # without PyTorch the model is here nevertheless
                raise
            print(f"not rewritten as safetensors yet: {error}")
            return
    for path in written:
        print(f"rewritten as {path}")


def _verify(arguments: argparse.Namespace) -> None:
    from ex4d.models.repair import record_of

    names = arguments.names or [name for name in MODELS if find_model(name) is not None]
    if not names:
        print("no model is here")
    broken = []
    for spec in [model_spec(name) for name in dict.fromkeys(names)]:
        folder = folder_of(spec, need_model(spec.name))
        record = record_of(spec, folder)
        with meter(f"{spec.name}: reading", sum(file.size for file in record.files.values())) as progress:
            wrong = check(spec, folder, record, progress)
        for finding in wrong:
            print(f"{folder / finding.path} {finding.what}")
        if wrong and arguments.repair:
            _repair(spec, folder, record, [finding.path for finding in wrong])
        elif wrong:
            broken.append(spec.name)
        else:
            print(f"{spec.name}: {len(record.files)} files in {folder} are as they should be")
    if broken:
        raise Ex4dError(
            BAD_INPUT,
            f"Not as they should be: {', '.join(broken)}.",
            f"`ex4d models verify --repair {' '.join(broken)}` fetches again what is damaged.",
        )


def _repair(spec: ModelSpec, folder: Path, record: Record, paths: Sequence[str]) -> None:
    from ex4d.models.download import check_room, download
    from ex4d.models.repair import plan_repair

    item = plan_repair(spec, folder, record, paths)
    check_room([item])
    with meter(spec.name, item.to_fetch) as progress:
        download(item, progress)
    _convert_pickles(spec, folder, paths)
    print(f"{spec.name}: repaired")


def _convert(arguments: argparse.Namespace) -> None:
    from ex4d.models.convert import convert

    with Console() as console:
        written = convert(arguments.file, arguments.output, console.progress)
    print(written)


def _where(arguments: argparse.Namespace) -> None:
    if arguments.name is not None:
        print(need_model(arguments.name))
        return
    for folder in (*models_folders(), hub_cache()):
        print(folder)
