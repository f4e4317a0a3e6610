# SPDX-License-Identifier: Apache-2.0
"""The steps from folders to folders: what is taken up again, what is shown, what does not fit together."""

from __future__ import annotations

import dataclasses
import json
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import picture, pose, small_scene

from ex4d import pipeline, step_folders
from ex4d.cameras import preset_path, static_source
from ex4d.depth_step import DepthOptions
from ex4d.images import read_png, write_png
from ex4d.render import RenderOptions
from ex4d.scene import save_scene
from ex4d.values import CameraPath, Scene, SourceModel
from shared_protocol.errors import BAD_INPUT, CANCELLED, EMPTY_VIEW, SIZE_MISMATCH, Ex4dError

FRAMES = 3


class Told:
    """Remembers the files; stops the work after so many."""

    def __init__(self, stop_after: int = 10_000) -> None:
        self.files: list[str] = []
        self._left = stop_after

    def progress(self, phase: str, done: int, total: int) -> None:
        if len(self.files) >= self._left:
            raise Ex4dError(CANCELLED, "Cancelled.")

    def file(self, name: str) -> None:
        self.files.append(name)

    def glimpse(self, picture: np.ndarray) -> None:
        pass


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    made = small_scene(FRAMES, 96, 128)
    save_scene(tmp_path / "scene", made, lambda name: None)
    return made


def shot(scene: Scene, **settings: object) -> tuple[CameraPath, SourceModel]:
    path = preset_path("30", FRAMES, scene.pivot, scene.intrinsics, scene.clip.fps)
    return path, dataclasses.replace(static_source(scene, FRAMES), **settings)  # type: ignore[arg-type]


def finish(folder: Path) -> None:
    pipeline.generate(folder / "take", folder / "scene", folder / "shot", "preview", 0, {}, Told())


class Watching(Told):
    """Looks at what lies beside the folder that is made, and cancels at a phase."""

    def __init__(self, place: Path, cancel_at: str = "") -> None:
        super().__init__()
        self.place, self._cancel_at = place, cancel_at
        self.phases: list[str] = []
        self.beside: set[str] = set()

    def progress(self, phase: str, done: int, total: int) -> None:
        if phase not in self.phases:
            self.phases.append(phase)
        self.beside |= {f.name for folder in self.place.glob(".arrays-*") for f in folder.iterdir()}
        if phase == self._cancel_at:
            raise Ex4dError(CANCELLED, "Cancelled.")


@pytest.mark.parametrize("scratch", [False, True])
def test_the_arrays_of_a_clip_lie_beside_its_scene_or_where_they_are_told_to_and_are_gone_in_the_end(
    tmp_path: Path, scratch: bool
) -> None:
    clip = []
    for number in (1, 2, 3):
        clip.append(tmp_path / f"shot_{number}.png")
        write_png(clip[-1], picture(24, 32, number))
    out, place = tmp_path / "out", tmp_path / "scratch" if scratch else tmp_path / "out"

    def reconstruct(told: Watching) -> None:
        how = pipeline.ReconstructOptions(fps=Fraction(25))
        pipeline.reconstruct(out / "scene", clip, DepthOptions("draft"), how, told, scratch=place if scratch else None)

    watching = Watching(place)
    reconstruct(watching)
    assert {"frames", "depth"} <= watching.beside
    assert (watching.phases[0], watching.phases[-1]) == ("Reading the clip", "Writing the mesh")
    assert not list(tmp_path.rglob(".arrays-*"))
    whole = contents(out)
    assert set(watching.files) == {Path(name).relative_to("scene").as_posix() for name in whole}
    shutil.rmtree(out)
    for phase in watching.phases:
        with pytest.raises(Ex4dError) as caught:
            reconstruct(Watching(place, phase))
        assert caught.value.code == CANCELLED
        assert not list(tmp_path.rglob(".arrays-*"))
        assert not (out / "scene" / "scene.json").exists()
    reconstruct(Watching(place))
    assert contents(out) == whole


