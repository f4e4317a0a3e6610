# SPDX-License-Identifier: Apache-2.0
"""What a long command shows while it works."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ex4d.console import Console
from ex4d.images import read_png


class Clock:
    """Seconds, as a test sets them."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def shown(console: Console, clock: Clock, steps: list[tuple[str, float, int, int]]) -> None:
    for phase, seconds, done, total in steps:
        clock.now = 1000.0 + seconds
        console.progress(phase, done, total)


def test_a_person_sees_phase_step_and_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    clock = Clock()
    with Console(clock=clock) as console:
        shown(
            console,
            clock,
            [
                ("Loading", 0, 0, 1),
                ("Denoising", 100, 5, 25),  # taken up again at the fifth step
                ("Denoising", 130, 6, 25),
                ("Denoising", 700, 24, 25),
                ("Denoising", 700, 25, 25),
                ("Waiting", 800, 0, 4000),
                ("Waiting", 810, 10, 4000),
            ],
        )
    lines = capsys.readouterr().err.replace("\x1b[K", "").split("\n")
    assert [line.split("\r")[1:] for line in lines] == [
        ["Loading: 0/1"],
        ["Denoising: 5/25", "Denoising: 6/25, 10 min left", "Denoising: 24/25, 32 s left", "Denoising: 25/25"],
        ["Waiting: 0/4000", "Waiting: 10/4000, 1 h 06 min left"],
        [],
    ]


def test_a_log_gets_a_line_a_phase_and_one_for_each_tenth_of_a_long_one(capsys: pytest.CaptureFixture[str]) -> None:
    clock = Clock()
    with Console(clock=clock) as console:
        shown(console, clock, [("Quick", 0.01 * k, k, 50) for k in range(51)])
        shown(console, clock, [("Long", 10.0 + 3.0 * k, k, 40) for k in range(41)])
    lines = capsys.readouterr().err.splitlines()
    assert lines[:4] == ["Quick", "Long", "Long: 4/40, 2 min left", "Long: 8/40, 2 min left"]
    assert lines[-2:] == ["Long: 36/40, 12 s left", "Long: 40/40"]
    assert len(lines) == 12


def test_the_latest_glimpse_is_kept_where_a_place_is_named(tmp_path: Path) -> None:
    with Console(tmp_path / "unfinished" / "glimpse.png") as console:
        for level in (10, 200):
            console.glimpse(np.full((4, 6, 3), level, np.uint8))
    assert (read_png(tmp_path / "unfinished" / "glimpse.png") == 200).all()
    with Console() as console:
        console.glimpse(np.zeros((4, 6, 3), np.uint8))
    assert len(list(tmp_path.rglob("*.png"))) == 1
