# SPDX-License-Identifier: Apache-2.0
"""nvdiffrast's CUDA rasterizer as one of ours. Its licence allows research and evaluation only.

It is made for training, not for exact pixels, so it is asked in a way that leaves little of its rounding:

- It snaps corners to 1/16 of a pixel, enough to move every silhouette. So pictures are drawn `_FINE` times as large, in
  tiles, and of each block of samples the middle one is kept: it lies at the pixel's own centre.
- It keeps depth as integers made from float32 over -1 <= z/w <= 1. With a near plane at a thousandth of the scene's
  smallest depth, nearly all of that range belongs to what is closer than anything, and at w = 10 000 near two surfaces
  must lie some percent apart to be told from each other. So the depth range is drawn in slabs, nearest first, each with
  the whole range to itself, and a pixel keeps what it found first.

nvdiffrast and torch are imported when the first picture is drawn.
"""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from ex4d.values import F32, F64, I32
from shared_protocol.errors import LIMIT, UNAVAILABLE, Ex4dError

MAX_FACES = 1 << 24  # an id comes back as a float32, which counts exactly to there
OLDEST = (0, 3, 5)  # before 0.3.2 sides had to be multiples of 8; up to 0.3.4 large meshes could crash it
_FINE = 5  # odd, so that a block has a middle
_TILE = 400  # pixels of a side, 2000 as drawn: some 130 MB of results, and within every version's limit
_SLAB = 256.0  # furthest over nearest depth of a slab
_OVERLAP = 0.99  # of a slab with the one before: where both cut a triangle, snapping could leave a crack
MIDDLE = slice(_FINE // 2, None, _FINE)  # of each block of samples
_INSTALL = "pip install --no-build-isolation git+https://github.com/NVlabs/nvdiffrast"


class NvdiffrastRasterizer:
    """Triangle ids from nvdiffrast, on an NVIDIA GPU. Chosen by name only, never by itself."""

    name = "nvdiffrast"
    label = "NVIDIA GPU (nvdiffrast)"
    licence = "Nvidia Source Code License (1-Way Commercial): research or evaluation only"
    commercial_use = False

    def __init__(self) -> None:
        self._lock = threading.Lock()  # a context draws one picture at a time
        self._context: Any = None

    def available(self) -> tuple[bool, str]:
        """Needs torch with CUDA, a GPU that it can use, and nvdiffrast; says the first of them that is missing."""
        return _available()

    def visible(self, pos_clip: F64, faces: I32, resolution: tuple[int, int]) -> I32:
        """See `ex4d.render.rasterizers.Rasterizer.visible`. Which of two faces wins a tie is not defined.

        Raises:
            Ex4dError: LIMIT for a mesh of more than `MAX_FACES` faces, UNAVAILABLE where CUDA reports a failure.
        """
        check_faces(len(faces))
        if not len(faces):
            return np.zeros(resolution, np.int32)
        try:
            with self._lock:
                return self._draw(pos_clip, faces, resolution)
        except RuntimeError as error:  # of torch and nvdiffrast: out of memory, a build for another GPU, a lost device
            first = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
            raise Ex4dError(UNAVAILABLE, f"nvdiffrast failed: {first}", "Choose the rasterizer numba.") from error

    def _draw(self, pos_clip: F64, faces: I32, resolution: tuple[int, int]) -> I32:
        import nvdiffrast.torch as dr
        import torch

        if self._context is None:
            self._context = dr.RasterizeCudaContext()
        triangles = torch.from_numpy(np.array(faces, np.int32)).cuda()
        whole = torch.from_numpy(pos_clip.astype(np.float32)).cuda()
        moved = whole.clone()
        ids = torch.zeros(resolution, dtype=torch.int32, device="cuda")
        for z in depth_slabs(pos_clip[:, 2], pos_clip[:, 3]):
            moved[:, 2] = torch.from_numpy(z).cuda()
            for tile in tiles(resolution):
                moved[:, 0] = whole[:, 0] * tile.scale_x + whole[:, 3] * tile.shift_x
                moved[:, 1] = whole[:, 1] * tile.scale_y + whole[:, 3] * tile.shift_y
                out, _ = dr.rasterize(self._context, moved[None], triangles, resolution=tile.drawn)
                found = out[0, MIDDLE, MIDDLE, 3].to(torch.int32)
                earlier = ids[tile.rows, tile.columns]
                ids[tile.rows, tile.columns] = torch.where(earlier > 0, earlier, found)
        return np.asarray(ids.cpu().numpy(), np.int32)


def check_faces(count: int) -> None:
    """Refuses meshes whose ids nvdiffrast cannot tell apart.

    Raises:
        Ex4dError: LIMIT.
    """
    if count > MAX_FACES:
        raise Ex4dError(
            LIMIT,
            f"The mesh has {count} faces; nvdiffrast can tell {MAX_FACES} apart.",
            "Use a smaller picture, or the rasterizer numba.",
        )


@dataclass(frozen=True)
class Tile:
    """A part of the picture, and how its clip coordinates follow: x' = scale_x x + shift_x w, y' alike."""

    rows: slice
    columns: slice
    drawn: tuple[int, int]  # height and width in samples
    scale_x: float
    shift_x: float
    scale_y: float
    shift_y: float


def tiles(resolution: tuple[int, int]) -> Iterator[Tile]:
    """Cuts a picture of (height, width) up."""
    height, width = resolution
    for top in range(0, height, _TILE):
        for left in range(0, width, _TILE):
            rows, columns = min(_TILE, height - top), min(_TILE, width - left)
            yield Tile(
                slice(top, top + rows),
                slice(left, left + columns),
                (rows * _FINE, columns * _FINE),
                width / columns,
                (width - 2.0 * left) / columns - 1.0,
                height / rows,
                (height - 2.0 * top) / rows - 1.0,
            )


def depth_slabs(z: F64, w: F64) -> Iterator[F32]:
    """z to draw with, slab after slab from the near plane on.

    Seen by a pinhole camera z is a w + b, so the near plane (z = -w) lies at w = -b / (1 + a) and the far plane (z = w)
    at b / (1 - a), or nowhere. A slab from w = m to n has z' = ((n + m) w - 2 n m) / (n - m): -w at its front, w at its
    back, and growing with depth in between. The first front is the near plane, the last back the far plane or, where
    it is nearer, the furthest vertex.

    Args:
        z: [V] clip z.
        w: [V] clip w. Where z is not a w + b, z comes back as it is, in one slab.

    Yields:
        [V] float32 z'. What lies in front of a slab has z' < -w, what lies behind it z' > w.
    """
    first, last = int(w.argmin()), int(w.argmax())
    a = (z[last] - z[first]) / (w[last] - w[first]) if w[last] > w[first] else 1.0
    closest = int(np.abs(w).argmin())  # where a rounded says the least wrong about b
    b = z[closest] - a * w[closest]
    near = -b / (1.0 + a) if a > -1.0 else 0.0
    far = b / (1.0 - a) if abs(1.0 - a) > 1e-9 else np.inf
    straight = np.abs(z - (a * w + b)).max() <= 1e-6 * np.abs(w).max()
    if not straight or not 0.0 < near < min(far, float(w[last])):
        yield z.astype(np.float32)
        return
    end = min(far if far > near else np.inf, float(w[last]) * 1.001)
    count = max(1, int(np.ceil(np.log(end / near) / np.log(_SLAB))))
    edges = near * (end / near) ** (np.arange(count + 1) / count)
    for k in range(count):
        m, n = edges[k] * (_OVERLAP if k else 1.0), edges[k + 1]
        yield (((n + m) * w - 2.0 * n * m) / (n - m)).astype(np.float32)


@lru_cache(maxsize=1)
def _available() -> tuple[bool, str]:
    if importlib.util.find_spec("torch") is None:
        return False, f"torch is not installed. {_installation()}"
    try:
        torch = importlib.import_module("torch")
    except (ImportError, OSError) as error:  # a library that it links to is missing
        return False, f"torch cannot be loaded ({error}). Install it again."
    if torch.version.cuda is None:
        return False, f"torch {torch.__version__} is built without CUDA. {_installation()}"
    if not torch.cuda.is_available():
        return False, f"torch {torch.__version__} finds no NVIDIA GPU that it can use; nvidia-smi may tell why."
    if importlib.util.find_spec("nvdiffrast") is None:
        return False, f"nvdiffrast is not installed. {_installation()}"
    try:
        package = importlib.import_module("nvdiffrast")
        importlib.import_module("nvdiffrast.torch")
    except (ImportError, OSError) as error:  # built for another torch, or not built at all
        return False, f"nvdiffrast cannot be loaded ({error}). {_installation()}"
    version = str(package.__version__)
    if tuple(int(number) for number in re.findall(r"\d+", version)[:3]) < OLDEST:
        return False, f"nvdiffrast {version} is older than {'.'.join(map(str, OLDEST))}. {_installation()}"
    return True, ""


def _installation() -> str:
    """What it takes, and which of the programs that build it are here."""
    nvcc = shutil.which("nvcc")
    compiler = next((name for name in ("g++", "c++", "clang++", "cl") if shutil.which(name)), None)
    return (
        "Needed, in this order: torch built for CUDA (https://pytorch.org), the CUDA toolkit of the same version "
        f"(nvcc: {'found' if nvcc else 'missing'}), a C++ compiler ({compiler or 'missing'}), then: {_INSTALL}"
    )