def test_a_cancelled_take_goes_on_with_the_missing_frames_alone(scene: Scene, tmp_path: Path) -> None:
    pipeline.render(tmp_path / "shot", tmp_path / "scene", *shot(scene), Told())
    with pytest.raises(Ex4dError) as caught:
        pipeline.generate(tmp_path / "take", tmp_path / "scene", tmp_path / "shot", "preview", 0, {}, Told(1))
    assert caught.value.code == CANCELLED
    (first,) = (tmp_path / "take" / "frames").iterdir()
    written = first.stat().st_mtime_ns, first.stat().st_ino
    finish(tmp_path)
    assert (first.stat().st_mtime_ns, first.stat().st_ino) == written
    assert len(list((tmp_path / "take" / "frames").iterdir())) == FRAMES
    whole = tmp_path / "whole"
    pipeline.generate(whole, tmp_path / "scene", tmp_path / "shot", "preview", 0, {}, Told())
    for name in ("0001.png", "0002.png", "0003.png"):
        assert np.array_equal(read_png(whole / "frames" / name), read_png(tmp_path / "take" / "frames" / name))


@pytest.mark.parametrize("stop_after", [1, 2, 5])
@pytest.mark.parametrize(
    "options", [RenderOptions(), RenderOptions("bounded", persist=True), RenderOptions("upstream")], ids=str
)
def test_a_cancelled_rendering_goes_on_to_the_same_files(
    scene: Scene, tmp_path: Path, options: RenderOptions, stop_after: int
) -> None:
    def render(folder: str, told: Told, save_depth: bool = True) -> dict[str, bytes]:
        given = (tmp_path / "scene", *shot(scene), told, options)
        pipeline.render(tmp_path / folder, *given, save_depth=save_depth)
        return contents(tmp_path / folder)

    whole = render("whole", Told())
    with pytest.raises(Ex4dError) as caught:
        render("shot", Told(stop_after))
    assert caught.value.code == CANCELLED
    left = contents(tmp_path / "shot")
    assert left.keys() < whole.keys()
    assert render("shot", Told()) == whole
    render("later", Told(), save_depth=False)
    assert render("later", Told()) == whole  # depth that is asked for later is added


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_view_of_nothing_leaves_no_finished_conditioning(scene: Scene, tmp_path: Path) -> None:
    path, source = shot(scene)
    away = np.tile(pose((0.0, 0.0, -1.0), (0.0, np.pi, 0.0)), (FRAMES, 1, 1))
    told = Told()
    with pytest.raises(Ex4dError) as caught:
        pipeline.render(
            tmp_path / "shot", tmp_path / "scene", dataclasses.replace(path, world_from_camera=away), source, told
        )
    assert caught.value.code == EMPTY_VIEW
    assert not {"camera.json", "coverage.json", "provenance.json"} & set(told.files)
    assert not (tmp_path / "shot" / "camera.json").exists()


def test_the_sheet_shows_the_source_frames_that_the_shot_shows(scene: Scene, tmp_path: Path) -> None:
    """A shot that holds the last frame shows no other one in its source row either."""
    colours = np.array([[250, 10, 10], [10, 250, 10], [10, 10, 250]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], scene.clip.frames.shape).copy()
    save_scene(
        tmp_path / "scene",
        dataclasses.replace(scene, clip=dataclasses.replace(scene.clip, frames=frames)),
        lambda name: None,
    )
    pipeline.render(tmp_path / "shot", tmp_path / "scene", *shot(scene, frame=np.full(FRAMES, 2, np.int32)), Told())
    step_folders.sheet(tmp_path / "scene", tmp_path / "shot", tmp_path / "shot" / "colour", tmp_path / "sheet.png")
    pixels = read_png(tmp_path / "sheet.png").reshape(-1, 3)
    red, green, blue = ((pixels == colour).all(axis=1).sum() for colour in colours)
    assert (red, green) == (0, 0)
    assert blue > 10_000


def test_hidden_files_are_no_pictures_and_numbers_decide_the_order(tmp_path: Path) -> None:
    for name in ("9999.png", "10000.png", ".0001-x.png", "._0001.png", "notes.txt"):
        (tmp_path / name).touch()
    assert [path.name for path in step_folders.pictures(tmp_path)] == ["9999.png", "10000.png"]


def test_a_broken_conditioning_is_named(scene: Scene, tmp_path: Path) -> None:
    pipeline.render(tmp_path / "shot", tmp_path / "scene", *shot(scene), Told())
    model = tmp_path / "shot" / "source_model.json"
    value = json.loads(model.read_text())
    for broken, code in (
        ("[]", BAD_INPUT),
        ("{", BAD_INPUT),
        (json.dumps({**value, "focal": "wide"}), BAD_INPUT),
        (json.dumps({key: numbers[:2] for key, numbers in value.items()}), SIZE_MISMATCH),
    ):
        model.write_text(broken)
        with pytest.raises(Ex4dError, match="again") as caught:
            step_folders.load_conditioning(tmp_path / "scene", tmp_path / "shot")
        assert caught.value.code == code
