# SPDX-License-Identifier: Apache-2.0
"""Python imports this by itself where its folder is on PYTHONPATH: processes there have one more generator.

It works like a diffusion model, in steps over the whole shot, and keeps where it is after each. Files in the folder
EX4D_TEST_ROOM rule what it does: `weights` are its weights; while `hold` exists, it holds after step 3; while `read`
exists, it reads its weights; `shut` makes it unavailable; `broken` makes its weights so, under a name that is no
Unicode; `grey` takes the colours from its glimpses.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from ex4d.files import replacing
from ex4d.generate import GENERATORS, GenerateRequest
from ex4d.settings import Setting, Value, read_settings
from shared_protocol.errors import BAD_INPUT, UNAVAILABLE, Ex4dError

ROOM = Path(os.environ["EX4D_TEST_ROOM"])


class StepsGenerator:
    name = "steps"
    label = "Steps"
    licence = "Apache-2.0"
    commercial_use = False
    geometry = "closed"
    lead_in = 5
    settings = (
        Setting("count", 6, "How many steps.", least=1, most=50, group="Sampling"),
        Setting("look", "plain", "How it looks.", choices=("plain", "loud")),
    )

    def available(self) -> tuple[bool, str]:
        return not (ROOM / "shut").exists(), "its weights are missing (ex4d models download steps)."

    def size(self, width: int, height: int, options: Mapping[str, Value]) -> tuple[int, int]:
        return 16, 16

    def identity(self, options: Mapping[str, Value], progress: object = None) -> Mapping[str, str]:
        if (ROOM / "shut").exists():
            raise Ex4dError(UNAVAILABLE, "The weights of 'steps' are missing.", "ex4d models download steps")
        while (ROOM / "read").exists():
            time.sleep(0.01)
        if (ROOM / "broken").exists():
            raise Ex4dError(BAD_INPUT, f"{os.fsdecode(b'weights' + bytes([255]) + b'.bin')} is broken.")
        return {"weights": hashlib.sha256((ROOM / "weights").read_bytes()).hexdigest()}

    def frames(self, request: GenerateRequest) -> Iterator[tuple[int, np.ndarray]]:
        count = int(read_settings(self.settings, request.options, self.name)["count"])
        assert request.scratch is not None
        kept = request.scratch / "state.json"
        began = json.loads(kept.read_text())["step"] if kept.exists() else 0
        request.record({"went_on_from_step": began})
        for step in range(began, count):
            request.progress("Sampling", step, count)
            picture = np.zeros((300, 600, 3), np.uint8)
            picture[:150] = (10 * step, 200, 30)
            request.glimpse(picture[..., 0] if (ROOM / "grey").exists() else picture)
            with replacing(kept) as part:
                part.write_text(json.dumps({"step": step + 1}))
            while step == 2 and (ROOM / "hold").exists():
                time.sleep(0.01)
                request.progress("Sampling", step + 1, count)
        grey = (ROOM / "weights").read_bytes()[0]
        for index in request.wanted:
            yield index, np.full((16, 16, 3), grey, np.uint8)


GENERATORS["steps"] = StepsGenerator()
