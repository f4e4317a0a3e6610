# SPDX-License-Identifier: Apache-2.0
"""Depth networks of transformers, in small with random weights, through the loaders that read the published ones."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from depths import estimate_depth
from safetensors.torch import load_file, save_file

from ex4d.depth.door import DepthRequest, Estimate
from ex4d.depth.hub import DepthAnything
from ex4d.depth.hub.families import meaning, seen_size
from ex4d.depth.hub.pictures import _unpadded
from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Value
from ex4d.values import Clip
from scripts._tiny_depth import write_hub_model
from shared_protocol.errors import BAD_INPUT, INTERNAL, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError

HEIGHT, WIDTH = 36, 60
FRAMES = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3), np.uint8)
CLIP = Clip(FRAMES, Fraction(24), "clip")


@pytest.fixture(autouse=True)
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The hub's cache: empty. And nowhere to fetch from."""
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    return folder


@pytest.fixture(scope="module")
def anything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_hub_model(tmp_path_factory.mktemp("anything"))


def depth(
    model: Path | str,
    door: str = "depth-anything",
    notes: list[str] | None = None,
    focal: float | None = None,
    **options: Value,
) -> list[Estimate]:
    request = DepthRequest(
        CLIP,
        {"model": str(model), **options},
        commercial=False,
        focal=focal,
        note=(notes if notes is not None else []).append,
    )
    return list(DEPTH_DOORS[door].frames(request))


@pytest.mark.parametrize(
    ("family", "options", "gives"),
    [
        ("depth_anything", {}, "disparity"),
        ("dpt", {"output": "disparity"}, "disparity"),
        ("dpt", {"output": "metric"}, "metric"),
        ("zoedepth", {}, "metric"),
        ("glpn", {}, "metric"),
    ],
)
def test_each_family_gives_depth_of_the_frames_size(
    family: str, options: dict[str, Value], gives: str, tmp_path: Path
) -> None:
    found = depth(write_hub_model(tmp_path / "model", family), **options)
    assert [estimate.gives for estimate in found] == [gives] * len(FRAMES)
    values = np.stack([estimate.values for estimate in found])
    assert values.shape == FRAMES.shape[:3]
    assert values.dtype == np.float32
    assert values.std() > 0
    assert not np.array_equal(values[0], values[1])
    if gives == "metric":
        assert values.min() > 0


def test_it_is_what_transformers_itself_computes(anything: Path) -> None:
    from transformers import AutoImageProcessor, AutoModelForDepthEstimation

    processor = AutoImageProcessor.from_pretrained(anything, backend="pil")
    network = AutoModelForDepthEstimation.from_pretrained(anything).eval()
    with torch.no_grad():
        given = network(**processor(images=list(FRAMES), return_tensors="pt"))
    wanted = processor.post_process_depth_estimation(given, target_sizes=[(HEIGHT, WIDTH)] * len(FRAMES))
    assert torch.is_grad_enabled()
    for estimate, each in zip(depth(anything), wanted, strict=True):
        np.testing.assert_allclose(estimate.values, each["predicted_depth"].numpy(), rtol=1e-5, atol=1e-6)


def test_a_model_in_metres_is_told_apart_by_its_config(tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "m", depth_estimation_type="metric", max_depth=20)
    found = depth(model)
    assert found[0].gives == "metric"
    assert found[0].values.max() <= 20 * 1.2
    with pytest.raises(Ex4dError, match="gives metric, not disparity"):
        depth(model, output="disparity")


def test_a_larger_input_is_another_picture_to_the_network(anything: Path, tmp_path: Path) -> None:
    door = DepthAnything()
    usual, larger = depth(anything)[0].values, depth(anything, input_size=84)[0].values
    assert larger.shape == usual.shape
    assert not np.allclose(larger, usual, atol=1e-3)
    network, values = door.chosen({"model": str(anything), "input_size": 2072}, False)
    takes = [door.peak(network, 576, 1024, {**values, "input_size": side}) for side in (518, 2072)]
    assert takes[1] > 3 * takes[0]
    with pytest.raises(Ex4dError, match="has an input size of its own") as caught:
        depth(write_hub_model(tmp_path / "glpn", "glpn"), input_size=84)
    assert caught.value.code == BAD_INPUT


