# SPDX-License-Identifier: Apache-2.0
"""A shot painted with a video diffusion model, window by window.

A window is shown to the model, denoised step by step, joined to the latents before it and decoded. What it shares with
the next one goes into that one's conditioning as finished pictures. After each step the latents can be kept, so that a
run that was killed, or ran out of a GPU's memory, goes on from there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol, TypeVar

from torch import Tensor

from ex4d.generate.diffusion.latents import to_frames, to_video
from ex4d.generate.diffusion.memory import is_out_of_memory
from ex4d.generate.diffusion.model import VideoModel, Window
from ex4d.generate.diffusion.pin import Pin, decode, join, window_noise
from ex4d.generate.diffusion.sampler import sample
from ex4d.generate.diffusion.schedule import Schedule
from ex4d.generate.diffusion.unfinished import Progress, Unfinished, request_key
from ex4d.generate.diffusion.windows import Span, cut_out, given_by, plan_windows, windows_for
from ex4d.generate.door import GenerateRequest
from ex4d.upstream.frames import binarise, resize
from ex4d.values import U8, Bool, Conditioning

T = TypeVar("T")


@dataclass(frozen=True)
class Plan:
    """How a shot is sampled."""

    width: int  # of the frames, in pixels
    height: int
    steps: int
    cfg: float
    shift: float
    window: int  # frames painted in one go at most
    overlap: int  # frames that a window shares with the next, at least
    glimpse_every: int  # steps between two looks at the unfinished result; 0: none
    seed: int
    whole_windows: bool = False  # a step uses what earlier ones computed, so a window is only begun at its start


class Rig(Protocol):
    """What loads a model, and loads it again in less memory."""

    notes: list[str]  # what a person should know of how it went

    def open(self) -> VideoModel:
        """The model, loaded if it is not there. Raises Ex4dError where it cannot be."""
        ...

    def shrink(self) -> None:
        """Lets go of the model, which is loaded in the next smaller memory profile then.

        Raises:
            Ex4dError: LIMIT where there is no smaller one.
        """
        ...

    def close(self) -> None:
        """Lets go of the model and its memory."""
        ...


def paint(request: GenerateRequest, plan: Plan, rig: Rig, identity: Mapping[str, Any]) -> Iterator[tuple[int, U8]]:
    """The frames of a shot; see `ex4d.generate.door.Generator.frames`.

    Args:
        request: what is asked for.
        plan: how it is sampled.
        rig: brings the model; closed in the end.
        identity: whatever else decides the latents: weights, prompts, switches. JSON values.
    """
    if not request.wanted:
        return
    try:
        yield from _Shot(request, plan, rig, identity).frames()
    finally:
        rig.close()


def at_size(conditioning: Conditioning, width: int, height: int) -> tuple[U8, Bool]:
    """Colour [T, height, width, 3] and mask [T, height, width], stretched as the public code does where they differ."""
    colour, mask = conditioning.colour, conditioning.mask
    if mask.shape[1:] == (height, width):
        return colour, mask
    return resize(colour, height, width), binarise(resize(mask.astype("uint8") * 255, height, width))


class _Shot:
    """A shot while it is painted."""

    def __init__(self, request: GenerateRequest, plan: Plan, rig: Rig, identity: Mapping[str, Any]) -> None:
        self._request, self._plan, self._rig = request, plan, rig
        self._colour, self._mask = at_size(request.conditioning, plan.width, plan.height)
        self._total = len(self._mask)
        self._spans = plan_windows(self._total, plan.window, plan.overlap)
        self._windows = windows_for(self._spans, self._total, request.wanted)
        key = request_key({"plan": asdict(plan), **identity}, (self._colour, self._mask))
        self._kept = Unfinished(request.scratch, key)
        self._done = self._kept.load()
        if plan.whole_windows:
            self._done = replace(self._done, steps=0, latents=None)

    def frames(self) -> Iterator[tuple[int, U8]]:
        wanted = frozenset(self._request.wanted)
        before: U8 | None = None  # finished pictures that the next window begins with
        for index in range(self._windows):
            span, given = self._spans[index], given_by(self._spans, index, self._total)
            if index >= self._done.windows:
                self._paint(index, before)
            last = index + 1 == self._windows
            follows = not last and index + 1 >= self._done.windows
            if follows or not wanted.isdisjoint(given):
                pictures = self._decode(span)
                first = span.start + 1 if span.overlap else span.start  # the frame that the first of them is
                for frame in sorted(wanted.intersection(given)):
                    yield frame, pictures[frame - first]
                if follows:
                    start = self._spans[index + 1].start - first
                    before = pictures[start : start + self._spans[index + 1].overlap]
        self._kept.clear()
        self._request.record(
            {"windows": [asdict(span) for span in self._spans], "notes": [*self._rig.notes, *self._kept.notes]}
        )

    def _paint(self, index: int, before: U8 | None) -> None:
        """Latents of one window, joined to those of the shot."""
        span = self._spans[index]
        colour, mask = cut_out(self._colour, span), cut_out(self._mask, span)
        if before is not None:
            colour[: span.overlap], mask[: span.overlap] = before, True
        window = Window(colour=colour, mask=mask, finished=span.overlap, start=span.start)
        latents = self._with_memory(lambda model: self._sample(model, index, window))
        shot = join(self._done.shot, latents.cpu(), span)
        self._done = Progress(windows=index + 1, shot=shot)
        self._kept.window_done(index + 1, shot)

    def _sample(self, model: VideoModel, index: int, window: Window) -> Tensor:
        plan, span, tell = self._plan, self._spans[index], self._request.progress
        steps = self._windows * plan.steps
        tell("Looking at what was seen", index, self._windows)
        shown = model.condition(window)
        noise = window_noise(plan.seed, self._spans, index, plan.height // 8, plan.width // 8).to(model.device)
        pin = Pin.none()
        if self._done.shot is not None:
            first = model.vae.encode(to_video(window.colour[:1]))
            pin = Pin.to_shot(self._done.shot, span, first, noise)
        start, latents = self._done.steps, self._done.latents

        def after_step(step: int, latents: Tensor, clean: Tensor) -> None:
            if not plan.whole_windows:
                self._done = replace(self._done, steps=step + 1, latents=latents.cpu())
                self._kept.step_done(index, step + 1, latents)
            if plan.glimpse_every and (step + 1) % plan.glimpse_every == 0:
                self._request.glimpse(shown.palette.picture(clean))
            tell("Painting", index * plan.steps + step + 1, steps)

        tell("Painting", index * plan.steps + start, steps)
        return sample(
            shown,
            noise if latents is None else latents.to(model.device),
            Schedule(plan.steps, plan.shift, start),
            plan.cfg,
            start=start,
            hold=pin.hold,
            after_step=after_step,
        )

    def _decode(self, span: Span) -> U8:
        """[T, H, W, 3]: of a later window without its first frame."""
        self._request.progress("Developing the frames", self._spans.index(span), self._windows)
        shot = self._done.shot
        if shot is None:
            raise RuntimeError("a window is decoded before any is painted")
        return to_frames(self._with_memory(lambda model: decode(model.vae, shot, span)))

    def _with_memory(self, work: Callable[[VideoModel], T]) -> T:
        """What the work gives. Where the GPU's memory runs out, also while the model comes, it is done again with the
        model in less of it."""
        while True:
            model: VideoModel | None = None
            try:
                model = self._rig.open()
                return work(model)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
            del model  # the last that holds on to its weights
            self._rig.shrink()
