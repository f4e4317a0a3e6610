# SPDX-License-Identifier: Apache-2.0
"""Which memory profile a job gets, and what is said where none fits."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from benchmarks.memory_prediction import I2V, VACE, workload
from ex4d.generate.diffusion.memory import (
    CPU,
    MEMORY_SETTINGS,
    PROFILES,
    FreeMemory,
    MemoryWish,
    Profile,
    Workload,
    free_memory,
    is_out_of_memory,
    pick_profile,
    predict,
    read_wish,
    smaller,
)
from ex4d.settings import read_settings
from shared_protocol.errors import BAD_INPUT, LIMIT, NOT_FOUND, Ex4dError

GIB = 1 << 30
AUTO = MemoryWish("auto", None, None, None)
BY_NAME = {profile.name: profile for profile in PROFILES}


def free(gpu: float | None, ram: float) -> FreeMemory:
    return FreeMemory(None if gpu is None else round(gpu * GIB), round(ram * GIB), "Test card")


@pytest.fixture(scope="module")
def job() -> Workload:
    return workload(I2V, 81, 832, 480)


@pytest.mark.parametrize(
    ("gpu", "ram", "name"),
    [
        (139.0, 120.0, "48"),  # H200
        (46.9, 60.0, "48"),
        (37.8, 60.0, "40"),
        (22.8, 60.0, "24"),
        (22.8, 30.0, "16"),  # bfloat16 does not fit main memory
        (11.3, 60.0, "24"),
        (11.3, 30.0, "16"),
        (6.5, 30.0, "8"),
    ],
)
def test_the_largest_exact_profile_that_fits(job: Workload, gpu: float, ram: float, name: str) -> None:
    picked = pick_profile(AUTO, job, free(gpu, ram))

    assert picked.name == name
    assert picked.exact == (name in ("48", "40", "24"))


def test_every_profile_fits_the_card_that_it_is_named_for(job: Workload) -> None:
    for profile in PROFILES:
        assert predict(profile, job).gpu <= 0.95 * profile.card_gib * GIB, profile.name


def test_profiles_get_smaller(job: Workload) -> None:
    taken = [predict(profile, job).gpu for profile in PROFILES]

    assert taken == sorted(taken, reverse=True)


def test_fused_loras_take_nothing_where_the_weights_bear_it(job: Workload) -> None:
    fused, without = replace(job, fused=True), replace(job, adapters=0)
    assert job.adapters > 0
    for name in ("48", "24"):
        assert predict(BY_NAME[name], fused) == predict(BY_NAME[name], without) != predict(BY_NAME[name], job)
    for name in ("16", "8"):
        assert predict(BY_NAME[name], fused) == predict(BY_NAME[name], job)


@pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)
def test_more_to_paint_never_takes_less(job: Workload, profile: Profile) -> None:
    for wider in (replace(job, width=624, height=352), replace(job, width=1280, height=720)):
        sizes = [predict(profile, replace(wider, frames=frames)) for frames in (1, 5, 49, 81, 121)]
        assert [size.gpu for size in sizes] == sorted(size.gpu for size in sizes)
        assert [size.ram for size in sizes] == sorted(size.ram for size in sizes)
    small, middle, large = (
        predict(profile, replace(job, width=width, height=height))
        for width, height in ((512, 512), (832, 480), (1280, 720))
    )
    assert small.gpu <= middle.gpu <= large.gpu


def test_without_a_gpu_the_model_is_whole_in_main_memory(job: Workload) -> None:
    assert pick_profile(AUTO, job, free(None, 200)) == CPU
    with pytest.raises(Ex4dError, match=r"main memory, and 30\.0 GiB are free, without a GPU") as refused:
        pick_profile(AUTO, job, free(None, 30))
    assert refused.value.code == LIMIT


def test_tiles_come_before_smaller_weights(job: Workload) -> None:
    assert pick_profile(AUTO, job, free(37.8, 30)) == replace(BY_NAME["48"], vae_tiling=True)


def test_tiles_only_where_pictures_fit_no_other_way() -> None:
    job = workload(I2V, 81, 1280, 720, vae_bytes=4)

    picked = pick_profile(replace(AUTO, profile="24"), job, free(15, 60))

    assert picked == replace(BY_NAME["24"], vae_tiling=True)
    assert not picked.exact
    assert "tiles" in picked.deviation


def test_what_is_asked_for_is_kept(job: Workload) -> None:
    much = free(139, 120)
    assert pick_profile(replace(AUTO, profile="8"), job, much) == BY_NAME["8"]
    assert pick_profile(replace(AUTO, weights="int8"), job, much) == replace(BY_NAME["48"], weights="int8")
    assert pick_profile(replace(AUTO, vae_tiling=True), job, much) == replace(BY_NAME["48"], vae_tiling=True)
    exact = pick_profile(MemoryWish("8", "bfloat16", None, False), job, much)
    assert exact.exact
    assert exact.offload == "layer"


def test_a_gguf_file_is_counted_by_its_size(job: Workload) -> None:
    gguf = replace(job, gguf=10 * GIB)
    profile = replace(BY_NAME["48"], weights="gguf")

    assert predict(profile, gguf).gpu < predict(replace(BY_NAME["48"], weights="float8"), job).gpu
    assert predict(profile, gguf).gpu > 10 * GIB


def test_a_refusal_says_how_much_and_what_would_fit() -> None:
    job = workload(I2V, 81, 1280, 720)

    with pytest.raises(Ex4dError) as refused:
        pick_profile(replace(AUTO, profile="48"), job, free(22.8, 60))

    assert refused.value.code == LIMIT
    assert "81 frames of 1280x720 take" in refused.value.message
    assert "GiB of GPU memory while painting, and 22.8 GiB are free on Test card" in refused.value.message
    assert "profile 24" in refused.value.hint


def test_advice_names_windows_and_qualities_that_fit() -> None:
    job, small = workload(I2V, 81, 1280, 720), free(7.2, 30)

    with pytest.raises(Ex4dError) as refused:
        pick_profile(AUTO, job, small)

    assert refused.value.hint == "What would fit: a window of 33 frames; quality 480p."
    assert small.holds(predict(BY_NAME["8"], replace(job, frames=33)))
    assert not small.holds(predict(BY_NAME["8"], replace(job, frames=49)))


def test_advice_says_a_thing_once(job: Workload) -> None:
    with pytest.raises(Ex4dError) as refused:
        pick_profile(MemoryWish("48", "bfloat16", None, False), job, free(22.8, 60))

    assert refused.value.hint.startswith("What would fit: profile 24")
    assert refused.value.hint.count("profile 24") == 1


def test_nothing_fits_a_tiny_card(job: Workload) -> None:
    with pytest.raises(Ex4dError, match="Close other programs, or use a machine with more memory") as refused:
        pick_profile(AUTO, job, free(1.5, 8))

    assert "8.0 GiB are free" in refused.value.message


def test_a_job_that_ran_out_goes_on_in_less(job: Workload) -> None:
    names, profile = [], BY_NAME["48"]
    while (less := smaller(profile, job, free(139, 60))) is not None:
        assert predict(less, job).gpu < predict(profile, job).gpu
        profile = less
        names.append(profile.name)

    assert names == ["40", "24", "16", "8"]
    assert smaller(BY_NAME["48"], job, free(139, 30)) == BY_NAME["16"]  # bfloat16 does not fit main memory
    assert smaller(CPU, job, free(None, 200)) is None


def test_weights_that_were_asked_for_are_kept_in_less(job: Workload) -> None:
    asked = replace(BY_NAME["48"], weights="int8")

    assert smaller(asked, job, free(139, 60)) == replace(BY_NAME["40"], weights="int8")


def test_the_small_model_stays_on_a_small_card() -> None:
    picked = pick_profile(AUTO, workload(VACE, 49, 512, 512), free(11.3, 30))

    assert picked.offload == "none"
    assert picked.exact


def test_wishes_are_read_from_settings(tmp_path: Path) -> None:
    def wish(**options: str) -> MemoryWish:
        return read_wish(read_settings(MEMORY_SETTINGS, options, "wan"))

    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF")

    assert wish() == AUTO
    assert wish(profile="12", weights="fp8", vae_tiling="off") == MemoryWish("12", "float8", None, False)
    assert wish(gguf=str(file)) == MemoryWish("auto", "gguf", file, None)
    with pytest.raises(Ex4dError, match="cannot be int8 and those of") as both:
        wish(gguf=str(file), weights="int8")
    with pytest.raises(Ex4dError, match="no file") as missing:
        wish(gguf=str(tmp_path / "other.gguf"))
    assert (both.value.code, missing.value.code) == (BAD_INPUT, NOT_FOUND)


def test_each_profile_says_what_is_not_exact() -> None:
    for profile in PROFILES:
        assert bool(profile.deviation) != profile.exact
    assert "e4m3" in BY_NAME["16"].deviation
    assert "tiles" not in BY_NAME["16"].deviation


def test_free_memory_of_this_machine() -> None:
    here = free_memory(torch.device("cpu"))

    assert here.gpu is None
    assert here.ram > GIB // 8


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("CUDA error: out of memory"), True),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"), True),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), True),
        (MemoryError(), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_known_from_other_errors(error: Exception, told: bool) -> None:
    assert is_out_of_memory(error) is told


def test_an_error_that_running_out_led_to() -> None:
    error = RuntimeError("the step failed")
    error.__cause__ = torch.OutOfMemoryError("CUDA out of memory")

    assert is_out_of_memory(error)


def test_the_settings_need_no_torch() -> None:
    code = "import sys, ex4d.generate.diffusion.memory; sys.exit('torch' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
