# SPDX-License-Identifier: Apache-2.0
"""The book of a parity check: what was done with every reference tensor.

A check opens an *item*, reads its inputs through it and compares results in it. An input counts as used once its item
has compared something after it was read. What was neither compared nor used is found by going through the files.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _parity_files import Array, BadFolder, TensorFile, read_file

from shared_protocol.errors import Ex4dError

OK, FAILED, INPUT, NOT_COMPARED = "ok", "FAILED", "input", "not compared"
WHOLE_FILE = "(whole file)"  # stands for what is in a file that holds no tensors by name

Key = tuple[str, str]  # file, tensor


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    file: str
    item: str
    tensor: str
    difference: str
    tolerance: str
    state: str  # one of the constants above


class Book:
    """A folder of reference files, and the rows that came of checking them."""

    def __init__(self, folder: Path, names: tuple[str, ...]) -> None:
        """Opens those of the files `names` that the folder has.

        Raises:
            BadFolder: there is no such folder, none of the files is in it, or one cannot be read.
        """
        if not folder.is_dir():
            raise BadFolder(f"There is no folder {folder}.")
        self.folder = folder
        present = [name for name in names if (folder / name).is_file()]
        if not present:
            raise BadFolder(f"{folder} has none of the reference files ({', '.join(names[:3])}, ...).")
        self.files: dict[str, TensorFile | None] = {
            name: read_file(folder / name) if name.endswith(".safetensors") else None for name in present
        }
        self.rows: list[Row] = []
        self._compared: set[Key] = set()
        self._used: dict[Key, str] = {}  # -> the item it was an input of

    def names(self, file: str) -> tuple[str, ...]:
        """The tensors of a file, sorted."""
        opened = self.files[file]
        return (WHOLE_FILE,) if opened is None else tuple(sorted(opened.entries))

    def metadata(self, file: str, name: str, default: str) -> str:
        """One entry of a file's metadata."""
        return self._open(file).metadata.get(name, default)

    def shape(self, file: str, name: str) -> tuple[int, ...]:
        """Shape of a tensor; looking at it is no use of it. Raises KeyError where there is none."""
        return self._open(file).shape(name)

    @contextmanager
    def item(self, file: str, title: str) -> Iterator[Item]:
        """One thing that is computed and compared. What goes wrong within is a failed row, not the end of the run."""
        item = Item(self, file, title)
        try:
            yield item
        except KeyError as error:
            self.fail(file, title, str(error.args[0]), "no such tensor")
        except (Ex4dError, ValueError, IndexError, TypeError, ArithmeticError) as error:
            self.fail(file, title, "-", f"{type(error).__name__}: {error}")

    def fail(self, file: str, item: str, tensor: str, why: str) -> None:
        """Adds a failed row that no comparison led to."""
        self.rows.append(Row(file, item, tensor, why, "", FAILED))

    def record(self, row: Row, inputs: set[Key]) -> None:
        """Adds the row of a comparison, and what it depended on."""
        self.rows.append(row)
        self._compared.add((row.file, row.tensor))
        for key in inputs:
            self._used.setdefault(key, row.item)

    def read(self, file: str, name: str) -> Array:
        """One tensor. Raises KeyError where there is none."""
        return self._open(file).tensor(name)

    def remaining(self) -> list[Row]:
        """Rows for the tensors that no comparison has: inputs of one, and those that nothing was done with."""
        rows = []
        for file in self.files:
            for name in self.names(file):
                key = (file, name)
                if key in self._compared:
                    continue
                used = self._used.get(key)
                rows.append(Row(file, used or "-", name, "", "", INPUT if used else NOT_COMPARED))
        return rows

    def _open(self, file: str) -> TensorFile:
        opened = self.files.get(file)
        if opened is None:
            raise KeyError(file)
        return opened


class Item:
    """One thing that is computed from reference inputs and compared with reference results."""

    def __init__(self, book: Book, file: str, title: str) -> None:
        self._book, self._file, self._title = book, file, title
        self._inputs: set[Key] = set()

    def input(self, name: str, file: str | None = None) -> Array:
        """A tensor that what follows is computed from; of the item's own file unless another is named."""
        value = self._book.read(file or self._file, name)
        self._inputs.add((file or self._file, name))
        return value

    def compare(
        self,
        name: str,
        got: Array | float,
        tolerance: float = 0.0,
        units: int = 0,
        scale: Array | float = 1.0,
    ) -> None:
        """Compares with the tensor `name`: shape, and largest absolute difference.

        Args:
            name: of the expected tensor, in the item's file.
            got: what was computed.
            tolerance: largest difference that is good; 0 asks for equal values.
            units: the tolerance is at least so many units in the last place (float32) of the largest expected number:
                for what was computed in float32 and may be large.
            scale: what differences are divided by first, number for number: for relative ones.
        """
        expected, values = self._book.read(self._file, name), np.asarray(got)
        if units and expected.size:
            tolerance = max(tolerance, units * float(np.spacing(np.float32(np.abs(expected).max()))))
        asked = f"{tolerance:.3g}" if tolerance else "exact"
        if values.shape != expected.shape:
            self._add(name, f"shape {values.shape}, not {expected.shape}", asked, False)
            return
        apart = np.abs(values.astype(np.float64) - expected.astype(np.float64)) / scale
        largest = float(apart.max()) if apart.size else 0.0
        self._add(name, f"{largest:.3g}", asked, largest <= tolerance)

    def compare_pictures(self, name: str, got: Array, levels: float, share: float) -> None:
        """Compares pictures [T, h, w, channels]: in each, the share of pixels within so many levels."""
        expected = self._book.read(self._file, name)
        asked = f"{100.0 * share:g} % within {levels:g}"
        if got.shape != expected.shape:
            self._add(name, f"shape {got.shape}, not {expected.shape}", asked, False)
            return
        close = np.abs(got.astype(np.float64) - expected.astype(np.float64)).max(axis=-1) <= levels
        worst = float(close.mean(axis=(1, 2)).min())
        self._add(name, f"{100.0 * worst:.2f} % (worst frame)", asked, worst >= share)

    def compare_entries(self, expected: Mapping[str, object], got: Mapping[str, object]) -> None:
        """Compares a whole file of names: the same ones, each with the same value."""
        names = expected.keys() | got.keys()
        apart = sum(name not in expected or name not in got or expected[name] != got[name] for name in names)
        self._add(WHOLE_FILE, f"{apart} of {len(names)} differ", "exact", not apart and bool(names))

    def _add(self, name: str, difference: str, tolerance: str, good: bool) -> None:
        row = Row(self._file, self._title, name, difference, tolerance, OK if good else FAILED)
        self._book.record(row, self._inputs)
