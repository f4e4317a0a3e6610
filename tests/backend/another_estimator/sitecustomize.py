# SPDX-License-Identifier: Apache-2.0
"""Python imports this by itself where its folder is on PYTHONPATH: processes there have one more depth estimator.

It works as one with a network does, under the name that "auto" likes best. Files in the folder EX4D_TEST_ROOM rule what
it does: `weights` are its weights; while `hold` exists, it holds after frame 2; `shut` takes its weights away; `large`
makes it need more memory than there is; `full` and `nan` let it fail in the middle; `runs` gets a byte for each run.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ex4d.depth.door import DepthRequest, Estimate, Nature
from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Setting, Value, read_settings
from shared_protocol.errors import INTERNAL, LIMIT, UNAVAILABLE, Ex4dError

ROOM = Path(os.environ["EX4D_TEST_ROOM"])


class SlopeDepth:
    name = "video-depth-anything"
    label = "Slope"
    licence = "Apache-2.0"
    commercial_use = True
    gives = "disparity"
    steady = True
    draft = False
    uses_focal = False
    size = 1000
    settings = (Setting("resolution", 518, "Of the network.", least=14),)

    def available(self) -> tuple[bool, str]:
        return not (ROOM / "shut").exists(), "its weights are missing (ex4d models download slope)."

    def nature(self, options: Mapping[str, Value], commercial: bool) -> Nature:
        if (ROOM / "shut").exists():
            raise Ex4dError(UNAVAILABLE, "The weights of 'slope' are missing.", "ex4d models download slope")
        return Nature("slope", self.licence, True, "disparity", True, self.size)

    def settle(
        self, options: Mapping[str, Value], commercial: bool, height: int, width: int
    ) -> tuple[dict[str, Value], str]:
        return read_settings(self.settings, options, self.name, "estimator"), ""

    def fits(self, height: int, width: int, options: Mapping[str, Value], commercial: bool) -> str:
        return "slope takes 99 GiB here, and 8 GiB are free." if (ROOM / "large").exists() else ""

    def identity(self, options: Mapping[str, Value], commercial: bool, progress: object = None) -> dict[str, str]:
        return {"weights": hashlib.sha256((ROOM / "weights").read_bytes()).hexdigest()}

    def frames(self, request: DepthRequest) -> Iterator[Estimate]:
        with (ROOM / "runs").open("ab") as runs:
            runs.write(b"x")
        request.note("made by a slope")
        total, height, width = request.clip.frames.shape[:3]
        grey = (ROOM / "weights").read_bytes()[0]
        values = np.tile(np.linspace(0, grey, height, dtype=np.float32)[:, None], (1, width))
        for index in range(total):
            while index == 2 and (ROOM / "hold").exists():
                time.sleep(0.01)
                request.progress("Estimating depth", index, total)
            if index == 1 and (ROOM / "full").exists():
                raise Ex4dError(LIMIT, "The memory of Card did not suffice for slope.", "Choose a smaller one.")
            if index == 1 and (ROOM / "nan").exists():
                raise Ex4dError(INTERNAL, "The estimator 'slope' gave no numbers for frame 2.", "Choose float32.")
            yield Estimate(values + index, "disparity", focal=40.0)
            request.progress("Estimating depth", index + 1, total)


DEPTH_DOORS["video-depth-anything"] = SlopeDepth()