def test_sizes_are_those_of_the_published_processor() -> None:
    pictures = {"size": {"height": 518, "width": 518}, "keep_aspect_ratio": True, "ensure_multiple_of": 14}
    assert seen_size("depth_anything", pictures, 576, 1024) == (518, 924)
    assert seen_size("depth_anything", pictures, 1024, 576) == (924, 518)
    assert seen_size("dpt", {"size": {"height": 384, "width": 384}}, 576, 1024) == (384, 384)
    assert seen_size("dpt", {"size": 384}, 576, 1024) == (384, 384)
    assert seen_size("glpn", {"size_divisor": 32}, 570, 1030) == (544, 1024)


def test_zoedepths_border_is_cut_off_again() -> None:
    height, width = 32, 50
    down, across = int(np.sqrt(height / 2) * 3), int(np.sqrt(width / 2) * 3)
    ramp = torch.arange(width + 2 * across, dtype=torch.float32).expand(1, height + 2 * down, -1)
    cut = _unpadded(ramp, height, width)
    assert cut.shape == (1, height, width)
    np.testing.assert_allclose(cut[0].numpy(), np.tile(np.arange(across, across + width), (height, 1)), atol=1e-4)


def test_depth_pro_keeps_one_lens_for_the_clip(tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "pro", "depth_pro")
    notes: list[str] = []
    found = depth(model, "depth-pro", notes)
    focal = found[0].focal
    assert focal is not None
    assert focal > 0
    assert {estimate.focal for estimate in found} == {focal}
    assert {estimate.gives for estimate in found} == {"metric"}
    assert notes == [f"depth for a focal length of {focal:.0f} pixels, the median of 3 frames"]


def test_depth_pros_depth_is_proportional_to_the_focal_length(tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "pro", "depth_pro")
    notes: list[str] = []
    once, twice = (depth(model, "depth-pro", notes, focal=focal) for focal in (40.0, 80.0))
    assert notes == []
    for first, second in zip(once, twice, strict=True):
        assert (first.focal, second.focal) == (40.0, 80.0)
        inside = second.values < 9000  # metres: the limit of what it gives
        assert inside.mean() > 0.1
        np.testing.assert_allclose(second.values[inside], 2 * first.values[inside], rtol=1e-5)


def test_depth_pro_without_its_lens_model_says_that_it_guesses(tmp_path: Path) -> None:
    notes: list[str] = []
    found = depth(write_hub_model(tmp_path / "pro", "depth_pro", use_fov_model=False), "depth-pro", notes)
    assert found[0].focal == pytest.approx(WIDTH * 500 / 512)
    assert "a guess" in notes[0]


def test_through_the_whole_step(anything: Path) -> None:
    options = {"model": str(anything), "commercial": False, "steady": "off", "edges": "off", "sky": "off"}
    found = estimate_depth(CLIP, estimator="depth-anything", options=options)
    assert found.estimator == "depth-anything"
    assert found.facts["model"] == str(anything)
    assert found.facts["commercial_use"] is False
    assert np.isfinite(found.z).all()
    assert found.z.min() > 0


def test_the_place_of_a_known_model_proves_its_licence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    door = DEPTH_DOORS["depth-anything"]
    place = write_hub_model(tmp_path / "models" / "depth-anything-small")
    for model in ("auto", "depth-anything-small", str(place), "depth-anything/Depth-Anything-V2-Small-hf"):
        nature = door.nature({"model": model}, commercial=True)
        assert (nature.model, nature.licence, nature.commercial_use) == ("depth-anything-small", "Apache-2.0", True)
    assert set(door.identity({}, True)) == {"config.json", "preprocessor_config.json", "model.safetensors"}
    assert all(len(sum_) == 64 for sum_ in door.identity({}, True).values())
    with pytest.raises(Ex4dError, match="ex4d models download depth-anything-large"):
        door.nature({"model": "depth-anything-large"}, commercial=False)
    with pytest.raises(Ex4dError, match=r"CC BY-NC 4\.0"):
        door.nature({"model": "depth-anything-large"}, commercial=True)
    with pytest.raises(Ex4dError, match="none stated for these weights"):
        door.nature({"model": "depth-anything-indoor-small"}, commercial=True)


