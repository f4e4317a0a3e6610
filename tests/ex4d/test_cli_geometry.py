# SPDX-License-Identifier: Apache-2.0
"""What `ex4d recon` and `reshoot` do with kinds of mesh, depth of the view, a moving source camera and a lead-in."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from ex4d.cameras import load_path, save_path
from ex4d.cli import main
from ex4d.images import read_exr, read_png
from ex4d.values import CameraPath

TRUTH = Path(__file__).resolve().parents[1] / "data" / "geometry"


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A scene of the ground truth whose source camera moves: clip, depth, its camera and a new one, as an artist's
    tracker would give them, in a world of its own."""
    folder = tmp_path_factory.mktemp("tracking")
    scene = TRUTH / "tracking"
    depth = np.stack([read_exr(path)["Z"] for path in sorted((scene / "depth").glob("*.exr"))])
    np.savez(folder / "depth.npz", depth=depth)
    world = np.eye(4)
    world[:3, :3] = [[0.0, -1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0]]
    world[:3, 3] = 4.0, -2.0, 7.0
    files = {"clip": scene / "source", "depth": folder / "depth.npz"}
    for name, path in (("source", scene / "camera.json"), ("new", scene / "moves" / "30" / "camera.json")):
        given = load_path(path)
        moved = CameraPath(world @ given.world_from_camera, given.intrinsics, given.width, given.height, given.fps)
        files[name] = folder / f"{name}.json"
        save_path(files[name], moved)
    return files


def test_a_moving_source_camera_puts_both_paths_into_one_world(tracking: dict[str, Path], tmp_path: Path) -> None:
    shot = ("--input_video", tracking["clip"], "--depth", tracking["depth"], "--source_camera", tracking["source"])
    out = tmp_path / "out"
    assert run("recon", *shot, "--camera", tracking["new"], "--output_dir", out, "--save_depth") == 0
    truth = TRUTH / "tracking" / "moves" / "30"
    np.testing.assert_allclose(
        load_path(out / "camera.json").world_from_camera, load_path(truth / "camera.json").world_from_camera, atol=1e-9
    )
    for number in ("0002", "0004"):
        mask = read_png(out / "mask" / f"{number}.png") > 127
        visible = read_png(truth / "visible" / f"{number}.png") > 127
        true_z, z = read_exr(truth / "depth" / f"{number}.exr")["Z"], read_exr(out / "depth" / f"{number}.exr")["Z"]
        both = mask & visible
        assert both.sum() > 0.6 * visible.sum()
        assert np.median(np.abs(z[both] / true_z[both] - 1.0)) < 0.01
    scene = json.loads((out / "scene" / "scene.json").read_text())
    assert scene["provenance"]["source_camera"]["note"] in scene["notes"]
    assert np.allclose(scene["camera"]["frames"][0]["world_from_camera"], np.eye(4))


def test_fewer_frames_are_taken_from_the_start_of_clip_and_cameras(tracking: dict[str, Path], tmp_path: Path) -> None:
    shot = ("--input_video", tracking["clip"], "--depth", tracking["depth"], "--source_camera", tracking["source"])
    out = tmp_path / "out"
    assert run("recon", *shot, "--camera", tracking["new"], "--num_frames", 2, "--output_dir", out) == 0
    whole = load_path(TRUTH / "tracking" / "moves" / "30" / "camera.json").world_from_camera
    np.testing.assert_allclose(load_path(out / "camera.json").world_from_camera, whole[:2], atol=1e-9)


