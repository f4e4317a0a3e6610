# SPDX-License-Identifier: Apache-2.0
"""What leaves for other programs is the engine's mesh and cameras: PLY, USD, JSON."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mesh_cases import picture, pose, small_scene

from ex4d.cameras import load_path, preset_path, save_path, static_source
from ex4d.console import Console
from ex4d.export import command
from ex4d.export.ply import write_ply
from ex4d.export.posed import PosedMesh, posed_mesh
from ex4d.export.shot import ExportShot, export
from ex4d.export.usd import write_cameras, write_mesh
from ex4d.media.sequence import encode_srgb
from ex4d.mesh import face_valid, faces, ray_positions, vertices
from ex4d.pipeline import render
from ex4d.scene import save_scene, scene_mesh
from ex4d.values import F64, CameraPath, Scene
from shared_protocol.errors import BAD_INPUT, DISK, UNAVAILABLE, Ex4dError

FRAMES, WIDTH, HEIGHT = 4, 32, 24
RATE = Fraction(30000, 1001)
FLIP = np.array([1.0, -1.0, -1.0])  # of points, OpenCV axes to USD's


def moving(width: int, height: int, *, zoom: float, fx_over_fy: float = 1.0) -> CameraPath:
    """A camera that travels, turns about all axes and zooms, with its principal point off the centre."""
    poses = np.stack([pose((0.1 * t, -0.05 * t, 0.2 * t), (0.02 * t, -0.03 * t, 0.3 * t)) for t in range(FRAMES)])
    lens = [[40.0 * zoom**t * fx_over_fy, 40.0 * zoom**t, width / 2 + 1.5 + t, height / 2 - 2.0] for t in range(FRAMES)]
    return CameraPath(poses, np.array(lens), width, height, RATE)


@pytest.fixture(scope="module")
def shot() -> ExportShot:
    """A moving source camera that zooms; a new camera of another size that does too; a mesh that was dragged."""
    scene = small_scene(FRAMES, HEIGHT, WIDTH, fps=RATE)
    scene = replace(scene, camera=moving(WIDTH, HEIGHT, zoom=1.1))
    source = static_source(scene, FRAMES)
    source = replace(source, frame=np.array([0, 1, 1, 3], np.int32), disparity_scale=np.array([1.0, 1.2, 1.2, 0.9]))
    return ExportShot(scene, source, moving(20, 30, zoom=0.9, fx_over_fy=1.25))


def usd_stage(path: Path) -> Any:
    usd = pytest.importorskip("pxr.Usd", reason="usd-core is not installed")
    return usd.Stage.Open(str(path))


def projected(stage: Any, name: str, time: float, points: F64) -> F64:
    """Where USD's own camera sees points of the stage: [V, 2], 0..1 from the picture's lower left corner."""
    from pxr import UsdGeom

    camera = UsdGeom.Camera(stage.GetPrimAtPath(f"/ex4d/{name}")).GetCamera(time)
    matrix = np.array(camera.frustum.ComputeViewMatrix() * camera.frustum.ComputeProjectionMatrix())
    clip = np.concatenate([points, np.ones((len(points), 1))], axis=1) @ matrix
    return np.asarray((clip[:, :2] / clip[:, 3:] + 1.0) / 2.0)


def run(*arguments: object) -> None:
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    command.run(parser.parse_args([str(argument) for argument in arguments]))


@pytest.mark.parametrize("seen_only", [False, True])
def test_ply_holds_the_mesh_where_it_stands(tmp_path: Path, shot: ExportShot, seen_only: bool) -> None:
    posed = posed_mesh(shot.scene, shot.source, 3)
    file = tmp_path / "mesh.ply"
    write_ply(file, posed, seen_only=seen_only)
    header, _, body = file.read_bytes().partition(b"end_header\n")
    counts = {line.split()[1]: int(line.split()[2]) for line in header.decode().split("\n") if "element" in line}
    rows, columns = HEIGHT + 4, WIDTH + 4
    valid, triangles = face_valid(posed.mesh), faces(HEIGHT, WIDTH)
    assert counts == {"vertex": rows * columns, "face": int(valid.sum()) if seen_only else len(valid)}
    point = np.frombuffer(body, [("p", "<f4", 3), ("c", "u1", 4)], counts["vertex"])
    face = np.frombuffer(body, [("n", "u1"), ("v", "<i4", 3), ("valid", "u1")], counts["face"], offset=point.nbytes)
    assert len(body) == point.nbytes + face.nbytes
    pose_there = shot.scene.camera.world_from_camera[3]
    expected = np.stack([(pose_there @ [*p, 1.0])[:3] for p in vertices(scene_mesh(shot.scene, shot.source, 3))])
    np.testing.assert_allclose(point["p"], expected, rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(point["c"].reshape(rows, columns, 4)[2:-2, 2:-2, :3], shot.scene.clip.frames[3])
    kept = valid if seen_only else np.ones_like(valid)
    np.testing.assert_array_equal(face["v"], triangles[kept])
    np.testing.assert_array_equal(face["valid"], valid[kept])
    assert 0 < valid.sum() < len(valid)
    assert (point["c"][:, 3] == 255).sum() == len(np.unique(triangles[valid]))
    assert list(tmp_path.iterdir()) == [file]


def test_usd_holds_every_frames_mesh(tmp_path: Path, shot: ExportShot) -> None:
    from pxr import UsdGeom

    export(tmp_path, shot, ["usd"], lambda *_: None, first_frame=1001)
    stage = usd_stage(tmp_path / "mesh.usdc")
    assert (stage.GetStartTimeCode(), stage.GetEndTimeCode()) == (1001, 1004)
    assert stage.GetTimeCodesPerSecond() == stage.GetFramesPerSecond() == float(RATE)
    assert UsdGeom.GetStageUpAxis(stage) == "Y"
    assert UsdGeom.GetStageMetersPerUnit(stage) == 1.0
    mesh = UsdGeom.Mesh(stage.GetPrimAtPath("/ex4d/mesh"))
    api = UsdGeom.PrimvarsAPI(mesh)
    indices = mesh.GetFaceVertexIndicesAttr()
    np.testing.assert_array_equal(np.array(indices.Get()).reshape(-1, 3), faces(HEIGHT, WIDTH))
    assert set(mesh.GetFaceVertexCountsAttr().Get()) == {3}
    assert not indices.GetTimeSamples()
    assert [mesh.GetPointsAttr().GetTimeSamples(), mesh.GetExtentAttr().GetTimeSamples()] == [
        [1001.0, 1002.0, 1003.0, 1004.0]
    ] * 2
    for t in range(FRAMES):
        time, posed = 1001 + t, posed_mesh(shot.scene, shot.source, t)
        points = np.array(mesh.GetPointsAttr().Get(time))
        np.testing.assert_allclose(points, posed.points() * FLIP, rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(mesh.GetExtentAttr().Get(time), [points.min(axis=0), points.max(axis=0)])
        light = np.array(mesh.GetDisplayColorAttr().Get(time)).reshape(HEIGHT + 4, WIDTH + 4, 3)
        shown = shot.scene.clip.frames[shot.source.frame[t]]
        np.testing.assert_array_equal(encode_srgb(light), np.pad(shown, ((2, 2), (2, 2), (0, 0)), mode="edge"))
        np.testing.assert_array_equal(np.array(api.GetPrimvar("seen").Get(time)), face_valid(posed.mesh))
    assert mesh.GetDisplayColorPrimvar().GetInterpolation() == "vertex"
    assert api.GetPrimvar("seen").GetInterpolation() == "uniform"
    # Frames 2 and 3 show the same source frame.
    assert api.GetPrimvar("seen").GetTimeSamples() == [1001.0, 1002.0, 1004.0]


def test_usds_own_source_camera_sees_each_vertex_at_its_texture_coordinate(tmp_path: Path, shot: ExportShot) -> None:
    from pxr import UsdGeom

    export(tmp_path, shot, ["usd"], lambda *_: None)
    stage = usd_stage(tmp_path / "mesh.usdc")
    mesh = stage.GetPrimAtPath("/ex4d/mesh")
    st = np.array(UsdGeom.PrimvarsAPI(mesh).GetPrimvar("st").Get())
    u, v = ray_positions(HEIGHT, WIDTH)
    np.testing.assert_allclose(st[: len(u), 0] * WIDTH, u, atol=1e-5)
    np.testing.assert_allclose((1.0 - st[:: len(u), 1]) * HEIGHT, v, atol=1e-5)
    for time in range(1, FRAMES + 1):
        points = np.array(UsdGeom.Mesh(mesh).GetPointsAttr().Get(time), np.float64)
        np.testing.assert_allclose(projected(stage, "source_camera", time, points), st, atol=1e-5)


@pytest.mark.parametrize("name", ["camera.usda", "mesh.usdc"])
def test_usds_own_new_camera_sees_what_ours_sees(tmp_path: Path, shot: ExportShot, name: str) -> None:
    export(tmp_path, shot, ["usd", "camera_usd"], lambda *_: None)
    stage = usd_stage(tmp_path / name)
    path = shot.new_camera
    assert path is not None
    local = np.random.default_rng(0).uniform([-2.0, -2.0, 1.0], [2.0, 2.0, 9.0], (50, 3))
    for t, (there, lens) in enumerate(zip(path.world_from_camera, path.intrinsics, strict=True)):
        fx, fy, cx, cy = lens
        world = local @ there[:3, :3].T + there[:3, 3]
        u, v = local[:, 0] / local[:, 2] * fx + cx, local[:, 1] / local[:, 2] * fy + cy
        seen = projected(stage, "shot_camera", 1 + t, world * FLIP)
        np.testing.assert_allclose(seen, np.stack([u / path.width, 1.0 - v / path.height], axis=1), atol=1e-5)
    camera = stage.GetPrimAtPath("/ex4d/shot_camera")
    assert [camera.GetAttribute(f"userProperties:{key}").Get() for key in ("width", "height")] == [20, 30]
    # 36 mm to the longer side of square pixels, in tenths of a metre; these are wider than high.
    assert camera.GetAttribute("horizontalAperture").Get(1) == np.float32(0.24)
    assert camera.GetAttribute("verticalAperture").Get(1) == np.float32(0.45)


def test_a_camera_that_stands_still_has_no_time_samples(tmp_path: Path) -> None:
    scene = small_scene(FRAMES, HEIGHT, WIDTH)
    export(tmp_path, ExportShot(scene, static_source(scene, FRAMES), None), ["camera_usd"], lambda *_: None)
    stage = usd_stage(tmp_path / "camera.usda")
    camera = stage.GetPrimAtPath("/ex4d/source_camera")
    assert [a.GetName() for a in camera.GetAttributes() if a.GetTimeSamples()] == []
    assert stage.GetEndTimeCode() == FRAMES
    assert [prim.GetName() for prim in stage.GetPrimAtPath("/ex4d").GetChildren()] == ["source_camera"]


def test_usd_files_pass_usds_own_checks(tmp_path: Path, shot: ExportShot) -> None:
    validation = pytest.importorskip("pxr.UsdValidation", reason="this usd-core has no validators")
    export(tmp_path, shot, ["usd", "camera_usd"], lambda *_: None)
    for name in ("mesh.usdc", "camera.usda"):
        context = validation.ValidationContext(validation.ValidationRegistry().GetOrLoadAllValidators())
        assert [error.GetErrorAsString() for error in context.Validate(usd_stage(tmp_path / name))] == []


def test_cameras_as_json_are_read_back_bit_for_bit(tmp_path: Path, shot: ExportShot) -> None:
    export(tmp_path, shot, ["camera_json"], lambda *_: None)
    new, source = load_path(tmp_path / "camera.json"), load_path(tmp_path / "source_camera.json")
    assert shot.new_camera is not None
    np.testing.assert_array_equal(new.world_from_camera, shot.new_camera.world_from_camera)
    np.testing.assert_array_equal(new.intrinsics, shot.new_camera.intrinsics)
    frames = [0, 1, 1, 3]
    np.testing.assert_array_equal(source.world_from_camera, shot.scene.camera.world_from_camera[frames])
    np.testing.assert_array_equal(source.intrinsics[:, [0, 2, 3]], shot.scene.camera.intrinsics[:, [0, 2, 3]])
    assert (source.width, source.height, source.fps) == (WIDTH, HEIGHT, RATE)


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    """A scene of three frames on disk."""
    folder = tmp_path / "scene"
    save_scene(folder, small_scene(3, HEIGHT, WIDTH, fps=RATE), lambda _: None)
    return folder


def test_the_command_writes_all_where_nothing_is_named(
    tmp_path: Path, scene_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    run("--scene", scene_folder, "--output_dir", out, "--first_frame", 1001)
    assert sorted(str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()) == [
        "camera.usda",
        "mesh.usdc",
        "ply/1001.ply",
        "ply/1002.ply",
        "ply/1003.ply",
        "source_camera.json",
    ]
    told = capsys.readouterr()
    assert told.out == f"3 frames in {out}: camera.usda, mesh.usdc, ply, source_camera.json\n"
    assert "Writing PLY" in told.err
    with pytest.raises(Ex4dError, match="already has files"):
        run("--scene", scene_folder, "--output_dir", out)


def test_the_command_takes_a_camera_file_at_the_clips_rate(tmp_path: Path, scene_folder: Path) -> None:
    given, out = tmp_path / "given.json", tmp_path / "out"
    save_path(given, replace(moving(20, 30, zoom=1.0), fps=Fraction(12)))
    run("--scene", scene_folder, "--output_dir", out, "--camera", given, "--camera_json", "--ply")
    assert sorted(p.name for p in out.iterdir()) == ["camera.json", "ply", "source_camera.json"]
    assert load_path(out / "camera.json").fps == RATE
    assert len(list((out / "ply").iterdir())) == FRAMES  # the clip's last frame holds
    assert (out / "ply/0003.ply").read_bytes() == (out / "ply/0004.ply").read_bytes()


def render_folder(tmp_path: Path, scene: Scene, scene_folder: Path, frames: int) -> Path:
    folder = tmp_path / "conditioning"
    path = preset_path("zoom_out", frames, scene.pivot, scene.intrinsics, RATE)
    source = replace(static_source(scene, frames), disparity_scale=np.linspace(1.0, 1.5, frames))
    with Console() as console:
        render(folder, scene_folder, path, source, console)
    return folder


def test_a_rendered_shot_is_exported_as_it_stands_there_without_its_lead_in(tmp_path: Path, scene_folder: Path) -> None:
    scene = small_scene(3, HEIGHT, WIDTH, fps=RATE)
    folder, out = render_folder(tmp_path, scene, scene_folder, frames=5), tmp_path / "out"
    coverage = json.loads((folder / "coverage.json").read_text())["coverage"]
    (folder / "coverage.json").write_text(
        json.dumps({"coverage": coverage[2:], "lead_in": 2, "lead_in_coverage": coverage[:2]})
    )
    run("--scene", scene_folder, "--output_dir", out, "--conditioning", folder, "--camera_json", "--ply")
    exported, rendered = load_path(out / "camera.json"), load_path(folder / "camera.json")
    np.testing.assert_array_equal(exported.world_from_camera, rendered.world_from_camera[2:])
    assert sorted(p.name for p in (out / "ply").iterdir()) == ["0001.ply", "0002.ply", "0003.ply"]
    source = replace(static_source(scene, 5), disparity_scale=np.linspace(1.0, 1.5, 5))
    write_ply(tmp_path / "expected.ply", posed_mesh(scene, source, 3))
    assert (out / "ply/0002.ply").read_bytes() == (tmp_path / "expected.ply").read_bytes()


def test_an_export_that_fails_leaves_nothing_behind(tmp_path: Path, scene_folder: Path) -> None:
    scene, out = small_scene(3, HEIGHT, WIDTH, fps=RATE), tmp_path / "out"
    folder = render_folder(tmp_path, scene, scene_folder, frames=3)
    model = json.loads((folder / "source_model.json").read_text())
    for wrong, message in (
        ({"frame": 7}, "Frame 3 of the shot asks for source frame 8, the scene has 3"),
        ({"focal": -1.0}, "frame 3 cannot be used: its focal length"),
        ({"disparity_shift": float("nan")}, "mesh of frame 3 has settings"),  # found when two frames are written
    ):
        changed = {key: [*values[:2], wrong.get(key, values[2])] for key, values in model.items()}
        (folder / "source_model.json").write_text(json.dumps(changed))
        with pytest.raises(Ex4dError, match=message):
            run("--scene", scene_folder, "--output_dir", out, "--conditioning", folder)
        assert not out.exists()


def test_without_usd_core_the_rest_still_works_and_usd_says_how_to_get_it(
    tmp_path: Path, scene_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "pxr"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pxr", None)  # as if it were not installed
    run("--scene", scene_folder, "--output_dir", tmp_path / "ply", "--ply", "--camera_json")
    for wanted in ([], ["--usd"], ["--camera_usd"]):
        with pytest.raises(Ex4dError, match=r"usd-core is missing.*pip install \"ex4d-blender\[usd\]\"") as caught:
            run("--scene", scene_folder, "--output_dir", tmp_path / "usd", *wanted)
        assert caught.value.code == UNAVAILABLE
    assert not (tmp_path / "usd").exists()


def test_what_cannot_be_written_is_told(tmp_path: Path, shot: ExportShot) -> None:
    cameras, mesh = shot.cameras(), posed_mesh(shot.scene, shot.source, 0)
    more = {"fps": RATE, "clipping": (0.1, 100.0)}
    for file in ("mesh.usda", "mesh.ply"):
        with pytest.raises(Ex4dError, match=r"End it in \.usdc or \.usd") as caught:
            write_mesh(tmp_path / file, [mesh], cameras, **more)
        assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match="no frames"):
        write_mesh(tmp_path / "mesh.usd", [], cameras, **more)
    with pytest.raises(Ex4dError, match=r"End it in \.usda"):
        write_cameras(tmp_path / "camera.json", cameras, **more)
    (tmp_path / "taken").write_text("a file, not a folder")
    with pytest.raises(Ex4dError) as caught:
        write_cameras(tmp_path / "taken" / "camera.usda", cameras, **more)
    assert caught.value.code == DISK
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


FULL_DISK = """
import resource, sys
from pathlib import Path
from ex4d.export.shot import export, load_shot
from shared_protocol.errors import Ex4dError
shot = load_shot(Path(sys.argv[1]))
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
for kind in ("usd", "ply"):
    try:
        export(Path(sys.argv[2]), shot, [kind], lambda *_: None)
    except Ex4dError as error:
        print(error.code, error.message)
