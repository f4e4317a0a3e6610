# SPDX-License-Identifier: Apache-2.0
"""Wan2.1-VACE through the project's own loop, beside diffusers' pipeline on the same small weights."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, WanVACEPipeline
from PIL import Image
from torch import Tensor

from ex4d.generate.diffusion.guidance import Prompts
from ex4d.generate.diffusion.latents import WanLatents
from ex4d.generate.diffusion.model import VideoModel, Window
from ex4d.generate.diffusion.sampler import sample
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.vace.condition import control, kept, reference_latents
from ex4d.generate.vace.model import Reference, Showing, VaceModel
from scripts._tiny_models import write_vace

FRAMES, HEIGHT, WIDTH, STEPS, SHIFT, CFG = 9, 32, 48, 4, 3.0, 5.0
PROMPT, NEGATIVE = "a red car, wide angle", "ultra quality"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> WanVACEPipeline:
    folder = write_vace(tmp_path_factory.mktemp("vace"))
    # The pipeline asks its scheduler for its own choice of noise levels: it is handed the ones that are wanted.
    pipe = WanVACEPipeline.from_pretrained(folder, scheduler=_ChosenLevels(shift=SHIFT), dtype=torch.float32)
    pipe.set_progress_bar_config(disable=True)
    return pipe


class _ChosenLevels(FlowMatchEulerDiscreteScheduler):
    def set_timesteps(self, steps: int, device: torch.device | None = None) -> None:
        super().set_timesteps(sigmas=np.linspace(1.0, 0.0, steps + 1)[:-1], device=device)


def _window(finished: int = 0) -> Window:
    random = np.random.default_rng(0)
    colour = random.integers(0, 256, (FRAMES, HEIGHT, WIDTH, 3), dtype=np.uint8)
    mask = np.zeros((FRAMES, HEIGHT, WIDTH), np.bool_)
    for frame in range(FRAMES):
        mask[frame, :, 3 * frame :] = True
        mask[frame, 5:9, 30:35] = frame % 2 == 0
    mask[:finished] = True
    return Window(colour, mask, finished, 0)


def _prompts(pipe: WanVACEPipeline) -> Prompts:
    return Prompts(*pipe.encode_prompt(PROMPT, NEGATIVE, max_sequence_length=512))


def _model(pipe: WanVACEPipeline, showing: Showing = Showing()) -> VideoModel:  # noqa: B008 - frozen
    return VaceModel(pipe.transformer, WanLatents(pipe.vae), _prompts(pipe), torch.device("cpu"), showing)


def _noise(frames: int) -> Tensor:
    shape = (1, 16, (frames - 1) // 4 + 1, HEIGHT // 8, WIDTH // 8)
    return torch.randn(shape, generator=torch.Generator().manual_seed(7))


def _ours(model: VideoModel, window: Window, noise: Tensor, cfg: float = CFG) -> Tensor:
    return sample(model.condition(window), noise, Schedule(STEPS, SHIFT), cfg, after_step=lambda *_: None)


def _theirs(pipe: WanVACEPipeline, window: Window, noise: Tensor, **more: object) -> Tensor:
    """Their final latents, from pictures in 0..1 with grey where there is something to paint."""
    paint = torch.from_numpy(~window.mask)[None, :, None].float()
    video = torch.from_numpy(window.colour).permute(0, 3, 1, 2)[None] / 255.0
    latents: Tensor = pipe(
        prompt=PROMPT, negative_prompt=NEGATIVE, video=torch.where(paint > 0, 0.5, video), mask=paint,
        height=HEIGHT, width=WIDTH, num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=CFG,
        latents=noise, output_type="latent", return_dict=False, **more,
    )[0]  # fmt: skip
    return latents


@pytest.mark.parametrize("scale", [1.0, 0.6])
def test_the_final_latents_are_those_of_the_pipeline(pipeline: WanVACEPipeline, scale: float) -> None:
    window, noise = _window(), _noise(FRAMES)
    ours = _ours(_model(pipeline, Showing(scale=scale)), window, noise)
    theirs = _theirs(pipeline, window, noise, conditioning_scale=scale)
    assert (ours - noise).abs().max() > 0.1  # the loop went somewhere
    assert (ours - theirs).abs().max() <= 1e-4


def test_a_reference_is_one_more_latent_frame_of_the_pipeline(pipeline: WanVACEPipeline) -> None:
    window, noise = _window(), _noise(FRAMES)
    picture = np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8)
    ours = _ours(_model(pipeline, Showing(reference=picture)), window, noise)
    # The pipeline paints the reference anew: between its steps, what is known of it is put back.
    reference = Reference.of(reference_latents(picture, HEIGHT, WIDTH, WanLatents(pipeline.vae)))
    schedule = Schedule(STEPS, SHIFT)

    def put_back(_pipe: object, step: int, _timestep: Tensor, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"latents": torch.cat([reference.at(schedule.sigma(step + 1)), tensors["latents"][:, :, 1:]], dim=2)}

    theirs = _theirs(
        pipeline, window, torch.cat([reference.noise, noise], dim=2),
        reference_images=Image.fromarray(picture), callback_on_step_end=put_back,
    )  # fmt: skip
    assert ours.shape == noise.shape
    assert (ours - theirs[:, :, 1:]).abs().max() <= 1e-4
    assert (ours - _ours(_model(pipeline), window, noise)).abs().max() > 1e-2  # it had a say


def test_control_channels_are_those_of_the_pipeline_at_every_length(pipeline: WanVACEPipeline) -> None:
    """Which frame's mask a latent frame gets depends on how many frames there are."""
    random = np.random.default_rng(2)
    for frames in (1, 5, 17, 49, 81):
        keep = random.random((frames, 16, 32)) < 0.5
        ours = control(np.zeros((frames, 16, 32, 3), np.uint8), keep, _FlatLatents())
        theirs = pipeline.prepare_masks(torch.from_numpy(~keep).float()[None, None], [[]])
        assert torch.equal(ours[:, 32:], theirs)