def test_a_source_camera_and_a_focal_length_are_one_too_many(
    tracking: dict[str, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shot = ("--input_video", tracking["clip"], "--depth", tracking["depth"], "--source_camera", tracking["source"])
    assert run("recon", *shot, "--cam", 30, "--focal", 60, "--output_dir", tmp_path / "out") == 2
    assert "focal length already" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> tuple[object, ...]:
    scene = TRUTH / "figure"
    depth = np.stack([read_exr(path)["Z"] for path in sorted((scene / "depth").glob("*.exr"))])
    file = tmp_path_factory.mktemp("figure") / "depth.npz"
    np.savez(file, depth=depth)
    focal = load_path(scene / "camera.json").intrinsics[0, 0]
    return ("--input_video", scene / "source", "--depth", file, "--focal", focal)


def coverage(folder: Path) -> np.ndarray:
    return np.array(json.loads((folder / "coverage.json").read_text())["coverage"])


def test_closed_is_the_default_and_bounded_and_persistence_show_more(still: tuple[object, ...], tmp_path: Path) -> None:
    shown = {}
    for name, more in (
        ("default", ()),
        ("closed", ("--geometry", "closed")),
        ("bounded", ("--geometry", "bounded")),
        ("persist", ("--persist",)),
    ):
        assert run("recon", *still, "--cam", 60, "--output_dir", tmp_path / name, *more) == 0
        shown[name] = coverage(tmp_path / name)
        made = json.loads((tmp_path / name / "provenance.json").read_text())["parameters"]
        assert made["geometry"] == ("bounded" if name == "bounded" else "closed")
        assert made["persist"] == (name == "persist")
        assert "filter_type" not in made  # it had no say
    np.testing.assert_array_equal(shown["default"], shown["closed"])
    assert (shown["bounded"][1:] > shown["closed"][1:]).all()
    assert (shown["persist"] >= shown["closed"]).all()
    assert shown["persist"].sum() > shown["closed"].sum()


def test_upstream_has_its_own_focal_length_pivot_and_first_frame(still: tuple[object, ...], tmp_path: Path) -> None:
    out = tmp_path / "out"
    upstream = ("--cam", 180, "--geometry", "upstream", "--output_dir", out)
    assert run("recon", *still[:4], *upstream, "--save_camera", "--save_depth", "--save_mesh") == 0
    path = load_path(out / "camera.json")
    assert set(path.intrinsics[:, 0]) == {500.0}
    depth = np.load(still[3])["depth"][0][1:-1, 1:-1]  # the border does not count
    quarter = path.world_from_camera[1]
    np.testing.assert_allclose(quarter[0, 3], (depth.min() + 0.15) * np.sin(2 * np.pi / 3), rtol=1e-5)
    assert (read_png(out / "mask" / "0001.png") == 255).all()
    source = read_png(TRUTH / "figure" / "source" / "0001.png")
    np.testing.assert_array_equal(read_png(out / "colour" / "0001.png"), source)
    np.testing.assert_array_equal(read_exr(out / "depth" / "0001.exr")["Z"], np.load(still[3])["depth"][0])
    header = (out / "DW-Mesh.ply").read_bytes().split(b"end_header\n")[0].decode()
    assert f"element vertex {64 * 64}\n" in header  # one for each pixel, none beyond the picture
    assert f"element face {2 * 63 * 63 + 2}\n" in header
    made = json.loads((out / "provenance.json").read_text())["parameters"]
    assert (made["filter_type"], made["use_dwmesh"]) == ("angle", True)
    assert run("recon", *still, "--cam", "zoom_in", "--geometry", "upstream", "--output_dir", tmp_path / "no") == 2


@pytest.mark.parametrize("more", [("--filter_type", "boundary"), ("--use_dwmesh", 0)])
def test_the_public_codes_options_belong_to_its_geometry(
    still: tuple[object, ...], tmp_path: Path, more: tuple[object, ...], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recon", *still, "--cam", 30, "--output_dir", tmp_path / "closed", *more) == 2
    assert "--geometry upstream" in capsys.readouterr().err
    upstream = ("--cam", 30, "--geometry", "upstream")
    assert run("recon", *still, *upstream, "--output_dir", tmp_path / "with", *more) == 0
    assert run("recon", *still, *upstream, "--output_dir", tmp_path / "without") == 0
    assert not np.array_equal(coverage(tmp_path / "with"), coverage(tmp_path / "without"))


def test_a_lead_in_is_rendered_and_cut_from_the_result(still: tuple[object, ...], tmp_path: Path) -> None:
    pose = np.eye(4)
    pose[0, 3] = 0.4
    lens = load_path(TRUTH / "figure" / "camera.json").intrinsics[:1]
    camera = tmp_path / "aside.json"
    save_path(camera, CameraPath(np.stack([pose] * 3), np.repeat(lens, 3, axis=0), 64, 64, Fraction(24)))
    out = tmp_path / "out"
    assert run("reshoot", *still, "--camera", camera, "--lead_in", 5, "--seed", 3, "--output_dir", out) == 0
    assert len(list((out / "frames").iterdir())) == 3
    folder = out / "conditioning"
    assert len(list((folder / "colour").iterdir())) == 8
    source = read_png(TRUTH / "figure" / "source" / "0001.png")
    np.testing.assert_array_equal(read_png(folder / "colour" / "0001.png"), source)
    told = json.loads((folder / "coverage.json").read_text())
    assert (len(told["coverage"]), told["lead_in"], len(told["lead_in_coverage"])) == (3, 5, 5)
    take = json.loads((out / "take.json").read_text())
    assert (take["frames"], take["lead_in"], take["conditioning"]["parameters"]["seed"]) == (3, 5, 3)
    assert take["conditioning"]["parameters"]["geometry"] == "bounded"  # what the preview works best with
    of_result = ("--scene", out / "scene", "--conditioning", folder, "--frames", out / "frames")
    assert run("evaluate", "flicker", *of_result) == 0
    assert run("sheet", *of_result, "--output", tmp_path / "sheet.png") == 0
    assert (tmp_path / "sheet.png").read_bytes() == (out / "contact_sheet.png").read_bytes()


@pytest.mark.parametrize(
    ("more", "told"),
    [(("--cam", 30, "--lead_in", 481), "480"), (("--cam", "zoom_in", "--geometry", "upstream"), "no camera move")],
)
def test_what_cannot_be_made_is_told_before_any_work(
    still: tuple[object, ...], more: tuple[object, ...], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recon", *still, *more, "--output_dir", tmp_path / "out") == 2
    (line,) = capsys.readouterr().err.splitlines()  # and no progress of anything
    assert told in line


def test_a_shot_that_starts_at_the_source_camera_gets_no_lead_in_and_says_so(
    still: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("recon", *still, "--cam", 30, "--lead_in", 5, "--output_dir", tmp_path / "out") == 0
    assert "no lead-in" in capsys.readouterr().err
    assert len(coverage(tmp_path / "out")) == 4


def test_a_rasterizer_is_asked_for_by_name(
    still: tuple[object, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert run("recon", *still, "--cam", 30, "--rasterizer", "numba", "--output_dir", out) == 0
    assert run("recon", *still, "--cam", 30, "--rasterizer", "magic", "--output_dir", tmp_path / "no") == 2
    assert "nvdiffrast" in capsys.readouterr().err  # among those there are
