# SPDX-License-Identifier: Apache-2.0
"""How windows are tied together, on a model whose answer is known: latents that drift as a Gaussian process does."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from diffusers import AutoencoderKLWan
from torch import Tensor

from ex4d.generate.diffusion.latents import WanLatents
from ex4d.generate.diffusion.pin import CONTEXT, Pin, decode, join, window_noise
from ex4d.generate.diffusion.sampler import sample
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.diffusion.windows import Span, given_by, plan_windows

SPANS = plan_windows(145, 61, 17)  # three


class Drift:
    """Velocities of a video whose latents are correlated over time by exp(-dt^2 / 32), with a little grain.

    With x = (1 - s) z + s n for Gaussian z of covariance K, the best guess of z is linear in x. What it is shown of
    the window before, it knows up to an error of 0.3: K is what is left of it then.
    """

    def __init__(self, count: int, shown: Tensor | None) -> None:
        apart = torch.arange(count)[:, None] - torch.arange(count)
        self._covariance = 0.98 * torch.exp(-(apart**2) / 32.0) + 0.02 * torch.eye(count)
        self._mean = torch.zeros(1, 16, count, 8, 8)
        if shown is not None:
            known = shown.shape[2]
            sure = torch.linalg.inv(self._covariance[:known, :known] + 0.3**2 * torch.eye(known))
            gain = self._covariance[:, :known] @ sure
            self._mean = over_time(gain, shown)
            self._covariance = self._covariance - gain @ self._covariance[:known]

    def velocity(self, latents: Tensor, timestep: float, cfg: float) -> Tensor:
        sigma = timestep / 1000.0
        noisy = (1.0 - sigma) ** 2 * self._covariance + sigma**2 * torch.eye(len(self._covariance))
        guess = (1.0 - sigma) * self._covariance @ torch.linalg.inv(noisy)
        best = self._mean + over_time(guess, latents - (1.0 - sigma) * self._mean)
        return (latents - best) / sigma


def over_time(matrix: Tensor, latents: Tensor) -> Tensor:
    return torch.einsum("st,bcthw->bcshw", matrix, latents)


def paint(tied: bool, count: int = 12, shown: bool = False) -> tuple[Tensor, list[Tensor]]:
    """Latents of the shot after each window, and of the windows alone."""
    shot, alone = None, []
    for index, span in enumerate(SPANS):
        noise = window_noise(3, SPANS, index, 8, 8) if tied else torch.randn(1, 16, span.latents, 8, 8)
        pin = Pin.none()
        if tied and shot is not None:
            first = shot[:, :, span.first_latent : span.first_latent + 1]
            pin = Pin.to_shot(shot, span, first, noise)
        before = shot[:, :, span.first_latent :] if shown and shot is not None else None
        model, schedule = Drift(span.latents, before), Schedule(count, 5.0)
        latents = sample(model, noise, schedule, 1.0, hold=pin.hold, after_step=lambda *_: None)
        alone.append(latents)
        shot = join(shot, latents, span)
    assert shot is not None
    return shot, alone


def steps(latents: Tensor) -> Tensor:
    """How much each latent frame differs from the one before it."""
    return latents.diff(dim=2).square().mean((0, 1, 3, 4)).sqrt()


@pytest.mark.parametrize("count", [4, 12, 40])
def test_no_jump_where_windows_meet(count: int) -> None:
    torch.manual_seed(0)
    shot, alone = paint(tied=True, count=count)
    assert shot.shape[2] == 37
    usual = steps(alone[0]).max()
    assert steps(shot).max() < 1.5 * usual  # by the ties alone
    apart, _ = paint(tied=False, count=count)
    assert steps(apart).max() > 3.0 * usual
    shot, _ = paint(tied=True, count=count, shown=True)
    assert steps(shot).max() < 1.15 * usual


def test_the_overlap_keeps_its_contrast() -> None:
    """Mixing two videos that differ would wash both out."""
    shot, _ = paint(tied=True)
    contrast = shot.std((0, 1, 3, 4))
    assert contrast.min() > 0.85 * contrast.median()


def test_held_latents_begin_as_the_window_before_ends() -> None:
    _, alone = paint(tied=True)
    span = SPANS[1]
    before = alone[0][:, :, span.first_latent :]
    off = (alone[1][:, :, : before.shape[2]] - before).abs().mean((0, 1, 3, 4))
    assert off[0] == 0.0
    assert (off.diff() > 0.0).all()


def test_weights_fall_and_levels_are_mixed() -> None:
    known, noise, latents = (
        torch.full((1, 16, count, 1, 1), value) for count, value in ((3, 2.0), (5, 10.0), (5, 0.0))
    )
    pin = Pin(known, noise)
    assert pin.hold(latents, 0.25)[0, 0, :, 0, 0].tolist() == [4.0, 0.5, 0.0, 0.0, 0.0]
    assert pin.hold(latents, 0.0)[0, 0, :, 0, 0].tolist() == [2.0, 1.0, 0.0, 0.0, 0.0]
    assert Pin.none().hold(latents, 0.25) is latents


def test_noise_of_the_first_window_is_torchs_own() -> None:
    own = torch.randn((1, 16, 16, 4, 6), generator=torch.Generator("cpu").manual_seed(7), dtype=torch.float32)
    assert SPANS[0].latents == 16
    assert torch.equal(window_noise(7, SPANS, 0, 4, 6), own)


def test_where_latents_are_heading_is_told_long_before_they_are_there() -> None:
    """What glimpses show."""
    way: dict[int, tuple[Tensor, Tensor]] = {}
    noise, model = window_noise(3, SPANS, 0, 8, 8), Drift(SPANS[0].latents, None)
    final = sample(
        model,
        noise,
        Schedule(12, 5.0),
        1.0,
        after_step=lambda step, latents, clean: way.update({step: (latents, clean)}),
    )
    for step in range(11):
        latents, clean = way[step]
        assert (clean - final).std() < (latents - final).std()
    latents, clean = way[8]
    assert (clean - final).std() < 0.6 * (latents - final).std()
    torch.testing.assert_close(way[11][1], final)


def test_windows_share_the_noise_of_the_frames_that_they_share() -> None:
    noises = [window_noise(7, SPANS, index, 4, 6) for index in range(3)]
    for index in (1, 2):
        shared = SPANS[index].shared_latents + 1
        assert torch.equal(noises[index][:, :, :shared], noises[index - 1][:, :, -shared:])
        rest = noises[index][:, :, shared:]
        assert rest.std() == pytest.approx(1.0, abs=0.05)
        assert (rest != noises[0][:, :, : rest.shape[2]]).all()
    assert not torch.equal(noises[1], window_noise(8, SPANS, 1, 4, 6))
    assert torch.equal(noises[2], window_noise(7, SPANS, 2, 4, 6))


class Counting:
    """An autoencoder whose pictures say which latent they came from."""

    def encode(self, video: Tensor) -> Tensor:
        raise AssertionError("nothing is encoded here")

    def decode(self, latents: Tensor) -> Tensor:
        frames = torch.cat([latents[:, :3, :1], latents[:, :3, 1:].repeat_interleave(4, dim=2)], dim=2)
        return frames.repeat_interleave(8, dim=3).repeat_interleave(8, dim=4)


def test_every_frame_is_decoded_from_its_own_latent() -> None:
    shot, frames = None, []
    for index, span in enumerate(SPANS):
        numbers = torch.arange(span.latents, dtype=torch.float32) + span.first_latent + 1000 * index
        shot = join(shot, numbers.view(1, 1, -1, 1, 1).expand(1, 16, -1, 1, 1), span)
        pictures = decode(Counting(), shot, span)[0, 0, :, 0, 0]
        assert len(pictures) == span.length - (1 if index else 0)
        kept = given_by(SPANS, index, 145)
        frames += [pictures[frame - (span.start + 1 if index else 0)].item() for frame in kept]
    assert [frame % 1000 for frame in frames] == [(index + 3) // 4 for index in range(145)]
    meets = [span.start + 1 for span in SPANS[1:]]
    assert [index for index, (a, b) in enumerate(pairwise(frames), 1) if b - a > 2] == meets


def test_finished_windows_decode_to_the_same_pictures_later() -> None:
    """A run that goes on decodes what it had from the latents of the whole shot."""
    torch.manual_seed(0)
    vae = WanLatents(AutoencoderKLWan(base_dim=4))
    spans = tuple(Span(start, 61, 17 if start else 0) for start in (0, 44, 88))
    assert spans[2].first_latent > CONTEXT
    shot, early = None, []
    for index, span in enumerate(spans):
        shot = join(shot, torch.randn(1, 16, span.latents, 2, 2), span)
        early.append(decode(vae, shot, span)[:, :, : len(given_by(spans, index, 149))])
    assert shot is not None
    for index, span in enumerate(spans):
        late = decode(vae, shot, span)[:, :, : len(given_by(spans, index, 149))]
        assert torch.equal(late, early[index])


def test_context_makes_the_seam_disappear() -> None:
    """With all latents before a window as context, its pictures are those of one decoding of the whole."""
    torch.manual_seed(0)
    vae = WanLatents(AutoencoderKLWan(base_dim=4))
    shot = torch.randn(1, 16, CONTEXT + 3, 2, 2)
    span = Span(4 * CONTEXT, 9, 5)
    whole = vae.decode(shot)
    assert torch.equal(decode(vae, shot, span), whole[:, :, span.start + 1 :])
