# SPDX-License-Identifier: Apache-2.0
"""The `wan-vace` generator through the path that loads released weights, on small random ones.

What it shares with `wan`, loop, windows, memory and speed, is in `test_wan_generator.py`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ex4d.cameras import preset_path, static_source
from ex4d.generate import GenerateRequest, Generator
from ex4d.generate.diffusion import unfinished
from ex4d.generate.diffusion.memory import CPU
from ex4d.generate.diffusion.speed.settings import LoraFile
from ex4d.generate.vace.generator import VaceGenerator
from ex4d.generate.vace.job import source_picture
from ex4d.generate.vace.kit import VaceKit
from ex4d.generate.vace.model import Showing
from ex4d.models.repository import open_repository
from ex4d.scene import build_scene
from ex4d.values import U8, Clip, Conditioning, DepthVideo, Shot, ShotConditioning
from scripts._tiny_models import write_lora, write_vace, write_wan
from shared_protocol.errors import BAD_INPUT, CANCELLED, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError

VACE: Generator = VaceGenerator()
HEIGHT, WIDTH = 32, 48


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_vace(folder / "vace")
    write_wan(folder / "wan")
    return folder


def conditioning(frames: int = 5, first_seen: bool = True) -> Conditioning:
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (frames, HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = np.ones((frames, HEIGHT, WIDTH), np.bool_)
    mask[int(first_seen) :, :, : WIDTH // 3] = False
    return Conditioning(colour=colour, mask=mask, coverage=mask.mean((1, 2)), fps=Fraction(24))


def run(
    models: Path,
    given: Conditioning | None = None,
    record: dict[str, Any] | None = None,
    scratch: Path | None = None,
    stop_at: tuple[str, int] | None = None,
    seed: int = 0,
    **settings: Any,
) -> dict[int, U8]:
    given = conditioning() if given is None else given

    def progress(phase: str, done: int, total: int) -> None:
        if (phase, done) == stop_at:
            raise Ex4dError(CANCELLED, "Cancelled.")

    options = {"model": str(models / "vace"), "steps": 2, "width": WIDTH, "height": HEIGHT, **settings}
    request = GenerateRequest(
        given, seed, options, range(len(given.mask)), progress,
        record=lambda facts: None if record is None else record.update(facts), scratch=scratch,
    )  # fmt: skip
    return dict(VACE.frames(request))


def same(one: dict[int, U8], other: dict[int, U8]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(frame, other[index]) for index, frame in one.items())


@pytest.fixture(scope="module")
def plain(models: Path) -> dict[int, U8]:
    return run(models)


def test_a_conditioning_becomes_frames(models: Path, plain: dict[int, U8]) -> None:
    record: dict[str, Any] = {}
    assert same(run(models, record=record), plain)
    assert list(plain) == list(range(5))
    assert {frame.shape for frame in plain.values()} == {(HEIGHT, WIDTH, 3)}
    assert not same(run(models, seed=1), plain)
    assert record["model"] == "Wan2.1-VACE"
    assert dict(VACE.identity({"model": str(models / "vace")})) == record["weights"]


def test_a_long_shot_goes_through_windows(models: Path) -> None:
    record: dict[str, Any] = {}
    made = run(models, conditioning(14), record, window=9, overlap=5)
    assert list(made) == list(range(14))
    assert len(record["windows"]) == 3


@pytest.mark.parametrize(
    "settings",
    [{"conditioning_scale": 0.5}, {"edge": 0}, {"reference": True}, {"shift": 16.0}, {"prompt": "a red car"}],
    ids=lambda settings: next(iter(settings)),
)
def test_each_option_has_a_say(models: Path, plain: dict[int, U8], settings: dict[str, Any]) -> None:
    assert not same(run(models, **settings), plain)


@pytest.mark.parametrize(
    ("settings", "took_effect"),
    [
        ({"profile": "24"}, lambda record: record["memory"]["offloaded_groups"] > 0),
        ({"profile": "12"}, lambda record: record["memory"]["cast_layers"] > 0 and record["memory"]["vae_tiling"]),
        ({"profile": "8"}, lambda record: record["memory"]["layers"].keys() == {"float8_e4m3fn"}),
        ({"profile": "48", "weights": "int8"}, lambda record: "bfloat16" not in record["memory"]["layers"]),
        ({"cache": "taylor", "steps": 9}, lambda record: record["speed"]["cache"] == "taylor"),
        ({"batched_cfg": "on"}, lambda record: record["speed"]["batched_cfg"]),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_memory_and_speed_are_those_of_every_model(
    models: Path, settings: dict[str, Any], took_effect: Callable[[dict[str, Any]], bool]
) -> None:
    record: dict[str, Any] = {}
    assert len(run(models, record=record, **settings)) == 5
    assert took_effect(record), record


def test_offloading_changes_no_pixel(models: Path) -> None:
    assert same(run(models, profile="24", reference=True), run(models, profile="48", reference=True))


def test_a_run_with_a_reference_goes_on_where_it_was_stopped(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    settings: dict[str, Any] = {"given": conditioning(13), "window": 9, "overlap": 5, "steps": 3, "reference": True}
    whole = run(models, **settings)
    with pytest.raises(Ex4dError):
        run(models, **settings, scratch=tmp_path, stop_at=("Painting", 5))  # of 6
    assert list(tmp_path.iterdir())
    assert same(run(models, **settings, scratch=tmp_path), whole)


def test_a_reference_is_the_source_at_the_first_frame_of_the_shot() -> None:
    frames = np.arange(3, dtype=np.uint8)[:, None, None, None].repeat(16, 1).repeat(24, 2).repeat(3, 3)
    scene = build_scene(
        Clip(frames, Fraction(24), "levels"), DepthVideo(np.full((3, 16, 24), 2.0, np.float32), "file", False)
    )
    source = replace(static_source(scene, 2), frame=np.array([2, 1], np.int32))
    shot = Shot(scene, preset_path("30", 2, scene.pivot, scene.intrinsics, Fraction(24)), source)
    given = conditioning(2, first_seen=False)
    assert (source_picture(ShotConditioning(**vars(given), shot=shot)) == 2).all()


def test_a_reference_needs_a_picture_of_the_source(models: Path) -> None:
    with pytest.raises(Ex4dError, match="67% of the first frame is seen") as refused:
        run(models, conditioning(first_seen=False), reference=True)
    assert refused.value.code == BAD_INPUT


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"model": "nowhere"}, NOT_FOUND, "nowhere"),
        ({"model": "wan"}, UNSUPPORTED, r"Wan2\.1-VACE is wanted"),
        ({"cache": "first-block"}, BAD_INPUT, "taylor"),
        ({"speed": "distilled"}, BAD_INPUT, "exact, fast"),
        ({"adapter": "ex4d.safetensors"}, BAD_INPUT, "no option 'adapter'"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_it_cannot_do_is_told(models: Path, settings: dict[str, Any], code: str, says: str) -> None:
    given = {name: str(models / value) if name == "model" else value for name, value in settings.items()}
    with pytest.raises(Ex4dError, match=says) as refused:
        run(models, **given)
    assert refused.value.code == code


def test_the_menu_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    works, reason = VACE.available()
    assert not works
    assert "ex4d models download wan-vace-1.3b" in reason
    with pytest.raises(Ex4dError, match="download") as refused:
        VACE.identity({})
    assert refused.value.code == UNAVAILABLE


def test_the_usual_place_is_enough(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wan-vace-1.3b").symlink_to(models / "vace")
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    assert VACE.available() == (True, "")
    assert len(VACE.identity({})) > 3


def test_another_gpu_gets_the_same_transformer(models: Path, tmp_path: Path) -> None:
    lora = LoraFile(write_lora(tmp_path / "lora.safetensors"), 0.7)
    repository, device = open_repository(models / "vace", "vace"), torch.device("cpu")
    kit = VaceKit(repository, loras=[lora], fuse=False, gguf=None, device=device, showing=Showing())
    here = kit.networks(CPU, device, lambda *_: None).transformer
    maker = kit.maker(CPU)
    module, function = maker.function.split(":")
    there = getattr(import_module(module), function)(device, **json.loads(json.dumps(maker.arguments)))
    ours, theirs = here.state_dict(), there.state_dict()
    assert any("lora_A" in name for name in ours)
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in ours.items())
