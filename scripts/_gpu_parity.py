# SPDX-License-Identifier: Apache-2.0
"""The same small model with the same weights on the CPU and on the GPU: do they paint the same frames?

    python scripts/_gpu_parity.py FOLDER OUT.npz

is run by `gpu_check.py` in a process that sees no GPU.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch
from numpy.typing import NDArray

from ex4d.generate.diffusion.speed.settings import Speed
from ex4d.models.repository import open_repository
from scripts._gpu_model import Loaded, Weights
from scripts._gpu_plan import Size
from scripts._gpu_watch import Trace

STEPS: Final = 4
SHOT: Final = Size(9, 64, 48, STEPS, 0.1, 1.0)
MOST_LATENTS, MOST_LEVELS = 1e-3, 1  # largest difference; latents have a standard deviation of about 1


def compare(folder: Path) -> list[dict[str, Any]]:
    """Paints on the CPU and where the generator would, and compares.

    Args:
        folder: with the model "wan" and the checkpoint "ex4d.safetensors".

    Returns:
        A row in float32, which has to agree, and one in bfloat16, whose difference is told.
    """
    out = folder / "cpu.npz"
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), str(out)]
    unseen = {**os.environ, "CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # the model is small
    with subprocess.Popen(command, env=unseen, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as other:
        try:
            exact, half = painted(folder, "float32"), painted(folder, "bfloat16")
        finally:
            said = other.communicate()[0]
    if other.returncode:
        raise RuntimeError(f"on the CPU: {' '.join(said.split())[-300:]}")
    with np.load(out) as kept:
        cpu = {name: kept[name] for name in kept.files}
    rows = []
    for name, found, judged in (("float32", exact, True), ("bfloat16", half, False)):
        latents = float(np.abs(found["latents"] - cpu["latents"]).max())
        levels = int(np.abs(found["frames"].astype(int) - cpu["frames"].astype(int)).max())
        spread = float(np.sqrt(((found["latents"] - cpu["latents"]) ** 2).mean() / (cpu["latents"] ** 2).mean()))
        good = not judged or (latents <= MOST_LATENTS and levels <= MOST_LEVELS)
        row = {"type": name, "on": found["on"].item(), "latents": latents, "levels": levels, "relative_rms": spread}
        rows.append({**row, "judged": judged, "good": good})
    return rows


def painted(folder: Path, kept_as: str) -> dict[str, NDArray[Any]]:
    """Final latents and frames of a shot, with everything computed as it says: no TensorFloat-32."""
    weights = Weights(open_repository(folder / "wan"), folder / "ex4d.safetensors")
    with _full_precision():
        loaded = Loaded(weights, "48", kept_as, SHOT, distilled=False)
        try:
            trace = Trace()
            loaded.run(SHOT, Speed(), STEPS, loaded.job.cfg, trace)
            frames = np.stack([loaded.frames[index] for index in range(SHOT.frames)])
        finally:
            loaded.release()
    return {"latents": trace.latents[-1].numpy(), "frames": frames, "on": np.array(str(loaded.device))}


@contextmanager
def _full_precision() -> Iterator[None]:
    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


if __name__ == "__main__":
    np.savez(Path(sys.argv[2]), allow_pickle=False, **painted(Path(sys.argv[1]), "float32"))
