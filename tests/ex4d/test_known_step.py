# SPDX-License-Identifier: Apache-2.0
"""The whole depth step: which of what is known decides, and the flags that say it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from known_cases import (
    FOCAL,
    FRAMES,
    HEIGHT,
    SKY,
    STANDS,
    WIDTH,
    as_estimated,
    clear_places,
    measures,
    off,
    truth,
    yard,
)
from test_source_camera import filmed

from ex4d import depth_step
from ex4d.cameras import save_path
from ex4d.cli import main
from ex4d.depth.known.values import Known, KnownPoints, Measure, WorldPoints
from ex4d.depth_step import ClipDepth, DepthOptions, depth_of_clip
from ex4d.images import write_png
from ex4d.on_disk import workspace
from ex4d.values import F32, CameraPath, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, Ex4dError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The yard as files: pictures, and disparity that has to be scaled and shifted."""
    folder = tmp_path_factory.mktemp("yard")
    _, z, _ = yard()
    noise = np.random.default_rng(3).integers(0, 255, (FRAMES, HEIGHT, WIDTH, 3)).astype(np.uint8)
    for index, frame in enumerate(noise):
        write_png(folder / "clip" / f"{index + 1:04d}.png", frame)
    np.savez(folder / "depth.npz", depth=as_estimated(z, 0.25, 0.0).z)
    return folder


@pytest.fixture
def arrays() -> Iterator[Path]:
    with workspace() as folder:
        yield folder


def stepped(arrays: Path, clip: Clip, **wish: Any) -> ClipDepth:
    return depth_of_clip(clip, arrays, DepthOptions(**wish))


def tracking() -> tuple[Clip, F32, CameraPath]:
    found = truth("tracking")
    return Clip(found.colour, found.camera.fps, "tracking"), found.depth, found.camera


def in_file(folder: Path, z: F32) -> list[Path]:
    np.savez(folder / "given.npz", depth=z)
    return [folder / "given.npz"]


def bundles(z: F32, path: CameraPath) -> WorldPoints:
    frame, at = clear_places(z, np.random.default_rng(3), 80)
    lens = path.intrinsics[frame]
    depth = z[frame, at[:, 1].astype(int), at[:, 0].astype(int)].astype(np.float64)
    seen = np.concatenate([(at - lens[:, 2:]) / lens[:, :2], np.ones((len(at), 1))], axis=1) * depth[:, None]
    poses = path.world_from_camera[frame]
    return WorldPoints(frame.astype(np.int32), at, np.einsum("nij,nj->ni", poses[:, :3, :3], seen) + poses[:, :3, 3])


@pytest.mark.parametrize("shift", [0.3, -0.01])
@pytest.mark.parametrize("told", ["mask", "file"])
def test_background_stays_behind_whatever_depth_is_fitted_to(
    shift: float, told: str, arrays: Path, tmp_path: Path
) -> None:
    clip, truth, _ = yard()
    sky, real = truth == SKY, 1.0 / (0.5 / truth + max(shift, 0.0)) if shift > 0.0 else truth
    given = 1.0 / ((1.0 / real - shift) / 0.5)
    rng = np.random.default_rng(4)
    frame, at = clear_places(truth, rng, 60)
    column, row = at.astype(int).T
    points = KnownPoints(frame.astype(np.int32), at, real[frame, row, column].astype(np.float64))
    wish: dict[str, Any] = {}
    if told == "mask":
        write_png(tmp_path / "sky.png", sky[0].astype(np.uint8) * 255)
        wish["sky"] = [tmp_path / "sky.png"]
    else:
        given[sky] = np.inf
    found = stepped(arrays, clip, files=in_file(tmp_path, given), known=Known(points=points), **wish)
    assert found.facts["known"]["shift"] == pytest.approx(shift, rel=1e-3)
    np.testing.assert_allclose(found.depth.z[~sky], real[~sky], rtol=1e-3)
    (beyond,) = found.depth.beyond
    np.testing.assert_array_equal(found.depth.z[sky], beyond.z)
    assert beyond.z >= (9.9 if told == "mask" else 3.9) * np.percentile(real[~sky], 99)


# --- which decides ---


