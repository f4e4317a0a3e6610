# SPDX-License-Identifier: Apache-2.0
"""Folders with Wan models: both layouts load the same, and what is not the wanted model is told apart."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from safetensors.torch import load_file, save_file
from torch import nn

from ex4d.models.convert import convert
from ex4d.models.empty import empty_network
from ex4d.models.repository import Repository, open_repository
from ex4d.models.weights import load_into
from scripts._tiny_models import write_vace, write_wan
from scripts._tiny_originals import PICKLES
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model in both layouts, the original as it is published and converted, and VACE."""
    folder = tmp_path_factory.mktemp("models")
    write_wan(folder / "diffusers")
    write_wan(folder / "published", "original")
    shutil.copytree(folder / "published", folder / "original")
    for name in PICKLES:
        convert(folder / "original" / name)
        (folder / "original" / name).unlink()
    write_vace(folder / "vace")
    return folder


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Callable[[str], Path]:
    """A model that a test may spoil."""
    return lambda name: Path(shutil.copytree(written / name, tmp_path / name))


def change(file: Path, **entries: Any) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | entries))


def loaded(repository: Repository, name: str, kind: Any = None) -> nn.Module:
    part = repository.part(name)
    kind = kind or {"transformer": WanTransformer3DModel, "vae": AutoencoderKLWan}[name]
    with init_empty_weights():
        model: nn.Module = kind.from_config(part.config)
    load_into(model, part.weights, part.rename, dtype=torch.float32)
    return model


@pytest.mark.parametrize("layout", ["diffusers", "original"])
@pytest.mark.parametrize(("name", "kind"), [("transformer", WanTransformer3DModel), ("vae", AutoencoderKLWan)])
def test_both_layouts_load_what_the_library_loads(written: Path, layout: str, name: str, kind: Any) -> None:
    repository = open_repository(written / layout)
    model, library = loaded(repository, name), kind.from_pretrained(written / "diffusers" / name)
    assert {key: value for key, value in model.config.items() if not key.startswith("_")} == {
        key: value for key, value in library.config.items() if not key.startswith("_")
    }
    expected = library.state_dict()
    assert model.state_dict().keys() == expected.keys()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert all(torch.equal(a, b) for a, b in zip(model.buffers(), library.buffers(), strict=True))


@pytest.mark.parametrize("layout", ["diffusers", "original"])
def test_vace(written: Path, layout: str, tmp_path: Path) -> None:
    folder = written / "vace" if layout == "diffusers" else write_vace(tmp_path / "vace", "original")
    for file in folder.glob("*.pth"):
        convert(file)
    repository = open_repository(folder, "vace")
    model = loaded(repository, "transformer", WanVACETransformer3DModel)
    expected = WanVACETransformer3DModel.from_pretrained(written / "vace" / "transformer").state_dict()
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())
    assert repository.title == "Wan2.1-VACE"
    assert "image_encoder" not in repository.parts


@pytest.mark.parametrize(
    ("layout", "count"), [("diffusers", 3 + 1 + 1 + 1 + 4 + 1), ("original", 2 + 1 + 1 + 1 + 1 + 1)]
)
def test_files_that_decide_the_numbers(written: Path, layout: str, count: int) -> None:
    """Shards of the transformer, the three other networks, configs, tokenizer."""
    repository = open_repository(written / layout)
    files = repository.files()
    assert repository.layout == layout
    assert len(files) == len(set(files)) == count
    assert all(file.is_file() for file in files)
    assert repository.tokenizer in files


def test_published_originals_must_be_converted(written: Path) -> None:
    with pytest.raises(Ex4dError) as caught:
        open_repository(written / "published")
    assert caught.value.code == UNAVAILABLE
    for name in PICKLES:
        assert name in caught.value.message
        assert f'ex4d models convert "{written / "published" / name}"' in caught.value.hint


