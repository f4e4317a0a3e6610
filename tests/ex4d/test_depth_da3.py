# SPDX-License-Identifier: Apache-2.0
"""Depth Anything 3: windows that become one, which model it is, and, where its package is installed, all of it."""

from __future__ import annotations

import json
from fractions import Fraction
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest

from ex4d.depth.da3 import DepthAnything3
from ex4d.depth.da3.estimator import peak
from ex4d.depth.da3.join import Window, joined, mean_rotation, plan
from ex4d.depth.da3.models import KINDS, kind_in, networks
from ex4d.depth.da3.picture import seen, seen_sizes
from ex4d.depth.door import DepthRequest, Estimate
from ex4d.depth_step import DepthOptions, depth_of_clip
from ex4d.settings import Value
from ex4d.values import F64, Clip
from scripts._tiny_depth import write_da3
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, UNAVAILABLE, UNSUPPORTED, Ex4dError

installed = pytest.mark.skipif(
    any(find_spec(package) is None for package in DepthAnything3.packages),
    reason=f"the package of Depth Anything 3 is not installed ({DepthAnything3.install})",
)
TOTAL = 11
rng = np.random.default_rng(0)


def path(total: int = TOTAL) -> F64:
    """[T, 4, 4] a camera that moves and turns, at the origin first."""
    poses = np.tile(np.eye(4), (total, 1, 1))
    for index in range(total):
        poses[index, :3, :3] = cv2.Rodrigues(np.array([0.02, 0.05, -0.01]) * index)[0]
        poses[index, :3, 3] = np.array([0.3, -0.1, 0.2]) * index
    return poses


def views(total: int = TOTAL) -> Window:
    depth = rng.uniform(1, 9, (total, 6, 8)).astype(np.float32)
    return Window(depth, np.ones_like(depth), poses=path(total), focal=np.full((total, 2), 7.0))


def in_its_own_unit(window: Window, seed: int) -> Window:
    """As a network would see it: any unit, any world."""
    some = np.random.default_rng(seed)
    unit, world = some.uniform(0.2, 5), np.eye(4)
    world[:3, :3] = cv2.Rodrigues(some.normal(size=3))[0]
    world[:3, 3] = some.normal(size=3)
    if window.poses is None:
        return Window(window.depth * np.float32(unit), window.trust)
    poses = window.poses.copy()
    poses[:, :3, 3] *= unit
    return Window(window.depth * np.float32(unit), window.trust, poses=world @ poses, focal=window.focal)


def together(spans: list[range], whole: Window) -> tuple[Window, ...]:
    parts = [in_its_own_unit(whole.part(span.start, span.stop), seed) for seed, span in enumerate(spans)]
    return tuple(joined(spans, parts))


@pytest.mark.parametrize("total", [1, 4, 5, 6, 7, 8, 9, 40])
def test_windows_cover_the_clip_and_overlap(total: int) -> None:
    spans = plan(total, 5, 2)
    assert sorted({index for span in spans for index in span}) == list(range(total))
    assert all(len(span) == min(5, total) for span in spans)
    assert all(first.stop - second.start >= 2 for first, second in pairwise(spans))


@pytest.mark.parametrize(("size", "overlap"), [(5, 2), (4, 1), (11, 3), (30, 8)])
def test_windows_become_one_camera_in_one_unit(size: int, overlap: int) -> None:
    whole = views()
    found = together(plan(TOTAL, size, overlap), whole)
    depth = np.concatenate([part.depth for part in found])
    poses = np.concatenate([part.poses for part in found])  # type: ignore[misc]
    assert len(depth) == len(poses) == TOTAL
    unit = depth[0, 0, 0] / whole.depth[0, 0, 0]
    np.testing.assert_allclose(depth, unit * whole.depth, rtol=1e-4)
    wanted = path()
    wanted[:, :3, 3] *= unit
    np.testing.assert_allclose(poses, wanted, atol=1e-5)
    np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)


