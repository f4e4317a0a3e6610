# SPDX-License-Identifier: Apache-2.0
"""Prompts and pictures for the transformers, compared with diffusers' own pipeline on a small model."""

from __future__ import annotations

import gc
import json
import shutil
from pathlib import Path

import pytest
import torch
from diffusers import WanImageToVideoPipeline
from diffusers.hooks import HookRegistry
from diffusers.pipelines.wan.pipeline_wan_i2v import prompt_clean
from transformers import AutoTokenizer, CLIPVisionModel, UMT5EncoderModel

from ex4d.generate.diffusion.encoders import TOKENS, ImageEncoder, PromptEncoder, clean_prompt, encode_prompts
from ex4d.models.repository import Repository, open_repository
from scripts._tiny_models import IMAGE_DIM, TEXT_DIM, write_wan
from shared_protocol.errors import BAD_INPUT, CANCELLED, Ex4dError

CPU = torch.device("cpu")
PROMPT = "4K ultra HD, surround motion,\n  realistic tone &amp;amp; a red car"
PROMPTS = (PROMPT, "", "wide-angle view, \u00e2\u20ac\u0153cinematic\u00e2\u20ac\u009d quality " * 30)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    return open_repository(write_wan(tmp_path_factory.mktemp("model")))


def alive(kind: type) -> int:
    return sum(type(thing) is kind for thing in gc.get_objects())


@pytest.mark.parametrize("text", [*PROMPTS, "  two\t\tlines\n\n", "&lt;b&gt; caf\u00c3\u00a9 \u3000 \u753b"])
def test_cleaning_is_that_of_the_pipeline(text: str) -> None:
    assert clean_prompt(text) == prompt_clean(text)


def test_prompts_are_those_of_the_pipeline(repository: Repository) -> None:
    encoder = UMT5EncoderModel.from_pretrained(repository.folder / "text_encoder").eval()
    tokenizer = AutoTokenizer.from_pretrained(repository.tokenizer.parent)
    pipeline = WanImageToVideoPipeline(tokenizer, encoder, None, None)
    with torch.no_grad():
        expected, _ = pipeline.encode_prompt(
            list(PROMPTS), do_classifier_free_guidance=False, max_sequence_length=TOKENS
        )
    found = encode_prompts(repository, PROMPTS, CPU, torch.float32)
    assert len(found) == len(PROMPTS)
    for ours, theirs in zip(found, expected, strict=True):
        assert ours.shape == (TOKENS, TEXT_DIM)
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)
        assert torch.equal(ours == 0, theirs == 0)
    assert 0 < int(found[0].any(dim=1).sum()) < 40


def test_too_long_a_prompt_is_told(repository: Repository) -> None:
    told: list[str] = []
    encode_prompts(repository, [PROMPT, "red " * (TOKENS - 1)], CPU, torch.float32, note=told.append)
    assert told == []
    encode_prompts(repository, ["red " * (TOKENS - 1) + "car &amp; tone"], CPU, torch.float32, note=told.append)
    assert told == [f"A prompt has more than the {TOKENS} tokens that the model reads; left out: 'car & tone'."]
    encode_prompts(repository, ["red " * 4 * TOKENS], CPU, torch.float32, note=told.append)
    assert told[1].endswith("left out: 'red red red red red red red red red red red red red red …'.")


@pytest.mark.parametrize("stream", [False, True])
def test_the_encoder_is_gone_afterwards(repository: Repository, stream: bool) -> None:
    held = PromptEncoder(repository, CPU, torch.float32, stream=stream)
    assert alive(UMT5EncoderModel) == 1
    held.release()
    assert not alive(UMT5EncoderModel)
    encode_prompts(repository, [PROMPT], CPU, torch.float32, stream=stream)
    assert not alive(UMT5EncoderModel)


def test_layer_by_layer_gives_the_same(repository: Repository) -> None:
    whole = PromptEncoder(repository, CPU, torch.float32)
    layers = PromptEncoder(repository, CPU, torch.float32, stream=True)
    assert not whole.streams
    hooked = [module for module in layers._model.modules() if hasattr(module, "_diffusers_hook")]  # type: ignore[union-attr]
    names = {name for module in hooked for name in HookRegistry.check_if_exists_or_initialize(module).hooks}
    assert "group_offloading" in names
    assert len(hooked) > 10
    assert torch.equal(whole.encode(PROMPT), layers.encode(PROMPT))


