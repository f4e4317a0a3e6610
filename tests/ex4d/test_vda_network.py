# SPDX-License-Identifier: Apache-2.0
"""Video-Depth-Anything's network: what a published file is, that nothing else passes, and its pictures."""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from vda_cases import write_sparse

from ex4d.depth.vda.architecture import read_architecture
from ex4d.depth.vda.model import VideoDepthNetwork, load_network
from ex4d.depth.vda.names import rename
from ex4d.depth.vda.picture import network_picture, network_size
from ex4d.models.weights import WeightFiles
from scripts._tiny_depth import vda_shapes, write_vda
from shared_protocol.errors import BAD_INPUT, Ex4dError

SMALL = {"width": 384, "depth": 12, "features": 64, "channels": (48, 96, 192, 384)}
BASE = {"width": 768, "depth": 12, "features": 128, "channels": (96, 192, 384, 768)}
LARGE = {"width": 1024, "depth": 24, "features": 256, "channels": (256, 512, 1024, 1024)}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vda(tmp_path_factory.mktemp("tiny"))


def loaded(file: Path, dtype: torch.dtype = torch.float32) -> VideoDepthNetwork:
    weights = WeightFiles([file])
    return load_network(weights, read_architecture(weights), dtype=dtype)


@pytest.mark.parametrize(
    ("sizes", "name", "heads", "blocks", "entries", "parameters"),
    [
        (SMALL, "Small", 6, (2, 5, 8, 11), 351, 29_035_137),
        (BASE, "Base", 12, (2, 5, 8, 11), 351, 114_441_409),
        (LARGE, "Large", 16, (4, 11, 17, 23), 519, 384_390_337),
    ],
)
def test_published_sizes_are_known_by_their_shapes(
    tmp_path: Path, sizes: dict, name: str, heads: int, blocks: tuple, entries: int, parameters: int
) -> None:
    """Counts of tensors and parameters are those of the published files."""
    shapes = vda_shapes(**sizes)
    assert len(shapes) == entries
    assert sum(prod(shape) for key, shape in shapes.items() if not key.endswith(".pe")) == parameters
    found = read_architecture(WeightFiles([write_sparse(tmp_path / "a.safetensors", shapes)]))
    assert (found.name, found.heads, found.blocks) == (name, heads, blocks)
    assert (found.width, found.features, found.channels) == (sizes["width"], sizes["features"], sizes["channels"])
    with torch.device("meta"):
        ours = {key: tuple(value.shape) for key, value in VideoDepthNetwork(found).state_dict().items()}
    theirs = {}
    for key, shape in shapes.items():
        names = rename(key)
        parts = (names,) if isinstance(names, str) else names
        theirs |= {part: (shape[0] // len(parts), *shape[1:]) for part in parts}
    assert ours == theirs


def test_a_file_is_read_as_it_is_published_and_nothing_is_lost(tiny: Path) -> None:
    network, tensors = loaded(tiny), load_file(tiny)
    state = network.state_dict()
    for key, value in tensors.items():
        names = rename(key)
        parts = [state[name] for name in ((names,) if isinstance(names, str) else names)]
        assert torch.equal(torch.cat(parts), value), key
    assert not any(parameter.requires_grad for parameter in network.parameters())
    assert not network.training


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda t: t.pop("head.scratch.layer3_rn.weight"), ["1 missing", "layer3_rn"]),
        (lambda t: t.pop("pretrained.blocks.2.attn.qkv.bias"), ["3 missing", "encoder.layer.2.attention.q_proj.bias"]),
        (lambda t: t.update({"head.more": torch.ones(1)}), ["1 not known", "head.more"]),
        (lambda t: t.update({"pretrained.blocks.1.ls1.gamma": torch.ones(3)}), ["another shape", "3 instead of 64"]),
        (lambda t: t.pop("pretrained.cls_token"), ["no Video-Depth-Anything", "pretrained.cls_token"]),
        (
            lambda t: [t.pop(key) for key in list(t) if "motion" in key],
            ["no Video-Depth-Anything", "motion_modules"],
        ),
        (
            lambda t: t.update({"pretrained.pos_embed": torch.ones(1, 1371, 64)}),
            ["sizes that no Video-Depth-Anything has"],
        ),
    ],
)
def test_what_is_not_the_model_is_told(tiny: Path, tmp_path: Path, damage: object, words: list[str]) -> None:
    tensors = load_file(tiny)
    damage(tensors)  # type: ignore[operator]
    file = tmp_path / "video_depth_anything_vits.safetensors"
    save_file(tensors, file)
    with pytest.raises(Ex4dError) as caught:
        loaded(file)
    assert caught.value.code == BAD_INPUT
    for word in (*words, str(file)):
        assert word in str(caught.value)


