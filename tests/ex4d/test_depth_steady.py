# SPDX-License-Identifier: Apache-2.0
"""Steady depth: wobble goes, what is true stays."""

from __future__ import annotations

import tracemalloc
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
import pytest

from ex4d.depth.door import nobody
from ex4d.depth.steady import steady_depth
from ex4d.evaluate.degrade import degrade
from ex4d.evaluate.depth import DepthCounts, Landing, figures, landings, measure
from ex4d.evaluate.ground_truth import SceneTruth, load_scene_truth, load_set
from ex4d.on_disk import disk_array
from shared_protocol.errors import CANCELLED, Ex4dError

SET = Path(__file__).resolve().parents[1] / "data" / "geometry"
HEIGHT, WIDTH = 48, 64


@lru_cache
def truth(scene: str) -> tuple[SceneTruth, list[Landing]]:
    found = load_scene_truth(load_set(SET), scene)
    return found, landings(found.colour)


def steadied(z: np.ndarray, frames: np.ndarray) -> np.ndarray:
    out = z.astype(np.float32)
    steady_depth(out, frames, nobody)
    return out


def texture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """[height, width, 3] uint8, blobs of a few pixels."""
    noise = np.random.default_rng(seed).normal(size=(height, width, 3))
    smooth = cv2.GaussianBlur(noise, (0, 0), 1.5)
    return np.clip(128 + 60 * smooth / smooth.std(), 0, 255).astype(np.uint8)


def slope() -> np.ndarray:
    """[H, W] a wall that goes from 2 to 6."""
    return np.broadcast_to(np.linspace(2.0, 6.0, WIDTH), (HEIGHT, WIDTH)).astype(np.float64)


def wobbling(z: np.ndarray, seed: int = 0, scale: float = 0.03, shift: float = 0.01) -> np.ndarray:
    """Depth [T, H, W] whose frames have disparities of scales and shifts of their own."""
    rng = np.random.default_rng(seed)
    factors, added = rng.normal(1.0, scale, (len(z), 1, 1)), rng.normal(0.0, shift, (len(z), 1, 1))
    return (1.0 / (factors / z + added * np.median(1.0 / z))).astype(np.float32)


def change(z: np.ndarray, exact: np.ndarray) -> float:
    """Mean change of the log of depth from frame to frame that the exact depth does not have; nothing moves."""
    return float(np.abs(np.diff(np.log(z / exact), axis=0)).mean())


@pytest.mark.parametrize("seed", [0, 5])
def test_degraded_depth_has_half_the_temporal_error_or_less_and_no_more_depth_error(seed: int) -> None:
    before, after = DepthCounts(), DepthCounts()
    for scene in ("still_life", "figure", "street"):
        found, landed = truth(scene)
        z = degrade(found.depth, seed, scene)
        plain, clean = (measure(depth, found.depth, landed) for depth in (z, steadied(z, found.colour)))
        assert figures(clean)["absrel"] <= figures(plain)["absrel"]
        before, after = before + plain, after + clean
    assert figures(after)["temporal"] <= 0.5 * figures(before)["temporal"]
    assert figures(after)["inner"] <= 0.1 * figures(before)["inner"]


def test_with_a_moving_camera_surfaces_have_half_the_error_or_less() -> None:
    found, landed = truth("tracking")
    z = degrade(found.depth, 0, "tracking")
    before, after = (figures(measure(depth, found.depth, landed)) for depth in (z, steadied(z, found.colour)))
    assert after["inner"] <= 0.5 * before["inner"]  # at silhouettes, what is smeared stays smeared
    assert after["temporal"] < before["temporal"]
    assert after["absrel"] < before["absrel"]


@pytest.mark.parametrize("scene", ["still_life", "figure", "street", "tracking"])
def test_exact_depth_is_nearly_left_alone(scene: str) -> None:
    found, landed = truth(scene)
    result = figures(measure(steadied(found.depth, found.colour), found.depth, landed))
    assert result["absrel"] < 5e-4
    assert result["temporal"] < 1e-3
    assert result["delta1"] == 1.0


