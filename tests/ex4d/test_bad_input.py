# SPDX-License-Identifier: Apache-2.0
"""Depth, pictures and cameras as nobody would want them: one clear line, or a result that is defined.

Every warning is an error here: what numpy has to say belongs to no artist's terminal.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest
from depths import estimate_depth
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from mesh_cases import picture, pose, stepped_depth, towards

from ex4d.cameras import check_path, intrinsics_at, path_value, preset_path, standing_still, static_source
from ex4d.cli import main
from ex4d.depth.convert import NOTHING, finite_depth
from ex4d.images import read_exr, read_png, write_exr, write_png
from ex4d.lead_in import with_lead_in
from ex4d.mesh import default_intrinsics, lift
from ex4d.mesh.lift import FURTHEST, NEAREST
from ex4d.persist import build_background
from ex4d.render import RenderOptions, render_conditioning, render_frame
from ex4d.scene import build_scene, scene_mesh
from ex4d.source_camera import scale_depth
from ex4d.values import F32, F64, CameraPath, Clip, Conditioning, DepthVideo, DWMesh, Scene, Shot, SourceModel
from shared_protocol.errors import BAD_INPUT, DISK, EMPTY_VIEW, Ex4dError

pytestmark = pytest.mark.filterwarnings("error")

FPS = Fraction(24)
WAYS = [("closed", False), ("closed", True), ("bounded", False), ("bounded", True), ("upstream", False)]
SIZES = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 7), (7, 1), (3, 3), (5, 6)]
ODD = [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-40, 1e-30, 1e10, 1e30, 3e38]
H, W, FRAMES = 16, 24, 3
T = TypeVar("T")
few = settings(deadline=None, max_examples=60)


@st.composite
def videos(draw: st.DrawFn, odd: tuple[float, ...] = (*ODD, -1.0)) -> F32:
    """Depth [T, H, W]: single values, whole frames or whole clips of anything, in any unit."""
    shape = (draw(st.integers(1, 3)), *draw(st.sampled_from(SIZES)))
    good = st.floats(0.5, 20.0, width=32)
    strange = draw(st.lists(st.sampled_from(odd), min_size=1, max_size=3))
    values = draw(
        st.one_of(
            hnp.arrays(np.float32, shape, elements=good),
            hnp.arrays(np.float32, shape, elements=st.one_of(good, st.sampled_from(strange))),
            st.builds(lambda value: np.full(shape, value, np.float32), st.one_of(good, st.sampled_from(odd))),
        )
    )
    if draw(st.booleans()):
        values[draw(st.integers(0, shape[0] - 1))] = draw(st.sampled_from(strange))
    unit = np.float32(10.0 ** draw(st.integers(-6, 6)))
    usual = np.isfinite(values) & (values >= 0.5) & (values <= 20.0)
    return (values * np.where(usual, unit, np.float32(1.0))).astype(np.float32)


def finite(z: F32) -> tuple[F32, str]:
    """A copy of depth with its background filled in, and the note."""
    whole = z.copy()
    return whole, finite_depth(whole)[0]


def attempt(make: Callable[[], T]) -> tuple[T | None, Ex4dError | None]:
    """What something makes, or the line that a person reads instead."""
    try:
        return make(), None
    except Ex4dError as error:
        return None, error


def clip_like(z: F32) -> Clip:
    return Clip(np.stack([picture(*z.shape[1:], t) for t in range(len(z))]), FPS, "clip")


@st.composite
def cameras(draw: st.DrawFn, scene: Scene) -> CameraPath:
    """Moves, and cameras within, behind, exactly at or far from the surface, turned anywhere."""
    total = len(scene.mesh_depth)
    camera = default_intrinsics(scene.intrinsics.width, scene.intrinsics.height)
    if draw(st.booleans()):
        return preset_path(draw(st.sampled_from(["30", "180", "zoom_in"])), total, scene.pivot, camera, FPS)
    deep = draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, -2.0, 1e5])) * scene.pivot
    aside = draw(st.sampled_from([0.0, 0.0, 0.3, -5.0])) * scene.pivot
    turn = draw(st.sampled_from([0.0, 0.0, np.pi / 2, np.pi]))
    lens = np.array([camera.fx, camera.fy, camera.cx, camera.cy]) * [
        *[draw(st.sampled_from([1e-2, 1.0, 1e3]))] * 2,
        1,
        1,
    ]
    poses = np.tile(pose((aside, 0.0, deep), (0.0, turn, 0.0)), (total, 1, 1))
    return CameraPath(poses, np.tile(lens, (total, 1)), camera.width, camera.height, FPS)


def render(shot: Shot, geometry: str, persist: bool) -> tuple[Conditioning, F32]:
    views: list[F32] = []
    made = render_conditioning(
        shot, lambda index, colour, mask, z, share: views.append(z), options=RenderOptions(geometry, persist)
    )
    return made, np.stack(views)


def check_views(made: Conditioning, z: F32, geometry: str) -> None:
    assert np.isfinite(z).all()
    assert (z >= 0.0).all()
    assert (made.colour[~made.mask] == 0).all()
    assert made.coverage == pytest.approx(made.mask.mean(axis=(1, 2)))
    if geometry != "upstream":  # whose first frame is the source's, whatever the camera
        assert (z[made.mask] > 0.0).all()


@few
@given(videos())
def test_depth_of_files_is_made_whole_or_refused(z: F32) -> None:
    depth, endless = (z >= NEAREST) & (z < NOTHING), z >= NOTHING
    empty = ~(depth | endless).any(axis=(1, 2))
    refused = bool((np.isfinite(z) & (z < 0.0)).any() or not depth.any() or empty.any())
    found, error = attempt(lambda: finite(z))
    assert (error is not None) == refused
    if error is not None:
        assert error.code == BAD_INPUT
        assert error.hint
        return
    whole, note = found
    assert np.isfinite(whole).all()
    assert (whole >= NEAREST).all()
    np.testing.assert_array_equal(whole[depth], z[depth])
    assert len(np.unique(whole[~depth])) <= 1
    count = int((~depth).sum())
    assert (f"no depth at {count} pixel" in note) == (count > 0)


def test_background_is_behind_all_that_is_there() -> None:
    z = np.full((3, 20, 20), 2.0, np.float32)
    z[1, 3, 4], z[2, 5, 6] = 700.0, np.inf  # a mountain of one pixel
    note, beyond = finite_depth(z)
    assert "frame 3" in note
    assert beyond is not None
    assert z[2, 5, 6] == beyond.z == pytest.approx(735.0)
    z[2, 5, 6] = np.nan
    assert "of frame 13:" in finite_depth(z, first=10)[0]


def test_notes_and_errors_name_the_frames() -> None:
    z = np.full((9, 4, 5), 2.0, np.float32)
    assert finite(z)[1] == ""
    z[[0, 1, 4, 7], 0, 0] = np.nan
    assert finite(z)[1].startswith("no depth at 4 pixels (2%) of frames 1 to 2, 5, 8: taken for background")
    z[5] = np.inf  # all sky
    whole, note = finite(z)
    assert "of frames 1 to 2, 5 to 6, 8" in note
    assert (whole[5] == 8.0).all()
    for value in (np.nan, 0.0):
        z[5] = value
        with pytest.raises(Ex4dError, match=r"The depth of frame 6 is empty: .* Make it again, or leave"):
            finite(z)
    z[5] = 1.0
    z[2:5, 1] = -3.0
    with pytest.raises(
        Ex4dError, match=r"negative at 15 pixels \(8%\) of frames 3 to 5, down to -3\. .* change its sign"
    ):
        finite(z)
    with pytest.raises(Ex4dError, match="all of it is infinitely far, so there is no surface to move around"):
        finite(np.full_like(z, 1e10))


@few
@given(videos())
def test_disparity_of_files_is_made_whole_or_refused(values: F32) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "disparity.npz"
        np.savez(file, disparity=values)
        found, error = attempt(lambda: estimate_depth(clip_like(values), files=[file]))
    if error is not None:
        assert error.code == BAD_INPUT
        assert error.hint
        assert not ((values > 1e-8) & (values < 1e8)).all()
        return
    assert np.isfinite(found.z).all()
    assert (found.z >= NEAREST).all()
    assert found.notes


@few
@given(st.data())
def test_a_whole_shot_of_anything_is_refused_or_defined(data: st.DataObject) -> None:
    z = data.draw(videos())
    geometry, persist = data.draw(st.sampled_from(WAYS))
    clip = clip_like(z)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "depth.npz"
        np.savez(file, depth=z)
        depth, error = attempt(lambda: estimate_depth(clip, files=[file]))
    if depth is None:
        assert error.code == BAD_INPUT
        assert error.hint
        return
    camera = None
    if data.draw(st.booleans()):
        camera = standing_still(default_intrinsics(*z.shape[:0:-1]), len(z), FPS)
        camera.world_from_camera[:, 0, 3] = 0.1 * np.median(depth.z) * np.arange(len(z))
        depth, fit = scale_depth(depth, camera, clip)
        assert not fit.applied  # there is nothing to follow in so small a picture

    def shoot() -> tuple[Conditioning, F32]:
        scene = build_scene(clip, depth, camera=camera, sharpen=geometry != "upstream")
        path = data.draw(cameras(scene))
        shot = with_lead_in(Shot(scene, path, static_source(scene, len(z))), data.draw(st.integers(0, 2)), 0)
        return render(shot, geometry, persist)

    views, error = attempt(shoot)
    if views is None:
        assert error.code in (BAD_INPUT, EMPTY_VIEW)
        assert error.hint
        return
    check_views(*views, geometry)


@few
@given(videos())
@example(np.full((1, 2, 3), 9.2e5, np.float32))
def test_functions_refuse_depth_that_is_no_depth(z: F32) -> None:
    clip, camera = clip_like(z), standing_still(default_intrinsics(*z.shape[:0:-1]), len(z), FPS)
    depth = DepthVideo(z, "file", False)
    mesh = DWMesh(*lift(z[0], FURTHEST), intrinsics_at(camera, 0))
    for usable, make in (
        (positive(z) and z.min() <= np.float32(FURTHEST / 1.05), lambda: build_background(build_scene(clip, depth))),
        (positive(z), lambda: scale_depth(depth, camera, clip)),
        (positive(z[0]), lambda: render_frame(mesh, clip.frames[0], np.eye(4), mesh.intrinsics)),
    ):
        made, error = attempt(make)
        assert (made is not None) == usable
        assert error is None or error.code == BAD_INPUT


def positive(z: F32) -> bool:
    return bool((np.isfinite(z) & (z >= NEAREST)).all())


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("value", [1e-6, 1.0, 1e5])
def test_flat_and_tiny_pictures_come_back_as_they_are(height: int, width: int, value: float) -> None:
    z = np.full((1, height, width), value, np.float32)
    scene = build_scene(clip_like(z), DepthVideo(z, "file", False))
    mesh = scene_mesh(scene, static_source(scene, 1), 0)
    for geometry in ("closed", "bounded"):
        colour, mask, seen = render_frame(mesh, scene.clip.frames[0], np.eye(4), scene.intrinsics, geometry=geometry)
        np.testing.assert_array_equal(colour, scene.clip.frames[0])
        assert mask.all()
        np.testing.assert_allclose(seen, value, rtol=1e-6)


def moved(scale: float) -> tuple[Clip, F32, CameraPath, F64]:
    """A scene with a source camera that moves, and a new one, in a unit of length."""
    z = np.stack([stepped_depth(20, 26, t) for t in range(4)])
    frames = np.stack([picture(20, 26)] * 4)
    camera = standing_still(default_intrinsics(26, 20), 4, FPS)
    camera.world_from_camera[:, 0, 3] = 0.125 * np.arange(4)
    new = np.stack([towards((0.4 * t, -0.1 * t, 0.1), (0.0, 0.0, 3.0)) for t in range(1, 5)])
    camera.world_from_camera[:, :3, 3] *= scale
    new[:, :3, 3] *= scale
    return Clip(frames, FPS, "clip"), z * np.float32(scale), camera, new


def shown(scale: float, geometry: str, persist: bool) -> tuple[Conditioning, F32]:
    clip, z, camera, new = moved(scale)
    scene = build_scene(clip, DepthVideo(z, "file", False), camera=camera)
    path = CameraPath(new, camera.intrinsics, camera.width, camera.height, FPS)
    return render(with_lead_in(Shot(scene, path, static_source(scene, 4)), 3, 1), geometry, persist)


@pytest.mark.parametrize(("geometry", "persist"), WAYS[:-1])
def test_the_unit_of_length_changes_nothing(geometry: str, persist: bool) -> None:
    """The public code's geometry has lengths of its own and is left out."""
    metres, z = shown(1.0, geometry, persist)
    assert 0.2 < metres.coverage.mean() < 0.99
    for exponent in (-9, -3, 10, 14):  # changes no digit of any number
        other, far = shown(2.0**exponent, geometry, persist)
        np.testing.assert_array_equal(other.mask, metres.mask)
        np.testing.assert_array_equal(other.colour, metres.colour)
        np.testing.assert_array_equal(far, z * np.float32(2.0**exponent))
    for unit in (1e-3, 39.37, 1e3):  # kilometres, inches, millimetres: all but rounding
        other, _ = shown(unit, geometry, persist)
        assert (other.mask != metres.mask).mean() < 0.002
        both = other.mask & metres.mask
        assert (np.abs(other.colour[both].astype(int) - metres.colour[both]) > 1).mean() < 0.002


