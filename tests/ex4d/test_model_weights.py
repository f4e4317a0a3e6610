# SPDX-License-Identifier: Apache-2.0
"""Weights from files into an empty module: what arrives, in which type, and that nothing that does not fit passes."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from accelerate import init_empty_weights
from safetensors.torch import save_file
from torch import Tensor, nn

from ex4d.models.weights import WeightFiles, load_into
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError


class Net(nn.Module):
    """Every kind of tensor that loading treats differently."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(6, 4)
        self.again = nn.Embedding(6, 4)
        self.again.weight = self.words.weight
        self.norm = nn.LayerNorm(4)
        self.layers = nn.ModuleList(nn.Linear(4, 4) for _ in range(3))
        self.register_buffer("count", torch.zeros(2, dtype=torch.int64))
        self.register_buffer("computed", torch.arange(5.0), persistent=False)


def empty() -> Net:
    with init_empty_weights():
        net = Net()
    net.again.weight = net.words.weight
    return net


def tensors() -> dict[str, Tensor]:
    torch.manual_seed(0)
    net = Net()
    net.count += 7
    for parameter in net.parameters():
        parameter.data = torch.randn_like(parameter)
    values = {name: value.clone() for name, value in net.state_dict().items()}
    del values["again.weight"]
    return values


def files(folder: Path, values: dict[str, Tensor]) -> WeightFiles:
    names = sorted(values)
    paths = [folder / "a.safetensors", folder / "b.safetensors"]
    for path, part in zip(paths, (names[::2], names[1::2]), strict=True):
        save_file({name: values[name] for name in part}, path)
    return WeightFiles(paths)


def same(name: str) -> str:
    return name


def load(folder: Path, values: dict[str, Tensor], **options: object) -> Net:
    net = empty()
    load_into(net, files(folder, values), options.pop("rename", same), **{"dtype": torch.float32, **options})  # type: ignore[arg-type]
    return net


def test_everything_arrives_and_tied_names_share_one_tensor(tmp_path: Path) -> None:
    values, seen = tensors(), []
    net = load(tmp_path, values, progress=lambda done, total: seen.append((done, total)))
    for name, value in values.items():
        assert torch.equal(net.state_dict()[name], value), name
    assert net.again.weight is net.words.weight
    assert torch.equal(net.computed, torch.arange(5.0))
    assert not net.training
    assert not any(parameter.requires_grad for parameter in net.parameters())
    assert seen == [(done, len(values)) for done in range(len(values))]


def test_both_names_of_a_tied_tensor_may_be_there(tmp_path: Path) -> None:
    values = tensors()
    net = load(tmp_path, {**values, "again.weight": values["words.weight"].clone()})
    assert net.again.weight is net.words.weight
    assert torch.equal(net.words.weight, values["words.weight"])


def test_types(tmp_path: Path) -> None:
    net = load(
        tmp_path,
        tensors(),
        dtype=torch.bfloat16,
        keep_float32=["norm"],
        storage=lambda name: torch.float8_e4m3fn if name.endswith("1.weight") or name == "norm.weight" else None,
    )
    types = {name: value.dtype for name, value in net.state_dict().items()}
    assert types.pop("count") == torch.int64
    assert types.pop("norm.weight") == types.pop("norm.bias") == torch.float32
    assert types.pop("layers.1.weight") == torch.float8_e4m3fn
    assert set(types.values()) == {torch.bfloat16}
    assert torch.equal(net.layers[1].weight, tensors()["layers.1.weight"].to(torch.float8_e4m3fn))


def test_a_component_of_a_name_is_kept_not_a_part_of_one(tmp_path: Path) -> None:
    net = load(tmp_path, tensors(), dtype=torch.bfloat16, keep_float32=["layer", "nor"])
    assert net.layers[0].weight.dtype == net.norm.weight.dtype == torch.bfloat16


def test_one_tensor_for_several_and_axes_of_one_in_front(tmp_path: Path) -> None:
    values = tensors()
    stored = {name: value for name, value in values.items() if not name.startswith("layers.")}
    stored["norm.weight"] = values["norm.weight"][None, None]
    for kind in ("weight", "bias"):
        stored[f"all.{kind}"] = torch.cat([values[f"layers.{number}.{kind}"] for number in range(3)])

    def rename(name: str) -> str | tuple[str, ...]:
        start, kind = name.rsplit(".", 1) if "." in name else (name, "")
        return tuple(f"layers.{number}.{kind}" for number in range(3)) if start == "all" else name

    net = load(tmp_path, stored, rename=rename)
    for name, value in values.items():
        assert torch.equal(net.state_dict()[name], value), name


def test_what_has_no_use_is_left_out(tmp_path: Path) -> None:
    load(tmp_path, {**tensors(), "head": torch.ones(3)}, rename=lambda name: None if name == "head" else name)


