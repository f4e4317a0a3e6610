# SPDX-License-Identifier: Apache-2.0
"""Scenes: from clip and depth, to files and back."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from mesh_cases import picture, small_scene, smooth_depth, stepped_depth

from ex4d import memory
from ex4d.cameras import static_source
from ex4d.depth.preview import turbo
from ex4d.images import read_exr, read_png
from ex4d.lifting import lifted
from ex4d.mesh import adjust_depth, lift
from ex4d.mesh.sharpen import sharpened
from ex4d.on_disk import disk_array, workspace
from ex4d.scene import build_scene, load_scene, save_scene, scene_mesh
from ex4d.values import Clip, DepthVideo, Intrinsics, Scene
from shared_protocol.errors import BAD_INPUT, LIMIT, NOT_FOUND, SIZE_MISMATCH, Ex4dError


def of_depth(z: np.ndarray, **settings: object) -> Scene:
    clip = Clip(np.zeros((*z.shape, 3), np.uint8), Fraction(25), "c")
    return build_scene(clip, DepthVideo(z, "file", False), **settings)  # type: ignore[arg-type]


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_a_scene_holds_the_lifted_frames_far_pivot_and_notes() -> None:
    z = np.stack([stepped_depth(12, 17, seed) for seed in range(3)])
    scene = of_depth(z)
    assert scene.far == pytest.approx(max(4.0 * np.percentile(z, 99), 1.05 * z.max()))
    assert scene.pivot == pytest.approx(np.percentile(z[0], 5))
    for t in range(3):
        depth, valid = lift(sharpened(z[t]), scene.far)
        np.testing.assert_array_equal(scene.mesh_depth[t], depth)
        np.testing.assert_array_equal(scene.mesh_valid[t], valid)
    assert scene.intrinsics.fx == pytest.approx(17 * 500 / 512)
    assert (scene.estimator, scene.draft) == ("file", False)
    assert small_scene().notes == ("upright", "scaled")


def test_near_and_far_leave_out_a_few_stray_pixels() -> None:
    z = np.stack([stepped_depth(40, 50, seed) for seed in range(3)])
    z[1, 5, 5], z[2, 7, 7] = 1e-3, 900.0
    scene = of_depth(z.copy(), sharpen=False)
    assert scene.near == pytest.approx(np.percentile(z, 1))
    assert scene.far_depth == pytest.approx(np.percentile(z, 99))


def test_a_scene_that_is_written_frame_by_frame_is_the_same_to_the_last_bit(tmp_path: Path) -> None:
    """Of depth that is limited and sharpened on its way, on the disk."""
    z = np.stack([stepped_depth(31, 45, seed) for seed in range(20)])
    z[3, :4] = 1e10
    clip = Clip(np.stack([picture(31, 45, seed) for seed in range(20)]), Fraction(25), "c")
    facts = {"model": "vda", "licence": "Apache-2.0", "commercial_use": True}
    depth = DepthVideo(z.copy(), "e", False, ("n",), metric=True, facts=facts)
    whole = build_scene(clip, depth)
    np.testing.assert_array_equal(depth.z, z)
    save_scene(tmp_path / "whole", whole, lambda name: None, {"made": "here"})
    with workspace(tmp_path) as folder:
        on_disk = disk_array(folder, "z", z.shape, np.float32)
        on_disk[:] = z
        streamed = lifted(clip, dataclasses.replace(depth, z=on_disk))
        save_scene(tmp_path / "streamed", streamed, lambda name: None, {"made": "here"})
    assert files_in(tmp_path / "whole") == files_in(tmp_path / "streamed")
    for name in files_in(tmp_path / "whole"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "streamed" / name).read_bytes(), name
    got = load_scene(tmp_path / "streamed")
    assert (got.metric, got.facts) == (True, facts)
    value = json.loads((tmp_path / "streamed" / "scene.json").read_text())
    assert value["provenance"] == {"depth": facts, "made": "here"}


def test_lifting_tells_how_far_it_is_and_can_be_stopped() -> None:
    z = np.stack([stepped_depth(12, 17)] * 3)
    clip = Clip(np.zeros((*z.shape, 3), np.uint8), Fraction(25), "c")
    told: list[tuple[str, int, int]] = []
    lifted(clip, DepthVideo(z, "file", False), progress=lambda *step: told.append(step))
    assert [done for _, done, _ in told] == [1, 2, 3, 4, 5, 6]
    assert {total for *_, total in told} == {6}

    def stop(phase: str, done: int, total: int) -> None:
        raise StopError

    with pytest.raises(StopError):
        lifted(clip, DepthVideo(z, "file", False), progress=stop)


def test_a_scene_of_an_earlier_release_is_still_read(tmp_path: Path) -> None:
    scene = small_scene(frames=1)
    save_scene(tmp_path, scene, lambda name: None)
    value = json.loads((tmp_path / "scene.json").read_text())
    for key in ("near", "far_depth", "metric"):
        del value[key]
    (tmp_path / "scene.json").write_text(json.dumps(value))
    got = load_scene(tmp_path)
    assert (got.near, got.far_depth, got.metric) == (scene.pivot, scene.far, False)


def test_a_scene_that_memory_cannot_hold_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_scene(tmp_path, small_scene(frames=2), lambda name: None)
    monkeypatch.setattr(memory, "MAX_BYTES", 2 * 24 * 32 * 4)
    with pytest.raises(Ex4dError, match="2 frames of 32x24") as caught:
        load_scene(tmp_path)
    assert caught.value.code == LIMIT


def test_the_focal_length_is_used_and_the_camera_stands_still() -> None:
    scene = of_depth(np.stack([stepped_depth(12, 17)] * 2), focal=40.0)
    assert scene.intrinsics == Intrinsics(17, 12, 40.0, 40.0, 8.5, 6.0)
    np.testing.assert_array_equal(scene.camera.world_from_camera, np.tile(np.eye(4), (2, 1, 1)))


def test_a_camera_that_does_not_fit_the_clip_is_refused_with_both_sizes() -> None:
    scene = of_depth(np.stack([stepped_depth(12, 17)] * 2))
    depth = DepthVideo(np.ones((2, 12, 17), np.float32), "file", False)
    for wrong in (
        dataclasses.replace(scene.camera, width=18),
        dataclasses.replace(scene.camera, world_from_camera=scene.camera.world_from_camera[:1]),
    ):
        with pytest.raises(Ex4dError, match=r"source camera has .*2 of 17x12") as caught:
            build_scene(scene.clip, depth, camera=wrong)
        assert caught.value.code == SIZE_MISMATCH


@pytest.mark.parametrize("shape", [(3, 12, 18), (2, 12, 17), (3, 17, 12)])
def test_depth_of_another_size_or_length_is_refused_with_both_sizes(shape: tuple[int, int, int]) -> None:
    clip = Clip(np.zeros((3, 12, 17, 3), np.uint8), Fraction(25), "c")
    with pytest.raises(Ex4dError, match="clip 3 of 17x12") as caught:
        build_scene(clip, DepthVideo(np.ones(shape, np.float32), "file", False))
    assert caught.value.code == SIZE_MISMATCH


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf")])
def test_depth_that_is_not_positive_and_finite_is_refused(bad: float) -> None:
    z = np.ones((1, 4, 4), np.float32)
    z[0, 2, 1] = bad
    with pytest.raises(Ex4dError, match="not positive"):
        of_depth(z)


def test_no_frames_are_refused() -> None:
    with pytest.raises(Ex4dError, match="no frames"):
        of_depth(np.ones((0, 4, 4), np.float32))


def test_a_sky_at_a_very_large_depth_is_brought_within_reach() -> None:
    z = np.ones((1, 10, 10), np.float32)
    z[0, 0] = 1e10
    scene = of_depth(z)
    assert scene.far == pytest.approx(1e6)
    assert scene.mesh_depth.max() == scene.far
    assert (scene.mesh_depth[0, 2, 2:-2] < scene.far).all()
    assert "952381" in scene.notes[-1]


def test_the_mesh_of_a_shot_has_the_artists_settings() -> None:
    scene = small_scene(frames=3)
    source = dataclasses.replace(
        static_source(scene, 2),
        frame=np.array([0, 2], np.int32),
        focal=np.array([31.0, 40.0]),
        cx=np.array([16.0, 15.0]),
        cy=np.array([12.0, 13.0]),
        disparity_scale=np.array([1.0, 2.0]),
        disparity_shift=np.array([0.0, 0.05]),
    )
    mesh = scene_mesh(scene, source, 1)
    np.testing.assert_array_equal(mesh.depth, adjust_depth(scene.mesh_depth[2], 2.0, 0.05))
    assert mesh.depth[0, 0] == pytest.approx(1.0 / (2.0 / scene.far + 0.05))  # the skirt moves along
    np.testing.assert_array_equal(mesh.valid, scene.mesh_valid[2])
    assert mesh.intrinsics == Intrinsics(32, 24, 40.0, 40.0, 15.0, 13.0)
    np.testing.assert_array_equal(scene_mesh(scene, static_source(scene, 1), 0).depth, scene.mesh_depth[0])


@pytest.mark.parametrize(
    "change",
    [
        {"frame": np.array([3], np.int32)},
        {"frame": np.array([-1], np.int32)},
        {"focal": np.array([0.0])},
        {"disparity_scale": np.array([np.nan])},
        {"cx": np.array([np.inf])},
    ],
)
def test_settings_that_cannot_be_used_are_refused(change: dict[str, np.ndarray]) -> None:
    scene = small_scene(frames=3)
    with pytest.raises(Ex4dError, match=r"rame 1") as caught:
        scene_mesh(scene, dataclasses.replace(static_source(scene, 1), **change), 0)
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize(("frames", "height", "width"), [(3, 24, 32), (1, 9, 7), (2, 33, 17), (1, 1, 1)])
def test_a_scene_comes_back_bit_for_bit(tmp_path: Path, frames: int, height: int, width: int) -> None:
    scene = small_scene(frames, height, width)
    names: list[str] = []
    save_scene(tmp_path, scene, names.append, {"made": "here"})
    got = load_scene(tmp_path)
    np.testing.assert_array_equal(got.clip.frames, scene.clip.frames)
    np.testing.assert_array_equal(got.mesh_depth, scene.mesh_depth)
    np.testing.assert_array_equal(got.mesh_valid, scene.mesh_valid)
    assert got.mesh_depth.dtype == np.float32
    for field in ("intrinsics", "far", "pivot", "near", "far_depth", "metric", "estimator", "draft", "notes"):
        assert getattr(got, field) == getattr(scene, field)
    np.testing.assert_array_equal(got.camera.world_from_camera, scene.camera.world_from_camera)
    assert (got.clip.fps, got.clip.name) == (scene.clip.fps, scene.clip.name)
    assert set(names) == files_in(tmp_path)
    assert len(names) == 3 * frames + 1
    assert names[-1] == "scene.json"
    assert json.loads((tmp_path / "scene.json").read_text())["provenance"] == {"made": "here"}


def test_files_are_laid_out_as_documented(tmp_path: Path) -> None:
    scene = small_scene(frames=2)
    save_scene(tmp_path, scene, lambda name: None)
    assert files_in(tmp_path) == {
        "scene.json",
        *(f"{k}/000{n}.{e}" for k, e in (("source", "png"), ("mesh", "exr"), ("depth_preview", "png")) for n in (1, 2)),
    }
    channels = read_exr(tmp_path / "mesh/0002.exr")
    assert set(channels) == {"R", "G", "B"}
    np.testing.assert_array_equal(channels["R"], scene.mesh_depth[1])
    np.testing.assert_array_equal(channels["G"][:-1, :-1], scene.mesh_valid[1, ..., 0])
    np.testing.assert_array_equal(channels["B"][:-1, :-1], scene.mesh_valid[1, ..., 1])
    for name in "GB":
        assert not channels[name][-1].any()
        assert not channels[name][:, -1].any()
    value = json.loads((tmp_path / "scene.json").read_text())
    assert value["fps"] == [30000, 1001]
    assert value["frames"] == 2
    assert (value["width"], value["height"]) == (32, 24)
    assert (value["near"], value["far_depth"], value["metric"]) == (scene.near, scene.far_depth, False)
    preview = read_png(tmp_path / "depth_preview/0002.png")
    np.testing.assert_array_equal(preview, turbo(scene.mesh_depth[1][2:-2, 2:-2], scene.near, scene.far_depth))


class StopError(Exception):
    pass


def test_a_save_that_was_interrupted_goes_on_where_it_stopped(tmp_path: Path) -> None:
    scene = small_scene(frames=4)
    names: list[str] = []

    def stop_after_five(name: str) -> None:
        names.append(name)
        if len(names) == 5:
            raise StopError

    with pytest.raises(StopError):
        save_scene(tmp_path, scene, stop_after_five)
    assert set(names) <= files_in(tmp_path) - {"scene.json"}  # some that were begun are there too
    with pytest.raises(Ex4dError, match="no finished scene") as caught:
        load_scene(tmp_path)
    assert caught.value.code == NOT_FOUND
    before = {name: (tmp_path / name).stat().st_ino for name in names}
    again: list[str] = []
    save_scene(tmp_path, scene, again.append)
    assert {name: (tmp_path / name).stat().st_ino for name in names} == before
    assert set(again) == files_in(tmp_path)
    np.testing.assert_array_equal(load_scene(tmp_path).mesh_depth, scene.mesh_depth)


def test_files_of_another_scene_and_broken_ones_are_written_again(tmp_path: Path) -> None:
    save_scene(tmp_path, small_scene(frames=2), lambda name: None)
    exr = tmp_path / "mesh/0002.exr"
    exr.write_bytes(exr.read_bytes()[:100])
    (tmp_path / "source/0001.png").write_bytes(b"")
    clip = Clip(np.stack([picture(24, 32, seed) for seed in (7, 8)]), Fraction(25), "other")
    other = build_scene(clip, DepthVideo(np.stack([smooth_depth(24, 32)] * 2), "file", True))
    save_scene(tmp_path, other, lambda name: None)
    got = load_scene(tmp_path)
    np.testing.assert_array_equal(got.clip.frames, clip.frames)
    np.testing.assert_array_equal(got.mesh_depth, other.mesh_depth)
    assert got.draft


@pytest.mark.parametrize(
    ("spoil", "code"),
    [
        (lambda folder: (folder / "scene.json").unlink(), NOT_FOUND),
        (lambda folder: (folder / "scene.json").write_text("{}"), BAD_INPUT),
        (lambda folder: (folder / "scene.json").write_text("no"), BAD_INPUT),
        (lambda folder: (folder / "source/0002.png").unlink(), NOT_FOUND),
        (lambda folder: (folder / "mesh/0001.exr").unlink(), NOT_FOUND),
        (lambda folder: _change(folder, version=99), BAD_INPUT),
        (lambda folder: _change(folder, width=31), BAD_INPUT),
        (lambda folder: _change(folder, fps=[25, 0]), BAD_INPUT),
    ],
)
def test_a_broken_scene_gives_one_clear_error(tmp_path: Path, spoil: object, code: str) -> None:
    save_scene(tmp_path, small_scene(frames=2), lambda name: None)
    spoil(tmp_path)  # type: ignore[operator]
    with pytest.raises(Ex4dError) as caught:
        load_scene(tmp_path)
    assert caught.value.code == code
    assert "\n" not in str(caught.value)


def _change(folder: Path, **values: object) -> None:
    value = json.loads((folder / "scene.json").read_text())
    (folder / "scene.json").write_text(json.dumps({**value, **values}))


def test_source_pictures_are_stored_without_loss(tmp_path: Path) -> None:
    scene = small_scene(frames=1)
    save_scene(tmp_path, scene, lambda name: None)
    np.testing.assert_array_equal(read_png(tmp_path / "source/0001.png"), scene.clip.frames[0])
