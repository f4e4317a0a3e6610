# SPDX-License-Identifier: Apache-2.0
"""Predicted memory against what the released architectures allocate, at full size, without computing anything."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import FirstBlockCacheConfig, WanTransformer3DModel
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode

from benchmarks._live_memory import LiveMemory
from benchmarks.memory_prediction import I2V, VACE, count_autoencoder, count_sampling, workload
from ex4d.generate.diffusion.memory import PROFILES, Profile, encoder, encoder_of, network, predict
from ex4d.generate.diffusion.memory.predict import decoding, encoding, sampling
from ex4d.generate.wan.geometry_encoder import GeometryEncoder

WHOLE, TILED = PROFILES[0], PROFILES[-1]


def test_parameters_are_those_of_the_released_models() -> None:
    wan, vace = network(I2V), network(VACE)

    assert sum((wan.total.layers, wan.total.other, wan.total.float32)) == 16_394_878_784
    assert (wan.blocks, wan.width, wan.hints) == (40, 5120, 0)
    assert (vace.blocks, vace.width, vace.hints) == (45, 1536, 15)
    assert wan.total.layers / 16_394_878_784 > 0.98  # nearly all can be kept in a smaller type


def test_sizes_in_the_benchmark_are_those_of_the_architectures() -> None:
    job = workload(I2V, 49, 512, 512)
    umt5 = {"d_model": 4096, "d_ff": 10240, "d_kv": 64, "num_heads": 64, "num_layers": 24, "vocab_size": 256384}
    clip = {"hidden_size": 1280, "intermediate_size": 5120, "num_hidden_layers": 32, "num_attention_heads": 16}
    with torch.device("meta"):
        geometry = GeometryEncoder(1024, 5120)

    assert encoder_of({}, "vae").values == job.vae.values
    assert encoder_of({**umt5, "feed_forward_proj": "gated-gelu"}, "text_encoder") == job.text_encoder
    assert encoder_of({**clip, "patch_size": 14, "image_size": 224}, "image_encoder") == job.image_encoder
    assert encoder(geometry).values == job.geometry_encoder.values


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("frames", [17, 49])
def test_painting_takes_no_more_than_predicted(frames: int, batched: bool) -> None:
    job = workload(I2V, frames, 512, 512, batched=batched)

    live = count_sampling(I2V, job)

    assert live.peak <= sampling(job) <= 1.05 * live.peak


def test_painting_with_a_control_branch() -> None:
    short = {**VACE, "num_layers": 6, "vace_layers": [0, 2, 4]}  # all 30 and 15: benchmarks/memory_prediction.py
    job = workload(short, 17, 512, 512)

    live = count_sampling(short, job)

    assert live.peak <= sampling(job) <= 1.05 * live.peak


@pytest.mark.parametrize(
    ("profile", "frames", "width", "size_of"), [(WHOLE, 9, 512, 4), (WHOLE, 25, 128, 2), (TILED, 5, 272, 2)]
)
def test_the_autoencoder_takes_no_more_than_predicted(profile: Profile, frames: int, width: int, size_of: int) -> None:
    job = workload(I2V, frames, width, 192, vae_bytes=size_of)

    given = count_autoencoder(job, profile.vae_tiling, encode=True)
    made = count_autoencoder(job, profile.vae_tiling, encode=False)

    assert given.peak <= encoding(job, profile) <= 1.5 * given.peak
    assert made.peak <= decoding(job, profile) <= 1.35 * made.peak


def test_what_is_decoded_before_a_later_window_counts() -> None:
    job = workload(I2V, 9, 128, 192)
    longer = count_autoencoder(replace(job, frames=25), False, encode=False)

    assert longer.peak <= decoding(replace(job, before=16), WHOLE)
    assert sampling(replace(job, before=16)) == sampling(job)


def test_offloading_leaves_activations_and_two_blocks() -> None:
    job = workload(I2V, 49, 512, 512)
    gib = 1 << 30
    stages = {profile.name: predict(profile, job).stages["painting"] / gib for profile in PROFILES}

    assert stages["48"] - stages["24"] == pytest.approx(30.6 + 1.2 - 2.0, abs=0.4)  # weights and CLIP; two blocks
    assert stages["24"] - stages["16"] == pytest.approx(2 * 0.38 - 0.2, abs=0.1)  # each block half; one unpacked
    assert predict(PROFILES[2], job).ram / gib == pytest.approx(30.6 + 1.2 + 3.3, abs=0.4)
    assert predict(PROFILES[3], job).ram / gib == pytest.approx(15.5 + 1.2 + 3.3, abs=0.4)


def test_what_a_first_block_cache_keeps() -> None:
    """`Workload.cached` as `ex4d.generate.diffusion.job` sets it: three copies of the tokens for each prompt."""
    transformer = WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=24, text_dim=8, ffn_dim=32, num_layers=3
    ).eval()
    transformer.enable_cache(FirstBlockCacheConfig(threshold=0.01))
    given = {"hidden_states": torch.rand(1, 16, 1, 8, 8), "encoder_hidden_states": torch.rand(1, 512, 8)}
    time = torch.tensor([500.0])
    copy = 16 * 48 * 4  # tokens, channels, float32

    with (
        torch.no_grad(),
        LiveMemory([*transformer.parameters(), *transformer.buffers(), *given.values(), time]) as live,
    ):
        for prompt in ("positive", "negative"):
            with transformer.cache_context(prompt):
                transformer(timestep=time, **given)

    assert live.kept == 6 * copy


def test_live_memory_counts_what_is_alive() -> None:
    with FakeTensorMode():
        given = torch.zeros(1000, dtype=torch.uint8)
        with LiveMemory([given]) as live:
            first = given + 1  # 1000
            view = first[:10]
            second = torch.cat([first, first])  # 2000
            del first, second  # the view keeps the first
            third = given + 1
            del view, third
    assert live.given == 1000
    assert live.peak == 3000


def test_an_encoder_is_measured_by_its_own_parameters() -> None:
    found = encoder(nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 5)))

    assert (found.values, found.largest_layer) == (325, 220)
