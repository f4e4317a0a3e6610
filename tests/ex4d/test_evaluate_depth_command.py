# SPDX-License-Identifier: Apache-2.0
"""`ex4d evaluate depth` on a set whose truth is known by formula."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from ground_truth_maker import FRAMES, MOVE, SIDE, view, write_set

from ex4d.cli import main
from ex4d.evaluate.clean_up import STAGES, cleaned
from ex4d.evaluate.degrade import degrade


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_set(tmp_path_factory.mktemp("truth") / "set", ("boards", "others"))


def evaluated(folder: Path, *options: str) -> dict:
    """Runs the command and returns the JSON that it wrote."""
    file = folder.parent / "figures.json"
    assert main(["evaluate", "depth", "--set", str(folder), "--json", str(file), *options]) == 0
    return json.loads(file.read_text("utf-8"))


def test_steadying_halves_the_temporal_error_and_leaves_exact_depth_alone(folder: Path) -> None:
    value = evaluated(folder, "--seeds", "0", "3", "--stages", "steady", "off", "--no_masks")
    rows = {(row["scene"], row["depth"], row["seed"], row["stage"]): row["figures"] for row in value["rows"]}
    assert len(rows) == 2 * (1 + 2) * 2
    for scene in ("boards", "others"):
        assert rows[scene, "exact", None, "steady"]["absrel"] < 1e-4
        for seed in (0, 3):
            off, steady = (rows[scene, "degraded", seed, stage] for stage in ("off", "steady"))
            assert steady["temporal"] < 0.5 * off["temporal"]
            assert steady["absrel"] <= off["absrel"]
            assert off["iou"] is None
    assert rows["boards", "degraded", 0, "off"] != rows["boards", "degraded", 3, "off"]


def test_pooled_rows_are_over_all_scenes_and_seeds(folder: Path) -> None:
    value = evaluated(folder, "--seeds", "0", "3", "--stages", "off", "--depth", "degraded", "--no_masks")
    (pooled,) = value["pooled"]
    assert (pooled["scene"], pooled["seed"], pooled["stage"]) == ("all", None, "off")
    assert pooled["sums"]["depth"]["pixels"] == 2 * 2 * FRAMES * SIDE * SIDE
    rows = [row["figures"]["absrel"] for row in value["rows"]]
    assert pooled["figures"]["absrel"] == pytest.approx(np.mean(rows))


def test_masks_are_rendered_at_a_move(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    value = evaluated(folder, "--scenes", "boards", "--moves", MOVE, "--depth", "exact", "--stages", "off", "both")
    for row in value["rows"]:
        assert row["figures"]["iou"] > 0.8
        assert row["sums"]["mask"]["frames"] == FRAMES - 1
    told = capsys.readouterr().out
    assert "mask IoU" in told
    assert "temporal error" in told
    assert "| both " in told


def test_an_estimator_is_measured_by_its_name(folder: Path) -> None:
    value = evaluated(
        folder, "--scenes", "boards", "--depth", "none", "--estimators", "draft", "--stages", "off", "--no_masks"
    )
    (row,) = value["rows"]
    assert (row["depth"], row["seed"]) == ("draft", None)
    assert 0.0 < row["figures"]["absrel"] < 1.0  # aligned: a draft has no units


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--scenes", "moon"), "no scene 'moon'"),
        (("--moves", "jump"), "no move 'jump'"),
        (("--depth", "none", "--estimators", "crystal-ball"), "crystal-ball"),
    ],
)
def test_names_that_do_not_exist(
    folder: Path, capsys: pytest.CaptureFixture[str], options: tuple[str, ...], told: str
) -> None:
    assert main(["evaluate", "depth", "--set", str(folder), *options]) == 2
    assert told in capsys.readouterr().err


def test_the_geometry_command_cleans_degraded_depth_up_on_request(folder: Path) -> None:
    file = folder.parent / "geometry.json"
    found = {}
    for stage in ("off", "steady"):
        options = ["--scenes", "boards", "--depth", "degraded", "--clean_up", stage, "--json", str(file)]
        assert main(["evaluate", "geometry", "--set", str(folder), *options]) == 0
        value = json.loads(file.read_text("utf-8"))
        assert value["clean_up"] == stage
        found[stage] = value["rows"][0]["figures"]
    assert found["steady"] != found["off"]
    assert found["steady"]["iou"] > 0.8


def test_a_stage_changes_a_copy() -> None:
    views = [view(0.0, 0.05 * t) for t in range(3)]
    frames = np.stack([colour for colour, *_ in views])
    z = degrade(np.stack([depth for _, depth, *_ in views]).astype(np.float32), seed=0)
    kept = z.copy()
    for stage in STAGES:
        assert (cleaned(z, frames, stage) != kept).any() == (stage != "off")
        assert (z == kept).all()