def test_a_repository_in_the_hubs_cache(hub: Path) -> None:
    with pytest.raises(Ex4dError, match="someone/some-depth is not on this machine") as caught:
        depth("someone/some-depth")
    assert caught.value.code == UNAVAILABLE
    assert "hf download someone/some-depth" in caught.value.hint
    write_hub_model(hub / "models--someone--some-depth" / "snapshots" / "0123abcd")
    assert len(depth("someone/some-depth")) == len(FRAMES)
    with pytest.raises(Ex4dError, match="someone/some-depth may not be used commercially: not known"):
        DEPTH_DOORS["depth-anything"].nature({"model": "someone/some-depth"}, commercial=True)


def test_intels_dpt_is_known_to_give_disparity() -> None:
    config = {"model_type": "dpt"}
    assert meaning(config, "Intel/dpt-large", "auto") == "disparity"
    with pytest.raises(Ex4dError, match="does not say what its numbers mean") as caught:
        meaning(config, "someone/dpt", "auto")
    assert "output" in caught.value.hint


@pytest.mark.parametrize(
    ("config", "code", "said"),
    [
        ({"model_type": "prompt_depth_anything"}, UNSUPPORTED, "needs measured depth beside each picture"),
        ({"model_type": "chmv2"}, UNSUPPORTED, "height of trees"),
        ({"model_type": "llama"}, UNSUPPORTED, "names 'llama'"),
        ({}, UNSUPPORTED, "names no type of model"),
        ({"model_type": "dpt", "backbone": "facebook/dinov2-small"}, UNSUPPORTED, "takes its backbone from elsewhere"),
        ([], BAD_INPUT, "holds no table"),
    ],
)
def test_models_that_cannot_be_used_are_told(config: object, code: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(Ex4dError, match=said) as caught:
        depth(tmp_path)
    assert caught.value.code == code


def test_each_estimator_sends_to_the_other(anything: Path, tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="of the family depth_anything") as caught:
        depth(anything, "depth-pro")
    assert "estimator depth-anything" in caught.value.hint
    with pytest.raises(Ex4dError, match="Depth Pro has an estimator of its own"):
        depth(write_hub_model(tmp_path / "pro", "depth_pro"))


def test_missing_folders_files_and_pickles(anything: Path, tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="There is no model 'nowhere'") as caught:
        depth("nowhere")
    assert caught.value.code == NOT_FOUND
    with pytest.raises(Ex4dError, match=r"has no config\.json"):
        depth(tmp_path)
    (tmp_path / "config.json").write_bytes((anything / "config.json").read_bytes())
    (tmp_path / "pytorch_model.bin").touch()
    (tmp_path / "preprocessor_config.json").write_text("{")
    with pytest.raises(Ex4dError, match=r"preprocessor_config\.json cannot be read"):
        depth(tmp_path)
    (tmp_path / "preprocessor_config.json").write_bytes((anything / "preprocessor_config.json").read_bytes())
    with pytest.raises(Ex4dError, match=r"pytorch_model\.bin is a pickle") as caught:
        depth(tmp_path)
    assert caught.value.code == NOT_FOUND


def copied(model: Path, folder: Path) -> Path:
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    return folder


def test_a_broken_download_is_told_before_anything_is_computed(anything: Path, tmp_path: Path) -> None:
    broken = copied(anything, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1000])
    with pytest.raises(Ex4dError, match="is cut off") as caught:
        depth(broken)
    assert caught.value.code == BAD_INPUT
    assert "download it again" in caught.value.hint


@pytest.mark.parametrize("wrong", ["missing", "misshapen"])
def test_weights_that_do_not_fit_are_never_made_up(wrong: str, anything: Path, tmp_path: Path) -> None:
    model = copied(anything, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    taken = tensors.pop("head.conv1.weight")
    if wrong == "misshapen":
        tensors["head.conv1.weight"] = taken[:, :2].contiguous()
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Ex4dError, match=r"do not fit its config\.json: 1 .*head\.conv1\.weight") as caught:
        depth(model)
    assert caught.value.code == BAD_INPUT


