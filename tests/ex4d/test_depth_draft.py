# SPDX-License-Identifier: Apache-2.0
"""Draft depth: a guess, but a usable one: nearer things nearer, edges on edges, steady, and never a crash."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from depths import estimate_depth

from ex4d.clip import read_clip
from ex4d.depth.filters import crisp, guided, without_specks
from ex4d.depth.motion import unlike_background
from ex4d.values import U8, Clip, DepthVideo
from shared_protocol.errors import BAD_INPUT, CANCELLED, Ex4dError


def clip_of(frames: U8) -> Clip:
    return Clip(np.ascontiguousarray(frames), Fraction(24), "test")


def texture(height: int, width: int, base: tuple[int, int, int], grain: float = 12.0) -> U8:
    rng = np.random.default_rng([height, width, *base])
    coarse = cv2.resize(rng.normal(size=(height // 4 + 1, width // 4 + 1)).astype(np.float32), (width, height))
    return np.clip(np.array(base) + grain * coarse[..., None], 0, 255).astype(np.uint8)


def disc(frames: int = 6, height: int = 96, width: int = 128, speed: float = 2.0) -> tuple[U8, np.ndarray]:
    """A red disc that moves over a grey wall, and where it is."""
    wall, front = texture(height, width, (110, 110, 105)), texture(height, width, (190, 70, 50))
    shown = np.repeat(wall[None], frames, axis=0)
    where = np.zeros((frames, height, width), bool)
    v, u = np.mgrid[0:height, 0:width]
    for t in range(frames):
        where[t] = (u - 50 - speed * t) ** 2 + (v - 52) ** 2 < 22**2
        moved = np.roll(front, round(speed * t), axis=1)
        shown[t][where[t]] = moved[where[t]]
    return shown, where


def check(depth: DepthVideo, frames: U8) -> None:
    assert depth.z.shape == frames.shape[:3]
    assert depth.z.dtype == np.float32
    assert np.isfinite(depth.z).all()
    assert depth.z.min() >= 0.999
    assert depth.z.max() <= 5.001
    assert depth.draft
    assert depth.estimator == "draft"
    assert any("draft" in note for note in depth.notes)


def test_a_subject_stands_before_its_background_with_a_sharp_edge() -> None:
    frames, where = disc()
    depth = estimate_depth(clip_of(frames))
    check(depth, frames)
    rows = np.flatnonzero(where[0].any(axis=1))
    band = np.zeros_like(where)
    band[:, rows[0] : rows[-1]] = True  # at the same height, so that height alone cannot do it
    inside, outside = np.median(depth.z[where]), np.median(depth.z[~where & band])
    assert outside > 1.3 * inside
    # The edge of the depth is the disc's: over most of its outline there is a step within three pixels.
    ring = cv2.morphologyEx(where[0].astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    kernel = np.ones((5, 5), np.uint8)
    ratio = cv2.dilate(depth.z[0], kernel) / cv2.erode(depth.z[0], kernel)
    assert (ratio[ring] > 1.2).mean() > 0.7


def test_depth_is_smooth_inside_of_things() -> None:
    frames, where = disc()
    z = estimate_depth(clip_of(frames)).z[2]
    kernel = np.ones((13, 13), np.uint8)
    calm = cv2.erode(where[2].astype(np.uint8), kernel) + cv2.erode((~where[2]).astype(np.uint8), kernel) > 0
    step = np.maximum(np.abs(np.diff(np.log(z), axis=0))[:, :-1], np.abs(np.diff(np.log(z), axis=1))[:-1])
    assert np.percentile(step[calm[:-1, :-1]], 99) < np.log(1.05)  # the mesh would tear at 5 %


def test_the_lower_part_of_an_even_picture_is_nearer() -> None:
    frames = np.repeat(texture(60, 80, (120, 110, 90), 4.0)[None], 2, axis=0)
    z = estimate_depth(clip_of(frames)).z[0]
    assert z[:15].mean() > 1.5 * z[-15:].mean()


def test_a_still_clip_has_still_depth() -> None:
    frames = np.repeat(disc(1)[0], 5, axis=0)
    z = estimate_depth(clip_of(frames)).z
    assert np.abs(z / z[:1] - 1).max() < 0.01


def test_grain_does_not_make_it_flicker() -> None:
    frames = np.repeat(disc(1)[0], 6, axis=0).astype(np.float32)
    noisy = np.clip(frames + np.random.default_rng(11).normal(0, 4, frames.shape), 0, 255).astype(np.uint8)
    z = estimate_depth(clip_of(noisy)).z
    assert np.abs(np.diff(np.log(z), axis=0)).mean() < 0.01


def test_it_is_deterministic() -> None:
    frames, _ = disc(4)
    one, two = (estimate_depth(clip_of(frames)).z for _ in range(2))
    np.testing.assert_array_equal(one, two)


@pytest.mark.parametrize(
    "shape",
    [(1, 2, 2), (3, 2, 2), (2, 5, 3), (1, 48, 64), (2, 3, 200), (2, 200, 3), (3, 24, 24), (1, 97, 53), (2, 1, 1)],
)
def test_small_and_short_clips_work(shape: tuple[int, int, int]) -> None:
    frames = np.random.default_rng(11).integers(0, 256, (*shape, 3), dtype=np.uint8)
    check(estimate_depth(clip_of(frames)), frames)


def test_no_frames_are_refused() -> None:
    with pytest.raises(Ex4dError, match="no frames"):
        estimate_depth(clip_of(np.zeros((0, 8, 8, 3), np.uint8)))


def test_depth_that_was_brought_along_is_never_left_out_unsaid(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match="makes no use of them") as caught:
        estimate_depth(clip_of(disc(2)[0]), estimator="draft", files=[tmp_path / "depth.npz"])
    assert caught.value.code == BAD_INPUT


@pytest.mark.parametrize("value", [0, 128, 255])
def test_uniform_clips_work(value: int) -> None:
    frames = np.full((3, 40, 50, 3), value, np.uint8)
    check(estimate_depth(clip_of(frames)), frames)


@pytest.mark.parametrize("at", [1, 5, 9, 15, 23])
def test_it_can_be_cancelled_at_every_step(at: int) -> None:
    seen: list[int] = []

    def progress(_: str, done: int, total: int) -> None:
        assert total == 24
        seen.append(done)
        if done == at:
            raise Ex4dError(CANCELLED, "Stopped.")

    with pytest.raises(Ex4dError) as caught:
        estimate_depth(clip_of(disc(6)[0]), progress=progress)
    assert caught.value.code == CANCELLED
    assert seen == list(range(1, at + 1))


@pytest.mark.parametrize("frames", [disc(3, 4, 4)[0], disc(3)[0], disc(1)[0]])
def test_progress_ends_at_its_total(frames: U8) -> None:
    told: list[tuple[str, int, int]] = []
    estimate_depth(clip_of(frames), progress=lambda *step: told.append(step))
    seen = [(done, total) for phase, done, total in told if phase == "Guessing depth"]
    assert seen == [(done, 4 * len(frames)) for done in range(1, 4 * len(frames) + 1)]


def test_camera_motion_alone_moves_nothing_before_the_background() -> None:
    v, u = np.mgrid[0:60, 0:80].astype(np.float32)
    pan_and_zoom = np.stack([3 + 0.05 * (u - 40), -1 + 0.05 * (v - 30)], axis=2)
    assert unlike_background(pan_and_zoom, np.ones((60, 80), np.float32)).max() < 0.05
    pan_and_zoom[20:40, 30:50] += 4
    moved = unlike_background(pan_and_zoom, np.ones((60, 80), np.float32))
    assert moved[22:38, 32:48].min() > 4
    assert moved[:15].max() < 0.5


def test_guided_filter_keeps_the_guides_edges_and_takes_the_noise() -> None:
    step = np.zeros((40, 60), np.float32)
    step[:, 30:] = 1
    guide = np.repeat(step[..., None], 3, axis=2) * np.float32(0.8)
    noisy = step + np.random.default_rng(11).normal(0, 0.2, step.shape).astype(np.float32)
    smooth = guided(guide, noisy, 6, 0.001)
    assert np.abs(smooth - step)[8:-8, 8:-8].max() < 0.1
    plain = guided(np.zeros_like(guide), noisy, 6, 0.001)  # no edge in the guide: a mean of means
    np.testing.assert_allclose(plain[20, 20], 0.0, atol=0.2)
    assert plain[20, 30] == pytest.approx(0.5, abs=0.2)


def test_ramps_become_steps_and_slopes_stay() -> None:
    ramp = np.interp(np.arange(60), [25, 33], [0.3, 0.9]).astype(np.float32)[None].repeat(20, axis=0)
    sharp = crisp(ramp, 4, 0.07)
    assert np.abs(np.diff(sharp[10])).max() > 0.25
    slope = np.linspace(0.2, 1.0, 200, dtype=np.float32)[None].repeat(20, axis=0)
    np.testing.assert_allclose(crisp(slope, 3, 0.07)[:, 20:-20], slope[:, 20:-20], atol=0.003)


def test_specks_go_and_slopes_stay() -> None:
    slope = np.linspace(0.2, 1.0, 100, dtype=np.float32)[None].repeat(50, axis=0)
    specked = slope.copy()
    specked[10::20, 5::20] = 0.9
    np.testing.assert_allclose(without_specks(specked, 3)[6:-6, 6:-6], slope[6:-6, 6:-6], atol=0.02)
    np.testing.assert_allclose(without_specks(slope, 3)[6:-6, 6:-6], slope[6:-6, 6:-6], atol=1e-4)


def test_importing_the_doors_loads_nothing_heavy() -> None:
    code = "import sys, ex4d.depth; print([m for m in ('torch', 'numba', 'OpenEXR', 'zmq') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_flower_stands_before_its_meadow(reference: Callable[[str], Path]) -> None:
    clip = read_clip([reference("flower/input.mp4")], count=10)
    z = estimate_depth(clip).z
    flower, behind, above = z[0, 180:300, 60:200], z[0, 100:300, 320:480], z[0, 20:60, 290:350]
    assert np.median(behind) > 1.5 * np.median(flower)
    assert np.median(above) > 2 * np.median(flower)


def test_the_cat_stands_before_the_wall(reference: Callable[[str], Path]) -> None:
    clip = read_clip([reference("clips/portrait_full_range.mp4")], count=4)
    z = estimate_depth(clip).z[0]
    cat, chest, wall, table = z[450:560, 130:220], z[390:460, 240:300], z[20:200, 60:180], z[650:760, 100:300]
    assert np.median(wall) > 1.5 * np.median(chest) > np.median(cat)
    assert np.median(table) < np.median(cat)


def test_fish_swim_before_the_water(reference: Callable[[str], Path]) -> None:
    clip = read_clip([reference("clips/goldfish_mpeg4.mp4")], count=6)
    z = estimate_depth(clip).z[0]
    fish, water = z[230:320, 240:380], z[230:320, 20:90]
    assert np.median(water) > 1.15 * np.median(fish)
