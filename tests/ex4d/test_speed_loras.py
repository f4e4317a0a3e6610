# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import WanTransformer3DModel
from diffusers.loaders import WanLoraLoaderMixin
from peft import LoraConfig
from safetensors.torch import load_file, save_file
from speed_cases import ask, small_vace
from torch import Tensor

from ex4d.generate.diffusion.speed.distilled import LIGHTX2V_I2V, all_loras, sampling
from ex4d.generate.diffusion.speed.loras import add_loras, fuse_loras
from ex4d.generate.diffusion.speed.settings import LoraFile, Speed
from ex4d.models.original_names import transformer as ours
from scripts._tiny_models import LAYERS, write_lora
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, Ex4dError

RANK = 4


def model() -> WanTransformer3DModel:
    """Has as many blocks as `write_lora` knows."""
    torch.manual_seed(3)
    return WanTransformer3DModel(
        in_channels=36,
        image_dim=64,
        added_kv_proj_dim=96,
        num_attention_heads=4,
        attention_head_dim=24,
        out_channels=16,
        text_dim=64,
        ffn_dim=192,
        num_layers=LAYERS,
    ).eval()


def add(transformer: Any, *loras: tuple[Path, float], **adapters: float) -> list[dict[str, Any]]:
    return add_loras(transformer, [LoraFile(*lora) for lora in loras], adapters, torch.float32)


def merged(transformer: Any, tensors: dict[str, Tensor], strength: float) -> None:
    """What a LoRA means, straight into the weights: W + strength * alpha / rank * up @ down, and sums."""
    for name, tensor in tensors.items():
        if name.endswith(".lora_down.weight"):
            module = name.removesuffix(".lora_down.weight")
            alpha = float(tensors.get(f"{module}.alpha", torch.tensor(len(tensor))))
            change = alpha / len(tensor) * tensors[f"{module}.lora_up.weight"] @ tensor
            parameter = transformer.get_parameter(f"{ours(module)}.weight")
        elif name.endswith((".diff", ".diff_b")):
            module, _, kind = name.rpartition(".")
            change = tensor
            parameter = transformer.get_parameter(f"{ours(module)}.{'bias' if kind == 'diff_b' else 'weight'}")
        else:
            continue
        parameter.data += strength * change


@pytest.mark.parametrize("style", ["diffusers", "comfy", "lightx2v"])
def test_loras_in_every_naming_do_what_they_say(style: Any, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "a.safetensors", style, rank=RANK)
    by_hand, loaded = model(), model()
    before = ask(loaded, 900.0)
    tensors = {name.removeprefix("diffusion_model."): value for name, value in load_file(file).items()}
    if style == "diffusers":
        tensors = {
            name.removeprefix("transformer.").replace("lora_A", "lora_down").replace("lora_B", "lora_up"): value
            for name, value in tensors.items()
        }
    merged(by_hand, tensors, 0.7)
    (facts,) = add(loaded, (file, 0.7))
    assert (facts["modules"], facts["strength"], facts["adapter"]) == (10 * LAYERS, 0.7, "lora1")
    assert facts["differences"] == (11 * LAYERS if style == "lightx2v" else 0)
    answer = ask(loaded, 900.0)
    torch.testing.assert_close(answer, ask(by_hand, 900.0), atol=1e-5, rtol=0)
    assert (answer - before).abs().max() > 0.1


@pytest.mark.parametrize("style", ["diffusers", "comfy"])
def test_diffusers_own_reader_comes_to_the_same(style: Any, tmp_path: Path) -> None:
    file = write_lora(tmp_path / "a.safetensors", style, rank=RANK)
    theirs, loaded = model(), model()
    theirs.load_lora_adapter(WanLoraLoaderMixin.lora_state_dict(load_file(file)), adapter_name="a")
    add(loaded, (file, 1.0))
    torch.testing.assert_close(ask(loaded, 900.0), ask(theirs, 900.0), atol=1e-6, rtol=0)


