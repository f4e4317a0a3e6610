# SPDX-License-Identifier: Apache-2.0
"""How much a shot jumps where its windows meet, against how much it moves anyway."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import numpy as np

from benchmarks._scene import depth_and_picture
from ex4d.cameras import preset_path, static_source
from ex4d.generate import GenerateRequest, Generator
from ex4d.generate.diffusion.windows import Span, given_by
from ex4d.render import RenderOptions, render_conditioning
from ex4d.scene import build_scene
from ex4d.settings import Value
from ex4d.values import F64, U8, Clip, Conditioning, DepthVideo, Shot, ShotConditioning

FPS = Fraction(24)
AROUND = 4  # frame differences either way: a camera that slows down is no jump
START = 4  # differences at a shot's start that do not count: a decoder without a past has its own look there


@dataclass(frozen=True)
class Jump:
    """Frame differences around one seam, in multiples of what the shot has elsewhere."""

    frame: int  # the last of the window before, counted from 0
    there: float  # from that frame to the next, over the median elsewhere
    overlap: float  # largest from there to the end of the overlap, over the largest elsewhere


def frame_differences(frames: U8) -> F64:
    """[T, H, W, 3] → [T - 1] mean absolute difference of each frame from the one before, 0..255."""
    return np.array([np.abs(b.astype(np.int16) - a).mean() for a, b in pairwise(frames)])


def unevenness(frames: U8) -> float:
    """The largest of the frame differences over the median of those around it: 1 where nothing jumps."""
    steps = frame_differences(frames)
    around = [np.median(steps[max(index - AROUND, 0) : index + AROUND + 1]) for index in range(len(steps))]
    return float((steps / around).max())


def jumps(frames: U8, spans: Sequence[Span]) -> list[Jump]:
    """What is seen where windows meet."""
    steps = frame_differences(frames)
    around = [slice(span.start, min(span.start + span.overlap, len(steps))) for span in spans[1:]]
    elsewhere = np.arange(len(steps)) >= START
    for place in around:
        elsewhere[place] = False
    usual, most = float(np.median(steps[elsewhere])), float(steps[elsewhere].max())
    return [Jump(p.start, float(steps[p.start]) / usual, float(steps[p].max()) / most) for p in around]


def moving_shot(frames: int, width: int, height: int, geometry: str) -> ShotConditioning:
    """Spheres that roll before a wall, seen from a camera that moves as well."""
    made = [depth_and_picture(width, height, index / max(frames - 1, 1)) for index in range(frames)]
    clip = Clip(np.stack([picture for _, picture in made]), FPS, "spheres")
    scene = build_scene(clip, DepthVideo(np.stack([z for z, _ in made]), "file", draft=False))
    path = preset_path("30", frames, scene.pivot, scene.intrinsics, FPS)
    return render_conditioning(Shot(scene, path, static_source(scene, frames)), options=RenderOptions(geometry))


def painted(generator: Generator, conditioning: Conditioning, seed: int, options: dict[str, Value]) -> U8:
    """All frames of a shot, [T, H, W, 3]."""
    request = GenerateRequest(conditioning, seed, options, range(len(conditioning.mask)))
    return np.stack([frame for _, frame in generator.frames(request)])


def painted_apart(
    generator: Generator, conditioning: Conditioning, seed: int, options: dict[str, Value], spans: Sequence[Span]
) -> U8:
    """The same, each window for itself, with a seed of its own: what a shot looks like that nothing ties together."""
    parts: list[U8] = []
    total = len(conditioning.mask)
    for index, span in enumerate(spans):
        end = min(span.start + span.length, total)
        part = Conditioning(
            colour=conditioning.colour[span.start : end],
            mask=conditioning.mask[span.start : end],
            coverage=conditioning.coverage[span.start : end],
            fps=conditioning.fps,
        )
        kept = given_by(spans, index, total)
        alone = painted(generator, part, seed + index, options)
        parts.append(alone[kept.start - span.start : kept.stop - span.start])
    return np.concatenate(parts)
