# SPDX-License-Identifier: Apache-2.0
"""`ex4d evaluate geometry` on a set whose truth is known by formula, and its tables."""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path

import pytest
from ground_truth_maker import FRAMES, MOVE, SIDE, STEP, view, write_set

from ex4d.evaluate.geometry import Counts, figures
from ex4d.evaluate.geometry_command import add_arguments, run
from ex4d.evaluate.report import Row, pooled, table
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, Ex4dError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("truth") / "set", ("boards", "others"))


def evaluated(folder: Path, *options: str) -> dict:
    """Runs the command and returns the JSON that it wrote."""
    file = folder.parent / "figures.json"
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    run(parser.parse_args(["--set", str(folder), "--json", str(file), *options]))
    return json.loads(file.read_text("utf-8"))


def test_the_engine_does_well_where_depth_is_exact_and_worse_where_it_is_not(folder: Path) -> None:
    value = evaluated(folder, "--scenes", "boards")
    assert [(row["scene"], row["move"], row["depth"], row["geometry"]) for row in value["rows"]] == [
        ("boards", MOVE, "exact", "closed"),
        ("boards", MOVE, "degraded", "closed"),
    ]
    exact, degraded = (row["figures"] for row in value["rows"])
    assert exact["precision"] > 0.99
    assert exact["certain_iou"] > 0.95
    assert exact["depth_iou"] > 0.85
    assert exact["psnr"] > 28.0
    for name in ("certain_iou", "depth_iou", "psnr", "ssim", "seen_psnr"):
        assert degraded[name] < exact[name], name
    # The first frame is the source camera, which there is nothing to find out about.
    assert value["rows"][0]["sums"]["frames"] == FRAMES - 1
    truth = [view(STEP * t)[2] for t in range(1, FRAMES)]
    assert value["rows"][0]["sums"]["visible"] == sum(int(visible.sum()) for visible in truth)
    assert value["rows"][0]["sums"]["pixels"] == (FRAMES - 1) * SIDE * SIDE


def test_bounded_skirts_hide_less_of_what_was_seen(folder: Path) -> None:
    value = evaluated(folder, "--scenes", "boards", "--depth", "exact", "--geometry", "closed", "bounded")
    closed, bounded = (row["figures"] for row in value["rows"])
    assert bounded["recall"] > closed["recall"]


def test_closed_is_above_the_public_codes_mesh_on_rendered_scenes(root: Path, tmp_path: Path) -> None:
    folder = tmp_path / "set"
    shutil.copytree(root / "tests" / "data" / "geometry", folder)
    found = evaluated(folder, "--geometry", "upstream", "closed", "bounded")
    named = {(row["scene"], row["move"], row["depth"], row["geometry"]): row["figures"] for row in found["rows"]}
    for scene, move, depth, geometry in named:
        if geometry != "closed" or depth != "exact":
            continue
        ours, theirs = named[scene, move, depth, "closed"], named[scene, move, depth, "upstream"]
        for name in ("recall", "certain_iou", "depth_iou", "psnr", "ssim", "seen_psnr"):
            assert ours[name] > theirs[name], (scene, move, name)
        assert named[scene, move, depth, "bounded"]["depth_iou"] > ours["depth_iou"], (scene, move)
    value = {(row["depth"], row["geometry"]): row["figures"] for row in found["pooled"]}
    for depth, certain, psnr in (("exact", 0.10, 6.0), ("degraded", 0.08, 3.0)):
        ours, theirs = value[depth, "closed"], value[depth, "upstream"]
        assert ours["certain_iou"] > theirs["certain_iou"] + certain
        assert ours["psnr"] > theirs["psnr"] + psnr