def test_without_a_transformer_whose_weights_come_from_elsewhere(copy: Callable[[str], Path]) -> None:
    folder = copy("diffusers")
    for file in (folder / "transformer").glob("*model*"):
        file.unlink()
    with pytest.raises(Ex4dError, match=r"There is no diffusion_pytorch_model\.safetensors in .*transformer"):
        open_repository(folder)
    repository = open_repository(folder, without=["transformer"])
    assert repository.part("transformer").config["num_layers"] == 3
    assert not repository.part("transformer").weights


def test_one_file_instead_of_shards(copy: Callable[[str], Path]) -> None:
    folder = copy("diffusers")
    part = folder / "transformer"
    shards = sorted(part.glob("*.safetensors"))
    save_file({name: value for shard in shards for name, value in load_file(shard).items()}, part / "x.safetensors")
    for file in (*shards, part / "diffusion_pytorch_model.safetensors.index.json"):
        file.unlink()
    (part / "x.safetensors").rename(part / "diffusion_pytorch_model.safetensors")
    loaded(open_repository(folder), "transformer")


def test_whole_models_of_text_and_of_pictures(copy: Callable[[str], Path]) -> None:
    """As other programs save them: decoder, text side and last projection are there too."""
    folder = copy("diffusers")
    file = folder / "image_encoder" / "model.safetensors"
    tensors = {f"vision_model.{name}": value for name, value in load_file(file).items()}
    save_file(
        tensors
        | {
            "visual_projection.weight": torch.ones(2, 2),
            "text_model.x": torch.ones(1),
            "vision_model.embeddings.position_ids": torch.arange(257)[None],
        },
        file,
    )
    repository = open_repository(folder)
    kept = {repository.part("image_encoder").rename(name) for name in repository.part("image_encoder").weights}
    assert kept - {None} == {name.removeprefix("vision_model.") for name in tensors}
    rename = repository.part("text_encoder").rename
    assert rename("decoder.block.0.layer.0.layer_norm.weight") is rename("lm_head.weight") is None
    assert rename("shared.weight") == "shared.weight"


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"in_channels": 16, "image_dim": None}, "the text-to-video model Wan2.1-T2V"),
        (
            {"in_channels": 16, "image_dim": None, "num_attention_heads": 12, "attention_head_dim": 128},
            "the text-to-video model Wan2.1-T2V-1.3B",
        ),
        ({"num_attention_heads": 12, "attention_head_dim": 128}, "Wan2.1-I2V-1.3B; the EX-4D adapter is for 14B"),
        ({"in_channels": 48}, "Wan2.2-TI2V-5B"),
        ({"in_channels": 40}, "a Wan model with 40 input channels"),
        ({"image_dim": None}, "Wan2.2-I2V"),
        ({"pos_embed_seq_len": 514}, "Wan2.1-FLF2V"),
        ({"_class_name": "WanVACETransformer3DModel"}, "Wan2.1-VACE"),
        ({"_class_name": "CogVideoXTransformer3DModel"}, "a model of the class CogVideoXTransformer3DModel"),
    ],
)
def test_other_models_for_diffusers(copy: Callable[[str], Path], entries: dict[str, Any], said: str) -> None:
    folder = copy("diffusers")
    change(folder / "transformer" / "config.json", **entries)
    with pytest.raises(Ex4dError, match=r"Wan2\.1-I2V-14B is wanted\. Fetch it: ex4d models download") as caught:
        open_repository(folder)
    assert caught.value.code == UNSUPPORTED
    assert f"{folder} is {'a ' if said.startswith('Wan2.1-I2V-1.3B') else ''}{said}" in caught.value.message


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ({"model_type": "t2v", "in_dim": 16}, "Wan2.1-T2V"),
        ({"model_type": "ti2v", "in_dim": 48}, "Wan2.2-TI2V-5B"),
        ({"model_type": "flf2v"}, "Wan2.1-FLF2V"),
        ({"model_type": "vace", "in_dim": 16}, "Wan2.1-VACE"),
    ],
)
def test_other_original_models(copy: Callable[[str], Path], entries: dict[str, Any], said: str) -> None:
    folder = copy("published")
    change(folder / "config.json", **entries)
    with pytest.raises(Ex4dError, match=said) as caught:
        open_repository(folder)
    assert caught.value.code == UNSUPPORTED