def test_scales_shifts_and_noise_go_where_nothing_moves() -> None:
    frames = np.repeat(texture(0)[None], 8, 0)
    exact = np.repeat(slope()[None], 8, 0)
    z = wobbling(exact) * np.random.default_rng(1).normal(1.0, 0.005, exact.shape)
    assert change(steadied(z, frames), exact) < 0.1 * change(z, exact)


def test_the_clip_keeps_its_scale_and_shift() -> None:
    frames = np.repeat(texture(0)[None], 9, 0)
    exact = np.repeat(slope()[None], 9, 0)
    disparity = 1.0 / wobbling(exact)
    ours = 1.0 / steadied(1.0 / disparity, frames)
    assert ours.mean(axis=0) == pytest.approx(disparity.mean(axis=0), rel=3e-3)


def test_wobble_of_a_region_goes_too() -> None:
    rng = np.random.default_rng(3)
    frames = np.repeat(texture(0)[None], 9, 0)
    exact = np.repeat(slope()[None], 9, 0)
    waves = [cv2.resize(rng.normal(0.0, 0.02, (4, 5)), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC) for _ in exact]
    z = exact * np.exp(np.stack(waves))
    assert change(steadied(z, frames), exact) < 0.4 * change(z, exact)


def approach(count: int, rate: float) -> tuple[np.ndarray, np.ndarray]:
    """Frames and exact depth of a camera that goes towards a wall: the picture grows, and depth falls."""
    exact = np.stack([slope() * (1.0 - rate * t) for t in range(count)])
    picture = texture(0, 2 * HEIGHT, 2 * WIDTH)
    frames = []
    for t in range(count):
        lead = (1.0 - rate * t) * np.eye(2, 3)
        lead[:, 2] = np.array([WIDTH, HEIGHT]) * (1.0 - 0.5 * (1.0 - rate * t))
        frames.append(cv2.warpAffine(picture, lead, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP))
    return np.stack(frames), exact


@pytest.mark.parametrize(("count", "rate", "scale"), [(10, 0.03, 0.02), (24, 0.003, 0.01)])
def test_a_steady_approach_is_no_wobble(count: int, rate: float, scale: float) -> None:
    frames, exact = approach(count, rate)
    result = steadied(wobbling(exact, scale=scale, shift=0.0), frames)
    level = np.median(np.log(result / exact), axis=(1, 2))
    gone = np.log(1.0 - rate * (count - 1))
    assert np.polyfit(np.linspace(-0.5, 0.5, count), level, 1)[0] == pytest.approx(0.0, abs=max(0.15 * -gone, scale))
    assert np.std(np.diff(level)) < 0.25 * scale
    assert steadied(exact, frames) == pytest.approx(exact, rel=0.02)


def test_what_moves_by_itself_keeps_its_own_depth() -> None:
    """A board comes nearer while it crosses a picture that stands still."""
    count, side = 10, 24
    exact = np.repeat(np.full((1, HEIGHT, WIDTH), 5.0), count, 0)
    frames = np.repeat(texture(0)[None], count, 0)
    board = texture(7)[:side, :side]
    places = [(slice(12, 12 + side), slice(4 + 3 * t, 4 + 3 * t + side)) for t in range(count)]
    for t, place in enumerate(places):
        exact[t][place] = 3.0 - 0.1 * t
        frames[t][place] = board
    result = steadied(wobbling(exact, shift=0.0), frames)
    level = np.array([np.median(result[t][:10] / 5.0) for t in range(count)])
    assert np.std(level) < 0.002
    for t, place in enumerate(places):
        inside = result[t][place][4:-4, 4:-4]
        assert np.median(inside) / level[t] == pytest.approx(3.0 - 0.1 * t, rel=0.02), t
        beside = result[t].copy()
        beside[place] = 5.0
        assert beside == pytest.approx(5.0 * level[t], rel=0.02)


