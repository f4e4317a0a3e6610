# SPDX-License-Identifier: Apache-2.0
"""Memory profiles take effect on a small model: types, hooks, moves, tiles; and what they change of its predictions."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKLWan, WanTransformer3DModel, WanVACETransformer3DModel
from diffusers.hooks.group_offloading import ModuleGroup
from torch import Tensor, nn

from benchmarks._weight_types import load, predict
from ex4d.generate.diffusion.load import load_transformer
from ex4d.generate.diffusion.memory import CPU, PROFILES, Profile, keep_adapter, load_gguf, place, release
from ex4d.generate.diffusion.memory.pinned import pin
from ex4d.generate.wan.adapter import NAME, add_adapter, read_adapter
from ex4d.models.repository import Repository, open_repository
from scripts._tiny_gguf import write_gguf
from scripts._tiny_models import LAYERS, write_adapter, write_vace, write_wan
from shared_protocol.errors import BAD_INPUT, Ex4dError

ON = torch.device("cpu")
BY_NAME = {profile.name: profile for profile in PROFILES}
RESIDENT = BY_NAME["48"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Repository, Path, Path]:
    folder = tmp_path_factory.mktemp("memory")
    gguf = write_gguf(folder / "wan.gguf")
    return open_repository(write_wan(folder / "wan")), write_adapter(folder / "ex4d.safetensors"), gguf


@pytest.fixture(scope="module")
def exact(model: tuple[Repository, Path, Path]) -> Tensor:
    return predict(placed(model, RESIDENT))


def placed(model: tuple[Repository, Path, Path], profile: Profile) -> WanTransformer3DModel:
    repository, adapter, gguf = model
    return load(repository, adapter, profile, gguf)


def put(model: tuple[Repository, Path, Path], profile: Profile) -> dict[str, Any]:
    """What `place` says of a model that is not placed yet."""
    repository, adapter, gguf = model
    transformer = load(repository, adapter, replace(profile, offload="none", weights="bfloat16"), gguf)
    return place(transformer, AutoencoderKLWan(base_dim=4), None, profile, ON)


def base_layers(transformer: nn.Module) -> Iterator[nn.Linear]:
    for name, module in transformer.blocks.named_modules():
        if isinstance(module, nn.Linear) and "lora_" not in name:
            yield module


def differs(value: Tensor, exact: Tensor) -> float:
    return float((value - exact).square().mean().sqrt() / exact.square().mean().sqrt())


@pytest.mark.parametrize("name", ["48", "40", "24"])
def test_exact_profiles_change_nothing(model: tuple[Repository, Path, Path], exact: Tensor, name: str) -> None:
    transformer = placed(model, BY_NAME[name])

    assert torch.equal(predict(transformer), exact)
    assert torch.equal(predict(transformer), exact)  # and once more, with what the first pass left behind


@pytest.mark.parametrize("name", ["16", "12", "8"])
def test_smaller_profiles_change_a_little(model: tuple[Repository, Path, Path], exact: Tensor, name: str) -> None:
    got = predict(placed(model, BY_NAME[name]))

    assert 0.005 < differs(got, exact) < 0.04
    assert torch.equal(got, predict(placed(model, replace(RESIDENT, weights="float8"))))  # offloading is exact


def test_other_weights_change_less_than_float8(model: tuple[Repository, Path, Path], exact: Tensor) -> None:
    float8, int8, gguf = (
        differs(predict(placed(model, replace(BY_NAME["24"], weights=weights))), exact)
        for weights in ("float8", "int8", "gguf")
    )

    assert 0 < int8 < float8 / 2
    assert 0 < gguf < float8 / 2


def test_float8_is_what_weights_are_stored_in(model: tuple[Repository, Path, Path]) -> None:
    transformer = placed(model, BY_NAME["16"])
    whole = placed(model, RESIDENT)
    during = []
    layer = transformer.blocks[1].ffn.net[2].base_layer
    layer.register_forward_pre_hook(lambda module, _: during.append(module.weight.dtype))

    for _ in range(2):
        predict(transformer)

        assert {layer.weight.dtype for layer in base_layers(transformer)} == {torch.float8_e4m3fn}
    assert during == [torch.float8_e4m3fn] * 2  # the hook stands before the one that casts
    held, before = (sum(p.nbytes for layer in base_layers(m) for p in layer.parameters()) for m in (transformer, whole))
    assert held * 2 == before


def test_layers_compute_in_bfloat16(model: tuple[Repository, Path, Path]) -> None:
    transformer = placed(model, BY_NAME["16"])
    seen = set()
    linear = nn.functional.linear

    def noted(values: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        seen.add((values.dtype, weight.dtype))
        return linear(values, weight, bias)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nn.functional, "linear", noted)
        predict(transformer)

    types = {weight for _, weight in seen}
    assert torch.bfloat16 in types
    assert torch.float8_e4m3fn not in types


def test_weights_are_never_whole_in_the_larger_type(model: tuple[Repository, Path, Path]) -> None:
    part = model[0].part("transformer")
    transformer = load_transformer(WanTransformer3DModel, part, BY_NAME["16"], ON, None, lambda *_: None)

    assert {layer.weight.dtype for layer in base_layers(transformer)} == {torch.float8_e4m3fn}
    assert transformer.patch_embedding.weight.dtype == torch.bfloat16
    assert transformer.blocks[0].scale_shift_table.dtype == torch.float32
    assert transformer.dtype == torch.bfloat16


def test_a_lora_beside_float8_weights_keeps_its_values(model: tuple[Repository, Path, Path]) -> None:
    transformer = placed(model, BY_NAME["16"])
    lora = read_adapter(model[1], transformer).lora

    for name, value in lora.items():
        layer, kind, _ = name.rsplit(".", 2)
        kept = transformer.get_parameter(f"{layer}.{kind}.{NAME}.weight")
        assert torch.equal(kept, value.to(torch.bfloat16)), name


def test_an_adapter_is_kept_in_the_types_that_it_has(model: tuple[Repository, Path, Path]) -> None:
    transformer = placed(model, RESIDENT)
    name = "blocks.0.attn1.to_q.lora_A.weight"
    value = torch.rand_like(read_adapter(model[1], transformer).lora[name])

    keep_adapter(transformer, NAME, {name: value})

    assert torch.equal(transformer.blocks[0].attn1.to_q.lora_A[NAME].weight, value)


@pytest.mark.parametrize(
    ("name", "groups"),
    [("24", LAYERS + 1), ("8", 0)],  # blocks, and the rest; each layer by itself: counted below
)
def test_weights_come_and_go_in_groups(
    model: tuple[Repository, Path, Path], monkeypatch: pytest.MonkeyPatch, name: str, groups: int
) -> None:
    transformer = placed(model, BY_NAME[name])
    moves: list[tuple[str, int]] = []

    def noted(kind: str, move: Any) -> Any:
        return lambda group: (moves.append((kind, id(group))), move(group))[1]

    monkeypatch.setattr(ModuleGroup, "onload_", noted("on", ModuleGroup.onload_))
    monkeypatch.setattr(ModuleGroup, "offload_", noted("off", ModuleGroup.offload_))
    predict(transformer)

    came = [group for kind, group in moves if kind == "on"]
    assert sorted(came) == sorted(group for kind, group in moves if kind == "off")
    assert len(set(came)) == len(came)  # each once in a pass
    if groups:
        assert len(came) == groups
        at_once = held = 0
        for kind, _ in moves:
            held += 1 if kind == "on" else -1
            at_once = max(at_once, held)
        assert at_once == 2  # the rest, and one block
    else:
        assert len(came) > 10 * LAYERS


def test_what_took_effect_is_told(model: tuple[Repository, Path, Path]) -> None:
    linear = len(list(base_layers(placed(model, RESIDENT))))

    assert put(model, RESIDENT) == {
        "profile": "48",
        "deviation": "",
        "pinned": False,
        "layers": {"bfloat16": linear},
        "cast_layers": 0,
        "offloaded_groups": 0,
        "moved_as_a_whole": False,
        "vae_tiling": False,
    }
    assert put(model, BY_NAME["40"])["moved_as_a_whole"]
    assert put(model, BY_NAME["24"])["offloaded_groups"] == LAYERS + 1
    twelve = put(model, BY_NAME["12"])
    assert (twelve["layers"], twelve["cast_layers"]) == ({"float8_e4m3fn": linear}, linear)
    assert twelve["offloaded_groups"] == LAYERS + 1
    assert twelve["vae_tiling"]
    assert put(model, BY_NAME["8"])["offloaded_groups"] > linear
    assert put(model, replace(RESIDENT, weights="int8"))["layers"] == {"Int8Tensor": linear}


def test_the_geometry_encoder_goes_along(model: tuple[Repository, Path, Path]) -> None:
    repository, adapter, gguf = model
    transformer = load(repository, adapter, CPU, gguf)
    geometry = read_adapter(adapter, transformer).geometry

    place(transformer, AutoencoderKLWan(base_dim=4), geometry, RESIDENT, ON)

    assert {parameter.device for parameter in geometry.parameters()} == {ON}


def test_tiles_are_decoded_one_by_one(model: tuple[Repository, Path, Path]) -> None:
    torch.manual_seed(0)
    vae = AutoencoderKLWan(base_dim=4).eval()
    latents = torch.randn(1, 16, 2, 34, 8, generator=torch.Generator().manual_seed(0))
    calls: list[tuple[int, int]] = []
    vae.decoder.register_forward_pre_hook(lambda _, inputs: calls.append(tuple(inputs[0].shape[-2:])))
    transformer = placed(model, RESIDENT)

    place(transformer, vae, None, RESIDENT, ON)
    with torch.no_grad():
        whole = vae.decode(latents, return_dict=False)[0]
    assert calls == [(34, 8)] * 2  # one call for each latent frame

    calls.clear()
    place(transformer, vae, None, replace(RESIDENT, vae_tiling=True), ON)
    with torch.no_grad():
        tiled = vae.decode(latents, return_dict=False)[0]
    assert calls == [(32, 8)] * 2 + [(10, 8)] * 2
    assert 0 < differs(tiled, whole) < 0.2

    place(transformer, vae, None, RESIDENT, ON)
    with torch.no_grad():
        assert torch.equal(vae.decode(latents, return_dict=False)[0], whole)


def test_vace_has_two_rows_of_blocks(tmp_path: Path) -> None:
    part = open_repository(write_vace(tmp_path / "vace"), wanted="vace").part("transformer")
    profile = BY_NAME["16"]
    transformer = load_transformer(WanVACETransformer3DModel, part, profile, ON, None, lambda *_: None)

    facts = place(transformer, AutoencoderKLWan(base_dim=4), None, profile, ON)

    rows = len(transformer.blocks) + len(transformer.vace_blocks)
    assert facts["offloaded_groups"] == rows + 1
    assert facts["layers"] == {"float8_e4m3fn": facts["cast_layers"]}
    assert transformer.vace_blocks[0].proj_in.weight.dtype == torch.float8_e4m3fn


@pytest.mark.parametrize("name", ["48", "40", "24", "8"])
def test_released_weights_are_gone_though_the_network_is_held(model: tuple[Repository, Path, Path], name: str) -> None:
    transformer = placed(model, BY_NAME[name])
    predict(transformer)
    storages = [weakref.ref(parameter.untyped_storage()) for parameter in transformer.parameters()]
    assert all(storage() is not None for storage in storages[:3])

    release(transformer, None)

    assert not list(transformer.parameters())
    assert not list(transformer.buffers())
    assert [storage for storage in storages if storage() is not None] == []


def test_pinned_weights_share_pieces(model: tuple[Repository, Path, Path], exact: Tensor) -> None:
    """The layout, in ordinary memory: locked memory needs a GPU."""
    transformer = placed(model, RESIDENT)
    before = list(transformer.parameters())

    total = pin(transformer, 1 << 18, locked=False)

    assert [id(parameter) for parameter in transformer.parameters()] == [id(parameter) for parameter in before]
    pieces = {p.untyped_storage().data_ptr(): p.untyped_storage().nbytes() for p in transformer.parameters()}
    size = sum(parameter.nbytes for parameter in before)
    assert total == sum(pieces.values())
    assert set(pieces.values()) == {1 << 18}
    assert size <= total <= 1.5 * size + (1 << 18)
    assert torch.equal(predict(transformer), exact)


def test_packed_weights_can_be_pinned(model: tuple[Repository, Path, Path]) -> None:
    for weights in ("gguf", "int8"):
        transformer = placed(model, replace(RESIDENT, weights=weights))
        before = predict(transformer)

        pin(transformer, 1 << 18, locked=False)

        assert torch.equal(predict(transformer), before), weights


def test_a_gguf_file_has_to_fit_the_model(model: tuple[Repository, Path, Path], tmp_path: Path) -> None:
    config, compute = model[0].part("transformer").config, torch.bfloat16
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(model[2].read_bytes()[:5000])

    for file, changed, said in (
        (broken, {}, "cut off or is no GGUF file"),
        (model[2], {"num_layers": LAYERS + 1}, f"32 missing: blocks.{LAYERS}.attn1.norm_k.weight"),
        (model[2], {"num_layers": LAYERS - 1}, f"32 not known: blocks.{LAYERS - 1}.attn1.norm_k.weight"),
        (model[2], {"ffn_dim": 160}, "expected shape"),
    ):
        with pytest.raises(Ex4dError, match=said) as refused:
            load_gguf(file, WanTransformer3DModel, {**config, **changed}, compute)
        assert refused.value.code == BAD_INPUT
        assert file.name in refused.value.message


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
@pytest.mark.parametrize("name", [profile.name for profile in PROFILES])
@pytest.mark.parametrize("weights", [None, "int8", "gguf"])
def test_on_a_gpu(model: tuple[Repository, Path, Path], name: str, weights: Any) -> None:
    """Nothing but where weights lie changes; between passes they are where the profile has them."""
    gpu, (repository, adapter, gguf) = torch.device("cuda", 0), model
    profile = replace(BY_NAME[name], weights=weights or BY_NAME[name].weights)

    def run(profile: Profile) -> tuple[Tensor, WanTransformer3DModel, AutoencoderKLWan, dict[str, Any]]:
        part, file = repository.part("transformer"), gguf if profile.weights == "gguf" else None
        transformer = load_transformer(WanTransformer3DModel, part, profile, gpu, file, lambda *_: None)
        add_adapter(transformer, read_adapter(adapter, transformer), 1.0, torch.bfloat16)
        vae = AutoencoderKLWan(base_dim=4).eval()
        facts = place(transformer, vae, None, profile, gpu)
        predict(transformer, gpu)
        return predict(transformer, gpu), transformer, vae, facts

    resident, *_ = run(replace(profile, offload="none"))
    got, transformer, vae, facts = run(profile)

    assert torch.equal(got, resident)
    assert next(base_layers(transformer)).weight.device.type == ("cpu" if profile.stream else "cuda")
    assert facts["pinned"] == profile.stream
    with torch.no_grad():
        vae.decode(torch.zeros(1, 16, 1, 4, 4, device=gpu))
    assert next(base_layers(transformer)).weight.device.type == ("cuda" if profile.offload == "none" else "cpu")
    release(transformer, vae)