def test_one_error_names_all_that_does_not_fit(tmp_path: Path) -> None:
    values = tensors()
    del values["layers.0.weight"], values["layers.1.bias"]
    values |= {"norm.bias": torch.ones(5), "strange": torch.ones(1)}
    with pytest.raises(Ex4dError) as caught:
        load(tmp_path, values)
    assert caught.value.code == BAD_INPUT
    for part in (
        "2 missing: layers.0.weight, layers.1.bias",
        "1 not known: strange",
        "1 of another shape: norm.bias 5 instead of 4",
        "(2 files)",
    ):
        assert part in caught.value.message


def test_long_lists_are_counted(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"9 missing: words\.weight, (\S+, ){3}\.\.\.; 1 not known: x"):
        load(tmp_path, {"count": torch.zeros(2, dtype=torch.int64), "x": torch.ones(1)})


@pytest.mark.parametrize(
    ("shape", "wanted"), [((1, 4), "1x4 instead of 4x4"), ((16,), "16 instead of 4x4"), ((4, 1, 4), "4x1x4 instead")]
)
def test_shapes_are_taken_strictly(tmp_path: Path, shape: tuple[int, ...], wanted: str) -> None:
    with pytest.raises(Ex4dError, match=wanted):
        load(tmp_path, {**tensors(), "layers.0.weight": torch.ones(shape)})


def test_integers_are_no_weights(tmp_path: Path) -> None:
    packed = torch.ones_like(tensors()["layers.0.weight"], dtype=torch.int8)
    with pytest.raises(Ex4dError, match=r"do not fit the model: 1 of another kind: layers\.0\.weight \(I8\)"):
        load(tmp_path, {**tensors(), "layers.0.weight": packed})


def test_two_tensors_for_one_name(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"1 not known: twice \(norm\.bias is there already\)"):
        load(
            tmp_path,
            {**tensors(), "twice": torch.ones(4)},
            rename=lambda name: "norm.bias" if name == "twice" else name,
        )


def test_a_tensor_in_two_files(tmp_path: Path) -> None:
    paths = [tmp_path / "a.safetensors", tmp_path / "b.safetensors"]
    for path in paths:
        save_file({"x": torch.ones(1)}, path)
    with pytest.raises(Ex4dError, match=r"'x' is in .*b\.safetensors and in .*a\.safetensors"):
        WeightFiles(paths)


def test_what_is_known_of_tensors_that_are_not_read(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(2, 3).bfloat16(), "b": torch.ones(4).to(torch.float8_e4m3fn)}, path)
    found = WeightFiles([path])
    assert {name: (header.shape, header.dtype) for name, header in found.items()} == {
        "a": ((2, 3), "BF16"),
        "b": ((4,), "F8_E4M3"),
    }
    assert str(found) == str(path)


def test_broken_files(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.ones(100)}, path)
    whole = path.read_bytes()
    for content in (whole[:-1], whole[:40], whole + b"more", b"", b"<html>not found</html>", b"\xff" * 8 + whole[8:]):
        path.write_bytes(content)
        with pytest.raises(Ex4dError, match=r"x\.safetensors \(\d+ bytes\) is cut off or is no safetensors") as caught:
            WeightFiles([path])
        assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match=r"no file .*y\.safetensors") as caught:
        WeightFiles([tmp_path / "y.safetensors"])
    assert caught.value.code == NOT_FOUND


def test_a_file_that_is_cut_off_after_it_was_opened(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    save_file({"weight": torch.ones(4, 4), "bias": torch.ones(4)}, path)
    weights = WeightFiles([path])
    path.write_bytes(path.read_bytes()[:-8])
    with init_empty_weights():
        net = nn.Linear(4, 4)
    with pytest.raises(Ex4dError, match="cut off"):
        load_into(net, weights, same, dtype=torch.float32)


@pytest.mark.skipif(not Path("/proc/self/maps").is_file(), reason="maps of a process are a file on Linux alone")
def test_a_tensor_of_the_same_type_stays_in_its_file(tmp_path: Path) -> None:
    """So that a model larger than main memory can be opened."""
    weights = files(tmp_path, tensors())
    net, cast = empty(), empty()
    load_into(net, weights, same, dtype=torch.float32)
    load_into(cast, weights, same, dtype=torch.bfloat16)
    places = {}
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, *_, file = line.split()
        first, last = (int(end, 16) for end in span.split("-"))
        for name, module in (("same", net), ("cast", cast)):
            if first <= module.layers[0].weight.data_ptr() < last:
                places[name] = file
    assert places["same"].endswith(".safetensors")
    assert not places["cast"].endswith(".safetensors")
