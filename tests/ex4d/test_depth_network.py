# SPDX-License-Identifier: Apache-2.0
"""What all estimators with a network share: which model, licence, memory, and what goes wrong on the way."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ex4d.depth.door import DepthRequest, Estimate, GivesInAll, Nature
from ex4d.depth.network import DEVICE_SETTINGS, Network, NetworkEstimator, is_wide, of_registry
from ex4d.depth.rig import Rig, pick_device
from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Value
from ex4d.values import Clip
from scripts._tiny_depth import write_hub_model, write_vda
from shared_protocol.errors import BAD_INPUT, INTERNAL, LIMIT, UNAVAILABLE, Ex4dError

FREE = Network("free weights", Nature("free weights", "Apache-2.0", True, "depth", True, 4), path=Path("free"))
PAID = Network("paid weights", Nature("paid weights", "CC BY-NC 4.0", False, "depth", True, 4), path=Path("paid"))
CLIP = Clip(np.zeros((3, 4, 6, 3), np.uint8), Fraction(24), "clip")


class Scaled(NetworkEstimator):
    """A network of one weight: depth is that weight. What the tests change are its attributes."""

    name = "scaled"
    label = "Scaled"
    licence = "Apache-2.0"
    commercial_use = True
    gives: GivesInAll = "depth"
    steady = True
    size = 4
    settings = DEVICE_SETTINGS
    every: Sequence[Network] = (PAID, FREE)
    takes = 1000
    weight = 2.0
    error: Exception | None = None
    layers: tuple[nn.Linear, ...] = ()

    def networks(self, values: Mapping[str, Value]) -> Sequence[Network]:
        return self.every

    def peak(self, network: Network, height: int, width: int, values: Mapping[str, Value]) -> int:
        return self.takes

    def files(self, network: Network, place: Path) -> Mapping[str, Path]:
        return {place.name: place}

    def run(
        self, network: Network, place: Path, request: DepthRequest, values: Mapping[str, Value], rig: Rig
    ) -> Iterator[Estimate]:
        layer = rig.hold(nn.Linear(1, 1, bias=False))
        self.layers = (layer,)
        with torch.no_grad():
            layer.weight.fill_(self.weight)
        height, width = request.clip.frames.shape[1:3]
        for index in range(len(request.clip.frames)):
            if self.error is not None and index == 1:
                raise self.error
            value = float(layer(torch.ones(1)).detach())
            yield Estimate(np.full((height, width), value, np.float32), "depth")


def request(**more: object) -> DepthRequest:
    return DepthRequest(**{"clip": CLIP, "options": {}, **more})  # type: ignore[arg-type]


def test_the_best_allowed_network_is_taken() -> None:
    door = Scaled()
    assert door.nature({}, commercial=False).model == "paid weights"
    assert door.nature({}, commercial=True).model == "free weights"
    assert [float(estimate.values[0, 0]) for estimate in door.frames(request())] == [2.0] * 3
    assert door.available() == (True, "")


def test_a_licence_that_does_not_allow_it_is_named() -> None:
    door = Scaled()
    door.every = (PAID,)
    with pytest.raises(Ex4dError, match=r"paid weights may not be used commercially: CC BY-NC 4\.0") as caught:
        door.nature({}, commercial=True)
    assert caught.value.code == UNAVAILABLE
    assert "--no-commercial" in caught.value.hint


def test_missing_packages_and_weights_name_what_brings_them(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    door = Scaled()
    door.every = (
        of_registry("vda-large", "disparity", steady=True),
        of_registry("vda-small", "disparity", steady=True),
    )
    works, reason = door.available()
    assert not works
    assert "ex4d models download vda-small" in reason, "the one that is free for commercial use is named first"
    door.packages = ("no_such_package",)
    works, reason = door.available()
    assert not works
    assert "no_such_package not installed" in reason
    assert door.install in reason


def test_depth_files_are_not_left_out_unseen() -> None:
    with pytest.raises(Ex4dError, match="makes no use of them") as caught:
        next(Scaled().frames(request(files=(Path("depth.exr"),))))
    assert caught.value.code == BAD_INPUT


def test_what_does_not_fit_is_told_with_both_numbers_before_anything_is_loaded() -> None:
    door = Scaled()
    door.takes = 1 << 50
    with pytest.raises(
        Ex4dError, match=r"free weights takes 2097152\.0 GiB of main memory here, and [\d.]+ GiB"
    ) as caught:
        next(door.frames(request(options={"precision": "float32"})))
    assert caught.value.code == LIMIT
    assert caught.value.hint
    assert not door.layers
    assert "1048576.0 GiB" in door.fits(4, 6, {"precision": "bfloat16"}, True), "half the bits, half the memory"
    door.takes = 1000
    assert door.fits(4, 6, {}, True) == ""


@pytest.mark.parametrize(
    "error", [MemoryError(), torch.OutOfMemoryError("CUDA out of memory"), RuntimeError("can't allocate memory")]
)
def test_memory_that_runs_out_is_told_and_given_back(error: Exception) -> None:
    door = Scaled()
    door.error = error
    estimates = door.frames(request())
    next(estimates)
    with pytest.raises(Ex4dError, match="memory of the CPU did not suffice for free weights") as caught:
        next(estimates)
    assert caught.value.code == LIMIT
    assert caught.value.__context__ is None, "which would keep alive what it failed with"
    assert list(door.layers[0].parameters()) == []


def test_other_failures_are_not_taken_for_lack_of_memory() -> None:
    door = Scaled()
    door.error = Ex4dError("CANCELLED", "cancelled")
    with pytest.raises(Ex4dError, match="cancelled"):
        list(door.frames(request()))
    assert list(door.layers[0].parameters()) == []
    door.error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        list(door.frames(request()))


def test_networks_may_be_loaded_by_several_threads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    write_vda(tmp_path / "vda-small")
    write_hub_model(tmp_path / "depth-anything-small")
    clip = Clip(np.zeros((1, 28, 42, 3), np.uint8), Fraction(24), "clip")
    options = {"video-depth-anything": {"input_size": 28}, "depth-anything": {}}

    def depth(name: str) -> np.ndarray:
        (estimate,) = DEPTH_DOORS[name].frames(DepthRequest(clip, options[name]))
        return estimate.values

    names = [*options] * 3
    with ThreadPoolExecutor(len(names)) as threads:
        found = dict(zip(names, threads.map(depth, names), strict=True))
    for name in options:
        assert np.array_equal(found[name], depth(name))


def test_whoever_stops_early_gets_the_memory_back_at_once() -> None:
    door = Scaled()
    estimates = door.frames(request())
    next(estimates)
    assert list(door.layers[0].parameters())
    estimates.close()  # type: ignore[attr-defined]
    assert list(door.layers[0].parameters()) == []


@pytest.mark.parametrize(
    ("weight", "options", "hint"),
    [(float("inf"), {"precision": "bfloat16"}, "float32"), (float("nan"), {"precision": "float32"}, "verify")],
)
def test_what_is_no_number_is_told_with_its_frame(weight: float, options: dict[str, Value], hint: str) -> None:
    door = Scaled()
    door.weight = weight
    with pytest.raises(Ex4dError, match="gave no numbers for frame 1") as caught:
        list(door.frames(request(options=options)))
    assert caught.value.code == INTERNAL
    assert hint in caught.value.hint


def test_where_it_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == pick_device("cpu") == torch.device("cpu")
    with pytest.raises(Ex4dError, match="finds no GPU") as caught:
        pick_device("cuda")
    assert caught.value.code == UNAVAILABLE
    assert is_wide({"device": "auto", "precision": "auto"})
    assert not is_wide({"device": "auto", "precision": "float16"})
    with Rig("auto", "auto", "bfloat16") as rig:
        assert (rig.precision, rig.dtype) == ("float32", torch.float32)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)
    rig = Rig("auto", "auto", "bfloat16")
    assert (rig.device, rig.dtype) == (torch.device("cuda", 1), torch.bfloat16)
    assert Rig("auto", "auto").dtype == torch.float16
