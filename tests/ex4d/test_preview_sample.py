# SPDX-License-Identifier: Apache-2.0
"""The sample clip, and how steady the preview of it is."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from depths import estimate_depth

from ex4d.cameras import preset_path, static_source
from ex4d.clip import read_clip
from ex4d.evaluate.flicker import flicker
from ex4d.generate import GENERATORS, GenerateRequest
from ex4d.mesh import default_intrinsics
from ex4d.render import render_conditioning
from ex4d.scene import build_scene
from ex4d.values import Clip, DepthVideo, Scene, Shot

# The aim: the filled areas may not flicker more than this many times what the source itself does.
STEADY = 1.25


@pytest.fixture(scope="module")
def sample(root: Path) -> tuple[Clip, DepthVideo]:
    clip = read_clip([root / "samples/courtyard.mp4"])
    return clip, estimate_depth(clip, files=[root / "samples/courtyard_depth.npz"])


def test_the_sample_is_small_whole_and_described(root: Path, sample: tuple[Clip, DepthVideo]) -> None:
    clip, depth = sample
    assert sum(file.stat().st_size for file in (root / "samples").iterdir()) < 4_000_000
    told = json.loads((root / "samples/courtyard.json").read_text("utf-8"))
    assert clip.frames.shape == (told["frames"], told["height"], told["width"], 3)
    assert clip.fps == Fraction(*told["fps"])
    assert depth.z.shape == clip.frames.shape[:3]
    assert not depth.draft
    assert 3.0 < depth.z.min() < depth.z.max() < 13.0
    assert told["focal"] == pytest.approx(default_intrinsics(told["width"], told["height"]).fx)


def test_the_ball_hides_what_other_frames_of_the_sample_show(sample: tuple[Clip, DepthVideo]) -> None:
    _, depth = sample
    nearest, furthest = depth.z.min(axis=0), depth.z.max(axis=0)
    assert 0.05 < (furthest > 1.2 * nearest).mean() < 0.4
    assert (furthest == nearest).mean() > 0.5


def ratio(scene: Scene, move: str) -> float:
    """Flicker of the painted areas over the source's own."""
    frames = len(scene.mesh_depth)
    path = preset_path(move, frames, scene.pivot, scene.intrinsics, scene.clip.fps)
    given = render_conditioning(Shot(scene, path, static_source(scene, frames)))
    made = GENERATORS["preview"].frames(GenerateRequest(given, 0, {}, range(frames)))
    return flicker([frame for _, frame in made], list(~given.mask)) / flicker(scene.clip.frames)


@pytest.mark.parametrize("move", ["60", "180"])
def test_painted_areas_are_as_steady_as_the_source_at_half_size(sample: tuple[Clip, DepthVideo], move: str) -> None:
    clip, depth = sample
    size = (clip.frames.shape[2] // 2, clip.frames.shape[1] // 2)
    frames = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_AREA) for frame in clip.frames[:25]])
    z = np.stack([cv2.resize(frame, size, interpolation=cv2.INTER_NEAREST) for frame in depth.z[:25]])
    scene = build_scene(Clip(frames, clip.fps, clip.name), DepthVideo(z, "file", draft=False))
    assert 0.0 < ratio(scene, move) <= STEADY


@pytest.mark.parametrize("move", ["60", "180"])
def test_painted_areas_are_as_steady_as_the_source(sample: tuple[Clip, DepthVideo], move: str) -> None:
    assert 0.0 < ratio(build_scene(*sample), move) <= STEADY