def test_points_win_over_the_path_they_came_with(arrays: Path, tmp_path: Path) -> None:
    clip, z, path = tracking()
    given = in_file(tmp_path, as_estimated(z, 0.5, 0.0).z)
    found = stepped(arrays, clip, files=given, source_camera=path, known=Known(points=bundles(z, path)))
    assert off(found.depth.z, z) < 2e-3
    assert found.facts["known"]["source"] == "points"
    assert found.facts["known"]["scale"] == pytest.approx(0.5, rel=2e-3)
    assert "applied" not in found.facts["source_camera"]
    assert found.facts["given"] == {"points": 80, "measures": [], "camera_height": None, "ground": []}
    assert found.depth.metric
    json.dumps(found.facts)


def test_places_need_the_path(arrays: Path, tmp_path: Path) -> None:
    clip, z, path = tracking()
    with pytest.raises(Ex4dError, match="there is no camera path") as caught:
        stepped(arrays, clip, files=in_file(tmp_path, z), known=Known(points=bundles(z, path)))
    assert "Give the source camera's path" in caught.value.hint


def test_beside_a_path_that_moves_distances_are_compared(arrays: Path, tmp_path: Path) -> None:
    clip, depth, path = filmed("travels")
    clip, z = dataclasses.replace(clip, frames=clip.frames[:12]), depth.z[:12]
    (measure,) = measures(z, path, 1, 1)
    known = Known(measures=(dataclasses.replace(measure, distance=measure.distance / 1.5),), camera_height=2.0)
    found = stepped(arrays, clip, files=in_file(tmp_path, 2.0 * z), source_camera=path, known=known)
    assert found.facts["source_camera"]["applied"]
    assert off(found.depth.z, z) < 0.01
    assert "known" not in found.facts
    assert found.facts["given"]["camera_height"] == 2.0
    long = next(note for note in found.depth.notes if note.startswith("the measured distances come out "))
    assert float(long.split()[5].rstrip("%")) == pytest.approx(50.0, abs=2.0)
    assert any(note.startswith("the camera") and "ground" in note for note in found.depth.notes)


def test_where_a_path_tells_no_distances_what_is_known_does(arrays: Path, tmp_path: Path) -> None:
    clip, z, camera = yard()
    turns = dataclasses.replace(camera, world_from_camera=camera.world_from_camera.copy())
    given = in_file(tmp_path, as_estimated(z, 0.5, 0.0).z)
    known = Known(measures=measures(z, camera, 3, 4))
    found = stepped(arrays, clip, files=given, source_camera=turns, known=known)
    assert found.facts["known"]["scale"] == pytest.approx(0.5, rel=2e-3)
    assert off(found.depth.z, z) < 2e-3


