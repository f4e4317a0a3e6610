# SPDX-License-Identifier: Apache-2.0
"""The `wan` generator through the path that loads released weights, on small random ones."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel

from ex4d.generate import GENERATORS, GenerateRequest
from ex4d.generate.diffusion import unfinished
from ex4d.generate.diffusion.memory import Profile
from ex4d.generate.diffusion.rig import Networks
from ex4d.generate.wan.kit import WanKit
from ex4d.values import U8, Conditioning
from scripts._tiny_models import write_adapter, write_lora, write_vace, write_wan
from shared_protocol.errors import BAD_INPUT, CANCELLED, LIMIT, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError

WAN = GENERATORS["wan"]
SIDE = 48


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    write_wan(folder / "wan")
    write_adapter(folder / "ex4d.safetensors")
    write_lora(folder / "lora.safetensors")
    return folder


def conditioning(frames: int, side: int = SIDE) -> Conditioning:
    """A patch of noise that moves, on black."""
    texture = np.random.default_rng(5).integers(0, 256, (side, 2 * side, 3), np.uint8)
    colour = np.stack([texture[:, k : k + side] for k in range(frames)])
    mask = np.ones((frames, side, side), bool)
    mask[1:, :, side // 2 :] = False
    colour = colour * mask[..., None]
    return Conditioning(colour=colour, mask=mask, coverage=mask.mean((1, 2)), fps=Fraction(24))


class Run:
    """One run of the generator, and what it told."""

    def __init__(self, models: Path, frames: int = 5, **settings: Any) -> None:
        self.told: list[tuple[str, int, int]] = []
        self.glimpses: list[U8] = []
        self.record: dict[str, Any] = {}
        self.seed = settings.pop("seed", 0)
        self.wanted = settings.pop("wanted", range(frames))
        self.scratch: Path | None = settings.pop("scratch", None)
        self.stop: Callable[[str, int], bool] = settings.pop("stop", lambda phase, done: False)
        self.given = settings.pop("given", None) or conditioning(frames)
        weights = {"model": str(models / "wan"), "adapter": str(models / "ex4d.safetensors")}
        self.options = {**weights, "steps": 2, "width": SIDE, "height": SIDE, **settings}

    def progress(self, phase: str, done: int, total: int) -> None:
        self.told.append((phase, done, total))
        if self.stop(phase, done):
            raise Ex4dError(CANCELLED, "Cancelled.")

    def frames(self) -> dict[int, U8]:
        request = GenerateRequest(
            self.given,
            self.seed,
            self.options,
            self.wanted,
            self.progress,
            self.glimpses.append,
            self.record.update,
            self.scratch,
        )
        return dict(WAN.frames(request))

    def steps(self) -> int:
        """How many steps were begun or taken up."""
        return len({done for phase, done, _ in self.told if phase == "Painting"}) - 1


def same(one: dict[int, U8], other: dict[int, U8]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(frame, other[index]) for index, frame in one.items())


@pytest.fixture(scope="module")
def plain(models: Path) -> dict[int, U8]:
    return Run(models).frames()


def test_all_frames_come_in_the_size_that_is_told(models: Path, plain: dict[int, U8]) -> None:
    assert list(plain) == list(range(5))
    assert {frame.shape for frame in plain.values()} == {(SIDE, SIDE, 3)}
    assert WAN.size(1920, 1080, {"quality": "480p"}) == (848, 480)
    assert WAN.size(1080, 1920, {"quality": "480p"}) == (480, 848)
    assert WAN.size(512, 512, {}) == (512, 512)  # as the public code has it
    assert WAN.size(640, 480, {})[0] % 16 == 0


def test_the_same_request_gives_the_same_frames_and_another_seed_others(models: Path, plain: dict[int, U8]) -> None:
    assert same(Run(models).frames(), plain)
    assert not same(Run(models, seed=1).frames(), plain)
    assert not same(Run(models, prompt="a red car").frames(), plain)


def test_a_frame_alone_has_the_same_pixels(models: Path, plain: dict[int, U8]) -> None:
    alone = Run(models, wanted=[3]).frames()
    assert same(alone, {3: plain[3]})
    assert Run(models, wanted=[]).frames() == {}


@pytest.mark.parametrize("frames", [1, 2, 7])
def test_any_number_of_frames(models: Path, frames: int) -> None:
    made = Run(models, frames).frames()
    assert list(made) == list(range(frames))


def test_conditioning_of_another_size_is_brought_to_the_working_size(models: Path) -> None:
    made = Run(models, given=conditioning(5, 80)).frames()
    assert made[0].shape == (SIDE, SIDE, 3)


def test_a_long_shot_goes_through_windows(models: Path) -> None:
    run = Run(models, 21, window=13, overlap=5)
    made = run.frames()
    assert list(made) == list(range(21))
    windows = run.record["windows"]
    assert len(windows) == 2  # 13 frames, and 8 more
    assert windows[1]["overlap"] >= 5
    assert run.steps() == 2 * len(windows)


def test_it_tells_how_far_it_is_and_how_it_looks(models: Path) -> None:
    run = Run(models, steps=4, glimpse_every=2)
    run.frames()
    painting = [(done, total) for phase, done, total in run.told if phase == "Painting"]
    assert painting == [(0, 4), (1, 4), (2, 4), (3, 4), (4, 4)]
    assert len(run.glimpses) == 2
    assert run.glimpses[0].ndim == 3
    assert not np.array_equal(run.glimpses[0], run.glimpses[1])


def test_the_side_car_names_weights_and_what_took_effect(models: Path) -> None:
    run = Run(models)
    run.frames()
    assert set(run.record) >= {"weights", "sampling", "memory", "speed", "device", "windows", "notes"}
    assert all(len(sha256) == 64 for sha256 in run.record["weights"].values())
    assert any("transformer" in name for name in run.record["weights"])
    assert any("ex4d" in name for name in run.record["weights"])
    assert dict(WAN.identity(run.options)) == run.record["weights"]


def test_cancelled_within_a_step(models: Path) -> None:
    run = Run(models, steps=6, stop=lambda phase, done: phase == "Painting" and done == 2)
    with pytest.raises(Ex4dError) as stopped:
        run.frames()
    assert stopped.value.code == CANCELLED
    assert run.steps() == 2


@pytest.mark.parametrize("at", [("Painting", 3), ("Painting", 6), ("Developing the frames", 1)])
def test_a_run_that_was_stopped_goes_on_from_its_last_latents(
    models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[str, int]
) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    settings = {"frames": 21, "window": 13, "overlap": 5, "steps": 4}
    whole = Run(models, **settings).frames()
    first = Run(models, **settings, scratch=tmp_path, stop=lambda phase, done: (phase, done) == at)
    with pytest.raises(Ex4dError):
        first.frames()
    second = Run(models, **settings, scratch=tmp_path)
    assert same(second.frames(), whole)
    begun = next((done for phase, done, _ in second.told if phase == "Painting"), 8)
    assert begun >= min(at[1], 4)
    assert not list(tmp_path.iterdir())  # nothing is left behind


def test_what_another_request_left_is_not_used(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unfinished, "EVERY", 0.0)
    first = Run(models, scratch=tmp_path, steps=4, stop=lambda phase, done: (phase, done) == ("Painting", 3))
    with pytest.raises(Ex4dError):
        first.frames()
    second = Run(models, scratch=tmp_path, steps=4, seed=3)
    assert same(second.frames(), Run(models, steps=4, seed=3).frames())
    assert any("something else" in note for note in second.record["notes"])


def out_of_memory_at(monkeypatch: pytest.MonkeyPatch, calls: set[int]) -> None:
    """Lets the transformer's n-th passes fail as they do when a GPU's memory runs out."""
    forward, count = WanTransformer3DModel.forward, [0]

    def failing(self: WanTransformer3DModel, *args: Any, **kwargs: Any) -> Any:
        count[0] += 1
        if count[0] in calls:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return forward(self, *args, **kwargs)

    monkeypatch.setattr(WanTransformer3DModel, "forward", failing)


def test_out_of_memory_goes_on_one_profile_smaller(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_at(monkeypatch, {4})
    run = Run(models, profile="24", steps=4)
    assert len(run.frames()) == 5
    went_on_in = run.record["memory"]["profile"]
    assert went_on_in in ("16", "12", "8")
    assert run.record["options"]["profile"] == went_on_in
    assert any("'24'" in note and f"'{went_on_in}'" in note for note in run.record["notes"])
    taken_up = [done for phase, done, _ in run.told if phase == "Painting"]
    assert taken_up == [0, 1, 1, 2, 3, 4]  # the step that failed is done again, those before it are not


def test_out_of_memory_while_the_model_comes_goes_on_one_profile_smaller(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks, profiles = WanKit.networks, []

    def failing(self: WanKit, profile: Profile, *rest: Any) -> Networks:
        profiles.append(profile.name)
        if len(profiles) == 1:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return networks(self, profile, *rest)

    monkeypatch.setattr(WanKit, "networks", failing)
    run = Run(models, profile="24")
    assert len(run.frames()) == 5
    assert profiles[0] == "24"
    assert profiles[1:] == [run.record["memory"]["profile"]] != ["24"]


def test_main_memory_that_runs_out_is_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: Any, **__: Any) -> Any:
        raise RuntimeError(
            "[enforce fail at alloc_cpu.cpp:127] . DefaultCPUAllocator: can't allocate memory: you tried"
        )

    monkeypatch.setattr(WanTransformer3DModel, "forward", failing)
    with pytest.raises(Ex4dError, match="Main memory ran out") as refused:
        Run(models).frames()
    assert refused.value.code == LIMIT
    assert "smaller" in refused.value.message


def test_out_of_memory_in_the_smallest_profile_is_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out_of_memory_at(monkeypatch, {1})
    with pytest.raises(Ex4dError, match="no smaller") as refused:
        Run(models, profile="8").frames()
    assert refused.value.code == LIMIT


@pytest.mark.parametrize(
    ("settings", "took_effect"),
    [
        ({"profile": "24"}, lambda record: record["memory"]["offloaded_groups"] > 0),
        ({"profile": "16"}, lambda record: record["memory"]["cast_layers"] > 0),
        ({"profile": "12"}, lambda record: record["memory"]["vae_tiling"]),
        ({"profile": "8"}, lambda record: record["memory"]["layers"].keys() == {"float8_e4m3fn"}),
        ({"weights": "int8", "profile": "48"}, lambda record: "bfloat16" not in record["memory"]["layers"]),
        ({"vae_tiling": "on"}, lambda record: record["memory"]["vae_tiling"]),
        ({"batched_cfg": "on"}, lambda record: record["speed"]["batched_cfg"]),
        ({"cache": "first-block", "steps": 9}, lambda record: record["speed"]["cache"] == "first-block"),
        ({"cache": "taylor", "steps": 9}, lambda record: record["speed"]["cache"] == "taylor"),
        ({"fuse_loras": "on"}, lambda record: record["fused"] is True),
        (
            {"fuse_loras": "on", "profile": "16"},
            lambda record: "fuse_loras" not in record["speed"]["deviations"] and "float8" in record["notes"][0],
        ),
        ({"adapter_strength": 0.5}, lambda record: record["adapter"]["strength"] == 0.5),
        ({"attention": "math"}, lambda record: record["speed"]["attention"] == "_native_math"),
    ],
    ids=lambda value: " ".join(f"{k} {v}" for k, v in value.items()) if isinstance(value, dict) else "",
)
def test_each_option_takes_effect(
    models: Path, settings: dict[str, Any], took_effect: Callable[[dict[str, Any]], bool]
) -> None:
    run = Run(models, **settings)
    made = run.frames()
    assert len(made) == 5
    assert took_effect(run.record), run.record


def test_a_lora_beside_the_adapter(models: Path, plain: dict[int, U8]) -> None:
    run = Run(models, loras=f"{models / 'lora.safetensors'}:0.7")
    assert not same(run.frames(), plain)
    assert run.record["loras"][0]["strength"] == 0.7
    assert any(name.startswith("lora/") for name in run.record["weights"])


def test_offloading_changes_no_pixel(models: Path) -> None:
    assert same(Run(models, profile="24").frames(), Run(models, profile="48").frames())


def test_the_menu_says_why_it_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    works, reason = WAN.available()
    assert not works
    assert "ex4d models download wan-i2v-14b-480p" in reason
    with pytest.raises(Ex4dError, match="download") as refused:
        WAN.identity({})
    assert refused.value.code == UNAVAILABLE


def test_the_usual_places_are_enough(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "wan-i2v-14b-480p").symlink_to(models / "wan")
    (tmp_path / "ex4d.safetensors").symlink_to(models / "ex4d.safetensors")
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    assert WAN.available() == (True, "")
    assert len(WAN.identity({})) > 3


@pytest.mark.parametrize(
    ("settings", "code", "says"),
    [
        ({"model": "nowhere"}, NOT_FOUND, "nowhere"),
        ({"model": "vace"}, UNSUPPORTED, "VACE"),
        ({"adapter": "nowhere.safetensors"}, NOT_FOUND, "There is no file .*nowhere.* Name the EX-4D checkpoint"),
        ({"adapter": "vace"}, NOT_FOUND, "vace is a folder"),
        ({"adapter": "short.safetensors"}, BAD_INPUT, r"short\.safetensors"),
        ({"adapter": "old.ckpt"}, UNAVAILABLE, "ex4d models convert"),
        ({"loras": "nowhere.safetensors"}, NOT_FOUND, "nowhere"),
        ({"width": 50}, BAD_INPUT, "16"),
        ({"sharpness": 3}, BAD_INPUT, "sharpness"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_told_before_anything_is_loaded(
    models: Path, tmp_path: Path, settings: dict[str, Any], code: str, says: str
) -> None:
    write_vace(tmp_path / "vace")
    whole = (models / "ex4d.safetensors").read_bytes()
    (tmp_path / "short.safetensors").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "old.ckpt").write_bytes(b"")
    here = {
        name: str(tmp_path / value) if name in ("model", "adapter", "loras") else value
        for name, value in settings.items()
    }
    run = Run(models, **here)
    with pytest.raises(Ex4dError, match=says) as refused:
        run.frames()
    assert refused.value.code == code
    assert not [phase for phase, _, _ in run.told if phase.startswith("Loading")]
