# SPDX-License-Identifier: Apache-2.0
"""The check for machines with a GPU, on the CPU with a small model."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from ex4d.generate.diffusion.speed.settings import Speed
from ex4d.models.repository import open_repository
from scripts._gpu_model import Weights
from scripts._gpu_plan import FEW, LARGE, SMALL, TINY, WHOLE, Group, Spec, groups
from scripts._gpu_rows import DISAGREES, FAILED, NOT_RUN, OK, TOO_LOW, Check, Row, judge_memory
from scripts._gpu_table import ANCHORS, line
from scripts._gpu_watch import DECODING, PAINTING, Stage
from scripts._gpu_weights import (
    FULL,
    RandomWeights,
    empty,
    random_repository,
    write_random_adapter,
    write_random_lora,
)
from scripts._tiny_models import write_wan

CPU = torch.device("cpu")
FOREVER = math.inf
EXACT = Group("exact", [Spec("exact", SMALL, FEW)], exact=True)


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Threads that wait for each other take longer than layers this small, where other programs run as well."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Weights:
    folder = tmp_path_factory.mktemp("gpu_check")
    tiny = open_repository(write_wan(folder / "wan"))
    configs = {name: part.config for name, part in tiny.parts.items()}
    return Weights(
        random_repository(configs, tiny.tokenizer, CPU, torch.float32),
        write_random_adapter(folder / "adapter.safetensors", configs, 4, 32, CPU, torch.float32),
        write_random_lora(folder / "distilled.safetensors", configs, 8, CPU, torch.float32),
    )


def rows(weights: Weights, *wanted: Group, deadline: float = FOREVER, only: str = "") -> list[Row]:
    told: list[Row] = []
    found = Check(weights, TINY, deadline, told.append, only).run(wanted)
    assert told == found
    return found


def test_the_model_has_the_size_of_the_released_one() -> None:
    counts = {name: sum(value.numel() for value in empty(name, config).parameters()) for name, config in FULL.items()}
    assert counts["transformer"] == 16_394_878_784
    assert counts["text_encoder"] == 5_680_910_336
    assert counts["vae"] == 126_892_531


def test_random_weights_are_the_same_whenever_they_are_read() -> None:
    shapes = {"proj.weight": (64, 400), "norm.weight": (7,), "proj.bias": (64,)}
    random = RandomWeights(shapes, CPU, torch.float32)
    once, again = dict(random.read(list(shapes))), dict(random.read(["proj.bias", "proj.weight"]))
    assert {name: tuple(value.shape) for name, value in once.items()} == shapes
    assert all(torch.equal(value, once[name]) for name, value in again.items())
    assert float(once["proj.weight"].std()) == pytest.approx(400**-0.5, rel=0.05)
    assert bool((once["norm.weight"] == 1).all())


def test_each_row_tells_times_and_the_way_from_exact(weights: Weights) -> None:
    main = Group("exact", [Spec("exact", SMALL, WHOLE), Spec("cache", SMALL, WHOLE, Speed(cache="taylor"))], exact=True)
    held = Group("block by block", [Spec("profile 24", SMALL, FEW)], profile="24")
    rounded = Group("float8", [Spec("float8", SMALL, FEW)], weights="float8")
    exact, cached, block, float8 = rows(weights, main, held, rounded)
    assert [row.state for row in (exact, cached, block, float8)] == [OK] * 4
    steps = TINY.sizes[SMALL].steps
    assert (exact.steps_timed, cached.steps_timed, block.steps_timed) == (steps, steps, FEW)
    assert exact.computed == 1.0
    assert cached.computed == pytest.approx(0.6)
    assert cached.deviation is not None
    assert cached.deviation > 0.01
    assert block.deviation == 0.0
    assert float8.deviation is not None
    assert 0.001 < float8.deviation < 0.05
    for row in (exact, cached, block):
        assert row.step_seconds is not None
        assert row.condition_seconds is not None
        assert row.decode_seconds is not None
        around = row.condition_seconds + row.decode_seconds
        assert row.job_seconds == pytest.approx(around + steps * row.step_seconds)
    assert block.memory["offloaded_groups"] > 0


def test_distilled_rows_take_four_steps_without_guidance(weights: Weights) -> None:
    quick = Group("distilled", [Spec("distilled", SMALL, WHOLE, Speed(distilled=True))], distilled=True)
    (row,) = rows(weights, quick)
    assert (row.state, row.steps_timed, row.job_steps, row.deviation) == (OK, 4, 4, None)
    assert row.computed == 1.0  # of one pass a step


def test_a_row_that_fails_does_not_end_the_others(weights: Weights) -> None:
    broken = Spec("flash", SMALL, FEW, Speed(attention="flash"))
    first = Group("one", [broken, Spec("exact", SMALL, FEW)])
    second = Group("two", [Spec("exact", SMALL, FEW)], profile="none such")
    failed, fine, unknown, after = rows(weights, first, second, EXACT)
    assert (failed.state, fine.state, unknown.state, after.state) == (FAILED, OK, FAILED, OK)
    assert "flash" in failed.why
    assert failed.step_seconds is None


def test_an_exact_profile_that_deviates_is_told(weights: Weights) -> None:
    other = Group("exact", [Spec("exact", SMALL, FEW)], exact=True, distilled=True)  # with one more LoRA
    _, row = rows(weights, other, Group("plain", [Spec("profile 24", SMALL, FEW)], profile="24"))
    assert row.state == DISAGREES


def test_what_there_is_no_time_for_is_listed(weights: Weights) -> None:
    found = rows(weights, *groups(["xformers"]), deadline=time.monotonic())
    assert {row.state for row in found} == {NOT_RUN}
    assert all(row.why.startswith("no time") for row in found)
    assert {"exact", "profile 12", "distilled", "attention xformers", "weights int8"} <= {row.name for row in found}
    (row,) = rows(weights, EXACT, Group("second", EXACT.specs), only="none such, second ", deadline=time.monotonic())
    assert row.group == "second"


def test_a_prediction_below_what_was_taken_is_told() -> None:
    row = Row("exact", "exact", LARGE, "81 x 832x480", anchor="plain")
    stages = {PAINTING: Stage(1.0, reserved=5 << 30), DECODING: Stage(1.0, reserved=7 << 30)}
    judge_memory(row, stages, {PAINTING: 6 << 30, DECODING: 8 << 30})
    assert (row.state, row.peak_bytes, row.predicted_bytes) == (OK, 7 << 30, 8 << 30)
    judge_memory(row, stages, {PAINTING: 4 << 30, DECODING: 8 << 30})
    assert row.state == TOO_LOW
    assert row.notes == ["painting: 5.00 GiB taken, 4.00 GiB predicted"]
    shown = line(row, others=True)
    assert "TOO LOW: memory was predicted too low" in shown
    assert "366 s 71 GB Wan's own code" in shown
    assert "366" not in line(row, others=False)


def test_every_anchor_has_a_row() -> None:
    assert set(ANCHORS) <= {(spec.size, spec.anchor) for group in groups([]) for spec in group.specs} | {
        (LARGE, "cached")
    }


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_without_a_gpu_it_says_so(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    command = [sys.executable, "scripts/gpu_check.py", "--out", str(out)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "no NVIDIA GPU" in done.stderr
    assert not out.exists()


@pytest.mark.slow
def test_the_whole_check_on_the_cpu_without_packages_that_it_has_no_need_of(root: Path, tmp_path: Path) -> None:
    out = tmp_path / "check.json"
    code = f"""
import runpy, sys
for name in ("OpenEXR", "imageio_ffmpeg", "zmq", "msgpack", "gguf"):
    sys.modules[name] = None
sys.argv = ["gpu_check.py", "--tiny", "--out", {str(out)!r}]
runpy.run_path("scripts/gpu_check.py", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(out.read_text())
    assert (report["complete"], report["good"]) == (True, True)
    assert {row["state"] for row in report["rows"]} == {OK}
    assert len(report["rows"]) == sum(len(group.specs) for group in groups([]))
    assert {row["model"] for row in report["depth"] if row["state"] == OK} >= {"vda-large", "depthcrafter", "depth-pro"}
    assert report["parity"]["rows"][0]["latents"] <= 1e-3
