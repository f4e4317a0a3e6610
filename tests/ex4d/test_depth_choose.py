# SPDX-License-Identifier: Apache-2.0
"""Which estimator "auto" takes, and what it says of it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import ex4d.depth.rig
from ex4d.depth.choose import BEST_FIRST, FIRST_MODEL, LAST, choose_estimator
from ex4d.depth.door import DepthRequest
from ex4d.depth.table import DEPTH_DOORS
from ex4d.models.registry import MODELS
from ex4d.values import Clip
from scripts._tiny_depth import write_hub_model
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine without any model, but for what a test writes into this folder."""
    folder = tmp_path / "models"
    monkeypatch.setenv("EX4D_MODELS", str(folder))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    return folder


def test_every_estimator_has_its_place_in_the_order() -> None:
    assert {*BEST_FIRST, LAST, "file"} == set(DEPTH_DOORS)
    assert MODELS[FIRST_MODEL].commercial_use


def test_without_weights_it_is_the_draft_and_one_command_is_named(models: Path) -> None:
    choice = choose_estimator("auto", (), {}, 48, 64)
    assert choice.door.name == "draft"
    said, better = choice.notes
    assert said.startswith("depth by draft, the best that can be used here; not on this machine: ")
    assert len(said) < 200
    assert better == "`ex4d models download vda-metric-small` would give better depth"


def test_without_packages_these_are_named_first(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ex4d.depth.choose.find_spec", lambda name: None)
    assert "pip install 'ex4d-blender[depth]'` and `ex4d models" in choose_estimator("auto", (), {}).notes[1]


def test_the_best_that_is_here_and_allowed(models: Path) -> None:
    write_hub_model(models / "depth-anything-small")
    write_hub_model(models / "depth-pro", "depth_pro")
    choice = choose_estimator("auto", (), {}, 48, 64)
    assert choice.door.name == "depth-anything"
    (said,) = choice.notes
    assert "depth by depth-anything (depth-anything-small)" in said
    assert "not for commercial use: depth-pro" in said
    assert "draft" not in said
    free = choose_estimator("auto", (), {"commercial": False}, 48, 64)
    assert free.door.name == "depth-pro"
    assert free.stage["commercial"] is False


def test_what_does_not_fit_is_passed_over(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hub_model(models / "depth-anything-small")
    monkeypatch.setattr(ex4d.depth.rig, "free_bytes", lambda device: 1 << 20)
    choice = choose_estimator("auto", (), {}, 48, 64)
    assert choice.door.name == "draft"
    assert "depth-anything-small takes" in choice.notes[0]
    assert "0.0 GiB are free: depth-anything" in choice.notes[0]
    assert choose_estimator("auto", (), {}).door.name == "depth-anything", "the size is not known yet"


def test_a_smaller_model_is_taken_where_the_best_does_not_fit(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hub_model(models / "depth-anything-small")
    write_hub_model(models / "depth-anything-large", fusion_hidden_size=64)
    door = DEPTH_DOORS["depth-anything"]
    values = choose_estimator(door.name, (), {"commercial": False}).options
    assert values["model"] == "depth-anything-large", "nothing is left open"
    networks = {network.model: network for network in door.networks({**values, "model": "auto"})}
    small, large = (door.peak(networks[f"depth-anything-{size}"], 48, 64, values) for size in ("small", "large"))
    monkeypatch.setattr(ex4d.depth.rig, "free_bytes", lambda device: 2 * large - 1)  # of 32 bits
    assert small < large - 1
    for name, notes in ((door.name, 1), ("auto", 2)):
        choice = choose_estimator(name, (), {"commercial": False}, 48, 64)
        assert (choice.door, choice.options["model"]) == (door, "depth-anything-small")
        assert len(choice.notes) == notes
        assert choice.notes[-1].startswith("depth-anything-large takes 0.")
        assert choice.notes[-1].endswith("GiB are free: depth-anything-small is taken instead")
    asked = {"commercial": False, "model": "depth-anything-large"}
    assert choose_estimator(door.name, (), asked, 48, 64).options["model"] == "depth-anything-large"
    assert "depth-anything-large takes" in choose_estimator("auto", (), asked, 48, 64).notes[0]
    clip = Clip(np.zeros((1, 48, 64, 3), np.uint8), Fraction(24), "clip")
    assert len(list(door.frames(DepthRequest(clip, {}, commercial=False)))) == 1, "the same without being chosen first"


def test_a_gpu_that_is_asked_for_and_missing_is_the_reason_told(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_hub_model(models / "depth-anything-small")
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    choice = choose_estimator("auto", (), {"device": "cuda"}, 48, 64)
    assert choice.door.name == "draft"
    assert "PyTorch finds no GPU here: depth-anything" in choice.notes[0]


def test_options_of_another_estimator_are_left_out_and_told(models: Path) -> None:
    choice = choose_estimator("auto", (), {"device": "cpu", "steady": "off"})
    assert choice.options == {}
    assert choice.stage["steady"] == "off"
    assert choice.notes[-1] == "draft has no option device: left out"
    write_hub_model(models / "depth-anything-small")
    assert choose_estimator("auto", (), {"device": "cpu"}).options["device"] == "cpu"


def test_wrong_options_and_names_are_refused(models: Path) -> None:
    with pytest.raises(Ex4dError, match="has an option 'colour'") as caught:
        choose_estimator("auto", (), {"colour": "red"})
    assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match="no depth estimator called 'magic'"):
        choose_estimator("magic", (), {})
    with pytest.raises(Ex4dError, match="'draft' has no option 'device'"):
        choose_estimator("draft", (), {"device": "cpu"})
    with pytest.raises(Ex4dError, match="There is no steady 'very'"):
        choose_estimator("auto", (), {"steady": "very"})


def test_files_are_taken_unless_another_is_named(models: Path) -> None:
    files = (Path("depth.exr"),)
    assert choose_estimator("auto", files, {}).door.name == "file"
    assert choose_estimator("draft", files, {}).door.name == "draft", "which refuses them itself"


def test_one_that_is_named_works_with_weights_from_a_path_alone(models: Path, tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="ex4d models download depth-anything-small") as caught:
        choose_estimator("depth-anything", (), {})
    assert caught.value.code == UNAVAILABLE
    brought = str(write_hub_model(tmp_path / "mine"))
    choice = choose_estimator("depth-anything", (), {"model": brought, "commercial": False})
    assert (choice.door.name, choice.options["model"], choice.notes) == ("depth-anything", brought, ())
    with pytest.raises(Ex4dError, match="may not be used commercially: not known"):
        choose_estimator("depth-anything", (), {"model": brought})
