# SPDX-License-Identifier: Apache-2.0
"""Which profile a job runs in, by what is predicted and what is free; a job that cannot run is refused with advice."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ex4d.generate.diffusion.memory.predict import GIB, Prediction, predict
from ex4d.generate.diffusion.memory.profiles import CPU, PROFILES, Profile
from ex4d.generate.diffusion.memory.settings import MemoryWish
from ex4d.generate.diffusion.memory.workload import Workload
from shared_protocol.errors import LIMIT, Ex4dError

if TYPE_CHECKING:
    import torch

_SHORTER = (81, 65, 49, 33, 17)  # frames of a window, for advice
_SMALLER = (("720p", 1280 * 720), ("480p", 832 * 480), ("512", 512 * 512))  # quality, pixels


@dataclass(frozen=True)
class FreeMemory:
    """What a job may take, in bytes."""

    gpu: int | None  # None: there is no GPU
    ram: int
    device: str  # name, for messages

    def holds(self, prediction: Prediction) -> bool:
        """Whether a job with these peaks fits."""
        return (self.gpu is None or prediction.gpu <= self.gpu) and prediction.ram <= self.ram


def free_memory(device: torch.device) -> FreeMemory:
    """What is free now, and what torch holds unused."""
    import psutil
    import torch

    ram = int(psutil.virtual_memory().available)
    if device.type != "cuda":
        return FreeMemory(None, ram, "the CPU")
    free, _ = torch.cuda.mem_get_info(device)
    unused = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
    return FreeMemory(free + unused, ram, torch.cuda.get_device_name(device))


def pick_profile(wish: MemoryWish, workload: Workload, free: FreeMemory) -> Profile:
    """The profile that a job runs in.

    Where none is named: the largest exact one that fits, else the largest that fits. Without a GPU: all on the CPU in
    float32, unless one is named.

    Raises:
        Ex4dError: LIMIT where none fits, or the named one does not, with both numbers and what would.
    """
    profiles = list(_candidates(wish, free))
    for profile in profiles:
        if free.holds(predict(profile, workload, on_gpu=free.gpu is not None)):
            return profile
    raise _refusal(profiles[-1], wish, workload, free)


def smaller(profile: Profile, workload: Workload, free: FreeMemory) -> Profile | None:
    """The next profile that takes less of the GPU, for a job that ran out of memory; None where there is none.

    Whether it fits the GPU is not asked, since the prediction was wrong once; main memory is.
    """
    taken = predict(profile, workload).gpu
    fixed = next((known.weights != profile.weights for known in PROFILES if known.name == profile.name), False)
    names = [known.name for known in PROFILES]
    for known in PROFILES[names.index(profile.name) + 1 :] if profile.name in names else ():
        weights = profile.weights if fixed else known.weights
        less = replace(known, weights=weights, vae_tiling=profile.vae_tiling or known.vae_tiling)
        prediction = predict(less, workload)
        if prediction.gpu < taken and prediction.ram <= free.ram:
            return less
    return None


def _candidates(wish: MemoryWish, free: FreeMemory) -> Iterator[Profile]:
    """In the order in which they are tried."""
    named = [profile for profile in PROFILES if wish.profile in ("auto", profile.name)]
    if free.gpu is None and wish.profile == "auto":
        named = [CPU]
    profiles = [replace(profile, weights=wish.weights or profile.weights) for profile in named]
    if wish.vae_tiling is not None:
        profiles = [replace(profile, vae_tiling=wish.vae_tiling) for profile in profiles]
    else:
        profiles = [tried for profile in profiles for tried in (profile, replace(profile, vae_tiling=True))]
    unlike = dict.fromkeys(profiles)
    return iter(sorted(unlike, key=lambda profile: not profile.exact))


def _refusal(profile: Profile, wish: MemoryWish, workload: Workload, free: FreeMemory) -> Ex4dError:
    on_gpu = free.gpu is not None
    prediction = predict(profile, workload, on_gpu=on_gpu)
    window = f"{workload.frames} frames of {workload.width}x{workload.height}"
    lacks = []
    if free.gpu is not None and prediction.gpu > free.gpu:
        lacks.append(
            f"{prediction.gpu / GIB:.1f} GiB of GPU memory while {prediction.peak}, and {free.gpu / GIB:.1f} GiB are "
            f"free on {free.device}"
        )
    if prediction.ram > free.ram:
        lacks.append(f"{prediction.ram / GIB:.1f} GiB of main memory, and {free.ram / GIB:.1f} GiB are free")
    how = f"in the memory profile '{profile.name}'" if on_gpu else "without a GPU"
    text = f"{window} take {'; and '.join(lacks)}, {how}."
    tips = list(_advice(wish, workload, free))
    hint = f"What would fit: {'; '.join(tips)}." if tips else "Close other programs, or use a machine with more memory."
    return Ex4dError(LIMIT, text, hint)


def _advice(wish: MemoryWish, workload: Workload, free: FreeMemory) -> Iterator[str]:
    def fits(wish: MemoryWish, workload: Workload) -> Profile | None:
        tried = ((p, predict(p, workload, on_gpu=free.gpu is not None)) for p in _candidates(wish, free))
        return next((profile for profile, prediction in tried if free.holds(prediction)), None)

    if wish.profile != "auto" and (profile := fits(replace(wish, profile="auto"), workload)):
        yield f"profile {profile.name}"
    elif wish.weights and (profile := fits(replace(wish, profile="auto", weights=None), workload)):
        yield f"profile {profile.name} with its own weights"
    if wish.vae_tiling is False and fits(replace(wish, vae_tiling=None), workload):
        yield "vae_tiling auto"
    for frames in _SHORTER:
        if frames < workload.frames and fits(wish, replace(workload, frames=frames)):
            yield f"a window of {frames} frames"
            break
    pixels = workload.width * workload.height
    for quality, fewer in _SMALLER:
        scale = (fewer / pixels) ** 0.5
        size = [max(round(side * scale / 16) * 16, 16) for side in (workload.width, workload.height)]
        if scale < 0.99 and fits(wish, replace(workload, width=size[0], height=size[1])):
            yield f"quality {quality}"
            break
