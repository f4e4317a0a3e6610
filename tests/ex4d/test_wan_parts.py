# SPDX-License-Identifier: Apache-2.0
"""The traits of the public code that the released weights need, and the adapter's file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import WanTransformer3DModel
from safetensors.torch import load_file, save_file

from ex4d.generate.diffusion.latents import WanLatents, latent_size, to_frames, to_video
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.wan.adapter import NAME, add_adapter, read_adapter
from ex4d.generate.wan.clip_input import clip_pixels
from ex4d.generate.wan.condition import first_frame, image_condition, mask_video
from scripts._tiny_models import write_adapter, write_wan
from shared_protocol.errors import BAD_INPUT, Ex4dError


@pytest.fixture(scope="module")
def transformer(tmp_path_factory: pytest.TempPathFactory) -> WanTransformer3DModel:
    folder = write_wan(tmp_path_factory.mktemp("wan"))
    return WanTransformer3DModel.from_pretrained(folder / "transformer")


def fresh(transformer: WanTransformer3DModel) -> WanTransformer3DModel:
    copy = WanTransformer3DModel.from_config(transformer.config)
    copy.load_state_dict(transformer.state_dict())
    return copy


def test_the_mask_is_mapped_twice() -> None:
    mask = np.array([[[True, False], [False, True]]])
    video = mask_video(mask)
    assert video.shape == (1, 3, 1, 2, 2)
    assert set(video.unique().tolist()) == {-3.0, 1.0}
    assert (video[0, 2, 0].numpy() == 1.0).tolist() == mask[0].tolist()


def test_the_first_frame_is_cut_off_to_whole_levels() -> None:
    video = torch.tensor([100.99, 100.0, 0.0, 255.0]).view(1, 1, 1, 1, 4).expand(1, 3, 2, 1, 4) / 127.5 - 1.0
    assert torch.equal(((first_frame(video) + 1.0) * 127.5).round()[0, 0, 0], torch.tensor([100.0, 100.0, 0.0, 255.0]))


def test_the_image_condition_marks_the_first_frame_alone() -> None:
    class Mean:
        def encode(self, video: torch.Tensor) -> torch.Tensor:
            self.given = video
            return torch.full((1, 16, 3, 4, 4), 7.0)

        def decode(self, latents: torch.Tensor) -> torch.Tensor:
            raise AssertionError

    vae = Mean()
    image = image_condition(torch.full((1, 3, 32, 32), 0.5), 9, vae)
    assert image.shape == (1, 20, 3, 4, 4)
    assert image[:, :4, 0].unique().tolist() == [1.0]
    assert image[:, :4, 1:].unique().tolist() == [0.0]
    assert image[:, 4:].unique().tolist() == [7.0]
    assert vae.given[:, :, 0].unique().tolist() == [0.5]
    assert vae.given[:, :, 1:].unique().tolist() == [0.0]  # grey, not black


def test_clip_gets_the_whole_picture_stretched() -> None:
    picture = torch.zeros(1, 3, 32, 96)
    picture[..., :2] = 1.0  # at the very edge, which a crop would lose
    pixels = clip_pixels(picture)
    assert pixels.shape == (1, 3, 224, 224)
    assert (pixels[..., 0] > pixels[..., 112]).all()


@pytest.mark.parametrize(("frames", "latent"), [(1, 1), (5, 2), (49, 13), (81, 21)])
def test_size_of_latents(frames: int, latent: int) -> None:
    assert latent_size(frames, 480, 832) == (latent, 60, 104)


def test_frames_come_back_as_they_went_in() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (3, 4, 6, 3), np.uint8)
    assert np.array_equal(to_frames(to_video(frames) + 1e-4), frames)  # whole levels: cut off, not rounded


def test_latents_go_to_and_fro(tmp_path: Path) -> None:
    from diffusers import AutoencoderKLWan

    torch.manual_seed(0)
    coder = WanLatents(AutoencoderKLWan(base_dim=4))
    video = torch.rand(1, 3, 5, 32, 48) * 2.0 - 1.0
    latents = coder.encode(video)
    assert latents.shape == (1, 16, 2, 4, 6)
    assert torch.equal(latents, coder.encode(video))  # the mean, not a sample
    assert coder.decode(latents).shape == video.shape


def test_levels_of_the_schedule() -> None:
    levels = Schedule(4, 5.0)
    ours = [5 * s / (1 + 4 * s) for s in (1.0, 0.75, 0.5, 0.25)] + [0.0]
    assert [levels.sigma(step) for step in range(5)] == pytest.approx(ours, abs=1e-6)
    assert [levels.timestep(step) for step in range(4)] == pytest.approx([1000.0 * s for s in ours[:4]], abs=1e-3)


def test_a_schedule_that_begins_later_takes_the_same_steps() -> None:
    latents, velocity = torch.randn(1, 16, 1, 2, 2), torch.randn(1, 16, 1, 2, 2)
    whole = Schedule(5, 5.0)
    for step in range(5):
        moved = whole.advance(step, latents, velocity)
        assert torch.equal(moved, Schedule(5, 5.0, start=step).advance(step, latents, velocity))


@pytest.mark.parametrize("names", ["default", "plain"])
@pytest.mark.parametrize("rank", [2, 5])
def test_the_adapter_changes_what_the_transformer_says(
    transformer: WanTransformer3DModel, tmp_path: Path, names: str, rank: int
) -> None:
    model = fresh(transformer)
    adapter = read_adapter(write_adapter(tmp_path / "a.safetensors", rank=rank, names=names), model)  # type: ignore[arg-type]
    assert adapter.rank == rank
    linear = model.blocks[0].attn1.to_q
    given = torch.randn(1, 7, linear.in_features)
    before = linear(given)
    add_adapter(model, adapter, 1.0)
    low, high = adapter.lora["blocks.0.attn1.to_q.lora_A.weight"], adapter.lora["blocks.0.attn1.to_q.lora_B.weight"]
    assert torch.allclose(model.blocks[0].attn1.to_q(given), before + given @ low.T @ high.T, atol=1e-5)
    model.set_adapters([NAME], [0.5])
    assert torch.allclose(model.blocks[0].attn1.to_q(given), before + 0.5 * (given @ low.T @ high.T), atol=1e-5)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda t: t.pop("blocks.1.ffn.2.lora_B.default.weight"), "blocks.1.ffn.2.lora_B"),
        (lambda t: t.update({"blocks.9.ffn.2.lora_B.default.weight": torch.zeros(96, 4)}), "blocks.9.ffn.2.lora_B"),
        (lambda t: t.update({"blocks.0.ffn.0.lora_B.default.weight": torch.zeros(90, 4)}), "blocks.0.ffn.0.lora_B"),
        (lambda t: t.pop("latent_encoder.2.bias"), "latent_encoder.2.bias"),
        (lambda t: t.update({"latent_encoder.2.bias": torch.zeros(3)}), "latent_encoder.2.bias"),
        (lambda t: t.update({"something": torch.zeros(3)}), "something"),
        (lambda t: t.pop("latent_encoder.0.weight"), "geometry encoder"),
        (lambda t: t.update({"blocks.0.ffn.0.lora_A.default.weight": torch.zeros(3, 96)}), "rank"),
    ],
    ids=["missing", "left over", "misshapen", "no bias", "misshapen bias", "stranger", "no encoder", "two ranks"],
)
def test_an_adapter_that_does_not_fit_is_refused_by_name(
    transformer: WanTransformer3DModel, tmp_path: Path, change, named: str
) -> None:
    tensors = load_file(write_adapter(tmp_path / "good.safetensors"))
    change(tensors)
    save_file(tensors, tmp_path / "bad.safetensors")
    with pytest.raises(Ex4dError, match=named) as refused:
        read_adapter(tmp_path / "bad.safetensors", transformer)
    assert refused.value.code == BAD_INPUT


def test_a_truncated_adapter_is_refused(transformer: WanTransformer3DModel, tmp_path: Path) -> None:
    path = write_adapter(tmp_path / "a.safetensors")
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(Ex4dError, match=r"a\.safetensors"):
        read_adapter(path, transformer)
