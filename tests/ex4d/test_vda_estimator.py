# SPDX-License-Identifier: Apache-2.0
"""The estimator `video-depth-anything`, from a folder of models to depth."""

from __future__ import annotations

import shutil
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from depths import estimate_depth
from vda_cases import moving_clip, write_sparse

from benchmarks._live_memory import LiveMemory
from ex4d.depth.choose import choose_estimator
from ex4d.depth.door import DepthRequest
from ex4d.depth.table import DEPTH_DOORS
from ex4d.depth.vda.architecture import read_architecture
from ex4d.depth.vda.model import VideoDepthNetwork, load_network
from ex4d.depth.vda.stream import WindowRunner, clip_depth
from ex4d.depth.vda.windows import Join
from ex4d.models.convert import convert
from ex4d.models.weights import WeightFiles
from ex4d.settings import Value
from ex4d.values import F32, Clip
from scripts._tiny_depth import vda_shapes, write_vda
from shared_protocol.errors import BAD_INPUT, CANCELLED, LIMIT, NOT_FOUND, UNAVAILABLE, Ex4dError

NAME = "video-depth-anything"
DOOR = DEPTH_DOORS[NAME]
RAW = {"edges": "off", "sky": "off", "steady": "off"}  # what the network gave, and no more
SIZE = 28  # pixels, the least


