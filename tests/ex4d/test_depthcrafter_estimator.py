# SPDX-License-Identifier: Apache-2.0
"""The estimator depthcrafter, from a folder of models with small random weights through to depth."""

from __future__ import annotations

import json
import shutil
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from depths import estimate_depth
from safetensors.torch import load_file, save_file

from ex4d.depth import DEPTH_DOORS
from ex4d.depth.depthcrafter.conversion import normalised, upstream_depth
from ex4d.depth.door import DepthRequest, Estimate
from ex4d.depth_step import DepthOptions
from ex4d.images import write_png
from ex4d.pipeline import ReconstructOptions, reconstruct
from ex4d.scene import load_scene
from ex4d.values import BORDER, Clip
from scripts._tiny_depth import write_depthcrafter
from shared_protocol.errors import BAD_INPUT, CANCELLED, LIMIT, NOT_FOUND, UNAVAILABLE, Ex4dError

DOOR = DEPTH_DOORS["depthcrafter"]
RESEARCH = {"commercial": False, "edges": "off", "sky": "off", "device": "cpu"}
SHORT = {"window": 4, "overlap": 1, "steps": 2, "chunk": 2, "device": "cpu"}


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_depthcrafter(tmp_path_factory.mktemp("crafter"))


@pytest.fixture
def models(published: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EX4D_MODELS", str(published))
    return published


@pytest.fixture
def own(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Models that a test may spoil."""
    monkeypatch.setenv("EX4D_MODELS", str(tmp_path))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "none"))
    return Path(shutil.copytree(published, tmp_path, dirs_exist_ok=True))


def clip(frames: int = 6, height: int = 64, width: int = 64) -> Clip:
    rng = np.random.default_rng(frames)
    return Clip(rng.integers(0, 256, (frames, height, width, 3), dtype=np.uint8), Fraction(24), "test")


def frames_of(given: Clip, progress: Any = lambda *_: None, **options: Any) -> list[Estimate]:
    request = DepthRequest(clip=given, options={**SHORT, **options}, commercial=False, progress=progress)
    return list(DOOR.frames(request))


def values_of(given: Clip, **options: Any) -> np.ndarray:
    return np.stack([estimate.values for estimate in frames_of(given, **options)])


def refused(code: str, given: Clip | None = None, **options: Any) -> str:
    with pytest.raises(Ex4dError) as caught:
        frames_of(given or clip(2), **options)
    assert caught.value.code == code
    return str(caught.value)


def test_a_clip_of_several_windows_gets_depth(models: Path) -> None:
    phases: list[tuple[str, int, int]] = []
    depth = estimate_depth(
        clip(6), estimator="depthcrafter", options={**RESEARCH, **SHORT}, progress=lambda *told: phases.append(told)
    )
    assert depth.z.shape == (6, 64, 64)
    assert np.isfinite(depth.z).all()
    assert depth.z.min() > 0
    assert depth.z.std() > 1e-3
    assert (depth.estimator, depth.metric, depth.draft) == ("depthcrafter", False, False)
    assert depth.facts["commercial_use"] is False
    assert "research" in depth.facts["licence"]
    assert depth.facts["options"]["window"] == 4
    done = [done for phase, done, _ in phases if phase == "Estimating depth"]
    total = {total for phase, _, total in phases if phase == "Estimating depth"}
    assert done == sorted(done)
    assert total == {done[-1]} == {2 * 6 + 2 * (4 + 3)}  # 6 frames in and out, 2 steps of windows of 4 and 3


@pytest.mark.parametrize(("frames", "height", "width"), [(1, 64, 64), (3, 40, 90), (2, 130, 60)])
def test_one_frame_short_clips_and_any_shape(models: Path, frames: int, height: int, width: int) -> None:
    values = values_of(clip(frames, height, width), window=110, overlap=25)
    assert values.shape == (frames, height, width)
    assert np.isfinite(values).all()
    assert values.min() >= 0
    assert values.max() <= 1


def test_the_same_seed_gives_the_same_depth(models: Path) -> None:
    first, again, other = (values_of(clip(2), seed=seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert np.abs(first - other).max() > 1e-4


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_numbers_of_16_bits(models: Path, precision: str) -> None:
    state = torch.get_rng_state()
    wide, narrow = (values_of(clip(1), precision=kind) for kind in ("float32", precision))
    assert torch.equal(state, torch.get_rng_state()), "random numbers of its own"
    assert 0 < np.abs(wide - narrow).max() < 0.05


def test_upstream_conversion_is_that_of_the_whole_clip(models: Path) -> None:
    relative = values_of(clip(6))
    share = normalised(relative, float(relative.min()), float(relative.max()))
    given = frames_of(clip(6), conversion="upstream")
    assert {estimate.gives for estimate in given} == {"depth"}
    assert np.array_equal(np.stack([estimate.values for estimate in given]), upstream_depth(share))
    assert DOOR.nature({"conversion": "upstream"}, commercial=False).gives == "depth"
    assert DOOR.nature({}, commercial=False).gives == "disparity"


def test_upstream_depth_comes_through_the_whole_step_unchanged(models: Path) -> None:
    options = {**RESEARCH, **SHORT, "conversion": "upstream"}
    depth = estimate_depth(clip(1), estimator="depthcrafter", options=options)
    expected = np.stack([estimate.values for estimate in frames_of(clip(1), conversion="upstream")])
    assert np.array_equal(depth.z, expected)
    assert depth.z.min() == pytest.approx(10000 / 3900)
    assert depth.z.max() == 10000


def test_cancel_is_heard_within_a_step(models: Path) -> None:
    """The same count is told again and again while the denoiser is at work."""
    told: list[int] = []

    def progress(phase: str, done: int, total: int) -> None:
        if phase == "Estimating depth":
            told.append(done)
            if told.count(done) == 3:
                raise Ex4dError(CANCELLED, "Cancelled.")

    with pytest.raises(Ex4dError) as caught:
        frames_of(clip(4), progress)
    assert caught.value.code == CANCELLED
    assert told[-3:] == [4, 4, 4]  # four frames were encoded, no step was finished


def test_commercial_work_is_refused_with_the_licence(models: Path) -> None:
    with pytest.raises(Ex4dError) as caught:
        estimate_depth(clip(1), estimator="depthcrafter", options={"device": "cpu"})
    assert caught.value.code == UNAVAILABLE
    assert "commercial" in str(caught.value)
    assert "research" in str(caught.value)
    assert not DOOR.commercial_use
    assert "research" in DOOR.label


def test_weights_that_are_not_here(own: Path) -> None:
    shutil.rmtree(own / "svd-xt")
    assert DOOR.available()[0] is False
    assert "ex4d models download svd-xt" in refused(UNAVAILABLE)
    shutil.rmtree(own / "depthcrafter")
    assert "ex4d models download depthcrafter" in refused(UNAVAILABLE)


def test_weights_that_do_not_fit_are_told_by_name(own: Path) -> None:
    file = own / "depthcrafter" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(file)
    lost = "mid_block.attentions.0.norm.weight"
    save_file({name: value for name, value in tensors.items() if name != lost}, file)
    assert lost in refused(BAD_INPUT)
    save_file({**tensors, "extra.weight": tensors[lost].clone()}, file)
    assert "extra.weight" in refused(BAD_INPUT)
    file.write_bytes(b"cut off")
    assert str(file) in refused(BAD_INPUT)


def test_configs_of_something_else(own: Path) -> None:
    config = own / "svd-xt" / "image_encoder" / "config.json"
    values = json.loads(config.read_text())
    file = config.with_name("model.fp16.safetensors")
    tensors = load_file(file)
    config.write_text(json.dumps({**values, "projection_dim": 12}))
    save_file({**tensors, "visual_projection.weight": tensors["visual_projection.weight"][:12].contiguous()}, file)
    assert "12 numbers" in refused(BAD_INPUT)
    (own / "depthcrafter" / "config.json").write_text('{"block_out_channels": [7]}')
    assert "denoiser" in refused(BAD_INPUT)


def test_weights_in_a_folder_of_ones_own(own: Path) -> None:
    folder = Path(shutil.move(own / "depthcrafter", own / "mine"))
    assert frames_of(clip(1), model=str(folder))
    nature = DOOR.nature({"model": str(folder)}, commercial=False)
    assert (nature.model, nature.commercial_use) == (str(folder), False)
    assert "unknown" in nature.licence
    (folder / "config.json").unlink()
    assert "config.json" in refused(NOT_FOUND, model=str(folder))


def test_an_overlap_that_leaves_nothing(models: Path) -> None:
    assert "overlap of 3" in refused(BAD_INPUT, window=4, overlap=4)


def test_every_file_counts_for_the_identity(own: Path) -> None:
    before = DOOR.identity({}, commercial=False)
    assert set(before) == {
        "depthcrafter/config.json",
        "depthcrafter/diffusion_pytorch_model.safetensors",
        "svd-xt/image_encoder/config.json",
        "svd-xt/image_encoder/model.fp16.safetensors",
        "svd-xt/scheduler/scheduler_config.json",
        "svd-xt/vae/config.json",
        "svd-xt/vae/diffusion_pytorch_model.fp16.safetensors",
    }
    write_depthcrafter(own, seed=1)
    after = DOOR.identity({}, commercial=False)
    assert {name for name in before if before[name] != after[name]} == {
        name for name in before if "safetensors" in name
    }


def test_a_short_clip_needs_less_than_a_full_window(models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ex4d.depth.rig.free_bytes", lambda device: 12 << 30)
    large = {"window": 110, "overlap": 25, "chunk": 1, "max_res": 1024}
    assert "GiB" in DOOR.fits(576, 1024, {**large, "device": "cpu"}, commercial=False)
    message = refused(LIMIT, Clip(np.zeros((60, 576, 1024, 3), np.uint8), Fraction(24), "test"), **large)
    assert "max_res" in message
    assert len(frames_of(clip(1), **large)) == 1


class Deaf:
    """Listens to nothing."""

    def progress(self, phase: str, done: int, total: int) -> None:
        pass

    def file(self, name: str) -> None:
        pass

    def glimpse(self, picture: np.ndarray) -> None:
        pass


def test_upstream_geometry_lifts_depth_of_the_public_code_as_it_comes(models: Path, tmp_path: Path) -> None:
    pictures = clip(2)
    files = [tmp_path / f"{index:04d}.png" for index in (1, 2)]
    for file, picture in zip(files, pictures.frames, strict=True):
        write_png(file, picture)
    wish = DepthOptions(estimator="depthcrafter", options={**SHORT, "commercial": False})
    reconstruct(tmp_path / "scene", files, wish, ReconstructOptions(geometry="upstream"), Deaf())
    scene = load_scene(tmp_path / "scene")
    expected = np.stack([estimate.values for estimate in frames_of(pictures, conversion="upstream")])
    np.testing.assert_allclose(scene.mesh_depth[:, BORDER:-BORDER, BORDER:-BORDER], expected, rtol=1e-6)