def test_what_only_training_uses_may_be_missing(anything: Path, tmp_path: Path) -> None:
    model = copied(anything, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    del tensors["backbone.embeddings.mask_token"]
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(depth(model)[0].values, depth(anything)[0].values)


def without(model: Path, unlike: str, folder: Path) -> Path:
    """A copy that lacks the tensors whose names have this."""
    tensors = load_file(copied(model, folder) / "model.safetensors")
    kept = {name: tensor for name, tensor in tensors.items() if unlike not in name}
    assert len(kept) < len(tensors)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("family", ["dpt", "depth_anything"])
def test_weights_of_a_sum_without_a_second_term_may_be_missing(family: str, tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "model", family)
    less = without(model, "fusion_stage.layers.0.residual_layer1.", tmp_path / "less")
    options = {"output": "disparity"}
    np.testing.assert_array_equal(depth(less, **options)[0].values, depth(model, **options)[0].values)
    with pytest.raises(Ex4dError, match="4 missing"):
        depth(without(model, "fusion_stage.layers.1.residual_layer1.", tmp_path / "broken"), **options)


def test_more_layers_than_the_config_has_are_another_network(anything: Path, tmp_path: Path) -> None:
    model = copied(anything, tmp_path / "model")
    tensors = load_file(model / "model.safetensors")
    leftover = {**tensors, "backbone.pooler.dense.weight": torch.zeros(2)}
    save_file(leftover, model / "model.safetensors", metadata={"format": "pt"})
    np.testing.assert_array_equal(depth(model)[0].values, depth(anything)[0].values)
    name = "backbone.encoder.layer.{}.norm1.weight"
    save_file({**tensors, name.format(9): tensors[name.format(0)].clone()}, model / "model.safetensors")
    with pytest.raises(Ex4dError, match=r"1 too many: backbone\.encoder\.layer\.9\.norm1\.weight") as caught:
        depth(model)
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(
    ("family", "file", "wrong"),
    [
        ("depth_anything", "config.json", {"patch_size": "x"}),
        ("depth_anything", "preprocessor_config.json", {"size": [4, 4]}),
        ("depth_pro", "preprocessor_config.json", {"size": {"height": "x"}}),
        ("depth_pro", "preprocessor_config.json", {"image_mean": "x"}),
    ],
)
def test_numbers_that_are_none_are_told(family: str, file: str, wrong: dict[str, object], tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "model", family)
    told = json.loads((model / file).read_text())
    (model / file).write_text(json.dumps({**told, **wrong}))
    with pytest.raises(Ex4dError, match=f"{file} makes no sense: what it says of '{next(iter(wrong))}'") as caught:
        depth(model, family.replace("_", "-"))
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
@pytest.mark.parametrize(
    ("family", "door"),
    [("depth_anything", "depth-anything"), ("glpn", "depth-anything"), ("depth_pro", "depth-pro")],
)
def test_half_precision_is_near_and_leaves_random_numbers_alone(
    family: str, door: str, precision: str, tmp_path: Path
) -> None:
    model = write_hub_model(tmp_path / "model", family)
    whole = np.stack([estimate.values for estimate in depth(model, door)])
    state = torch.get_rng_state()
    half = np.stack([estimate.values for estimate in depth(model, door, precision=precision)])
    assert torch.equal(state, torch.get_rng_state())
    assert 0 < np.abs(half - whole).mean() < 0.05 * np.abs(whole).mean()


@pytest.mark.parametrize(("family", "door"), [("depth_anything", "depth-anything"), ("depth_pro", "depth-pro")])
def test_weights_that_give_no_numbers_are_told(family: str, door: str, tmp_path: Path) -> None:
    model = write_hub_model(tmp_path / "model", family)
    tensors = load_file(model / "model.safetensors")
    name = "head.conv3.bias" if family == "depth_anything" else "head.layers.4.bias"
    tensors[name] = torch.full_like(tensors[name], torch.inf)
    save_file(tensors, model / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(Ex4dError, match=f"'{door}' gave no numbers for frame 1") as caught:
        depth(model, door)
    assert caught.value.code == INTERNAL


def test_a_config_that_makes_no_network_is_told(anything: Path, tmp_path: Path) -> None:
    model = copied(anything, tmp_path / "model")
    config = json.loads((model / "config.json").read_text())
    config["depth_estimation_type"] = "sideways"
    (model / "config.json").write_text(json.dumps(config))
    with pytest.raises(Ex4dError, match="No network can be made of"):
        depth(model)
    (model / "config.json").write_bytes((anything / "config.json").read_bytes())
    (model / "preprocessor_config.json").write_text(json.dumps({"image_processor_type": "NoSuchProcessor"}))
    with pytest.raises(Ex4dError, match=r"preprocessor_config\.json cannot be used"):
        depth(model)