def test_kohya_s_names_are_read_even_where_not_all_layers_are_there(tmp_path: Path) -> None:
    comfy = load_file(write_lora(tmp_path / "a.safetensors", "comfy", rank=RANK))
    some = {name: value for name, value in comfy.items() if ".ffn." not in name}
    save_file(some, tmp_path / "comfy.safetensors")
    kohya = {}
    for name, value in some.items():
        module, dot, kind = name.removeprefix("diffusion_model.").partition(".lora" if ".lora" in name else ".alpha")
        kohya[f"lora_unet_{module.replace('.', '_')}{dot}{kind}"] = value
    save_file(kohya, tmp_path / "kohya.safetensors")
    one, other = model(), model()
    add(one, (tmp_path / "comfy.safetensors", 1.0))
    add(other, (tmp_path / "kohya.safetensors", 1.0))
    assert torch.equal(ask(one, 900.0), ask(other, 900.0))


def test_strengths_stand_beside_the_adapter_s_own(tmp_path: Path) -> None:
    transformer = model()
    config = LoraConfig(r=2, lora_alpha=2, target_modules=["to_q"], init_lora_weights=False)
    transformer.add_adapter(config, "ex4d")
    files = [write_lora(tmp_path / f"{seed}.safetensors", "comfy", rank=RANK, seed=seed) for seed in (2, 3)]
    add(transformer, (files[0], 0.5), (files[1], -0.25), ex4d=0.75)
    layer = transformer.blocks[0].attn1.to_q
    assert layer.active_adapters == ["ex4d", "lora1", "lora2"]
    assert layer.scaling == {"ex4d": 0.75, "lora1": 0.5 * 0.5, "lora2": -0.25 * 0.5}  # alpha is half the rank


def test_a_lora_for_vace_s_own_blocks_finds_them(tmp_path: Path) -> None:
    transformer = small_vace()
    before = ask(transformer, 900.0)
    name = "diffusion_model.vace_blocks.1.after_proj"
    tensors = {f"{name}.lora_A.weight": torch.randn(2, 96), f"{name}.lora_B.weight": torch.randn(96, 2)}
    save_file(tensors, tmp_path / "a.safetensors")
    add(transformer, (tmp_path / "a.safetensors", 1.0))
    assert not torch.equal(ask(transformer, 900.0), before)


def without(name: str) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: {key: value for key, value in tensors.items() if key != name}


def having(name: str, *shape: int) -> Callable[[dict[str, Tensor]], dict[str, Tensor]]:
    return lambda tensors: tensors | {name: torch.zeros(shape)}


LAYER = "diffusion_model.blocks.1.self_attn.q"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (having("diffusion_model.blocks.99.self_attn.q.lora_down.weight", 4, 96), "blocks.99.self_attn.q"),
        (having("diffusion_model.blocks.0.temporal.q.lora_down.weight", 4, 96), "blocks.0.temporal.q"),
        (having("text_encoder.layers.0.q.lora_down.weight", 4, 96), "text_encoder.layers.0.q"),
        (having(f"{LAYER}.dora_scale", 96), "dora_scale"),
        (having(f"{LAYER}.lora_down.weight", 4, 64), f"{LAYER}.lora_down.weight of 4x64 for 96x96"),
        (having(f"{LAYER}.diff_b", 64), f"{LAYER}.diff_b of 64 for 96"),
        (having(f"{LAYER}.lora_up.weight", 96, 5), "blocks.1.attn1.to_q with ranks 4 and 5"),
        (without(f"{LAYER}.lora_up.weight"), "blocks.1.attn1.to_q without its other half"),
        (having("diffusion_model.patch_embedding.alpha"), "patch_embedding.alpha"),
        (having(f"{LAYER}.alpha", 2), f"{LAYER}.alpha of 2 for 1"),
        (
            lambda tensors: tensors | {f"{LAYER}.diff_b": torch.zeros(96, dtype=torch.int8)},
            f"{LAYER}.diff_b of int8",
        ),
        (lambda _tensors: {}, "has no tensors"),
    ],
)
def test_what_does_not_fit_is_named_and_nothing_is_changed(
    change: Callable[[dict[str, Tensor]], dict[str, Tensor]], named: str, tmp_path: Path
) -> None:
    transformer = model()
    file = write_lora(tmp_path / "a.safetensors", "comfy", rank=RANK)
    save_file(change(load_file(file)), file)
    with pytest.raises(Ex4dError) as error:
        add(transformer, (file, 1.0))
    assert error.value.code == BAD_INPUT
    assert named in error.value.message
    assert str(file) in error.value.message
    assert not hasattr(transformer, "peft_config")


