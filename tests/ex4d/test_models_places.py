# SPDX-License-Identifier: Apache-2.0
"""Where models are looked for, and what is taken for a whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from ex4d.models.command import described
from ex4d.models.places import find_model, folder_of, hub_cache, need_model, present_size
from ex4d.models.record import KnownFile, Record, record_path, write_record
from ex4d.models.registry import MODELS, model_spec
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError

LORA = "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"
WAN_FILES = (
    "transformer/config.json",
    "transformer/diffusion_pytorch_model.safetensors.index.json",
    *(f"transformer/diffusion_pytorch_model-{n:05d}-of-00003.safetensors" for n in (1, 2, 3)),
    "vae/config.json",
    "vae/diffusion_pytorch_model.safetensors",
    "text_encoder/config.json",
    "text_encoder/model.safetensors",
    "tokenizer/tokenizer.json",
    "image_encoder/config.json",
    "image_encoder/model.safetensors",
)


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user without models."""
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "EX4D_MODELS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(folder: Path, *files: str) -> Path:
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("weights")
    return folder


def test_a_given_folder_comes_before_the_variable_and_that_before_the_cache(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, second, third = (tmp_path / name for name in ("given", "second", "third"))
    monkeypatch.setenv("EX4D_MODELS", os.pathsep.join([str(second), str(third)]))
    cached = home / "hub" / "models--lightx2v--Wan2.1-Distill-Loras" / "snapshots" / "any"
    places = (cached / LORA, third / LORA, second / "lightx2v-4step" / LORA, given / LORA)
    assert find_model("lightx2v-4step", given) is None
    for place in places:
        put(place.parent, place.name)
        assert find_model("lightx2v-4step", given) == place
    assert find_model("lightx2v-4step") == places[2]
    assert folder_of(model_spec("lightx2v-4step"), places[2]) == second / "lightx2v-4step"


@pytest.mark.parametrize(
    "below", [".", "wan-i2v-14b-480p", "Wan2.1-I2V-14B-480P-Diffusers", "Wan-AI/Wan2.1-I2V-14B-480P-Diffusers"]
)
def test_a_folder_of_models_may_name_them_as_the_hub_does(tmp_path: Path, below: str) -> None:
    folder = put(tmp_path / below, *WAN_FILES)
    assert find_model("wan-i2v-14b-480p", tmp_path) == folder
    assert find_model("wan-i2v-14b-480p-encoders", tmp_path) == folder, "which is a part of it"
    assert present_size(model_spec("wan-i2v-14b-480p"), folder) == 7 * len(WAN_FILES)


@pytest.mark.parametrize("gone", WAN_FILES)
def test_no_folder_that_lacks_a_file_is_taken_for_the_model(tmp_path: Path, gone: str) -> None:
    folder = put(tmp_path, *WAN_FILES)
    (folder / gone).rename(folder / f"{gone}.part")
    assert find_model("wan-i2v-14b-480p", folder) is None
    (folder / gone).touch()  # as a copy that failed leaves it
    assert find_model("wan-i2v-14b-480p", folder) is None


def test_a_download_that_goes_on_is_not_taken_for_the_model(tmp_path: Path) -> None:
    spec, folder = model_spec("lightx2v-4step"), put(tmp_path / "lightx2v-4step", LORA)
    record = Record(spec.repository, spec.revision, False, {LORA: KnownFile(7, "0" * 64)})
    write_record(spec, folder, record)
    assert find_model("lightx2v-4step", tmp_path) is None
    with pytest.raises(Ex4dError, match="models download lightx2v-4step") as missing:
        need_model("lightx2v-4step", tmp_path)
    assert "lacks some" in missing.value.message
    write_record(spec, folder, Record(spec.repository, spec.revision, True, record.files))
    assert find_model("lightx2v-4step", tmp_path) == folder / LORA
    (folder / LORA).write_text("cut")
    assert find_model("lightx2v-4step", tmp_path) is None


def test_a_record_that_cannot_be_read_is_an_interrupted_download_of_that_model_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = put(tmp_path, LORA, "ex4d.ckpt")
    monkeypatch.setenv("EX4D_MODELS", str(folder))
    path = record_path(model_spec("lightx2v-4step"), folder)
    for text in ("{", "[]", '{"files": {"a": {"size": "many", "sha256": ""}}}'):
        path.write_text(text)
        assert find_model("lightx2v-4step") is None
        with pytest.raises(Ex4dError, match="goes on where it stopped"):
            need_model("lightx2v-4step")
        assert [row["name"] for row in described() if row["path"]] == ["ex4d"]


def test_a_checkpoint_is_found_as_what_it_was_rewritten_to(tmp_path: Path) -> None:
    folder = put(tmp_path / "EX-4D", "ex4d.ckpt")
    assert find_model("ex4d", tmp_path) == folder / "ex4d.ckpt"
    put(folder, "ex4d.safetensors")
    assert find_model("ex4d", tmp_path) == folder / "ex4d.safetensors"
    (folder / "ex4d.ckpt").unlink()
    assert find_model("ex4d", tmp_path) == folder / "ex4d.safetensors"


def test_the_pinned_commit_comes_before_others_in_the_cache(home: Path) -> None:
    spec = model_spec("lightx2v-4step")
    snapshots = home / "hub" / "models--lightx2v--Wan2.1-Distill-Loras" / "snapshots"
    put(snapshots / spec.revision, LORA)
    put(snapshots / "zzz", LORA)
    assert find_model("lightx2v-4step") == snapshots / spec.revision / LORA


def test_the_cache_is_where_the_hubs_documentation_says(
    tmp_path: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert hub_cache() == home / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    assert hub_cache() == tmp_path / "cache"
    monkeypatch.delenv("HF_HUB_CACHE")
    monkeypatch.delenv("HF_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert hub_cache() == tmp_path / "xdg" / "huggingface" / "hub"


def test_a_missing_model_is_told_with_its_command_and_size() -> None:
    with pytest.raises(Ex4dError) as missing:
        need_model("wan-i2v-14b-480p")
    assert missing.value.code == UNAVAILABLE
    assert "ex4d models download wan-i2v-14b-480p" in missing.value.hint
    assert "91.4 GB" in missing.value.hint
    with pytest.raises(Ex4dError, match="wan-vace") as unknown:
        need_model("wan")
    assert unknown.value.code == BAD_INPUT


def test_every_entry_of_the_registry_can_be_fetched_and_found(tmp_path: Path) -> None:
    for name, spec in MODELS.items():
        assert name == spec.name
        assert len(spec.repository.split("/")) == 2
        assert spec.revision == "main" or (len(spec.revision) == 40 and int(spec.revision, 16))
        assert spec.size > 0
        assert spec.licence
        files = [pattern.replace("*", "x") for pattern in spec.needed]
        for file in (*files, *spec.convert):
            assert any(fnmatchcase(file, pattern) for pattern in spec.files), f"{name}: {file} would not be fetched"
        assert find_model(name, put(tmp_path / name, *files)) is not None
    places = {(spec.repository, spec.place) for spec in MODELS.values()}
    assert len(places) == len({place for _, place in places}), "two repositories in one folder"


def test_nothing_heavy_is_imported_to_look_for_models() -> None:
    code = (
        "import sys, ex4d.cli, ex4d.doctor, ex4d.models.command\n"
        "from ex4d.models.places import find_model\n"
        "find_model('ex4d')\n"
        "sys.exit(any(name in sys.modules for name in ('torch', 'huggingface_hub', 'tqdm', 'safetensors')))\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
