# SPDX-License-Identifier: Apache-2.0
"""check_parity on a folder of another size than the reference's: what agrees, and that nothing changed passes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import parity_folder
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import _parity_book as parity_book  # noqa: E402
import check_parity  # noqa: E402

Tensors = dict[str, dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def tensors(tmp_path_factory: pytest.TempPathFactory) -> Tensors:
    return parity_folder.make_folder(tmp_path_factory.mktemp("whole"))


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, list[str]]]:
    """Writes tensors, checks them, and gives the exit status and the lines that were printed."""

    def check(files: Tensors, *words: str) -> tuple[int, list[str]]:
        folder = tmp_path / "golden"
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        for file, values in files.items():
            parity_folder.write_tensors(folder / file, values, parity_folder.metadata(file))
        status = check_parity.main(["--golden", str(folder), *words])
        return status, capsys.readouterr().out.splitlines()

    return check


def rows(lines: list[str], tensor: str) -> list[str]:
    """The lines whose third column is this tensor."""
    return [line for line in lines if tensor in re.split(r"\s{2,}", line)[2:3]]


def test_a_folder_of_another_size_agrees(tensors: Tensors, run: Callable[..., tuple[int, list[str]]]) -> None:
    status, lines = run(tensors, "--only", "mesh")
    assert status == 0, "\n".join(lines)
    assert lines[-1] == "47 compared, 0 failed, 0 not compared"
    for values in tensors.values():
        for name in values:
            (row,) = rows(lines, name)
            assert row.split()[-1] in ("ok", "input")


def test_the_reference_agrees(reference: Callable[[str], Path], capsys: pytest.CaptureFixture[str]) -> None:
    folder = reference("golden/dw_mesh.safetensors").parent
    assert check_parity.main(["--golden", str(folder), "--only", "mesh"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith(" 0 failed, 0 not compared")


def changed(name: str, value: np.ndarray) -> np.ndarray:
    """Another value of the same kind that no tolerance covers."""
    if name == "selected_frames":
        return value[[0, 1, 3, 2]]
    if name == "selected_float_frames":
        return value[::-1].copy()
    if name == "source_of_frame":
        return 1 - value
    if value.dtype == np.uint8:
        return 255 - value if value.max() > 1 else 1 - value
    if value.dtype == np.uint16:  # the last bit of bfloat16
        return value ^ np.uint16(1)
    if value.dtype.kind == "i":
        return value + 1
    return value + value.dtype.type(10.0 if "ref_" in name else 1e-3)


def test_no_tensor_can_be_changed_unnoticed(tensors: Tensors, run: Callable[..., tuple[int, list[str]]]) -> None:
    unnoticed, unnamed = [], []
    for file, values in tensors.items():
        for name, value in values.items():
            status, lines = run({**tensors, file: {**values, name: changed(name, value)}}, "--only", "mesh")
            if status != 1 or " 0 failed" in lines[-1]:
                unnoticed.append(name)
            own = rows(lines, name)[0].split("  ")[-1].strip()
            if own not in ("FAILED", "input"):
                unnamed.append((name, own))
    assert not unnoticed
    assert not unnamed


def test_one_wrong_number_is_named_with_its_difference(
    tensors: Tensors, run: Callable[..., tuple[int, list[str]]]
) -> None:
    faces = tensors["dw_mesh.safetensors"]["faces"].copy()
    faces[7, 1] += 3
    mesh = {**tensors["dw_mesh.safetensors"], "faces": faces}
    status, lines = run({**tensors, "dw_mesh.safetensors": mesh}, "--only", "mesh")
    assert status == 1
    (row,) = [line for line in lines if line.endswith("FAILED")]
    assert row.split() == ["dw_mesh.safetensors", "faces", "faces", "3", "exact", "FAILED"]
    assert ", 1 failed, 0 not compared" in lines[-1]


def test_a_tensor_that_nothing_is_known_about_is_a_failure(
    tensors: Tensors, run: Callable[..., tuple[int, list[str]]]
) -> None:
    more = {**tensors["preprocess.safetensors"], "c.contrast": np.zeros(3, np.float32)}
    status, lines = run({**tensors, "preprocess.safetensors": more}, "--only", "mesh")
    assert status == 1
    (row,) = rows(lines, "c.contrast")
    assert row.endswith("not compared")
    assert lines[-1].endswith(" 0 failed, 1 not compared")


def test_a_tensor_of_another_shape_and_one_that_is_gone_are_failures(
    tensors: Tensors, run: Callable[..., tuple[int, list[str]]]
) -> None:
    mesh = {**tensors["dw_mesh.safetensors"]}
    mesh["vertices"] = mesh["vertices"][:, :-1]
    del mesh["source_of_frame"]
    status, lines = run({**tensors, "dw_mesh.safetensors": mesh}, "--only", "mesh")
    assert status == 1
    assert "shape (2, 108, 3), not (2, 107, 3)" in rows(lines, "vertices")[0]
    assert all("no such tensor" in row and row.endswith("FAILED") for row in rows(lines, "source_of_frame"))
    assert len(rows(lines, "source_of_frame")) == 1 + 2 * len(parity_folder.MOVES)


def test_a_file_that_is_gone_is_a_failure(tensors: Tensors, run: Callable[..., tuple[int, list[str]]]) -> None:
    status, lines = run({"dw_mesh.safetensors": tensors["dw_mesh.safetensors"]}, "--only", "mesh")
    assert status == 1
    (row,) = [line for line in lines if line.endswith("FAILED")]
    assert row.startswith("preprocess.safetensors")
    assert "the file is missing" in row


def test_without_a_group_all_files_are_asked_for_and_strangers_listed(
    tensors: Tensors, run: Callable[..., tuple[int, list[str]]]
) -> None:
    one = np.zeros(2, np.float32)
    files = {**tensors, "wan_vae.safetensors": {"clip0.video": one}, "new.safetensors": {"anything": one}}
    status, lines = run(files)
    assert status == 1
    assert rows(lines, "clip0.video")[0].endswith("not compared")
    assert rows(lines, "anything")[0].endswith("not compared")
    assert any(line.startswith("keymap_dit.json") and line.endswith("FAILED") for line in lines)
    status, lines = run(files, "--only", "mesh")
    assert status == 0
    status, lines = run(files, "--only", "generation")
    assert status == 1
    assert not any(line.startswith("dw_mesh") for line in lines)


def test_a_folder_that_cannot_be_used_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check_parity.main(["--golden", str(tmp_path / "nowhere")]) == 2
    assert "no folder" in capsys.readouterr().err
    assert check_parity.main(["--golden", str(tmp_path)]) == 2
    assert "none of the reference files" in capsys.readouterr().err
    (tmp_path / "dw_mesh.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0not json at all!")
    assert check_parity.main(["--golden", str(tmp_path), "--only", "mesh"]) == 2
    assert "dw_mesh.safetensors cannot be read" in capsys.readouterr().err


def test_an_input_counts_only_where_something_was_compared_after_it(tmp_path: Path) -> None:
    values = {name: np.arange(3, dtype=np.float32) for name in ("a", "b", "c", "late", "result")}
    parity_folder.write_tensors(tmp_path / "x.safetensors", values, {})
    book = parity_book.Book(tmp_path, ("x.safetensors",))
    with book.item("x.safetensors", "sum") as item:
        item.compare("result", item.input("a"))
        item.input("late")
    with book.item("x.safetensors", "nothing") as item:
        item.input("b")
    with book.item("x.safetensors", "broken") as item:
        item.input("c")
        raise ValueError("too small")
    assert {row.tensor: row.state for row in book.remaining()} == {
        "a": "input",
        "b": "not compared",
        "c": "not compared",
        "late": "not compared",
    }
    assert [(row.item, row.state) for row in book.rows] == [("sum", "ok"), ("broken", "FAILED")]
    assert "too small" in book.rows[1].difference


def test_what_is_not_a_number_never_agrees(tmp_path: Path) -> None:
    parity_folder.write_tensors(tmp_path / "x.safetensors", {"a": np.array([1.0, np.nan])}, {})
    book = parity_book.Book(tmp_path, ("x.safetensors",))
    with book.item("x.safetensors", "same") as item:
        item.compare("a", np.array([1.0, np.nan]), 1e-5, units=2)
    assert book.rows[0].state == "FAILED"


def test_kinds_of_number_that_numpy_lacks(tmp_path: Path) -> None:
    bits = np.array([0x3F80, 0xBF80, 0x0000, 0x4049, 0x7F80], np.uint16)
    file = tmp_path / "x.safetensors"
    parity_folder.write_tensors(file, {"a": bits}, {})
    tensor = check_parity.Book(tmp_path, (file.name,)).read(file.name, "a")
    assert tensor.tolist() == [1.0, -1.0, 0.0, 3.140625, np.inf]
    # The same bytes as float8_e4m3fn: low byte, high byte. 0x80 is -0, 0x3f 1.875, 0xbf -1.875, 0x40 2, 0x49 4.5.
    file.write_bytes(
        file.read_bytes().replace(b'"BF16", "shape": [5]', b'"F8_E4M3", "shape": [10]').replace(b"  ", b"", 1)
    )
    data = file.read_bytes()
    size = data.index(b"\x80\x3f\x80\xbf") - 8
    file.write_bytes(size.to_bytes(8, "little") + data[8:])
    tensor = check_parity.Book(tmp_path, (file.name,)).read(file.name, "a")
    np.testing.assert_array_equal(tensor, [-0.0, 1.875, -0.0, -1.875, 0.0, 0.0, 4.5, 2.0, -0.0, np.nan])
