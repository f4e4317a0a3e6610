# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter's parts: sizes, pixels for CLIP, the denoiser's own frames, memory, conversion."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import UNetSpatioTemporalConditionModel
from diffusers.pipelines.stable_video_diffusion.pipeline_stable_video_diffusion import _resize_with_antialiasing

from benchmarks.depthcrafter_memory import count_autoencoder, count_denoising
from ex4d.depth.depthcrafter.conversion import normalised, one_channel, upstream_depth
from ex4d.depth.depthcrafter.frame_size import network_size
from ex4d.depth.depthcrafter.load import build_unet
from ex4d.depth.depthcrafter.memory import activations, weight_bytes
from ex4d.depth.depthcrafter.pixels import clip_pixels
from scripts._tiny_depth import write_depthcrafter


@pytest.mark.parametrize(
    ("size", "longest", "expected"),
    [
        ((576, 1024), 1024, (576, 1024)),
        ((1080, 1920), 1024, (576, 1024)),
        ((1920, 1080), 1024, (1024, 576)),
        ((480, 854), 1024, (512, 832)),  # 7.5 units are 8
        ((100, 100), 1024, (128, 128)),
        ((20, 3000), 1024, (64, 1024)),
        ((1024, 1056), 1024, (1024, 1024)),  # 16.5 units are 16: no need to shrink
    ],
)
def test_sizes(size: tuple[int, int], longest: int, expected: tuple[int, int]) -> None:
    assert network_size(*size, longest) == expected


@pytest.mark.parametrize("size", [(64, 64), (448, 256), (320, 1024)])
def test_pixels_for_clip_are_those_of_stable_video_diffusion(size: tuple[int, int]) -> None:
    frames = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 2 - 1
    got = clip_pixels(frames)
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(1, 3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(1, 3, 1, 1)
    expected = (_resize_with_antialiasing(frames, (224, 224)) * 0.5 + 0.5 - mean) / deviation
    torch.testing.assert_close(got, expected, rtol=0, atol=1e-5)


def test_each_frame_is_seen_with_its_own_embedding(tmp_path: Path) -> None:
    """The same embedding for all: as diffusers' class has it. Another one for a frame: that frame changes most."""
    config = write_depthcrafter(tmp_path) / "depthcrafter" / "config.json"
    torch.manual_seed(0)
    stock = UNetSpatioTemporalConditionModel.from_config(json.loads(config.read_text())).eval()
    unet = UNetSpatioTemporalConditionModel.from_config(stock.config)
    unet.load_state_dict(stock.state_dict())
    ours = build_unet(config).to_empty(device="cpu").eval()
    ours.load_state_dict(stock.state_dict())
    latents, about, one = torch.randn(2, 3, 8, 8, 8), torch.tensor([[7.0, 127.0, 0.02]] * 2), torch.randn(2, 1, 16)

    def run(network: UNetSpatioTemporalConditionModel, embeddings: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return network(latents, 0.5, encoder_hidden_states=embeddings, added_time_ids=about).sample

    same = run(ours, one.expand(-1, 3, -1))
    torch.testing.assert_close(same, run(stock, one), rtol=0, atol=1e-5)
    other = one.repeat(1, 3, 1)
    other[1, 2] += 10.0
    changed = (run(ours, other) - same).abs().amax(dim=(2, 3, 4))
    assert changed[0].max() < 1e-6
    assert changed[1].argmax() == 2
    assert changed[1, 2] > 1e-4


@pytest.mark.parametrize("frames", [1, 3])
def test_predicted_memory_is_not_below_what_the_denoiser_takes(frames: int) -> None:
    counted = count_denoising(frames, 256, 320)
    predicted = activations(256, 320, frames, 1)
    assert counted <= predicted


def test_predicted_memory_is_not_below_what_the_autoencoder_takes() -> None:
    decoded, encoded = (count_autoencoder(2 - encode, 256, 320, encode=encode) for encode in (False, True))
    assert decoded <= activations(256, 320, 2, 2) < 1.5 * decoded
    assert encoded <= activations(256, 320, 1, 1) < 1.5 * encoded


def test_weights_are_counted_in_the_files(tmp_path: Path) -> None:
    """As half-precision files hold them, and the autoencoder's encoder in float32."""
    folder = write_depthcrafter(tmp_path)
    files = sum(file.stat().st_size for file in folder.rglob("*.safetensors"))
    assert files * 0.9 < weight_bytes(folder / "depthcrafter", folder / "svd-xt") < 1.2 * files


def test_conversion_of_the_public_code() -> None:
    frames = np.array([[[[0.0, 0.3, 0.6], [0.9, 0.9, 0.9]], [[0.3, 0.3, 0.3], [0.2, 0.3, 0.4]]]], np.float32)
    grey = one_channel(frames)
    np.testing.assert_allclose(grey, [[[0.3, 0.9], [0.3, 0.3]]], rtol=1e-6)
    depth = upstream_depth(normalised(grey, float(grey.min()), 1.2))
    assert depth[0, 0, 1] == pytest.approx(10000 / (3900 * 2 / 3), rel=1e-5)
    assert depth[0, 0, 0] == pytest.approx(10000)
    assert (normalised(np.full((2, 2), 0.5, np.float32), 0.5, 0.5) == 0).all()  # nothing is nearer than anything else


def test_parity_with_the_public_code(reference: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    folder = reference("golden/depthcrafter.safetensors").parent
    reference("golden/depthcrafter_unet.safetensors")
    monkeypatch.syspath_prepend(str(Path(__file__).resolve().parents[2] / "scripts"))
    import check_parity
    from _parity_groups import GROUPS

    ours = [entry for entry in GROUPS["depth"] if entry.file.startswith("depthcrafter")]
    rows = check_parity.check(folder, ours, strangers=False)
    assert {row.state for row in rows} == {"ok", "input"}
    assert sum(row.state == "ok" for row in rows) >= 19
