# SPDX-License-Identifier: Apache-2.0
"""benchmarks/geometry.py: which figures it calls not above, and a whole report."""

from __future__ import annotations

from pathlib import Path

import pytest
from ground_truth_maker import MOVE, write_set

from benchmarks.geometry import COMPARED, main, not_above
from ex4d.evaluate.geometry import Counts
from ex4d.evaluate.report import Row

BASE = Counts(
    mask=100,
    visible=200,
    certain=150,
    agreed=90,
    certain_agreed=80,
    depth_agreed=70,
    agreed_squared=90 * 300.0,
    agreed_ssim=60.0,
    seen_squared=200 * 900.0,
)
BETTER = Counts(
    mask=100,
    visible=200,
    certain=150,
    agreed=91,
    certain_agreed=81,
    depth_agreed=80,
    agreed_squared=91 * 200.0,
    agreed_ssim=70.0,
    seen_squared=200 * 800.0,
)


def row(move: str, variant: str, counts: Counts, depth: str = "exact") -> Row:
    return Row("street", move, depth, variant, counts)


def test_only_what_is_not_above_is_listed() -> None:
    rows = [
        row("30", "upstream", BASE),
        row("30", "closed", BETTER),
        row("60", "upstream", BETTER),
        row("60", "closed", BASE),
        row("60", "bounded", BASE),
        row("90", "closed", BASE),  # nothing to compare it with
    ]
    lines = not_above(rows)[1:]
    assert [line[:3] for line in lines] == [["exact", "street", "60"]] * len(COMPARED)
    psnr = next(line for line in lines if line[3] == "PSNR")
    assert psnr[4:] == ["28.13", "29.89"]  # 10 log10(255^2 / 100), 10 log10(255^2 * 3 / 200)


def test_a_draw_and_nothing_at_all_are_not_above() -> None:
    assert len(not_above([row("30", "upstream", BASE), row("30", "closed", BASE)])) == 1 + len(COMPARED)
    assert len(not_above([row("30", "upstream", BASE), row("30", "closed", Counts())])) == 1 + len(COMPARED)


def test_a_report_of_two_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [write_set(tmp_path / name) for name in ("first", "second")]
    options = ["--variants", "closed", "bounded", "--depth", "exact", "--date", "2026-01-02"]
    assert main([*map(str, sets), *options]) == 0
    printed = capsys.readouterr().out
    assert "2026-01-02. ex4d " in printed
    for heading in ("## first", "## second", "## All sets", "## Every scene and move"):
        assert heading in printed
    assert sum(line.startswith("| exact") for line in printed.splitlines()) == 2 + 2 + 2 + 4
    assert f"| second/boards | {MOVE}" in printed


def test_two_sets_of_one_name_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sets = [write_set(tmp_path / place / "set") for place in ("a", "b")]
    assert main([*map(str, sets)]) == 2
    assert "two sets called 'set'" in capsys.readouterr().err


def test_a_missing_set_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert "set.json is missing" in capsys.readouterr().err