def test_a_camera_that_was_estimated_is_scaled_with_its_depth(arrays: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip, z, path = tracking()
    estimated = as_estimated(z, 0.5, 0.0)
    poses = path.world_from_camera.copy()
    poses[:, :3, 3] *= 0.5
    poses[:, :3, :3] *= 1.0 + 1e-4  # as networks give them
    monkeypatch.setattr(
        depth_step,
        "estimate_depth",
        lambda *_, **__: dataclasses.replace(estimated, z=estimated.z.copy(), poses=poses, focal=62.5),
    )
    found = stepped(arrays, clip, known=Known(measures=measures(z, path, 4, 2)))
    expected = np.linalg.inv(path.world_from_camera[0]) @ path.world_from_camera
    np.testing.assert_allclose(found.camera.world_from_camera, expected, atol=5e-3)
    assert found.facts["source_camera"] == {"estimated": True}
    assert found.facts["lens"]["source"] == "estimator"
    assert off(found.depth.z, z) < 4e-3
    # Two distances would fix a shift, which poses could not follow.
    pair = measures(z, path, 2, 2)
    pair = (pair[0], dataclasses.replace(pair[1], distance=1.3 * pair[1].distance))
    assert stepped(arrays, clip, known=Known(measures=pair)).facts["known"]["shift"] == 0.0


def test_the_lens_is_settled_and_told(arrays: Path, tmp_path: Path) -> None:
    clip, z, _ = yard()
    given = in_file(tmp_path, z)
    found = stepped(arrays, clip, files=given, lens=(36.0, 38.4))
    np.testing.assert_allclose(found.camera.intrinsics[:, 0], FOCAL)
    assert found.facts["lens"]["source"] == "millimetres"
    assert "focal length 150 px (36 mm on a sensor 38.4 mm wide)" in found.depth.notes
    told = dataclasses.replace(clip, focal=120.0, lens="27 mm, equivalent of 35 mm film")
    found = stepped(arrays, told, files=given)
    assert found.camera.intrinsics[0, 0] == 120.0
    assert "focal length 120 px from the clip's metadata (27 mm, equivalent of 35 mm film)" in found.depth.notes
    found = stepped(arrays, clip, files=given, default_focal=500.0)
    assert (found.camera.intrinsics[0, 0], found.facts["lens"]["source"]) == (500.0, "default")


def test_what_cannot_be_known_is_refused_before_anything_is_estimated(
    arrays: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, _, camera = yard()

    def never(*_: Any, **__: Any) -> DepthVideo:
        raise AssertionError("it was estimated")

    monkeypatch.setattr(depth_step, "estimate_depth", never)
    one = Measure(0, (1.0, 1.0), (50.0, 50.0), 1.0)
    for wish in (
        {"known": Known(measures=(dataclasses.replace(one, distance=-1.0),))},
        {"known": Known(measures=(dataclasses.replace(one, frame=99),))},
        {"known": Known(camera_height=-1.0)},
        {"lens": (0.0, 36.0)},
        {"focal": -1.0},
        {"focal": 100.0, "source_camera": camera},
    ):
        with pytest.raises(Ex4dError) as caught:
            stepped(arrays, clip, **wish)
        assert caught.value.code == BAD_INPUT


def test_points_alone_do_not_end_with_the_clip(arrays: Path, tmp_path: Path) -> None:
    clip, z, _ = yard()
    frame, at = clear_places(z, np.random.default_rng(3), 50)
    depth = z[frame, at[:, 1].astype(int), at[:, 0].astype(int)].astype(np.float64)
    known = Known(points=KnownPoints(frame.astype(np.int32), at, depth))
    part = dataclasses.replace(clip, frames=clip.frames[:2])
    given = in_file(tmp_path, as_estimated(z, 0.5, 0.0).z)
    found = stepped(arrays, part, files=given, focal=FOCAL, known=known)
    assert off(found.depth.z, z[:2]) < 2e-3
    assert found.facts["known"]["count"] < 50


# --- the flags ---


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def recon(files: Path, out: Path, *more: object) -> dict[str, Any]:
    shot = ("--input_video", files / "clip", "--depth", files / "depth.npz", "--cam", "30", "--num_frames", 2)
    assert run("recon", *shot, "--output_dir", out, *more) == 0
    scene: dict[str, Any] = json.loads((out / "scene" / "scene.json").read_text("utf-8"))
    return scene


def as_flag(measure: Measure) -> str:
    return ",".join(str(value) for value in (measure.frame + 1, *measure.a, *measure.b, measure.distance))


def test_distances_on_the_command_line(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, z, camera = yard()
    flags = [part for measure in measures(z, camera, 3, 4) for part in ("--measure", as_flag(measure))]
    scene = recon(files, tmp_path / "out", "--focal", FOCAL, *flags)
    made = scene["provenance"]
    assert made["known"]["source"] == "measures"
    assert made["known"]["scale"] == pytest.approx(0.25, rel=2e-3)
    assert len(made["given"]["measures"]) == 3
    assert made["lens"]["source"] == "pixels"
    said = capsys.readouterr().err
    assert "note: depth was multiplied by 4" in said
    assert "note: focal length 150 px as given" in said


def test_points_in_a_file_on_the_command_line(files: Path, tmp_path: Path) -> None:
    z = yard()[1]
    frame, at = clear_places(z, np.random.default_rng(3), 30)
    rows = [
        {"frame": int(t) + 1, "x": float(x), "y": float(y), "z": float(z[t, int(y), int(x)])}
        for t, (x, y) in zip(frame, at, strict=True)
    ]
    (tmp_path / "points.json").write_text(json.dumps({"version": 1, "points": rows}))
    made = recon(files, tmp_path / "out", "--known_points", tmp_path / "points.json")["provenance"]
    assert made["known"]["source"] == "points"
    assert made["known"]["scale"] == pytest.approx(0.25, rel=2e-3)
    assert made["given"]["points"] == 30


def test_the_ground_on_the_command_line(files: Path, tmp_path: Path) -> None:
    ground = [part for at in ("1,20,110", "1,140,112", "2,150,84", "1,70,90") for part in ("--ground", at)]
    lens = ("--lens", 36, "--sensor", 38.4)
    made = recon(files, tmp_path / "out", *lens, "--camera_height", STANDS, *ground)["provenance"]
    assert made["known"]["source"] == "camera_height"
    assert made["known"]["scale"] == pytest.approx(0.25, rel=2e-3)
    assert made["given"]["camera_height"] == STANDS
    assert len(made["given"]["ground"]) == 4
    assert made["lens"]["source"] == "millimetres"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--measure", "1,2,3,4"), "error: '1,2,3,4' is not what --measure takes. Write --measure FRAME,X1,"),
        (("--measure", "1,2,3,4,5,x"), "is not what --measure takes"),
        (("--measure", "0,2,3,40,50,1"), "There is no frame 0"),
        (("--measure", "9,2,3,40,50,1"), "Point A of measure 1 is in frame 9; frames 1 to 2 are used"),
        (("--measure", "1,2,3,2,3,1"), "are the same pixel"),
        (("--ground", "1,2"), "is not what --ground takes"),
        (("--ground", "1,2,3"), "but not how high the camera stands"),
        (("--camera_height", "0"), "A camera height of 0"),
        (("--lens", "35"), "--lens was given without --sensor"),
        (("--sensor", "36"), "--sensor was given without --lens"),
        (("--lens", "35", "--sensor", "36", "--focal", "90"), "given twice"),
        (("--known_points", "nowhere.json"), "There is no file nowhere.json"),
        (("--depth_option", "steady"), "'steady' is no option"),
        (("--depth_option", "steady=off", "--depth_option", "steady=on"), "steady is given twice"),
        (("--depth_option", "steady=maybe"), "There is no steady 'maybe'"),
        (("--depth_option", "wobble=1"), "has no option 'wobble'"),
        (("--depth_option", "estimated_camera=perhaps"), "estimated_camera is yes or no, not 'perhaps'"),
    ],
)
def test_flags_that_are_wrong_are_told_in_one_line(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    out = tmp_path / "out"
    shot = ("--input_video", files / "clip", "--depth", files / "depth.npz", "--cam", "30", "--num_frames", 2)
    assert run("recon", *shot, "--output_dir", out, *flags) == 2
    said = capsys.readouterr().err
    assert message in said
    assert "Traceback" not in said
    assert not out.exists()


def test_options_reach_the_depth_step(files: Path, tmp_path: Path) -> None:
    made = recon(files, tmp_path / "out", "--depth_option", "steady=on", "--no-commercial", "--depth_kind", "depth")
    options = made["provenance"]["depth"]["options"]
    assert (options["steady"], options["commercial"], options["depth_kind"]) == ("on", False, "depth")


def test_a_reshoot_with_another_distance_is_another_one(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    points = tmp_path / "points.json"
    rows = [{"frame": 1, "x": 45.5, "y": 75.5, "z": 4.0}]
    points.write_text(json.dumps({"version": 1, "points": rows}))
    out = tmp_path / "out"
    shot = ["reshoot", "--input_video", files / "clip", "--depth", files / "depth.npz", "--cam", "30"]
    shot += ["--num_frames", 1, "--output_dir", out, "--known_points", points]
    assert run(*shot, "--measure", "1,20,90,60,90,1.5") == 0
    assert run(*shot, "--measure", "1,20,90,60,90,1.5") == 0
    assert run(*shot, "--measure", "1,20,90,60,90,1.6") == 2
    assert "shot measure differs" in capsys.readouterr().err
    points.write_text(json.dumps({"version": 1, "points": [{**rows[0], "z": 5.0}]}))
    assert run(*shot, "--measure", "1,20,90,60,90,1.5") == 2
    assert "shot known_points differs" in capsys.readouterr().err


def test_a_path_in_the_same_world_goes_with_its_points(files: Path, tmp_path: Path) -> None:
    clip, z, path = tracking()
    for index, frame in enumerate(clip.frames):
        write_png(tmp_path / "clip" / f"{index + 1:04d}.png", frame)
    (depth,) = in_file(tmp_path, as_estimated(z, 0.5, 0.0).z)
    save_path(tmp_path / "camera.json", path)
    world = bundles(z, path)
    tracks = [
        {"xyz": place.tolist(), "track": [[int(frame) + 1, *at.tolist()]]}
        for place, frame, at in zip(world.world, world.frame, world.at, strict=True)
    ]
    (tmp_path / "bundles.json").write_text(json.dumps({"version": 1, "bundles": tracks}))
    shot = ("--input_video", tmp_path / "clip", "--depth", depth, "--cam", "30", "--output_dir", tmp_path / "out")
    known = ("--source_camera", tmp_path / "camera.json", "--known_points", tmp_path / "bundles.json")
    assert run("recon", *shot, *known) == 0
    made = json.loads((tmp_path / "out" / "scene" / "scene.json").read_text("utf-8"))["provenance"]
    assert made["known"]["scale"] == pytest.approx(0.5, rel=3e-3)
