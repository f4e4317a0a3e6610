# SPDX-License-Identifier: Apache-2.0
"""The GPU check's rows of depth, on the CPU with small models; and the sizes of those that it runs on a GPU."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ex4d.depth.choose import BEST_FIRST
from ex4d.depth.da3 import DepthAnything3
from ex4d.depth.hub import DepthAnything
from ex4d.models.registry import MODELS
from scripts import _gpu_depth
from scripts._gpu_depth import SPECS, DepthRow, Spec, depth_rows, heading, judge, line
from scripts._gpu_depth_weights import anything, crafter_shapes, depth_pro, hub_shapes, write_full
from scripts._gpu_rows import FAILED, NOT_RUN, OK, TOO_LOW

CPU = torch.device("cpu")


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than layers this small."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def numbers(shapes: object) -> int:
    assert isinstance(shapes, dict)
    return sum(math.prod(shape) for shape in shapes.values())


def test_every_estimator_with_a_network_has_a_row() -> None:
    assert {spec.estimator for spec in SPECS} == set(BEST_FIRST)
    assert all(spec.model in MODELS for spec in SPECS)


def test_each_row_in_small() -> None:
    before = dict(os.environ)
    told: list[DepthRow] = []
    found = depth_rows(True, math.inf, told.append)
    assert told == found
    assert dict(os.environ) == before
    for row in found:
        if row.estimator == DepthAnything3.name and DepthAnything3().missing():
            assert (row.state, "not installed" in row.why) == (NOT_RUN, True)
            continue
        assert (row.state, row.why) == (OK, "")
        assert row.frames_per_second == pytest.approx(4 / row.seconds)  # type: ignore[operator]
        assert row.predicted_bytes is not None
        assert row.peak_bytes is None, "a CPU's memory is not measured"
        assert row.model in line(row)
    assert len(line(found[0]).split(OK)[0]) == len(heading().split("state")[0])


def test_a_row_that_fails_does_not_end_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: str, root: Path, device: torch.device) -> None:
        raise ValueError("no such weights")

    monkeypatch.setattr(_gpu_depth, "write_tiny", broken)
    spec = Spec("depth-anything", "depth-anything-small", 4, 1.0)
    rows = depth_rows(True, math.inf, lambda row: None, [spec, spec])
    assert [row.state for row in rows] == [FAILED] * 2
    assert "no such weights" in rows[0].why


def test_what_there_is_no_time_for_is_not_begun() -> None:
    (row,) = depth_rows(True, 0.0, lambda row: None, SPECS[:1])
    assert row.state == NOT_RUN
    assert "no time" in row.why


def test_a_prediction_that_is_too_low_is_bad() -> None:
    row = DepthRow("depth-anything", "depth-anything-small", "4 x 64x48")
    judge(row, 3 << 30, 4 << 30)
    assert (row.state, row.peak_bytes, row.predicted_bytes) == (OK, 3 << 30, 4 << 30)
    judge(row, 5 << 30, 4 << 30)
    assert (row.state, row.why) == (TOO_LOW, "5.00 GiB taken, 4.00 GiB predicted")


def test_models_have_the_size_of_the_published_ones() -> None:
    assert numbers(hub_shapes(anything("small"))) == 24_785_089
    assert numbers(hub_shapes(anything("base"))) == 97_470_785
    assert numbers(hub_shapes(depth_pro())) == 951_991_330
    unet, vae, encoder = (numbers(shapes) for shapes in crafter_shapes().values())
    assert (unet, vae, encoder) == (1_524_623_082, 97_742_847, 632_076_800)


def test_one_of_full_size_is_read_as_it_is_published(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    write_full("depth-anything-small", tmp_path, CPU)
    door = DepthAnything()
    network, values = door.chosen({"model": "depth-anything-small", "precision": "float16"}, commercial=True)
    assert network.model == "depth-anything-small"
    file = tmp_path / "depth-anything-small" / "model.safetensors"
    assert file.stat().st_size == pytest.approx(MODELS["depth-anything-small"].size, rel=0.01)
    assert 0.8e9 < door.peak(network, 576, 1024, values) < 1.2e9