@few
@given(
    st.sampled_from([0.0, 1.0, -1.0, 1e-300, 1e-12, 1e12, 1e300, np.nan, np.inf]),
    st.sampled_from([0.0, 0.5, -0.5, -1e300, 1e12, 1e300, np.nan]),
    st.sampled_from([0.0, -5.0, 1e-300, 20.0, 1e8, 1e300, np.nan]),
)
def test_settings_of_the_mesh_are_refused_or_defined(scale: float, shift: float, focal: float) -> None:
    z = stepped_depth(6, 8)[None]
    scene = build_scene(clip_like(z), DepthVideo(z, "file", False))
    one = np.ones(1)
    source = SourceModel(np.zeros(1, np.int32), focal * one, 4.0 * one, 3.0 * one, scale * one, shift * one)
    path = standing_still(scene.intrinsics, 1, FPS)
    views, error = attempt(lambda: render(with_lead_in(Shot(scene, path, source), 2, 0), "closed", True))
    if views is None:
        assert error.code in (BAD_INPUT, EMPTY_VIEW)
        assert error.hint or "cannot be used" in error.message
        return
    check_views(*views, "closed")


@pytest.mark.parametrize(("scale", "shift"), [(1e300, 0.0), (1.7e308, 0.0), (1.0, 1e12)])
def test_a_mesh_that_is_scaled_onto_the_camera_is_refused(scale: float, shift: float) -> None:
    z = np.full((1, 3, 4), 0.5, np.float32)
    scene = build_scene(clip_like(z), DepthVideo(z, "file", False))
    source = dataclasses.replace(
        static_source(scene, 1), disparity_scale=np.full(1, scale), disparity_shift=np.full(1, shift)
    )
    with pytest.raises(Ex4dError, match=r"mesh of frame 1 bring it onto the camera itself\. Make them smaller"):
        scene_mesh(scene, source, 0)


