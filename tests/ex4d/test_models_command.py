# SPDX-License-Identifier: Apache-2.0
"""`ex4d models list` and `where`, and what the doctor tells of models and of PyTorch."""

from __future__ import annotations

import json
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest

from ex4d import doctor
from ex4d.cli import main
from ex4d.models.registry import MODELS

LORA = MODELS["lightx2v-4step"].only_file


@pytest.fixture(autouse=True)
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models with one in it, and no other."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / LORA).write_bytes(b"weights")
    return tmp_path / "models"


def test_the_list_tells_size_licence_and_place(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "list"]) == 0
    told = capsys.readouterr().out
    assert f"here: {models / LORA}" in told
    assert "91.4 GB" in told
    assert "CC BY-NC 4.0; NOT free for commercial use" in told
    assert f"downloads go to {models}: " in told
    assert main(["models", "list", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert set(rows) == set(MODELS)
    assert rows["lightx2v-4step"]["path"] == str(models / LORA)
    assert rows["lightx2v-4step"]["bytes"] == 7
    assert rows["depthcrafter"]["path"] is None
    assert not rows["depthcrafter"]["commercial_use"]


def test_where_gives_a_path_for_scripts(models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "where", "lightx2v-4step"]) == 0
    assert capsys.readouterr().out == f"{models / LORA}\n"
    assert main(["models", "where"]) == 0
    assert capsys.readouterr().out.split() == [str(models), str(tmp_path / "home" / "hub")]
    assert main(["models", "where", "ex4d"]) == 2
    assert "ex4d models download ex4d" in capsys.readouterr().err
    assert main(["models", "where", "magic"]) == 2
    assert "'magic'" in capsys.readouterr().err


def test_the_doctor_tells_of_pytorch_and_of_the_models_here(models: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["torch"]["version"] == version("torch")
    (model,) = told["models"]
    assert (model["name"], model["path"], model["size"]) == ("lightx2v-4step", str(models / LORA), 7)
    names = [part["name"] for part in told["wan_parts"]]
    assert {"huggingface_hub", "torch", "diffusers", "transformers"} <= set(names)
    assert len(names) == len(set(names))
    assert not set(names) & {part["name"] for part in told["parts"]}
    licences = {part["name"]: part["licence"] for part in told["wan_parts"]}
    assert "Apache" in licences["safetensors"]  # which names it among its classifiers alone
    assert "see its package" not in licences.values()
    assert main(["doctor"]) == 0
    assert str(models / LORA) in capsys.readouterr().out


def test_cards_are_told_with_their_memory(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    card = SimpleNamespace(name="NVIDIA Test", total_memory=24 * 2**30)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda number: card)
    assert main(["doctor"]) == 0
    assert "NVIDIA Test, 24 GiB" in capsys.readouterr().out


def test_a_pytorch_that_cannot_be_loaded_is_told_not_fallen_over(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    here = doctor.torch_here()
    assert here is not None
    assert "torch" in here.problem
    assert main(["doctor"]) == 0
    assert f"cannot be used: {here.problem}" in capsys.readouterr().out