def test_the_unit_holds_where_things_move_and_the_camera_does_not() -> None:
    whole = views()
    still = Window(whole.depth, whole.trust, poses=np.tile(np.eye(4), (TOTAL, 1, 1)))
    spans = plan(TOTAL, 6, 3)
    parts = [in_its_own_unit(still.part(span.start, span.stop), seed) for seed, span in enumerate(spans)]
    moved = parts[1].depth.copy()
    moved[:, :3] *= np.float32(4.0)  # half of the picture came to be elsewhere, and is not trusted
    trust = np.ones_like(moved)
    trust[:, :3] = 0.1
    parts[1] = Window(moved, trust, poses=parts[1].poses)
    found = list(joined(spans, parts))
    depth = np.concatenate([part.depth for part in found])[:, 3:]
    np.testing.assert_allclose(depth / depth[0, 0, 0] * whole.depth[0, 3, 0], whole.depth[:, 3:], rtol=1e-3)
    poses = np.concatenate([part.poses for part in found])  # type: ignore[misc]
    np.testing.assert_allclose(poses, np.tile(np.eye(4), (TOTAL, 1, 1)), atol=1e-5)


def test_windows_that_disagree_fade_into_each_other() -> None:
    near, far = np.full((4, 2, 2), 1.0, np.float32), np.full((4, 2, 2), 1.0, np.float32)
    near[2:, 0], far[:2, 0] = 2.0, 0.5  # the frames that both see: one says 2, the other 0.5 in half of the picture
    ones = np.ones_like(near)
    spans = [range(4), range(2, 6)]
    depth = np.concatenate([part.depth for part in joined(spans, [Window(near, ones), Window(far, ones)])])
    assert len(depth) == 6
    assert 2.0 > depth[2, 0, 0] > depth[3, 0, 0] > 0.5


def test_pictures_one_by_one_are_left_as_they_are() -> None:
    depth = rng.uniform(1, 2, (3, 2, 2)).astype(np.float32)
    parts = [Window(depth[index : index + 1], np.ones((1, 2, 2), np.float32)) for index in range(3)]
    found = list(joined(plan(3, 1, 0), parts))
    np.testing.assert_array_equal(np.concatenate([part.depth for part in found]), depth)


def test_the_mean_of_rotations_is_a_rotation() -> None:
    turns = [np.asarray(cv2.Rodrigues(np.array([0.0, angle, 0.0]))[0], np.float64) for angle in (0.2, 0.6)]
    wanted = cv2.Rodrigues(np.array([0.0, 0.4, 0.0]))[0]
    np.testing.assert_allclose(mean_rotation(turns, [1.0, 1.0]), wanted, atol=1e-12)
    np.testing.assert_allclose(mean_rotation(turns, [1.0, 0.0]), turns[0], atol=1e-12)


def test_pictures_are_whole_patches_of_the_wanted_long_side() -> None:
    assert seen_sizes(576, 1024, 504) == ((284, 504), (280, 504))
    assert seen_sizes(1024, 576, 504) == ((504, 284), (504, 280))
    assert seen_sizes(9, 500, 504)[1] == (14, 504)
    grey = seen(np.full((40, 80, 3), 128, np.uint8), 84)
    assert grey.shape == (3, 42, 84)
    np.testing.assert_allclose(
        grey[:, 0, 0], (128 / 255 - np.array([0.485, 0.456, 0.406])) / [0.229, 0.224, 0.225], 1e-5
    )


def test_which_model_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    every = {network.model: network.nature for network in networks("auto")}
    assert set(every) == set(KINDS)
    assert every["da3-base"].commercial_use
    assert not every["da3-large"].commercial_use
    assert every["da3-base"].steady
    assert (every["da3-metric-large"].steady, every["da3-metric-large"].gives) == (False, "metric")
    with pytest.raises(Ex4dError, match="There is no model 'nowhere'"):
        networks("nowhere")
    with pytest.raises(Ex4dError, match=r"has no model\.safetensors") as caught:
        networks(str(tmp_path))
    assert caught.value.code == NOT_FOUND
    (tmp_path / "model.safetensors").touch()
    for told, code in ((None, NOT_FOUND), ("{", BAD_INPUT), ("[]", BAD_INPUT), ('{"model_name": "da9"}', UNSUPPORTED)):
        if told is not None:
            (tmp_path / "config.json").write_text(told)
        with pytest.raises(Ex4dError) as caught:
            networks(str(tmp_path))
        assert caught.value.code == code
    (tmp_path / "config.json").write_text(json.dumps({"model_name": "da3-small", "config": {"__object__": "os"}}))
    assert kind_in(tmp_path) == KINDS["da3-small"]
    (network,) = networks(str(tmp_path))
    assert (network.nature.commercial_use, network.path) == (False, tmp_path)
    place = tmp_path / "models" / "da3-base"
    place.mkdir(parents=True)
    for file in tmp_path.glob("*.*"):
        (place / file.name).write_bytes(b"1")
    (network,) = networks(str(place))
    assert (network.model, network.nature.licence) == ("da3-base", "Apache-2.0")


