# SPDX-License-Identifier: Apache-2.0
"""Long shots do not jump where their windows meet: through the whole generator, with a tiny model."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks._seams import jumps, moving_shot, painted, painted_apart, unevenness
from ex4d.generate import GENERATORS
from ex4d.generate.diffusion.windows import Span, plan_windows
from ex4d.settings import Value
from scripts._tiny_models import write_adapter, write_wan

FRAMES, WINDOW, OVERLAP = 29, 13, 5


@pytest.fixture(scope="module")
def options(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Value]:
    folder = tmp_path_factory.mktemp("tiny")
    return {
        "model": str(write_wan(folder / "wan")),
        "adapter": str(write_adapter(folder / "adapter.safetensors")),
        "width": 48,
        "height": 32,
        "window": WINDOW,
        "overlap": OVERLAP,
        "steps": 4,
        "glimpse_every": 0,
    }


def test_the_measure() -> None:
    """A shot that moves by 2 levels a frame, and by 10 where windows meet."""
    levels = np.cumsum([0, 9, 2, 2, 2, 10, 2, 2, 2, 2, 2, 2, 4]).astype(np.uint8)
    frames = levels[:, None, None, None] * np.ones((1, 4, 4, 3), np.uint8)
    (jump,) = jumps(frames, (Span(0, 9, 0), Span(4, 9, 5)))
    assert (jump.frame, jump.there, jump.overlap) == (4, 5.0, 2.5)
    assert unevenness(frames) == 5.0


def test_windows_of_the_diffusion_model_meet_without_a_jump(options: dict[str, Value]) -> None:
    spans = plan_windows(FRAMES, WINDOW, OVERLAP)
    assert len(spans) == 3
    shot = moving_shot(FRAMES, 48, 32, "closed")
    together = jumps(painted(GENERATORS["wan"], shot, 5, options), spans)
    worst = max(jump.overlap for jump in together)
    assert worst <= 1.25
    apart = jumps(painted_apart(GENERATORS["wan"], shot, 5, options, spans), spans)
    assert max(jump.overlap for jump in apart) > 1.1 * worst


def test_the_preview_does_not_jump_either() -> None:
    shot = moving_shot(13, 128, 96, "bounded")
    made = painted(GENERATORS["preview"], shot, 0, {})
    assert unevenness(made) <= 1.25 * unevenness(shot.shot.scene.clip.frames)