def test_a_file_that_is_cut_off_is_told(tiny: Path, tmp_path: Path) -> None:
    file = tmp_path / "video_depth_anything_vits.safetensors"
    file.write_bytes(tiny.read_bytes()[:-100])
    with pytest.raises(Ex4dError, match="cut off") as caught:
        loaded(file)
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(("dtype", "most"), [(torch.bfloat16, 0.1), (torch.float16, 0.02)])
def test_half_precision_keeps_what_needs_it_and_stays_close(tiny: Path, dtype: torch.dtype, most: float) -> None:
    whole, half = loaded(tiny), loaded(tiny, dtype)
    kinds = {name: value.dtype for name, value in half.state_dict().items()}
    assert kinds["head.scratch.output_conv1.weight"] == kinds["image.encoder.layer.0.mlp.fc1.weight"] == dtype
    for name in (
        "head.scratch.output_conv2.0.weight",
        "image.layernorm.weight",
        "image.embeddings.position_embeddings",
        "head.motion_modules.1.norms.0.weight",
        "head.motion_modules.3.attention_blocks.1.pos_encoder.pe",
    ):
        assert kinds[name] == torch.float32, name
    pictures = torch.randn(6, 3, 42, 56, generator=torch.Generator().manual_seed(0))

    def depth(network: VideoDepthNetwork) -> torch.Tensor:
        tokens = network.look(pictures)
        return network.depth(tokens, network.mix(tokens, (3, 4)), (3, 4))

    wanted, got = depth(whole), depth(half)
    assert wanted.shape == got.shape == (6, 42, 56)
    assert got.dtype == torch.float32
    assert float(wanted.std()) > 0.05, "or there would be nothing to see"
    assert float((got - wanted).abs().mean() / wanted.mean()) < most


def test_frames_see_each_other_and_order_matters(tiny: Path) -> None:
    network = loaded(tiny)
    pictures = torch.randn(5, 3, 28, 42, generator=torch.Generator().manual_seed(1))
    tokens = network.look(pictures)

    def first(order: list[int]) -> torch.Tensor:
        chosen = [tokens[index] for index in order]
        return network.depth(chosen, network.mix(chosen, (2, 3)), (2, 3))[order.index(0)]

    alone, together = first([0]), first([0, 1, 2, 3, 4])
    assert float((alone - together).abs().max()) > 1e-3
    assert float((first([4, 3, 2, 1, 0]) - together).abs().max()) > 1e-3


@pytest.mark.parametrize(
    ("frame", "input_size", "size"),
    [
        ((1080, 1920), 518, (518, 924)),
        ((1920, 1080), 518, (924, 518)),
        ((480, 640), 518, (518, 686)),
        ((375, 1242), 518, (280, 924)),
        ((517, 519), 280, (280, 280)),
        ((2, 4000), 518, (14, 28000)),
    ],
)
def test_the_network_sees_frames_in_multiples_of_its_patches(
    frame: tuple[int, int], input_size: int, size: tuple[int, int]
) -> None:
    assert network_size(*frame, input_size, 14) == size


def test_a_picture_overshoots_at_edges_and_is_normalised() -> None:
    frame = np.zeros((20, 20, 3), np.uint8)
    frame[:, 10:] = 255
    picture = network_picture(frame, 28, 42)
    assert picture.shape == (3, 28, 42)
    assert picture.dtype == np.float32
    black, white = (0 - 0.485) / 0.229, (1 - 0.485) / 0.229
    assert picture[0].min() < black - 0.1
    assert picture[0].max() > white + 0.1
    assert picture[0, 14, 0] == pytest.approx(black, abs=1e-5)