def test_without_its_package_it_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ex4d.depth.network.find_spec", lambda name: None if name == "depth_anything_3" else object())
    with pytest.raises(Ex4dError, match="depth_anything_3 not installed") as caught:
        DepthAnything3().nature({}, commercial=True)
    assert caught.value.code == UNAVAILABLE
    assert "pip install --no-deps depth-anything-3" in caught.value.hint


def test_what_it_takes_grows_with_the_window_and_the_picture() -> None:
    kind = KINDS["da3-base"]
    usual = peak(kind, 135_400_000, 32, 280 * 504, wide=False)
    assert 2 << 30 < usual < 5 << 30  # counted: 2.0 GiB and the weights
    assert peak(kind, 135_400_000, 64, 280 * 504, wide=False) > usual
    assert peak(kind, 135_400_000, 32, 560 * 1008, wide=False) > 3 * usual
    assert peak(KINDS["da3-large"], 410_900_000, 32, 280 * 504, wide=False) > usual


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_da3(tmp_path_factory.mktemp("da3"))


CLIP = Clip(rng.integers(0, 256, (5, 48, 80, 3), np.uint8), Fraction(24), "clip")
OPTIONS: dict[str, Value] = {"long_side": 84, "window": 3, "overlap": 1, "device": "cpu"}


def estimates(model: Path, **options: Value) -> list[Estimate]:
    return list(DepthAnything3().frames(DepthRequest(CLIP, {"model": str(model), **options}, commercial=False)))


@installed
def test_depth_and_camera_of_a_clip(small: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = estimates(small, **OPTIONS)
    assert [estimate.gives for estimate in found] == ["depth"] * 5
    for estimate in found:
        assert estimate.values.shape == (48, 80)
        assert estimate.values.min() > 0
        assert estimate.world_from_camera is not None
        turn = estimate.world_from_camera[:3, :3]
        np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
        assert np.linalg.det(turn) == pytest.approx(1.0)
    np.testing.assert_allclose(found[0].world_from_camera, np.eye(4), atol=1e-9)  # type: ignore[arg-type]
    assert capsys.readouterr().out == ""


@installed
def test_one_window_gives_what_the_package_itself_does(small: Path) -> None:
    import torch

    from ex4d.depth.da3.network import load_network

    network = load_network(KINDS["da3-small"], small, lambda done, total: None)
    shown = torch.from_numpy(np.stack([seen(frame, 84) for frame in CLIP.frames]))[None]
    with torch.no_grad():
        wanted = network(shown)["depth"][0].numpy()
    found = estimates(small, **{**OPTIONS, "window": 8})
    for estimate, each in zip(found, wanted, strict=True):
        np.testing.assert_allclose(estimate.values, cv2.resize(each, (80, 48)), rtol=1e-4)


@installed
def test_the_camera_of_the_estimator_becomes_the_source_camera(small: Path, tmp_path: Path) -> None:
    stage: dict[str, Value] = {"commercial": False, "steady": "off", "edges": "off", "sky": "off"}
    options = {**OPTIONS, **stage, "model": str(small)}
    for asked in (True, False):
        folder = tmp_path / str(asked)
        folder.mkdir()
        wish = DepthOptions(estimator="da3", options={**options, "estimated_camera": asked})
        poses = depth_of_clip(CLIP, folder, wish).camera.world_from_camera
        np.testing.assert_allclose(poses[0], np.eye(4), atol=1e-9)
        assert bool(np.abs(poses[1:, :3, 3]).max() > 1e-3) is asked