@pytest.mark.parametrize(
    ("place", "focal", "words"),
    [(1e200, 20.0, "stands further"), (0.0, 1e200, "lens is not within"), (0.0, 1e-200, "lens is not within")],
)
def test_cameras_out_of_all_proportion_are_refused(place: float, focal: float, words: str) -> None:
    camera = standing_still(default_intrinsics(8, 6), 2, FPS)
    camera.world_from_camera[1, 0, 3] = place
    camera.intrinsics[1, :2] = focal
    with pytest.raises(Ex4dError, match=f"camera at frame 2 cannot be used: .*{words}") as caught:
        check_path(camera)
    assert caught.value.code == BAD_INPUT


# The command line


def run(*arguments: object) -> int:
    return main([str(argument) for argument in arguments])


def pictures_in(folder: Path, frames: int = FRAMES, height: int = H, width: int = W) -> Path:
    for t in range(frames):
        write_png(folder / f"{t + 1:04d}.png", picture(height, width, t))
    return folder


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return pictures_in(tmp_path_factory.mktemp("clip") / "pictures")


def metres() -> F32:
    return np.stack([stepped_depth(H, W, t) for t in range(FRAMES)])


def with_frame(value: float) -> F32:
    z = metres()
    z[1] = value
    return z


REFUSED = {
    "nan": (np.full((FRAMES, H, W), np.nan), "no value is finite and above zero"),
    "zero": (np.zeros((FRAMES, H, W)), "no value is finite and above zero"),
    "sky": (np.full((FRAMES, H, W), np.inf), "no surface to move around"),
    "blender sky": (np.full((FRAMES, H, W), 1e10, np.float32), "no surface to move around"),
    "too large for float32": (np.full((FRAMES, H, W), 1e300), "no surface to move around"),
    "negative": (-metres(), "change its sign"),
    "empty frame": (with_frame(np.nan), "depth of frame 2 is empty"),
    "far": (np.full((FRAMES, H, W), 1e8), "in another unit"),
}


