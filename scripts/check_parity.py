# SPDX-License-Identifier: Apache-2.0
"""Compares what the engine computes with reference numbers of the public EX-4D code, tensor by tensor.

    .venv/bin/python scripts/check_parity.py --golden DIR [--only mesh|generation|depth]

Prints one line for each comparison, then one for each tensor that only served as input, or that nothing was done with.
Exit status 0: everything agrees and nothing was left out; 1: something differs, was not compared, or a file is
missing; 2: the folder cannot be used. Sizes and constants come from the files themselves.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from _parity_book import FAILED, INPUT, NOT_COMPARED, Book, Row
from _parity_files import BadFolder
from _parity_groups import GROUPS, Reference

_HEADINGS = ("file", "item", "tensor", "largest difference", "tolerance", "ok")


def main(words: list[str] | None = None) -> int:
    """Runs the checks of the chosen groups and prints what came of them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--golden", type=Path, required=True, metavar="DIR", help="folder with the reference files")
    parser.add_argument("--only", choices=sorted(GROUPS), help="only this group of files")
    arguments = parser.parse_args(words)
    groups = [arguments.only] if arguments.only else list(GROUPS)
    references = [reference for group in groups for reference in GROUPS[group]]
    try:
        rows = check(arguments.golden, references, strangers=arguments.only is None)
    except BadFolder as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    _print_table(rows)
    failed = sum(row.state == FAILED for row in rows)
    left = sum(row.state == NOT_COMPARED for row in rows)
    compared = sum(row.state not in (INPUT, NOT_COMPARED) for row in rows)
    print(f"{compared} compared, {failed} failed, {left} not compared")
    return 1 if failed or left or not compared else 0


def check(folder: Path, references: list[Reference], *, strangers: bool) -> list[Row]:
    """The rows of all comparisons, then those of the tensors that had none.

    Args:
        folder: of the reference files.
        references: the files that it must have.
        strangers: whether files of tensors that nothing is known about are listed too.

    Raises:
        BadFolder: the folder or a file in it cannot be used.
    """
    names = [reference.file for reference in references]
    if strangers:
        known = {reference.file for group in GROUPS.values() for reference in group}
        names += sorted(file.name for file in folder.glob("*.safetensors") if file.name not in known)
    book = Book(folder, tuple(names))
    for reference in references:
        if reference.file not in book.files:
            book.fail(reference.file, "-", "-", "the file is missing")
        elif reference.check is not None:
            reference.check(book, reference.file)
    return book.rows + book.remaining()


def _print_table(rows: list[Row]) -> None:
    lines = [_HEADINGS] + [(r.file, r.item, r.tensor, r.difference, r.tolerance, r.state) for r in rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(_HEADINGS))]
    for line in lines:
        print("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main())
