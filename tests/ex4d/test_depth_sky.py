# SPDX-License-Identifier: Apache-2.0
"""Sky: found where there is one, told, and pushed far away as one piece."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from depths import estimate_depth

from ex4d.depth.door import nobody
from ex4d.depth.sky import BEYOND, push_sky
from ex4d.images import write_exr, write_png
from ex4d.lifting import lifted
from ex4d.values import F32, U8, Beyond, Bool, Clip
from shared_protocol.errors import CANCELLED, Ex4dError

H, W, T = 120, 200, 4


def outdoors(sky_colour: tuple[int, int, int] = (130, 170, 225)) -> tuple[F32, U8, Bool]:
    """Houses before a sky with a gradient and noise, a tree that the sky is seen through."""
    rng = np.random.default_rng(5)
    sky = np.ones((H, W), np.bool_)
    z = np.full((H, W), 40.0, np.float32)
    for left, top, right, depth in ((0, 40, 60, 8.0), (60, 70, 130, 15.0), (130, 30, 200, 6.0)):
        sky[top:, left:right], z[top:, left:right] = False, depth
    for x in range(66, 124, 12):  # branches
        sky[10:70, x : x + 4], z[10:70, x : x + 4] = False, 12.0
    frames, depths = [], []
    for t in range(T):
        wobble = rng.normal(1, 0.02, (H, W))
        wall = rng.integers(40, 140, (H, W, 1)) * np.array((1.0, 0.8, 0.6))
        light = np.asarray(sky_colour) + np.linspace(0, 25, H)[:, None, None] + rng.normal(0, 1.5, (H, W, 1))
        frames.append(np.where(sky[..., None], np.clip(light, 0, 255), wall))
        depths.append(z * (1 + 0.02 * np.sin(t)) * wobble)
    blurred = [1 / cv2.GaussianBlur(1 / depth, (0, 0), 1.0) for depth in depths]
    return np.stack(blurred).astype(np.float32), np.stack(frames).astype(np.uint8), np.stack([sky] * T)


@pytest.mark.parametrize("colour", [(130, 170, 225), (205, 210, 215)], ids=["blue", "overcast"])
def test_sky_is_found_and_pushed_as_one_piece(colour: tuple[int, int, int]) -> None:
    z, frames, truth = outdoors(colour)
    before = z.copy()
    notes, sky = push_sky(z, frames, None, False, nobody)
    pushed = z != before
    assert (pushed & truth).sum() > 0.95 * truth.sum()
    assert (pushed & ~truth).sum() < 0.02 * truth.sum()
    assert len(np.unique(z[pushed])) == 1
    assert z[pushed][0] == pytest.approx(BEYOND * np.percentile(before[~pushed], 99), rel=0.05)
    assert "sky (found in the pictures: " in notes[0]
    assert sky == Beyond(float(z[pushed][0]), BEYOND)


@pytest.mark.parametrize("case", ["near", "rough", "dark", "low", "brown"])
def test_what_is_no_sky_stays(case: str) -> None:
    z, frames, truth = outdoors()
    if case == "near":
        z[:, :40] = 1.0  # a blue ceiling
    elif case == "rough":
        noise = np.random.default_rng(1).integers(-60, 60, frames.shape[:3])[..., None]
        frames[:] = np.clip(frames + noise, 0, 255)
    elif case == "dark":
        frames[:] = frames // 3
    elif case == "low":
        z, frames = z[:, ::-1].copy(), frames[:, ::-1].copy()  # blue water at the bottom
    else:
        frames[truth] = (200, 170, 120)
    before = z.copy()
    assert push_sky(z, frames, None, False, nobody) == ([], None)
    np.testing.assert_array_equal(z, before)


def test_depth_in_metres_keeps_a_wall_of_a_hall_in_its_place() -> None:
    z, frames, _ = outdoors()
    z *= 0.5  # the "sky" is 20 m away
    before = z.copy()
    assert push_sky(z, frames, None, True, nobody) == ([], None)
    np.testing.assert_array_equal(z, before)


def test_told_sky_is_taken_as_it_is() -> None:
    z, frames, truth = outdoors()
    mask = np.zeros_like(truth)
    mask[:, :20, :30] = True
    before = z.copy()
    notes, _ = push_sky(z, frames, mask, False, nobody)
    np.testing.assert_array_equal(z != before, mask)
    assert "told" in notes[0]


@pytest.mark.parametrize("told", [np.zeros((T, H, W), np.bool_), np.ones((T, H, W), np.bool_)], ids=["none", "all"])
def test_nothing_and_everything(told: Bool) -> None:
    z, frames, _ = outdoors()
    before = z.copy()
    assert push_sky(z, frames, told, False, nobody) == ([], None)
    np.testing.assert_array_equal(z, before)


@pytest.mark.parametrize("shape", [(1, 1), (2, 9), (9, 2)])
def test_small_pictures(shape: tuple[int, int]) -> None:
    z = np.full((1, *shape), 3.0, np.float32)
    push_sky(z, np.full((1, *shape, 3), 200, np.uint8), None, False, nobody)
    assert np.isfinite(z).all()


def test_cancel_leaves_depth_as_it_was_while_sky_is_looked_for() -> None:
    z, frames, _ = outdoors()
    before = z.copy()

    def progress(_: str, done: int, total: int) -> None:
        if done == 3:
            raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError):
        push_sky(z, frames, None, False, progress)
    np.testing.assert_array_equal(z, before)


def masks(folder: Path, truth: Bool, count: int) -> Path:
    folder.mkdir()
    for t in range(count):
        write_png(folder / f"{t + 1:04d}.png", truth[0].astype(np.uint8) * 255)
    return folder


@pytest.mark.parametrize("count", [1, T, T + 2], ids=["one", "each", "of the shot"])
@pytest.mark.parametrize("scale", [1, 2], ids=["clip", "twice"])
def test_masks_from_files(tmp_path: Path, count: int, scale: int) -> None:
    z, frames, truth = outdoors()
    folder = masks(tmp_path / "sky", truth.repeat(scale, axis=1).repeat(scale, axis=2), count)
    clip = Clip(frames, Fraction(24), "street")
    np.savez(tmp_path / "z.npz", depth=z)
    depth = estimate_depth(clip, files=[tmp_path / "z.npz"], sky=[folder], first=2 if count > T else 0)
    np.testing.assert_array_equal(depth.z[truth], depth.z[truth][0])
    np.testing.assert_array_equal(depth.z[~truth], z[~truth])
    assert any("sky (told" in note for note in depth.notes)


@pytest.mark.parametrize("channels", ["Y", "RGB", "A", "roto"])
def test_masks_in_exr_files(tmp_path: Path, channels: str) -> None:
    z, frames, truth = outdoors()
    np.savez(tmp_path / "z.npz", depth=z)
    matte = np.where(truth[0], np.float32(0.6), np.float32(0.4))  # of linear light, 0.4 is brighter than half
    matte[:2], matte[2, 0] = 1.0, np.nan
    names = [channels] if channels in ("A", "roto") else list(channels)
    write_exr(tmp_path / "sky.exr", dict.fromkeys(names, matte))
    clip = Clip(frames, Fraction(24), "street")
    depth = estimate_depth(clip, files=[tmp_path / "z.npz"], sky=[tmp_path / "sky.exr"])
    np.testing.assert_array_equal(depth.z != z, np.stack([matte >= 0.5] * T))
    write_exr(tmp_path / "sky.exr", {"U": matte, "V": matte})
    with pytest.raises(Ex4dError, match=r"sky\.exr has no mask, only: U, V"):
        estimate_depth(clip, files=[tmp_path / "z.npz"], sky=[tmp_path / "sky.exr"])


def test_masks_without_sky_are_told(tmp_path: Path) -> None:
    z, frames, truth = outdoors()
    np.savez(tmp_path / "z.npz", depth=z)
    for name, sky, words in (("black", ~truth & truth, "nothing is white"), ("white", truth | ~truth, "all of it is")):
        how = {"files": [tmp_path / "z.npz"], "sky": [masks(tmp_path / name, sky, 1)]}
        depth = estimate_depth(Clip(frames, Fraction(24), "street"), **how)
        np.testing.assert_array_equal(depth.z, z)
        assert any(words in note for note in depth.notes)


def test_masks_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    z, frames, truth = outdoors()
    clip = Clip(frames, Fraction(24), "street")
    np.savez(tmp_path / "z.npz", depth=z)
    wide = masks(tmp_path / "wide", truth[:, :50], 1)
    few = masks(tmp_path / "few", truth, 3)
    write_png(tmp_path / "colour.png", frames[0])
    for files, words in (
        ([wide], "sky mask is 200 x 50"),
        ([few], "3 sky masks"),
        ([tmp_path / "colour.png"], "coloured"),
        ([tmp_path / "no"], "no"),
    ):
        with pytest.raises(Ex4dError, match=words):
            estimate_depth(clip, files=[tmp_path / "z.npz"], sky=files)


def test_near_and_far_of_a_clip_leave_the_sky_out() -> None:
    _, frames, _ = outdoors()
    depth = estimate_depth(Clip(frames, Fraction(24), "street"), options={"sky": "on"}, estimator="draft")
    made = lifted(Clip(frames, Fraction(24), "street"), depth)
    assert depth.z.max() > 5.0 * made.far_depth
    assert made.far > depth.z.max()