@pytest.mark.parametrize("name", REFUSED)
@pytest.mark.parametrize("command", ["recon", "reshoot"])
def test_depth_that_cannot_be_used_is_one_line_and_leaves_nothing(
    name: str, command: str, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values, words = REFUSED[name]
    np.savez(tmp_path / "depth.npz", depth=values)
    before = tmp_path / "before"
    before.mkdir()
    for out in (before, tmp_path / "new" / "deep"):
        arguments = ("--input_video", clip, "--depth", tmp_path / "depth.npz", "--cam", 30, "--output_dir", out)
        assert run(command, *arguments, "--persist", "--lead_in", 2, "--geometry", "bounded") == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]
        assert len(lines) == 1
        assert words in lines[0]
        assert "Traceback" not in lines[0]
    assert list(before.iterdir()) == []
    assert not (tmp_path / "new").exists()


def test_upstream_geometry_says_what_it_cannot_show(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.savez(tmp_path / "millimetres.npz", depth=metres() * 1000.0)
    narrow = pictures_in(tmp_path / "narrow", height=9, width=1)
    out = tmp_path / "out"
    for arguments, words in (
        (("--input_video", clip, "--depth", tmp_path / "millimetres.npz"), "use --geometry closed"),
        (("--input_video", narrow), "Use at least 2x2 pixels"),
    ):
        assert run("recon", *arguments, "--cam", 30, "--output_dir", out, "--geometry", "upstream") == 2
        assert words in capsys.readouterr().err.splitlines()[-1]
        assert not out.exists()


def holes() -> F32:
    z = metres()
    z[0, 0, :6] = np.nan, np.inf, 0.0, -np.inf, 1e10, 1e-40
    z[2] = np.inf
    return z


@pytest.mark.parametrize(
    ("geometry", "more"),
    [("closed", ()), ("bounded", ("--persist",)), ("upstream", ())],
)
def test_holes_and_sky_in_an_exr_sequence_become_background_and_are_told(
    geometry: str, more: tuple[str, ...], clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for t, z in enumerate(holes()):
        write_exr(tmp_path / "depth" / f"{t + 1:04d}.exr", {"Z": z})
    camera = standing_still(default_intrinsics(W, H), FRAMES, FPS)
    camera.world_from_camera[:, 0, 3] = 0.05 * np.arange(FRAMES)
    (tmp_path / "source.json").write_text(json.dumps(path_value(camera)))
    out = tmp_path / "out"
    arguments = ("--input_video", clip, "--depth", tmp_path / "depth", "--source_camera", tmp_path / "source.json")
    camera.world_from_camera[:, :3, 3] += 0.2
    (tmp_path / "new.json").write_text(json.dumps(path_value(camera)))
    how = ("--camera", tmp_path / "new.json", "--geometry", geometry, "--lead_in", 2, "--save_depth", *more)
    assert run("recon", *arguments, *how, "--output_dir", out) == 0
    told = capsys.readouterr()
    assert "error" not in told.err
    assert "Warning" not in told.err
    notes = json.loads((out / "scene" / "scene.json").read_text())["notes"]
    (note,) = (note for note in notes if note.startswith(f"no depth at {6 + H * W} pixels"))
    assert "of frames 1, 3: taken for background" in note
    assert f"note: {note}" in told.err.splitlines()
    views = sorted((out / "depth").glob("*.exr"))
    assert len(views) == FRAMES + 2
    for path in views:
        z = read_exr(path)["Z"]
        assert np.isfinite(z).all()
        assert (z >= 0.0).all()
    assert read_png(out / "mask" / "0001.png").mean() > (0.9 if geometry != "upstream" else 0.5) * 255


@pytest.mark.parametrize(("height", "width"), [(9, 1), (1, 9), (1, 1)])
def test_clips_a_pixel_wide_are_shot_again(height: int, width: int, tmp_path: Path) -> None:
    source = pictures_in(tmp_path / "clip", 2, height, width)
    np.savez(tmp_path / "depth.npz", depth=np.full((2, height, width), 3.0))
    out = tmp_path / "out"
    how = ("--cam", "zoom_out", "--persist", "--lead_in", 1, "--output_dir", out)
    assert run("reshoot", "--input_video", source, "--depth", tmp_path / "depth.npz", *how) == 0
    assert [read_png(path).shape for path in sorted((out / "frames").glob("*.png"))] == [(height, width, 3)] * 2


def test_millimetres_show_what_metres_show(clip: Path, tmp_path: Path) -> None:
    for name, unit in (("metres", 1.0), ("millimetres", 1000.0)):
        np.savez(tmp_path / f"{name}.npz", depth=metres() * np.float32(unit))
        arguments = ("--input_video", clip, "--depth", tmp_path / f"{name}.npz", "--output_dir", tmp_path / name)
        assert run("recon", *arguments, "--cam", 30) == 0
    for part in ("mask", "colour"):
        one, other = (read_png(tmp_path / name / part / "0003.png").astype(int) for name in ("metres", "millimetres"))
        assert (np.abs(one - other) > 1).mean() < 0.005


@pytest.mark.parametrize(
    ("command", "broken"),
    [
        ("recon", "ex4d.clip.write_video"),
        ("recon", "ex4d.export.ply.write_ply"),
        ("reshoot", "ex4d.pipeline.generate"),
    ],
)
@pytest.mark.parametrize(
    "failure", [Ex4dError(DISK, "No space left.", "Free some."), OSError(5, "Input/output error"), KeyboardInterrupt()]
)
def test_a_failure_before_there_is_a_frame_leaves_nothing(
    command: str, broken: str, failure: BaseException, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(broken, fails)
    np.savez(tmp_path / "depth.npz", depth=metres())
    empty = tmp_path / "empty"
    empty.mkdir()
    more = ("--save_mesh",) if command == "recon" else ()
    for out in (empty, tmp_path / "new" / "deep"):
        arguments = ("--input_video", clip, "--depth", tmp_path / "depth.npz", "--cam", 30, "--output_dir", out)
        assert run(command, *arguments, "--num_frames", 1, *more) == (130 if failure.args == () else 2)
    assert list(empty.iterdir()) == []
    assert not (tmp_path / "new").exists()
