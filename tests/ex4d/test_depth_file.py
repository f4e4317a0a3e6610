# SPDX-License-Identifier: Apache-2.0
"""Depth from files: what they hold, which frames, which size, and what cannot be used."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from depths import estimate_depth

from ex4d import memory
from ex4d.depth import DEPTH_DOORS, DepthRequest
from ex4d.depth.convert import BEHIND, FAR, NEAR
from ex4d.depth.stored import HOLDS_DISPARITY
from ex4d.images import write_exr, write_png
from ex4d.values import Clip
from shared_protocol.errors import (
    BAD_INPUT,
    CANCELLED,
    LIMIT,
    NOT_A_CLIP,
    NOT_FOUND,
    SIZE_MISMATCH,
    UNSUPPORTED,
    Ex4dError,
)

H, W = 12, 16
METRES = np.random.default_rng(5).uniform(1.0, 9.0, (6, H, W)).astype(np.float32)


def clip_of(frames: int, height: int = H, width: int = W) -> Clip:
    return Clip(np.zeros((frames, height, width, 3), np.uint8), Fraction(24), "test")


def npz(folder: Path, **arrays: np.ndarray) -> Path:
    folder.mkdir(exist_ok=True)
    np.savez_compressed(folder / "depth.npz", **arrays)
    return folder / "depth.npz"


def exrs(folder: Path, channel: str, values: np.ndarray = METRES) -> list[Path]:
    paths = [folder / f"z{t:04}.exr" for t in range(len(values))]
    for path, plane in zip(paths, values, strict=True):
        write_exr(path, {channel: plane})
    return paths


@pytest.mark.parametrize("channel", ["Z", "R", "Y", "V", "depth", "ViewLayer.Depth.Z", "anything"])
def test_exr_depth_is_taken_as_it_is(tmp_path: Path, channel: str) -> None:
    depth = estimate_depth(clip_of(6), files=exrs(tmp_path, channel))
    np.testing.assert_array_equal(depth.z, METRES)
    assert (depth.estimator, depth.draft, depth.notes) == ("file", False, ())
    np.testing.assert_array_equal(estimate_depth(clip_of(6), files=[tmp_path]).z, METRES)  # the folder


def test_depth_goes_before_colour_in_one_file(tmp_path: Path) -> None:
    write_exr(tmp_path / "a.exr", {"R": METRES[0] * 0, "G": METRES[0] * 0, "ViewLayer.Depth.Z": METRES[1]})
    np.testing.assert_array_equal(estimate_depth(clip_of(1), files=[tmp_path / "a.exr"]).z[0], METRES[1])


@pytest.mark.parametrize("arrays", [{"depth": METRES}, {"whatever": METRES}, {"depth": METRES[..., None]}])
def test_npz_depth_is_taken_as_it_is(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    depth = estimate_depth(clip_of(6), files=[npz(tmp_path, **arrays)])
    np.testing.assert_array_equal(depth.z, METRES)


def test_disparity_in_scene_units_is_one_over_depth(tmp_path: Path) -> None:
    depth = estimate_depth(clip_of(6), files=[npz(tmp_path, disparity=1 / METRES)])
    np.testing.assert_allclose(depth.z, METRES, rtol=1e-6)
    assert "1 / z" in depth.notes[0]
    told = estimate_depth(clip_of(6), files=exrs(tmp_path, "Z", 1 / METRES), options={"depth_kind": "disparity"})
    np.testing.assert_allclose(told.z, METRES, rtol=1e-6)


def test_relative_disparity_is_placed_between_near_and_far(tmp_path: Path) -> None:
    ramp = np.linspace(0, 1, 6 * H * W, dtype=np.float32).reshape(6, H, W)
    depth = estimate_depth(clip_of(6), files=[npz(tmp_path, disparity=ramp)])
    assert depth.z.max() == pytest.approx(FAR)
    assert depth.z.min() == pytest.approx(NEAR, rel=0.02)
    assert (np.diff(depth.z.ravel()) <= 0).all()  # more disparity is nearer
    assert "relative disparity" in depth.notes[0]


def test_sixteen_bit_pngs_are_disparity_unless_told(tmp_path: Path) -> None:
    values = (METRES * 1000).astype(np.uint16)
    values[0, 0, 0] = 0
    for t in range(6):
        write_png(tmp_path / f"d{t}.png", values[t])
    files = [tmp_path / f"d{t}.png" for t in range(6)]
    near = np.unravel_index(values.argmax(), values.shape)
    assert estimate_depth(clip_of(6), files=files).z[near] == pytest.approx(NEAR, rel=0.05)
    millimetres = estimate_depth(clip_of(6), files=files, options={"depth_kind": "depth"}).z
    np.testing.assert_allclose(millimetres[1:], values[1:] / 1000.0, rtol=1e-6)
    assert millimetres[0, 0, 0] > 20  # 0 is no measurement: background


def test_background_gets_a_finite_distance_behind_everything(tmp_path: Path) -> None:
    holes = METRES.copy()
    holes[0, 0, :6] = (np.inf, np.nan, 0, -np.inf, 1e10, 65504 * 1e6)
    holes[1, :4] = 1e10
    depth = estimate_depth(clip_of(6), files=[npz(tmp_path, depth=holes)])
    assert np.isfinite(depth.z).all()
    there = np.isfinite(holes) & (holes > 0) & (holes < 1e9)
    far = BEHIND * np.percentile(holes[there], 99)
    np.testing.assert_allclose(depth.z[~there], far, rtol=1e-5)
    np.testing.assert_array_equal(depth.z[there], holes[there])
    assert "no depth at 70 pixels (6%) of frames 1 to 2: taken for background" in depth.notes[0]


def test_the_same_frames_as_the_clips_are_used(tmp_path: Path) -> None:
    path = npz(tmp_path, depth=METRES)
    np.testing.assert_array_equal(estimate_depth(clip_of(3), files=[path], first=2).z, METRES[2:5])
    files = exrs(tmp_path / "e", "Z")
    np.testing.assert_array_equal(estimate_depth(clip_of(3), files=files, first=2).z, METRES[2:5])
    trimmed = estimate_depth(clip_of(6), files=files, first=10)  # depth that was made for the chosen part
    np.testing.assert_array_equal(trimmed.z, METRES)
    assert "as many frames as were chosen" in trimmed.notes[0]


def test_too_few_frames_are_refused(tmp_path: Path) -> None:
    for files in ([npz(tmp_path, depth=METRES)], exrs(tmp_path / "e", "Z")):
        with pytest.raises(Ex4dError, match=r"has 6 frames; the clip's frames 4 to 7 need 7") as caught:
            estimate_depth(clip_of(4), files=files, first=3)
        assert caught.value.code == SIZE_MISMATCH


def test_depth_is_scaled_down_with_the_clip(tmp_path: Path) -> None:
    half = replace(clip_of(6, H // 2, W // 2), scale=0.5)
    depth = estimate_depth(half, files=[npz(tmp_path, depth=METRES)])
    assert depth.z.shape == (6, H // 2, W // 2)
    assert set(np.unique(depth.z)) <= set(METRES.ravel()), "an average of two depths is the depth of nothing"
    assert f"{W}x{H} scaled to {W // 2}x{H // 2}" in depth.notes[0]
    fitting = estimate_depth(half, files=[npz(tmp_path, depth=METRES[:, ::2, ::2])])
    np.testing.assert_array_equal(fitting.z, METRES[:, ::2, ::2])


@pytest.mark.parametrize(("height", "width"), [(9, 16), (2 * H, 2 * W + 5), (H, W + 1)])
def test_depth_of_another_size_is_refused_with_both_sizes(tmp_path: Path, height: int, width: int) -> None:
    with pytest.raises(Ex4dError, match=f"depth is 16 x 12, the clip is {width} x {height}") as caught:
        estimate_depth(clip_of(6, height, width), files=[npz(tmp_path, depth=METRES)])
    assert caught.value.code == SIZE_MISMATCH
    with pytest.raises(Ex4dError, match=f"the clip is {2 * width} x {2 * height}"):
        estimate_depth(replace(clip_of(6, height, width), scale=0.5), files=[tmp_path / "depth.npz"])


def test_depth_files_of_differing_sizes_are_refused(tmp_path: Path) -> None:
    write_exr(tmp_path / "e1.exr", {"Z": METRES[0]})
    write_exr(tmp_path / "e2.exr", {"Z": METRES[0, :5]})
    with pytest.raises(Ex4dError, match=r"e2\.exr is 16x5") as caught:
        estimate_depth(clip_of(2), files=[tmp_path / "e1.exr", tmp_path / "e2.exr"])
    assert caught.value.code == SIZE_MISMATCH


def test_files_that_hold_no_depth_get_one_clear_line(tmp_path: Path) -> None:
    movie = tmp_path / "depth.mp4"
    movie.write_bytes(b"x")
    movie.with_suffix(".txt").write_bytes(b"x")
    broken = tmp_path / "broken.npz"
    broken.write_bytes(npz(tmp_path, depth=METRES).read_bytes()[:300])
    write_png(tmp_path / "colour.png", np.random.default_rng(1).integers(0, 255, (H, W, 3), dtype=np.uint8))
    write_exr(tmp_path / "rgb.exr", {"A": METRES[0], "U": METRES[0]})
    cases = [
        ([tmp_path / "gone.npz"], NOT_FOUND, "gone.npz"),
        ([movie], NOT_A_CLIP, "depth.mp4 cannot be read"),
        ([movie.with_suffix(".txt")], UNSUPPORTED, "cannot be read from depth.txt"),
        ([tmp_path / "colour.png", tmp_path / "rgb.exr"], UNSUPPORTED, "colour.png and its like"),
        ([broken], NOT_A_CLIP, "broken.npz"),
        ([tmp_path / "colour.png"], BAD_INPUT, "coloured"),
        ([tmp_path / "rgb.exr"], NOT_A_CLIP, "no depth, only: A, U"),
        ([npz(tmp_path, a=METRES, b=METRES)], BAD_INPUT, "holds a, b"),
    ]
    for files, code, words in cases:
        with pytest.raises(Ex4dError, match=words) as caught:
            estimate_depth(clip_of(1), files=files)
        assert caught.value.code == code
    for array in (METRES[0, 0], np.array(["a"]), METRES * 0, METRES * np.nan):
        for kind in ("depth", "disparity"):
            with pytest.raises(Ex4dError) as caught:
                estimate_depth(clip_of(6), files=[npz(tmp_path, depth=array)], options={"depth_kind": kind})
            assert caught.value.code == BAD_INPUT


def test_a_frame_that_fits_no_memory_is_refused_and_any_number_of_frames_that_do_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = npz(tmp_path, depth=METRES)
    turned = tmp_path / "turned.npy"
    np.save(turned, np.asfortranarray(METRES))  # no frame of it lies in one piece
    monkeypatch.setattr(memory, "MAX_BYTES", METRES[0].nbytes)
    np.testing.assert_array_equal(estimate_depth(clip_of(6), files=[path]).z, METRES)
    with pytest.raises(Ex4dError, match="the limit is") as caught:
        estimate_depth(clip_of(6), files=[turned])
    assert caught.value.code == LIMIT
    monkeypatch.setattr(memory, "MAX_BYTES", METRES[0].nbytes - 1)
    with pytest.raises(Ex4dError, match="the limit is") as caught:
        estimate_depth(clip_of(6), files=[path])
    assert caught.value.code == LIMIT


def test_depth_of_the_clips_shape_is_brought_to_its_size(tmp_path: Path) -> None:
    path = npz(tmp_path, depth=METRES)
    larger = estimate_depth(clip_of(6, 3 * H, 3 * W), files=[path])
    np.testing.assert_array_equal(larger.z, METRES.repeat(3, axis=1).repeat(3, axis=2))
    smaller = estimate_depth(clip_of(6, H // 4, W // 4), files=[path])
    assert smaller.z.shape == (6, H // 4, W // 4)
    assert set(np.unique(smaller.z)) <= set(METRES.ravel())
    for found, size in ((larger, "48x36"), (smaller, "4x3")):
        assert f"depth of {W}x{H} scaled to {size}, like the clip" in found.notes
    rounded = estimate_depth(clip_of(6, 27, 37), files=[path])  # 12 of 16.4 x 12: within a pixel
    assert rounded.z.shape == (6, 27, 37)


def test_a_scale_brings_stored_units_to_scene_units(tmp_path: Path) -> None:
    centimetres = npz(tmp_path, depth=METRES * 100)
    half_metre = estimate_depth(clip_of(6), files=[centimetres], options={"depth_scale": 0.01})
    np.testing.assert_allclose(half_metre.z, METRES, rtol=1e-6)
    with_sky = METRES * 100
    with_sky[0, 0, :2] = 1e10, np.inf
    z = estimate_depth(clip_of(6), files=[npz(tmp_path, depth=with_sky)], options={"depth_scale": 0.01}).z
    assert z[0, 0, :2] == pytest.approx(BEHIND * np.percentile(METRES, 99), rel=0.01)  # not 1e8 units
    inverse = npz(tmp_path, disparity=1 / (METRES * 100))
    np.testing.assert_allclose(
        estimate_depth(clip_of(6), files=[inverse], options={"depth_scale": 0.01}).z, METRES, rtol=1e-5
    )
    for t in range(6):
        write_png(tmp_path / f"d{t}.png", (METRES[t] * 5000).astype(np.uint16))
    files = [tmp_path / f"d{t}.png" for t in range(6)]
    fifths = estimate_depth(clip_of(6), files=files, options={"depth_kind": "depth", "depth_scale": 0.0002})
    np.testing.assert_allclose(fifths.z, METRES, atol=0.0002)
    for values in (files, [npz(tmp_path, disparity=np.linspace(0, 1, METRES.size).reshape(METRES.shape))]):
        with pytest.raises(Ex4dError, match="is relative: it has no unit") as caught:
            estimate_depth(clip_of(6), files=values, options={"depth_scale": 0.01})
        assert caught.value.code == BAD_INPUT


def test_disparity_of_nothing_and_below_is_infinitely_far(tmp_path: Path) -> None:
    given = 1 / METRES
    given[1, 0, :4] = -0.5, -0.0, 0.0, np.nan
    path = npz(tmp_path, disparity=given, holds=np.array(HOLDS_DISPARITY))
    depth = estimate_depth(clip_of(6), files=[path])
    (beyond,) = depth.beyond
    np.testing.assert_array_equal(depth.z[1, 0, :4], beyond.z)
    np.testing.assert_allclose(depth.z[1, 1:], METRES[1, 1:], rtol=1e-6)


def test_a_frame_of_the_depth_can_be_named_as_the_clips_first(tmp_path: Path) -> None:
    for t, plane in enumerate(METRES):
        write_exr(tmp_path / f"shot_v2.{1001 + t}.exr", {"Z": plane})
    cut = [tmp_path]
    z = estimate_depth(clip_of(3), files=cut, first=40, options={"depth_first": 1003}).z
    np.testing.assert_array_equal(z, METRES[2:5])
    counted = estimate_depth(clip_of(3), files=[npz(tmp_path / "n", depth=METRES)], options={"depth_first": 2}).z
    np.testing.assert_array_equal(counted, METRES[1:4])
    with pytest.raises(Ex4dError, match=r"no depth frame 3: the depth has 6 frames, 1001 to 1006") as caught:
        estimate_depth(clip_of(3), files=cut, options={"depth_first": 3})
    assert caught.value.code == BAD_INPUT
    with pytest.raises(Ex4dError, match=r"From depth frame 1005 on there are 2, to 1006; the clip has 3") as caught:
        estimate_depth(clip_of(3), files=cut, options={"depth_first": 1005})
    assert caught.value.code == SIZE_MISMATCH
    (tmp_path / "shot_v2.1004.exr").unlink()
    with pytest.raises(Ex4dError, match=r"1003 to 1006 have gaps: 3 files of 4") as caught:
        estimate_depth(clip_of(3), files=cut, options={"depth_first": 1003})
    assert caught.value.code == SIZE_MISMATCH


def test_what_the_files_say_is_infinitely_far_is_handed_on(tmp_path: Path) -> None:
    sky = METRES.copy()
    sky[1, :3] = 1e10
    sky[2, 0, 0] = 0.0  # a hole in a scan is no sky
    request = DepthRequest(clip_of(6), {}, files=[npz(tmp_path, depth=sky)])
    found = [estimate.sky for estimate in DEPTH_DOORS["file"].frames(request)]
    assert [estimate is None for estimate in found] == [True, False, True, True, True, True]
    np.testing.assert_array_equal(found[1], sky[1] == 1e10)


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", depth=np.array([{"a": 1}], dtype=object))
    with pytest.raises(Ex4dError) as caught:
        estimate_depth(clip_of(1), files=[tmp_path / "a.npz"])
    assert caught.value.code == NOT_A_CLIP


def test_reading_can_be_cancelled(tmp_path: Path) -> None:
    files = exrs(tmp_path, "Z")
    seen: list[tuple[int, int]] = []

    def progress(_: str, done: int, total: int) -> None:
        seen.append((done, total))
        if done == 3:
            raise Ex4dError(CANCELLED, "Stopped.")

    with pytest.raises(Ex4dError) as caught:
        estimate_depth(clip_of(6), files=files, progress=progress)
    assert caught.value.code == CANCELLED
    assert seen == [(1, 6), (2, 6), (3, 6)]


def test_doors_are_chosen_by_name(tmp_path: Path) -> None:
    assert {name: door.name for name, door in DEPTH_DOORS.items()} == {name: name for name in DEPTH_DOORS}
    assert all(DEPTH_DOORS[name].available() == (True, "") for name in ("file", "draft"))
    for wrong, words in (
        ({"estimator": "no"}, "no depth estimator called"),
        ({"files": [Path("a.npz")], "options": {"depth_kind": "no"}}, "no depth_kind"),
    ):
        with pytest.raises(Ex4dError, match=words):
            estimate_depth(clip_of(1), **wrong)
    with pytest.raises(Ex4dError, match="No depth files"):
        estimate_depth(clip_of(1), estimator="file")