def test_two_transformers(copy: Callable[[str], Path], tmp_path: Path) -> None:
    folder = copy("diffusers")
    change(folder / "model_index.json", transformer_2=[None, None])
    open_repository(folder)
    change(folder / "model_index.json", transformer_2=["diffusers", "WanTransformer3DModel"])
    (tmp_path / "wan22" / "high_noise_model").mkdir(parents=True)
    for place in (folder, tmp_path / "wan22"):
        with pytest.raises(Ex4dError, match=r"is a Wan2\.2 model with two transformers") as caught:
            open_repository(place)
        assert caught.value.code == UNSUPPORTED


def test_the_wrong_one_of_ours(written: Path) -> None:
    with pytest.raises(Ex4dError, match=r"is Wan2\.1-I2V\. Wan2\.1-VACE is wanted\. .*wan-vace-1\.3b"):
        open_repository(written / "diffusers", "vace")


def test_folders_without_a_model(written: Path, tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="There is no folder") as caught:
        open_repository(tmp_path / "nothing")
    assert caught.value.code == NOT_FOUND
    with pytest.raises(Ex4dError, match="is no folder of a Wan model") as caught:
        open_repository(tmp_path)
    assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match=f"Give {written / 'diffusers'}, the folder above"):
        open_repository(written / "diffusers" / "transformer")


@pytest.mark.parametrize(
    ("layout", "name", "said"),
    [
        (
            "diffusers",
            "transformer/diffusion_pytorch_model-00002-of-00003.safetensors",
            "1 of the 3 files of .* missing",
        ),
        ("diffusers", "transformer/config.json", r"no file .*config\.json"),
        ("diffusers", "vae/diffusion_pytorch_model.safetensors", r"no diffusion_pytorch_model\.safetensors in .*vae"),
        ("diffusers", "text_encoder/model.safetensors", r"no model\.safetensors in .*text_encoder"),
        ("diffusers", "image_encoder/config.json", r"no file .*image_encoder.*config\.json"),
        ("diffusers", "tokenizer/tokenizer.json", r"no tokenizer\.json in .*tokenizer"),
        ("original", "diffusion_pytorch_model-00001-of-00002.safetensors", "1 of the 2 files of .* missing"),
        ("original", "Wan2.1_VAE.safetensors", r"no Wan2\.1_VAE in"),
        ("original", "google/umt5-xxl/tokenizer.json", r"no tokenizer\.json in .*umt5"),
    ],
)
def test_a_file_is_missing(copy: Callable[[str], Path], layout: str, name: str, said: str) -> None:
    folder = copy(layout)
    (folder / name).unlink()
    with pytest.raises(Ex4dError, match=said) as caught:
        open_repository(folder)
    assert caught.value.code == NOT_FOUND