@pytest.fixture
def models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of models that is the only place they are looked for, with nothing in it."""
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path / "models"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "nothing"))
    for variable in ("HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"):
        monkeypatch.delenv(variable, raising=False)
    return tmp_path / "models"


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> VideoDepthNetwork:
    weights = WeightFiles([write_vda(tmp_path_factory.mktemp("network"))])
    return load_network(weights, read_architecture(weights))


def place(models: Path, name: str, seed: int = 0) -> Path:
    """A tiny model in the place of a published one."""
    written = write_vda(models / name, metric="metric" in name, seed=seed)
    sizes = {"small": "vits", "base": "vitb", "large": "vitl"}
    return written.rename(written.with_name(written.name.replace("vits", sizes[name.rsplit("-", 1)[1]])))


def depth_of(clip: Clip, commercial: bool = True, **options: Value) -> list[F32]:
    request = DepthRequest(clip, {"input_size": SIZE, **options}, commercial=commercial)
    return [estimate.values for estimate in DOOR.frames(request)]


def refused(code: str, **how: object) -> str:
    """What is said where it cannot work with these options."""
    with pytest.raises(Ex4dError) as caught:
        depth_of(moving_clip(2), **how)  # type: ignore[arg-type]
    assert caught.value.code == code, str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("count", [1, 22, 23, 33, 50])
def test_a_clip_of_any_length_has_depth_in_every_frame(models: Path, count: int) -> None:
    place(models, "vda-small")
    clip = moving_clip(count)
    depth = depth_of(clip)
    assert len(depth) == count
    assert {frame.shape for frame in depth} == {clip.frames.shape[1:3]}
    assert {frame.dtype for frame in depth} == {np.dtype(np.float32)}
    assert all(np.isfinite(frame).all() and frame.min() >= 0.0 and frame.std() > 1e-4 for frame in depth)
    jumps = [float(np.abs(b - a).mean()) for a, b in pairwise(depth)]
    assert not jumps or max(jumps) < 20 * np.median(jumps), "no seam where windows meet"


def test_it_is_an_estimator_like_the_others(models: Path) -> None:
    place(models, "vda-metric-small")
    clip, told = moving_clip(24), []
    video = estimate_depth(
        clip, estimator=NAME, options={"input_size": SIZE, **RAW}, progress=lambda *step: told.append(step)
    )
    assert video.z.shape == clip.frames.shape[:3]
    assert np.isfinite(video.z).all()
    assert (video.z > 0).all()
    assert video.metric
    assert not video.draft
    assert (video.facts["model"], video.facts["licence"]) == ("vda-metric-small", "Apache-2.0")
    assert video.facts["commercial_use"]
    steps = [done for phase, done, total in told if phase == "Estimating depth" and total == 24]
    assert steps == sorted(steps)
    assert steps[-1] == 24
    assert len(set(steps)) > 6, "it moves on within a window"


def test_random_numbers_are_left_as_they_were(models: Path) -> None:
    place(models, "vda-small")
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = depth_of(moving_clip(2))
    assert torch.equal(state, torch.get_rng_state())
    torch.manual_seed(2)
    assert np.array_equal(depth_of(moving_clip(2)), first)


def test_relative_depth_is_taken_for_disparity(models: Path) -> None:
    place(models, "vda-small")
    raw = np.stack(depth_of(moving_clip(3)))
    video = estimate_depth(moving_clip(3), estimator=NAME, options={"input_size": SIZE, **RAW})
    assert not video.metric
    order = np.corrcoef(raw.ravel(), 1.0 / video.z.ravel())[0, 1]
    assert order > 0.95, "what is larger is nearer"


def test_auto_takes_the_best_that_its_licence_allows(models: Path) -> None:
    assert DOOR.available()[0] is False
    assert "ex4d models download" in DOOR.available()[1]
    place(models, "vda-small")
    assert DOOR.available() == (True, "")
    assert DOOR.nature({}, True).model == "vda-small"
    place(models, "vda-metric-small")
    assert DOOR.nature({}, True).model == "vda-metric-small"
    assert DOOR.nature({"output": "disparity"}, True).model == "vda-small"
    place(models, "vda-large")
    assert DOOR.nature({}, True).model == "vda-metric-small"
    large = DOOR.nature({}, False)
    assert (large.model, large.gives, large.commercial_use) == ("vda-large", "disparity", False)
    place(models, "vda-metric-large")
    assert DOOR.nature({}, False).gives == "metric"
    assert choose_estimator("auto", (), {"input_size": SIZE}, 36, 48).door is DOOR


def test_a_model_for_research_is_refused_for_commercial_work(models: Path) -> None:
    place(models, "vda-large")
    said = refused(UNAVAILABLE, model="vda-large")
    assert "may not be used commercially" in said
    assert "CC BY-NC 4.0" in said
    assert len(depth_of(moving_clip(2), commercial=False, model="vda-large")) == 2


def test_a_large_model_does_not_pass_under_the_name_of_the_small_one(models: Path) -> None:
    shapes = vda_shapes(width=768, depth=12, features=128, channels=(96, 192, 384, 768))
    write_sparse(models / "vda-small" / "video_depth_anything_vits.safetensors", shapes)
    said = refused(BAD_INPUT, model="vda-small")
    assert "those of the Base model" in said


def test_a_pickle_is_not_opened_and_the_command_is_named(models: Path) -> None:
    pickled = write_vda(models / "vda-small", kind="pth")
    works, said = DOOR.available()
    assert not works
    assert f'ex4d models convert "{pickled}"' in said
    assert f'ex4d models convert "{pickled}"' in refused(UNAVAILABLE)
    convert(pickled)
    assert DOOR.available() == (True, "")
    first = depth_of(moving_clip(3))
    pickled.unlink()
    assert np.array_equal(depth_of(moving_clip(3)), first), "the converted file is enough"


def test_weights_may_be_given_by_their_path(models: Path, tmp_path: Path) -> None:
    published = place(models, "vda-small", seed=3)
    mine = tmp_path / "mine"
    shutil.copytree(published.parent, mine)
    said = refused(UNAVAILABLE, model=str(mine))
    assert "not known" in said
    wanted = depth_of(moving_clip(3), model="vda-small")
    for given in (mine, mine / published.name):
        assert np.array_equal(depth_of(moving_clip(3), commercial=False, model=str(given)), wanted)
    assert DOOR.nature({"model": str(mine)}, False).gives == "disparity"
    assert DOOR.nature({"model": str(mine), "output": "metric"}, False).gives == "metric"
    named = DOOR.nature({"model": str(published)}, True)
    assert (named.model, named.licence) == ("vda-small", "Apache-2.0"), "its place tells which one it is"
    metric = write_vda(tmp_path / "metric", metric=True)
    assert DOOR.nature({"model": str(metric)}, False).gives == "metric"
    assert DOOR.identity({"model": str(metric)}, False).keys() == {metric.name}


def test_the_hubs_cache_proves_a_licence_too(models: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache" / "models--depth-anything--Video-Depth-Anything-Small"
    snapshot = cache / "snapshots" / "0123abcd"
    for folder in (cache / "blobs", snapshot):
        folder.mkdir(parents=True)
    blob = write_vda(tmp_path / "written", kind="pth").rename(cache / "blobs" / "5ha")
    published = snapshot / "video_depth_anything_vits.pth"
    published.symlink_to(Path("../../blobs") / blob.name)
    monkeypatch.setenv("HF_HUB_CACHE", str(cache.parent))
    assert f'ex4d models convert "{published}"' in refused(UNAVAILABLE)
    convert(published)
    (tmp_path / "link").symlink_to(snapshot)
    for model in ("auto", "", str(snapshot), str(published), str(tmp_path / "link"), f"{snapshot}/../0123abcd"):
        nature = DOOR.nature({"model": model}, True)
        assert (nature.model, nature.licence) == ("vda-small", "Apache-2.0"), model
    assert len(depth_of(moving_clip(2), model=str(published))) == 2


def test_a_model_that_is_not_there_is_told(models: Path, tmp_path: Path) -> None:
    assert "vda-metric-small" in refused(NOT_FOUND, model="vda-huge")
    (tmp_path / "empty").mkdir()
    assert "no file of weights" in refused(NOT_FOUND, model=str(tmp_path / "empty"))
    place(models, "vda-small")
    write_vda(tmp_path / "two")
    write_vda(tmp_path / "two", metric=True)
    assert "2 files of weights" in refused(BAD_INPUT, model=str(tmp_path / "two"))
    assert "vda-small gives disparity" in refused(BAD_INPUT, model="vda-small", output="metric")


def test_what_does_not_fit_is_told_before_it_begins(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place(models, "vda-small")
    small = DOOR.fits(36, 48, {"input_size": SIZE}, True)
    assert small == ""
    monkeypatch.setattr("ex4d.depth.rig.free_bytes", lambda device: 2**20)
    said = refused(LIMIT)
    assert "GiB" in said
    assert "input_size" in said


def test_it_ends_when_it_is_cancelled(models: Path) -> None:
    place(models, "vda-small")
    told: list[int] = []

    def stop(phase: str, done: int, total: int) -> None:
        if phase == "Estimating depth":
            told.append(done)
            if done >= 8:
                raise Ex4dError(CANCELLED, "Cancelled.")

    request = DepthRequest(moving_clip(50), {"input_size": SIZE}, progress=stop)
    with pytest.raises(Ex4dError) as caught:
        list(DOOR.frames(request))
    assert caught.value.code == CANCELLED
    assert told[-1] == max(told) == 8, "within the first window"


class Watched:
    """Frames that keep account of which were read."""

    def __init__(self, frames: np.ndarray) -> None:
        self.shape, self.read, self._frames = frames.shape, [], frames

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> np.ndarray:
        self.read.append(index)
        return self._frames[index]


def test_frames_are_read_a_window_at_a_time_and_given_as_soon_as_no_other_touches_them(
    network: VideoDepthNetwork,
) -> None:
    frames = moving_clip(70).frames
    watched, depth = Watched(frames), []
    runner = WindowRunner(network, watched, SIZE)  # type: ignore[arg-type]
    for index, values in enumerate(clip_depth(runner, Join(70, metric=False), 70)):
        settled = 22 * max(0, (index - 24) // 22 + 1) + 31  # last frame of the window after which none touches it
        assert max(watched.read) <= settled, f"frame {index} waited for another window"
        depth.append(values)
    assert sorted(watched.read) == list(range(70)), "each once"
    whole = list(clip_depth(WindowRunner(network, frames, SIZE), Join(70, metric=False), 70))
    assert np.array_equal(depth, whole)


def test_memory_does_not_grow_with_the_clip(network: VideoDepthNetwork) -> None:
    def peak(count: int) -> int:
        frames = moving_clip(count).frames
        with LiveMemory(network.parameters()) as live:
            for _ in clip_depth(WindowRunner(network, frames, SIZE), Join(count, metric=False), count):
                pass
        return live.peak

    assert peak(100) <= 1.01 * peak(56)