def test_nothing_crosses_a_cut() -> None:
    frames = np.concatenate([np.repeat(texture(seed)[None], 6, 0) for seed in (0, 1)])
    exact = np.concatenate([np.repeat(slope()[None], 6, 0), np.repeat(3.0 * slope()[None, :, ::-1], 6, 0)])
    z = wobbling(exact)
    result = steadied(z, frames)
    for part in (slice(0, 6), slice(6, 12)):
        assert change(result[part], exact[part]) < 0.1 * change(z[part], exact[part])
        assert (1.0 / result[part]).mean(axis=0) == pytest.approx((1.0 / z[part]).mean(axis=0), rel=0.01)


def test_one_frame_stays_as_it_is() -> None:
    z = slope()[None].astype(np.float32)
    kept = z.copy()
    assert steady_depth(z, texture(0)[None], nobody) == []
    assert (z == kept).all()


def test_two_frames_meet_in_the_middle() -> None:
    frames = np.repeat(texture(0)[None], 2, 0)
    z = np.stack([slope(), 1.05 * slope()])
    result = steadied(z, frames)
    assert result[0] == pytest.approx(result[1], rel=2e-3)
    assert 1.0 / result[0] == pytest.approx((1.0 / z).mean(axis=0), rel=2e-3)


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 2), (23, 23)])
def test_tiny_pictures(shape: tuple[int, int]) -> None:
    frames = np.repeat(texture(0)[None, : shape[0], : shape[1]], 5, 0)
    z = np.repeat(slope()[None, : shape[0], : shape[1]], 5, 0)
    assert steadied(z, frames) == pytest.approx(z, rel=1e-5)


def test_depth_that_is_the_same_everywhere_stays() -> None:
    frames = np.stack([texture(0, HEIGHT, WIDTH + 12)[:, t : t + WIDTH] for t in range(6)])
    z = np.full((6, HEIGHT, WIDTH), 3.5, np.float32)
    assert steadied(z, frames) == pytest.approx(z, rel=1e-5)


def test_a_picture_of_one_colour() -> None:
    z = np.repeat(slope()[None], 5, 0)
    assert steadied(z, np.full((5, HEIGHT, WIDTH, 3), 90, np.uint8)) == pytest.approx(z, rel=1e-5)


def test_the_sky_of_a_wobbling_clip_stays_far_away() -> None:
    frames = np.repeat(texture(0)[None], 6, 0)
    exact = np.repeat(slope()[None], 6, 0)
    exact[:, :10] = 1e6
    exact[:, -4:] = 0.01
    z = wobbling(exact, shift=0.0)
    result = steadied(z, frames)
    assert np.isfinite(result).all()
    assert (result > 0.0).all()
    assert (result[:, :10] > 4e5).all()
    assert result[:, 10:-4] == pytest.approx(exact[:, 10:-4], rel=0.06)


@pytest.mark.parametrize("phase", ["Aligning depth", "Steadying depth"])
def test_it_can_be_cancelled(phase: str) -> None:
    def stop(told: str, done: int, total: int) -> None:
        assert total == 4
        if told == phase and done == 2:
            raise Ex4dError(CANCELLED, "stopped")

    with pytest.raises(Ex4dError) as stopped:
        steady_depth(np.repeat(slope()[None], 4, 0).astype(np.float32), np.repeat(texture(0)[None], 4, 0), stop)
    assert stopped.value.code == CANCELLED


def test_it_works_on_the_disk_and_holds_no_more_for_a_longer_clip(tmp_path: Path) -> None:
    def peak(count: int) -> int:
        z = disk_array(tmp_path, f"depth{count}", (count, HEIGHT, WIDTH), np.float32)
        frames = disk_array(tmp_path, f"frames{count}", (count, HEIGHT, WIDTH, 3), np.uint8)
        frames[:] = texture(0)
        z[:] = wobbling(np.repeat(slope()[None], count, 0))
        tracemalloc.start()
        steady_depth(z, frames, nobody)
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert change(z, slope()[None]) < 2e-3  # the file itself was changed
        return held

    peak(2)  # compiles
    assert peak(24) - peak(12) < 4 * HEIGHT * WIDTH * 4  # of twelve frames more


def test_it_says_what_it_did() -> None:
    frames = np.repeat(texture(0)[None], 6, 0)
    (note,) = steady_depth(wobbling(np.repeat(slope()[None], 6, 0)), frames, nobody)
    assert "steadied" in note
