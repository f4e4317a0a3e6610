# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from ex4d.generate.diffusion.speed.settings import ATTENTION, SPEED_SETTINGS, LoraFile, Speed, read_loras, read_speed
from ex4d.settings import Value, read_settings
from shared_protocol.errors import BAD_INPUT, Ex4dError


def read(**options: Value) -> Speed:
    return read_speed(read_settings(SPEED_SETTINGS, options, "wan"))


def test_everything_is_off_unless_asked_for() -> None:
    assert read() == Speed()
    off = (False, "exact", "none", False, False, False, (), 1)
    speed = read()
    assert (
        speed.compile,
        speed.attention,
        speed.cache,
        speed.fuse_loras,
        speed.batched_cfg,
        speed.distilled,
        speed.loras,
        speed.gpus,
    ) == off


def test_named_sets_turn_switches_on() -> None:
    fast, distilled = read(speed="fast"), read(speed="distilled")
    assert (fast.compile, fast.attention, fast.cache, fast.distilled) == (True, "auto", "auto", False)
    assert (distilled.distilled, distilled.attention, distilled.compile, distilled.cache) == (
        True,
        "auto",
        False,
        "none",
    )


def test_a_switch_set_by_itself_takes_the_place_of_the_set_s() -> None:
    speed = read(speed="fast", compile="off", attention="exact", cache="taylor", batched_cfg="on")
    assert (speed.compile, speed.attention, speed.cache, speed.batched_cfg) == (False, "exact", "taylor", True)


def test_every_attention_that_can_be_chosen_is_known_to_diffusers() -> None:
    from diffusers.models.attention_dispatch import AttentionBackendName

    assert set(ATTENTION.values()) <= {name.value for name in AttentionBackendName}


def test_what_is_resolved_is_recorded_and_read_back() -> None:
    speed = read(speed="fast", loras="a.safetensors:0.5", cache_threshold=0.2, gpus=2, cache="taylor")
    record = json.loads(json.dumps(speed.record()))
    assert record["loras"] == [{"file": "a.safetensors", "strength": 0.5}]
    assert Speed.from_record(record) == speed


@pytest.mark.parametrize(
    ("text", "loras"),
    [
        ("", ()),
        ("a.safetensors", (("a.safetensors", 1.0),)),
        (" a b.safetensors:0.8 ,c.safetensors:-1", (("a b.safetensors", 0.8), ("c.safetensors", -1.0))),
        (r"C:\loras\a.safetensors", ((r"C:\loras\a.safetensors", 1.0),)),
        (r"C:\loras\a.safetensors:2", ((r"C:\loras\a.safetensors", 2.0),)),
    ],
)
def test_loras_are_read_from_text(text: str, loras: tuple[tuple[str, float], ...]) -> None:
    assert read_loras(text) == tuple(LoraFile(Path(file), strength) for file, strength in loras)


@pytest.mark.parametrize(
    "text", ["a.ckpt", "a.safetensors:nan", "a.safetensors:9", "a.safetensors,", ":0.5", "a.safetensors:much"]
)
def test_loras_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(Ex4dError) as error:
        read(loras=text)
    assert error.value.code == BAD_INPUT


def test_gpus_do_not_share_a_cache_that_each_would_judge_for_itself() -> None:
    with pytest.raises(Ex4dError, match="first-block"):
        read(cache="first-block", gpus=2)
    assert read(speed="fast", gpus=2).cache == "auto"


def test_a_window_with_a_cache_has_to_be_run_from_its_start() -> None:
    assert not Speed().remembers(25)
    assert Speed(cache="taylor").remembers(25)
    assert not Speed(cache="taylor").remembers(8)


def test_options_need_no_torch() -> None:
    code = "import sys, ex4d.generate.diffusion.speed.settings; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