"""


@pytest.mark.skipif(os.name != "posix", reason="files can be limited in size on POSIX systems only")
def test_a_disk_that_takes_no_more_is_told_and_nothing_half_written_stays(tmp_path: Path) -> None:
    save_scene(tmp_path / "scene", small_scene(3, 60, 80), lambda _: None)
    out = tmp_path / "out"
    command = [sys.executable, "-c", FULL_DISK, tmp_path / "scene", out]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    told = done.stdout.splitlines()
    for line, file in zip(told, ("mesh.usdc", "ply/0001.ply"), strict=True):
        assert line.startswith(f"DISK {out / file} could not be written: ")
        assert line.endswith("File too large.")
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_a_mesh_of_one_pixel_is_exported(tmp_path: Path) -> None:
    scene = small_scene(1, 1, 1)
    export(tmp_path, ExportShot(scene, static_source(scene, 1), None), command.KINDS, lambda *_: None)
    stage = usd_stage(tmp_path / "mesh.usdc")
    assert len(stage.GetPrimAtPath("/ex4d/mesh").GetAttribute("points").Get(1)) == 25
    posed = PosedMesh(scene_mesh(scene, static_source(scene, 1), 0), picture(1, 1), np.eye(4))
    np.testing.assert_array_equal(posed.points(), vertices(posed.mesh))
