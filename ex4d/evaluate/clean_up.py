# SPDX-License-Identifier: Apache-2.0
"""The stages that clean depth up, one by one, so that what each is worth can be measured."""

from __future__ import annotations

import numpy as np

from ex4d.depth.door import Progress, nobody
from ex4d.depth.edges import refine_edges
from ex4d.depth.steady import steady_depth
from ex4d.values import F32, U8

STAGES = ("off", "edges", "steady", "both")  # both: edges first, as in `ex4d.depth.estimate_depth`


def cleaned(z: F32, frames: U8, stage: str, progress: Progress = nobody) -> F32:
    """A copy of depth [T, H, W], cleaned up by a stage of `STAGES`, guided by the frames [T, H, W, 3].

    Raises:
        Ex4dError: whatever `progress` raises.
    """
    out = np.array(z, np.float32)
    if stage in ("edges", "both"):
        refine_edges(out, frames, progress)
    if stage in ("steady", "both"):
        steady_depth(out, frames, progress)
    return out
