# SPDX-License-Identifier: Apache-2.0
"""A small generator for tests: options of every kind, a size of its own, steps it can be stopped between, glimpses."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import cv2
import numpy as np

from ex4d.files import replacing
from ex4d.generate import GenerateRequest
from ex4d.settings import Setting, Value, read_settings
from ex4d.values import U8


class Painter:
    """Adds seeded noise where nothing was seen, in steps that it keeps a count of."""

    name = "painter"
    label = "Painter of the tests"
    licence = "Apache-2.0"
    commercial_use = True
    geometry = "closed"
    settings = (
        Setting("steps", 4, "How many steps.", least=1, most=10),
        Setting("gain", 1.5, "How strong.", least=0),
        Setting("style", "oil", "In which way: 100 % of it.", choices=("oil", "chalk")),
        Setting("prompt", "a wide view", "What it shows.", group="Words"),
        Setting("glow", False, "Whether it glows.", group="Words"),
        Setting("model", "", "Folder of its weights.", group="Words"),
    )

    def __init__(self, weights: Path | None = None, lead_in: int = 0) -> None:
        self.lead_in = lead_in
        self.weights = weights
        self.at_step: Callable[[int], None] = lambda step: None  # may raise
        self.steps: list[int] = []  # that were done
        self.scratch: list[list[str]] = []  # what lay in the scratch folder after each

    def available(self) -> tuple[bool, str]:
        return True, ""

    def size(self, width: int, height: int, options: Mapping[str, Value]) -> tuple[int, int]:
        return -(-width // 16) * 16, -(-height // 16) * 16

    def identity(self, options: Mapping[str, Value], progress: object = None) -> Mapping[str, str]:
        if self.weights is None:
            return {}
        return {self.weights.name: hashlib.sha256(self.weights.read_bytes()).hexdigest()}

    def frames(self, request: GenerateRequest) -> Iterator[tuple[int, U8]]:
        options = read_settings(self.settings, request.options, self.name)
        if not request.wanted:
            return
        assert request.scratch is not None
        state, total = request.scratch / "state.json", int(options["steps"])
        begun = json.loads(state.read_text()) if state.exists() else 0
        for step in range(begun, total):
            request.progress("Painting", step, total)
            self.at_step(step)
            request.glimpse(np.full((4, 6, 3), 20 * step, np.uint8))
            with replacing(state) as part:
                part.write_text(json.dumps(step + 1))
            self.steps.append(step)
            self.scratch.append(sorted(path.name for path in request.scratch.iterdir()))
        request.record({"device": "none", "notes": ["the paint is wet"]})
        colour, mask = request.conditioning.colour, request.conditioning.mask
        height, width = mask.shape[1:]
        size = self.size(width, height, options)
        for index in request.wanted:
            noise = np.random.default_rng([request.seed, index, int(options["glow"])]).integers(
                0, 99, (height, width, 3)
            )
            painted = np.where(mask[index][..., None], colour[index], noise * options["gain"])
            yield index, np.asarray(cv2.resize(painted.astype(np.uint8), size), np.uint8)