@pytest.mark.parametrize(
    ("layout", "name"),
    [
        ("diffusers", "transformer/diffusion_pytorch_model-00003-of-00003.safetensors"),
        ("diffusers", "transformer/diffusion_pytorch_model.safetensors.index.json"),
        ("diffusers", "image_encoder/model.safetensors"),
        ("diffusers", "vae/config.json"),
        ("diffusers", "model_index.json"),
        ("original", "Wan2.1_VAE.safetensors"),
        ("original", "config.json"),
    ],
)
def test_a_file_is_cut_off(copy: Callable[[str], Path], layout: str, name: str) -> None:
    folder = copy(layout)
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[: len(content) // 2])
    with pytest.raises(Ex4dError, match=Path(name).name.replace(".", r"\.")) as caught:
        open_repository(folder)
    assert caught.value.code == BAD_INPUT


def test_originals_that_are_not_what_they_are_called(copy: Callable[[str], Path]) -> None:
    folder = copy("original")
    clip = folder / PICKLES[2].replace(".pth", ".safetensors")
    vae = folder / "Wan2.1_VAE.safetensors"
    text = folder / PICKLES[1].replace(".pth", ".safetensors")
    for file, other in ((vae, clip), (text, vae), (clip, text)):
        kept = file.read_bytes()
        file.write_bytes(other.read_bytes())
        with pytest.raises(Ex4dError, match=rf"{file.name} is not Wan's".replace(".", r"\.")) as caught:
            open_repository(folder)
        assert caught.value.code == BAD_INPUT
        file.write_bytes(kept)
    open_repository(folder)


def test_two_files_for_one_part(copy: Callable[[str], Path]) -> None:
    folder = copy("original")
    name = PICKLES[1].replace(".pth", ".safetensors")
    shutil.copy(folder / name, folder / "models_t5_other.safetensors")
    with pytest.raises(Ex4dError, match=rf"There are models_t5_other\.safetensors, {name} in .* Keep one of them"):
        open_repository(folder)


def test_an_original_config_without_what_is_needed(copy: Callable[[str], Path]) -> None:
    folder = copy("original")
    config = json.loads((folder / "config.json").read_text())
    del config["num_heads"]
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(
        Ex4dError, match=r"config\.json of the transformer cannot be used: KeyError\('num_heads'\)"
    ) as caught:
        open_repository(folder)
    assert caught.value.code == BAD_INPUT


def test_opening_imports_no_torch(written: Path) -> None:
    """The server process asks a generator who it is, and stays small."""
    import subprocess
    import sys

    code = (
        "import sys; from pathlib import Path; from ex4d.models.repository import open_repository;"
        f"open_repository(Path({str(written / 'original')!r})).files(); sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(
    ("name", "entry", "taken"),
    [("vae", {"z_dim": 48}, 16), ("text_encoder", {"d_model": 32}, 64), ("image_encoder", {"hidden_size": 32}, 64)],
)
def test_parts_of_two_models(copy: Callable[[str], Path], name: str, entry: dict[str, int], taken: int) -> None:
    folder = copy("diffusers")
    change(folder / name / "config.json", **entry)
    ((field, width),) = entry.items()
    with pytest.raises(Ex4dError, match=f"its {field} is {width}; the transformer takes {taken}") as caught:
        open_repository(folder)
    assert caught.value.code == BAD_INPUT
    assert f"The {name} in {folder}" in caught.value.message


def test_configs_that_no_network_has(copy: Callable[[str], Path]) -> None:
    folder = copy("diffusers")
    for name, entry in (
        ("transformer", {"num_attention_heads": None}),
        ("transformer", {"num_attention_heads": "four"}),
        ("vae", {"dim_mult": None}),
        ("text_encoder", {"num_heads": None}),
        ("image_encoder", {"num_attention_heads": 7}),
    ):
        file = folder / name / "config.json"
        before = file.read_text()
        change(file, **entry)
        with pytest.raises(Ex4dError, match=rf"config\.json of the {name} cannot be used: ") as caught:
            empty_network(name, open_repository(folder).part(name).config)
        assert caught.value.code == BAD_INPUT
        file.write_text(before)


def test_a_variant_is_named_that_is_there_instead(copy: Callable[[str], Path]) -> None:
    folder = copy("diffusers")
    file = folder / "vae" / "diffusion_pytorch_model.safetensors"
    file.rename(file.with_name("diffusion_pytorch_model.fp16.safetensors"))
    with pytest.raises(Ex4dError, match=r"It has diffusion_pytorch_model\.fp16\.safetensors, which is not read"):
        open_repository(folder)