def test_types(repository: Repository) -> None:
    (found,) = encode_prompts(repository, [PROMPT], CPU, torch.bfloat16)
    (exact,) = encode_prompts(repository, [PROMPT], CPU, torch.float32)
    assert found.dtype == torch.bfloat16
    assert 0 < (found.float() - exact).abs().max() < 0.1


def test_progress_may_stop_it(repository: Repository) -> None:
    phases: list[str] = []

    def progress(phase: str, done: int, total: int) -> None:
        phases.append(phase)
        if phase == "Reading the prompts" and done == 1:
            raise Ex4dError(CANCELLED, "Stopped.")

    with pytest.raises(Ex4dError, match="Stopped"):
        encode_prompts(repository, [PROMPT, "a", "b"], CPU, torch.float32, progress)
    assert list(dict.fromkeys(phases)) == ["Loading the prompt encoder", "Reading the prompts"]
    assert not alive(UMT5EncoderModel)


def test_the_tokenizer_is_taken_as_its_file_says(repository: Repository, tmp_path: Path) -> None:
    """With normaliser and fall-back to bytes, which the class for T5 in transformers 5 leaves out."""
    folder = Path(shutil.copytree(repository.folder, tmp_path / "model"))
    file = folder / "tokenizer" / "tokenizer.json"
    table = json.loads(file.read_text())
    table["normalizer"] = {"type": "Lowercase"}
    table["model"]["byte_fallback"] = True
    table["model"]["vocab"] += [[f"<0x{byte:02X}>", -9.0] for byte in range(256)]
    file.write_text(json.dumps(table))
    upper, lower, one, other = encode_prompts(
        open_repository(folder), ["A RED CAR", "a red car", "\u753b", "\u8d28"], CPU, torch.float32
    )
    assert torch.equal(upper, lower)
    assert not torch.equal(one, other)
    assert int(one.any(dim=1).sum()) == 1 + 3 + 1  # the beginning of a word, three bytes, the end of the text


def test_a_broken_tokenizer(repository: Repository, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(repository.folder, tmp_path / "model"))
    file = folder / "tokenizer" / "tokenizer.json"
    file.write_text(file.read_text()[:500])
    with pytest.raises(Ex4dError, match=r"tokenizer\.json is no tokenizer") as caught:
        encode_prompts(open_repository(folder), ["a"], CPU, torch.float32)
    assert caught.value.code == BAD_INPUT


def test_a_config_that_no_network_has(repository: Repository, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(repository.folder, tmp_path / "model"))
    file = folder / "text_encoder" / "config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"num_heads": "many"}))
    with pytest.raises(Ex4dError, match=r"config\.json of the text_encoder cannot be used: .*'num_heads'") as caught:
        encode_prompts(open_repository(folder), ["a"], CPU, torch.float32)
    assert caught.value.code == BAD_INPUT


def test_features_of_a_picture(repository: Repository) -> None:
    library = CLIPVisionModel.from_pretrained(repository.folder / "image_encoder").eval()
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(3))
    encoder = ImageEncoder(repository, CPU, torch.float32)
    found = encoder.features(pixels)
    with torch.no_grad():
        states = library(pixels, output_hidden_states=True).hidden_states
    assert found.shape == (1, 257, IMAGE_DIM)
    assert torch.equal(found, states[-2])
    assert not torch.equal(found, states[-1])
    layers = ImageEncoder(repository, CPU, torch.float32, stream=True)
    assert torch.equal(layers.features(pixels), found)
    layers.release()
    del library, states
    encoder.release()
    assert not alive(CLIPVisionModel)


def test_original_files_encode_alike(repository: Repository, tmp_path: Path) -> None:
    from ex4d.models.convert import convert

    folder = write_wan(tmp_path / "original", "original")
    for file in folder.glob("*.pth"):
        convert(file)
    original = open_repository(folder)
    for ours, theirs in zip(
        encode_prompts(original, PROMPTS, CPU, torch.float32),
        encode_prompts(repository, PROMPTS, CPU, torch.float32),
        strict=True,
    ):
        assert torch.equal(ours, theirs)
    pixels = torch.ones(1, 3, 224, 224)
    assert torch.equal(
        ImageEncoder(original, CPU, torch.float32).features(pixels),
        ImageEncoder(repository, CPU, torch.float32).features(pixels),
    )
