# SPDX-License-Identifier: Apache-2.0
"""Pickles become safetensors: what is kept, what is refused, and that nothing half-written is left."""

from __future__ import annotations

import os
import shutil
from collections import namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from ex4d.models.convert import convert, converted_path
from scripts._tiny_models import write_adapter
from shared_protocol.errors import BAD_INPUT, DISK, NOT_FOUND, UNAVAILABLE, Ex4dError

Usage = namedtuple("Usage", "total used free")


class Code:
    """What a pickle can do to who reads it."""

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return (os.mkdir, ("ran",))


def saved(folder: Path, value: object, name: str = "x.ckpt", **options: object) -> Path:
    torch.save(value, folder / name, **options)  # type: ignore[arg-type]
    return folder / name


def test_an_adapter_keeps_every_tensor(tmp_path: Path) -> None:
    write_adapter(tmp_path / "a.ckpt")
    phases: list[tuple[str, int, int]] = []
    written = convert(tmp_path / "a.ckpt", progress=lambda *told: phases.append(told))
    assert written == tmp_path / "a.safetensors" == converted_path(tmp_path / "a.ckpt")
    expected = load_file(write_adapter(tmp_path / "b.safetensors"))
    found = load_file(written)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert phases == [("Reading a.ckpt", 0, 1), ("Writing a.safetensors", 0, 1), ("Writing a.safetensors", 1, 1)]


@pytest.mark.parametrize("zipped", [True, False])
def test_views_shared_memory_and_types(tmp_path: Path, zipped: bool) -> None:
    base = torch.arange(24.0).reshape(4, 6)
    values = {
        "base": base,
        "same": base,
        "turned": base.t(),
        "part": base[1:3, 2:],
        "half": base.bfloat16(),
        "number": torch.tensor(3),
        "learned": torch.nn.Parameter(torch.ones(2)),
    }
    if zipped:  # torch itself does not read it back from its older format
        values["small"] = base.to(torch.float8_e4m3fn)
    found = load_file(convert(saved(tmp_path, values, _use_new_zipfile_serialization=zipped)))
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert found[name].dtype == value.dtype
        assert torch.equal(found[name].double(), value.double()), name


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: {"state_dict": weights, "epoch": 3, "optimizer": {"moments": [weights["a"]]}},
        lambda weights: {"module": weights},
        lambda weights: {"module": {"state_dict": weights}},
        lambda weights: {**weights, "step": 7, "name": "x"},
    ],
)
def test_weights_below_what_a_trainer_writes(tmp_path: Path, wrap: Callable[[dict[str, Tensor]], object]) -> None:
    found = load_file(convert(saved(tmp_path, wrap({"a": torch.ones(2)}))))
    assert found.keys() == {"a"}


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    file = saved(tmp_path, {"a": torch.ones(2), "code": Code()})
    with pytest.raises(Ex4dError, match=r"holds more than tensors \('[\w.]+'\) and is not opened") as caught:
        convert(file)
    assert caught.value.code == BAD_INPUT
    assert "could run code" in caught.value.message
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ckpt"]


def loop() -> dict[str, object]:
    value: dict[str, object] = {}
    value["state_dict"] = value
    return value


@pytest.mark.parametrize(
    ("value", "held"),
    [
        ([torch.ones(1)], "list"),
        (torch.ones(1), "Tensor"),
        ({"epoch": 3}, "epoch"),
        ({}, "dict"),
        ({"a": torch.ones(1), "more": {"b": torch.ones(1)}}, "more"),
        ({"state_dict": {"a": torch.ones(1)}, "module": {"a": torch.ones(1)}}, "state_dict, module"),
        ({"a": torch.eye(3).to_sparse()}, "a"),
        ({"a": torch.empty(3, device="meta")}, "a"),
        ({1: torch.ones(1)}, "1"),
        (loop(), "state_dict"),
    ],
)
def test_what_is_no_table_of_tensors(tmp_path: Path, value: object, held: str) -> None:
    with pytest.raises(Ex4dError, match=f"no flat table of named tensors: it has {held}") as caught:
        convert(saved(tmp_path, value))
    assert caught.value.code == BAD_INPUT
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ckpt"]


@pytest.mark.parametrize("zipped", [True, False])
def test_files_that_are_cut_off(tmp_path: Path, zipped: bool) -> None:
    file = saved(tmp_path, {"a": torch.ones(1000)}, _use_new_zipfile_serialization=zipped)
    whole = file.read_bytes()
    for content in (whole[: len(whole) // 2], whole[:100], whole[:3], b"", b"<html>not found</html>"):
        file.write_bytes(content)
        with pytest.raises(Ex4dError, match=rf"x\.ckpt \({len(content)} bytes\) is cut off") as caught:
            convert(file)
        assert caught.value.code == BAD_INPUT


def test_there_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"no file .*x\.ckpt") as caught:
        convert(tmp_path / "x.ckpt")
    assert caught.value.code == NOT_FOUND


def test_another_suffix(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"y\.bin does not end in \.safetensors"):
        convert(saved(tmp_path, {"a": torch.ones(1)}), tmp_path / "y.bin")


def test_what_is_safetensors_already_is_left_as_it_is(tmp_path: Path) -> None:
    written = convert(saved(tmp_path, {"a": torch.ones(1)}))
    before = written.stat()
    with pytest.raises(Ex4dError, match="is a safetensors file already") as caught:
        convert(written)
    assert caught.value.code == BAD_INPUT
    assert written.stat() == before


def test_a_disk_that_is_too_small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = saved(tmp_path, {"a": torch.ones(5_000_000)})
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 9 * 10**8, 70_000_000))
    with pytest.raises(Ex4dError, match=r"takes 0\.02 GB; .* has 0\.07 GB free") as caught:
        convert(file, tmp_path / "new" / "y.safetensors")
    assert caught.value.code == DISK
    assert [entry.name for entry in tmp_path.iterdir()] == ["x.ckpt"]


def test_what_was_there_stays_when_it_fails(tmp_path: Path) -> None:
    written = convert(saved(tmp_path, {"a": torch.ones(1)}))
    before = written.read_bytes()
    file = saved(tmp_path, {"a": torch.zeros(1)})
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(Ex4dError):
        convert(file)
    assert written.read_bytes() == before


@pytest.mark.parametrize("version", ["2.9.1", "2.6.0+cu124", "1.13.1"])
def test_an_old_torch_is_not_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    file = saved(tmp_path, {"a": torch.ones(1)})
    monkeypatch.setattr(torch, "__version__", version)
    with pytest.raises(Ex4dError, match=r"does not read these safely\. Install PyTorch 2\.10") as caught:
        convert(file)
    assert caught.value.code == UNAVAILABLE