def test_what_persistence_adds_is_measured_apart(folder: Path, tmp_path: Path) -> None:
    still = evaluated(folder, "--scenes", "boards", "--depth", "exact", "--persist")["rows"][0]
    assert still["geometry"] == "closed+persist"
    assert still["sums"]["added"] == 0  # no frame ever sees behind the board
    write_set(tmp_path / "moving", drift=0.3)
    moving = evaluated(tmp_path / "moving", "--depth", "exact", "--persist")["rows"][0]
    plain = evaluated(tmp_path / "moving", "--depth", "exact")["rows"][0]
    assert moving["figures"]["added"] > 0.05
    assert moving["figures"]["added_psnr"] > 40.0
    assert moving["sums"]["mask"] == plain["sums"]["mask"] + moving["sums"]["added"]
    assert moving["figures"]["own_psnr"] == plain["figures"]["psnr"]


def test_scenes_are_pooled_and_the_seed_decides(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = evaluated(folder, "--seed", "3")
    assert [row["scene"] for row in value["rows"]] == ["boards"] * 2 + ["others"] * 2
    exact, degraded = value["pooled"]
    assert exact["sums"]["frames"] == 2 * (FRAMES - 1)
    # The two scenes are the same, and are degraded differently.
    assert value["rows"][0]["figures"] == value["rows"][2]["figures"] == exact["figures"]
    assert value["rows"][1]["figures"] != value["rows"][3]["figures"]
    assert (value["seed"], value["set"]["seed"]) == (3, 5)
    printed = capsys.readouterr()
    lines = [line for line in printed.out.splitlines() if line.startswith("| degraded")]
    assert len(lines) == 3
    assert f" {degraded['figures']['psnr']:.2f} " in lines[-1]
    assert "boards, sideways, closed, exact depth" in printed.err
    again = evaluated(folder, "--seed", "3")
    assert again == value
    other = evaluated(folder, "--seed", "4")
    assert other["rows"][0] == value["rows"][0]
    assert other["rows"][1] != value["rows"][1]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--scenes", "house"], "no scene 'house'"),
        (["--moves", "90"], "no move '90'"),
        (["--geometry", "upstream", "--persist"], "persist"),
    ],
)
def test_what_cannot_be_measured_is_said_before_anything_is(folder: Path, options: list[str], said: str) -> None:
    with pytest.raises(Ex4dError, match=said) as caught:
        evaluated(folder, *options)
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint


def test_a_folder_without_a_set_is_said(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"set\.json is missing") as caught:
        evaluated(tmp_path)
    assert caught.value.code == NOT_FOUND


def test_pooling_keeps_kinds_of_depth_and_geometries_apart() -> None:
    one, two = Counts(frames=1, mask=10, agreed=5), Counts(frames=2, mask=10, agreed=10)
    rows = [
        Row("a", "30", "exact", "closed", one),
        Row("a", "30", "exact", "bounded", two),
        Row("b", "60", "exact", "closed", two),
        Row("b", "60", "degraded", "closed", one),
    ]
    found = pooled(rows)
    assert [(row.depth, row.variant, row.counts.frames) for row in found] == [
        ("exact", "closed", 3),
        ("exact", "bounded", 2),
        ("degraded", "closed", 1),
    ]
    assert figures(found[0].counts)["precision"] == 0.75
    assert {(row.scene, row.move) for row in found} == {("all", "all")}


def test_a_table_has_one_line_a_row_and_persistence_only_where_it_is_measured() -> None:
    row = Row("a", "30", "exact", "closed", Counts(mask=3, visible=4, agreed=3, pixels=8, agreed_squared=9 * 100.0))
    lines = table([row]).splitlines()
    assert len({len(line) for line in lines}) == 1  # its columns line up
    cells = [cell.strip() for cell in lines[2].strip("|").split("|")]
    head = [cell.strip() for cell in lines[0].strip("|").split("|")]
    shown = dict(zip(head, cells, strict=True))
    assert (shown["recall"], shown["coverage"]) == ("0.7500", "0.3750")
    assert shown["PSNR"] == f"{20 * math.log10(25.5):.2f}"
    assert shown["certain IoU"] == "0.0000"
    assert "added PSNR" not in shown
    empty = Row("a", "30", "exact", "closed+persist", Counts(pixels=8))
    assert "added PSNR" in table([row, empty])
    assert table([empty]).splitlines()[2].count(" - |") == 11  # nothing to say, but of coverage and what was added