class _FlatLatents:
    """Latents as large as an autoencoder's, which are not looked at."""

    def encode(self, video: Tensor) -> Tensor:
        return torch.zeros(1, 16, (video.shape[2] - 1) // 4 + 1, video.shape[3] // 8, video.shape[4] // 8)

    def decode(self, latents: Tensor) -> Tensor:
        raise NotImplementedError


def test_guidance_in_one_pass_is_guidance_in_two(pipeline: WanVACEPipeline) -> None:
    window, noise = _window(), _noise(FRAMES)
    two = _ours(_model(pipeline), window, noise)
    one = _ours(_model(pipeline, Showing(batched=True)), window, noise)
    assert (one - two).abs().max() <= 1e-4


def test_without_guidance_the_negative_prompt_has_no_say(pipeline: WanVACEPipeline) -> None:
    window, noise = _window(), _noise(FRAMES)
    passes: list[int] = []
    hook = pipeline.transformer.register_forward_pre_hook(lambda *_: passes.append(1))
    _ours(_model(pipeline), window, noise, cfg=1.0)
    hook.remove()
    assert len(passes) == STEPS


def test_colours_of_what_is_to_be_painted_do_not_matter(pipeline: WanVACEPipeline) -> None:
    window, noise = _window(), _noise(FRAMES)
    other = Window(np.where(window.mask[..., None], window.colour, 0), window.mask, 0, 0)
    assert torch.equal(_ours(_model(pipeline), window, noise), _ours(_model(pipeline), other, noise))


def test_what_was_seen_gives_way_along_its_edges_and_finished_frames_do_not() -> None:
    mask = np.zeros((5, 32, 48), np.bool_)
    mask[:, :, 20:] = True
    keep = kept(Window(np.zeros((5, 32, 48, 3), np.uint8), mask, 1, 0), edge=2)
    assert np.array_equal(keep[0], np.ones((32, 48), np.bool_))
    for frame in keep[1:]:
        assert not frame[:, :22].any()
        assert frame[:, 22:].all()  # up to the picture's own borders
    assert np.array_equal(kept(Window(np.zeros((5, 32, 48, 3), np.uint8), mask, 0, 0), edge=0), mask)


def test_a_reference_of_another_aspect_stands_on_white() -> None:
    seen: list[Tensor] = []

    class Watching(_FlatLatents):
        def encode(self, video: Tensor) -> Tensor:
            seen.append(video)
            return super().encode(video)

    latents = reference_latents(np.zeros((90, 100, 3), np.uint8), 32, 64, Watching())
    assert latents.shape == (1, 16, 1, 4, 8)
    picture = seen[0][0, 0, 0]
    left, width = 14, 36  # 100 x 90 in 32 lines, in the middle
    assert (picture[:, left : left + width] < -0.999).all()
    assert (picture[:, :left] == 1.0).all()
    assert (picture[:, left + width :] == 1.0).all()