def test_files_that_are_not_there_or_cut_off_are_refused(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError) as error:
        add(model(), (tmp_path / "none.safetensors", 1.0))
    assert error.value.code == NOT_FOUND
    file = write_lora(tmp_path / "a.safetensors", "comfy")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(Ex4dError) as error:
        add(model(), (file, 1.0))
    assert error.value.code == BAD_INPUT


def test_fusing_changes_the_weights_and_takes_the_adapters_out(tmp_path: Path) -> None:
    model().save_pretrained(tmp_path / "model")
    weights = tmp_path / "model" / "diffusion_pytorch_model.safetensors"
    before = hashlib.sha256(weights.read_bytes()).hexdigest()
    transformer = WanTransformer3DModel.from_pretrained(tmp_path / "model").eval()
    plain = transformer.blocks[0].attn1.to_q.weight.clone()
    add(transformer, (write_lora(tmp_path / "a.safetensors", "comfy", rank=RANK), 0.5))
    unfused = ask(transformer, 900.0)
    assert fuse_loras(transformer) == ""
    layer = transformer.blocks[0].attn1.to_q
    assert type(layer) is torch.nn.Linear
    assert not torch.equal(layer.weight, plain)
    torch.testing.assert_close(ask(transformer, 900.0), unfused, atol=1e-5, rtol=0)
    assert fuse_loras(transformer) == "there are none"
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == before


def test_weights_kept_in_float8_keep_their_loras_apart_and_fine(tmp_path: Path) -> None:
    transformer = model()
    layer = transformer.blocks[0].attn1.to_q
    layer.weight = torch.nn.Parameter(layer.weight.to(torch.float8_e4m3fn), requires_grad=False)
    file = write_lora(tmp_path / "a.safetensors", "diffusers", rank=RANK)
    add_loras(transformer, [LoraFile(file, 1.0)], {}, torch.bfloat16)
    matrix = transformer.blocks[0].attn1.to_q.lora_A["lora1"].weight
    assert matrix.dtype == torch.bfloat16
    stored = load_file(file)["transformer.blocks.0.attn1.to_q.lora_A.weight"]
    assert torch.equal(matrix.data, stored.to(torch.bfloat16))
    assert "float8_e4m3fn" in fuse_loras(transformer)


def test_the_distilled_lora_brings_its_steps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    exact, distilled = Speed(), Speed(distilled=True, loras=(LoraFile(Path("a.safetensors"), 0.5),))
    assert sampling(exact, LIGHTX2V_I2V, steps=25, cfg=5.0, shift=3.0) == (25, 5.0, 3.0)
    assert sampling(distilled, LIGHTX2V_I2V, steps=25, cfg=5.0, shift=3.0) == (4, 1.0, 5.0)
    for variable in ("HF_HOME", "HF_HUB_CACHE", "EX4D_MODELS"):
        monkeypatch.setenv(variable, str(tmp_path))
    with pytest.raises(Ex4dError, match="ex4d models download") as error:
        all_loras(distilled, LIGHTX2V_I2V)
    assert error.value.code == UNAVAILABLE
    assert all_loras(exact, LIGHTX2V_I2V) == ()
    file = tmp_path / "wan2.1_i2v_lora_rank64_lightx2v_4step.safetensors"
    write_lora(file, "lightx2v")
    assert all_loras(distilled, LIGHTX2V_I2V) == (LoraFile(file, 1.0), *distilled.loras)


def test_the_distilled_lora_s_steps_are_those_it_was_made_for() -> None:
    from ex4d.generate.diffusion.schedule import Schedule

    schedule = Schedule(LIGHTX2V_I2V.steps, LIGHTX2V_I2V.shift)
    levels = [step / 1000 for step in (1000, 750, 500, 250)]  # of LightX2V's configuration, shifted as it does
    expected = [5 * level / (1 + 4 * level) for level in levels]
    assert [schedule.sigma(step) for step in range(4)] == pytest.approx(expected, abs=1e-6)
    assert [schedule.timestep(step) for step in range(4)] == pytest.approx([1000 * x for x in expected], abs=1e-3)
