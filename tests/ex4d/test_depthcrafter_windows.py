# SPDX-License-Identifier: Apache-2.0
"""DepthCrafter's windows: a clip of any length comes out as if all of it were in memory, frame after frame."""

from __future__ import annotations

import pytest
import torch
from crafter_parts import Formulas, whole_clip
from diffusers import EulerDiscreteScheduler

from ex4d.depth.depthcrafter.parts import Recipe, Seeded
from ex4d.depth.depthcrafter.windows import Crafter, work
from scripts._tiny_depth import SVD_SCHEDULER


def video(frames: int, height: int = 16, width: int = 24) -> torch.Tensor:
    return torch.rand(frames, 3, height, width, generator=torch.Generator().manual_seed(frames))


def crafter(recipe: Recipe, networks: Formulas, told: list[int], seed: int = 3) -> Crafter:
    return Crafter(networks, EulerDiscreteScheduler(**SVD_SCHEDULER), recipe, Seeded(seed), told.append)


@pytest.mark.parametrize(
    ("count", "recipe"),
    [
        (1, Recipe(window=5, overlap=2, steps=2, guidance=1.0, chunk=3)),
        (4, Recipe(window=5, overlap=2, steps=2, guidance=1.0, chunk=3)),
        (5, Recipe(window=5, overlap=2, steps=2, guidance=1.0, chunk=8)),
        (6, Recipe(window=5, overlap=2, steps=2, guidance=1.0, chunk=4)),
        (17, Recipe(window=5, overlap=2, steps=3, guidance=1.0, chunk=4)),
        (13, Recipe(window=4, overlap=3, steps=2, guidance=1.0, chunk=5)),  # a frame is in several windows
        (12, Recipe(window=5, overlap=0, steps=2, guidance=1.0, chunk=2)),  # windows that know nothing of each other
        (9, Recipe(window=5, overlap=1, steps=2, guidance=2.5, chunk=1)),
    ],
)
def test_windows_come_to_what_the_whole_clip_in_memory_does(count: int, recipe: Recipe) -> None:
    clip, told = video(count), list[int]()
    got = torch.stack(list(crafter(recipe, Formulas(), told).frames(count, lambda index: clip[index])))
    torch.testing.assert_close(got, whole_clip(clip, recipe, 3), rtol=0, atol=1e-4)
    assert got.std() > 0.01
    assert sum(told) == work(count, recipe)


def test_frames_come_before_later_ones_are_looked_at() -> None:
    """After the first window: those that the second one does not change, in whole chunks."""
    recipe = Recipe(window=6, overlap=2, steps=1, guidance=1.0, chunk=3)
    clip, read, seen_at = video(20), list[int](), list[int]()
    networks = Formulas()

    def picture(index: int) -> torch.Tensor:
        read.append(index)
        return clip[index]

    for _ in crafter(recipe, networks, []).frames(20, picture):
        seen_at.append(max(read))
    assert seen_at[:3] == [5, 5, 5]
    assert seen_at[3:6] == [9, 9, 9]
    assert seen_at[-1] == 19
    assert [number for what, number in networks.calls if what == "decode"] == [3, 3, 3, 3, 3, 3, 2]
    assert sum(what == "encode" for what, _ in networks.calls) == 20  # each frame once
    assert max(number for _, number in networks.calls) == 6


def test_another_seed_gives_other_frames() -> None:
    recipe = Recipe(window=5, overlap=2, steps=2, guidance=1.0, chunk=4)
    clip = video(7)
    first, again, other = (
        torch.stack(list(crafter(recipe, Formulas(), [], seed).frames(7, lambda index: clip[index])))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first, again)
    assert (first - other).abs().max() > 1e-3
