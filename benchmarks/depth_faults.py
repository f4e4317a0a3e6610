# SPDX-License-Identifier: Apache-2.0
"""Steadying on faults other than those of `ex4d.evaluate.degrade`, which it was tuned on.

    .venv/bin/python benchmarks/depth_faults.py --set TRUTH [--seed 11]

Prints a table: temporal error and AbsRel (`ex4d.evaluate.depth`) of each scene before and after. Every fault is drawn
anew in each frame, unless it says otherwise.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from ex4d.evaluate.clean_up import cleaned
from ex4d.evaluate.degrade import smeared
from ex4d.evaluate.depth import figures, landings, measure
from ex4d.evaluate.ground_truth import load_scene_truth, load_set
from ex4d.evaluate.report import aligned
from ex4d.values import F32, F64

Fault = Callable[[F64, np.random.Generator, F64], F64]  # disparity, random numbers, the clip's slow wobble [2]
SLOW = 0.9  # correlation of the slow wobble from a frame to the next


def jittered(disparity: F64, rng: np.random.Generator, scale: float, shift: float, noise: float) -> F64:
    pixels = rng.normal(1.0, noise, disparity.shape)
    return disparity * pixels * rng.normal(1.0, scale) + rng.normal(0.0, shift) * np.median(disparity)


def waves(rng: np.random.Generator, shape: tuple[int, ...], cells: int, amount: float) -> F64:
    return cv2.resize(rng.normal(0.0, amount, (cells, cells)), shape[::-1], interpolation=cv2.INTER_CUBIC)


def slow(d: F64, rng: np.random.Generator, wobble: F64) -> F64:
    return jittered(smeared(d), rng, 0.0, 0.0, 0.005) * (1.0 + 0.04 * wobble[0]) + 0.02 * wobble[1] * np.median(d)


def small(d: F64, rng: np.random.Generator, wobble: F64) -> F64:
    height, width = d.shape
    less = cv2.resize(d, (width // 4, height // 4), interpolation=cv2.INTER_AREA)
    return jittered(cv2.resize(less * rng.normal(1.0, 0.01, less.shape), (width, height)), rng, 0.02, 0.01, 0.0)


def blurred(d: F64, rng: np.random.Generator, wobble: F64) -> F64:
    return jittered(cv2.GaussianBlur(d, (0, 0), rng.uniform(1.0, 2.0)), rng, 0.02, 0.01, 0.005)


def displaced(d: F64, rng: np.random.Generator, wobble: F64) -> F64:
    y, x = np.mgrid[0 : d.shape[0], 0 : d.shape[1]]
    there = [(place + waves(rng, d.shape, 8, 0.7)).astype(np.float32) for place in (x, y)]
    moved = cv2.remap(d.astype(np.float32), *there, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return jittered(smeared(moved.astype(np.float64)), rng, 0.02, 0.01, 0.005)


FAULTS: dict[str, Fault] = {
    "smear, noise 0.5 %, scales 5 %, shifts 2 %": lambda d, rng, _: jittered(smeared(d), rng, 0.05, 0.02, 0.005),
    "smear, noise 2 %, scales 5 %, shifts 5 %": lambda d, rng, _: jittered(smeared(d), rng, 0.05, 0.05, 0.02),
    "smear, noise 0.5 %, slow wobble: scales 4 %, shifts 2 %": slow,
    "smear, regions of a sixth 3 %, scales 2 %": lambda d, rng, _: jittered(
        smeared(d) * (1.0 + waves(rng, d.shape, 6, 0.03)), rng, 0.02, 0.0, 0.0
    ),
    "a quarter of the size with noise 1 %, scales 2 %, shifts 1 %": small,
    "blur of 1 to 2 pixels, noise 0.5 %, scales 2 %, shifts 1 %": blurred,
    "places off by 0.7 pixels, smear, noise 0.5 %, scales 2 %, shifts 1 %": displaced,
    "depth (not disparity): noise 1 %, scales 3 %, shifts 1 %": lambda d, rng, _: (
        1.0 / np.maximum(jittered(1.0 / d, rng, 0.03, 0.01, 0.01), 0.01 / np.median(d))
    ),
    "noise 2 %": lambda d, rng, _: jittered(d, rng, 0.0, 0.0, 0.02),
}


def faulty(z: F32, fault: Fault, seed: int, name: str) -> F32:
    """[T, H, W] depth with a fault, the same for the same seed and scene."""
    out = np.empty_like(z)
    rng = np.random.default_rng([seed, zlib.crc32(name.encode("utf-8"))])
    wobble = rng.normal(size=2)
    for t, frame in enumerate(z):
        disparity = 1.0 / frame.astype(np.float64)
        out[t] = 1.0 / np.maximum(fault(disparity, rng, wobble), 1e-3 * np.median(disparity))
        wobble = SLOW * wobble + np.sqrt(1.0 - SLOW**2) * rng.normal(size=2)
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--set", type=Path, required=True, help="a folder of scripts/ground_truth_scenes.py")
    parser.add_argument("--seed", type=int, default=11)
    arguments = parser.parse_args()
    truth = load_set(arguments.set)
    lines = [["faults", "scene", "temporal error", "steadied", "AbsRel", "steadied"]]
    scenes = [load_scene_truth(truth, name) for name in truth.scenes]
    landed = {scene.name: landings(scene.colour) for scene in scenes}
    for name, fault in FAULTS.items():
        for scene in scenes:
            z = faulty(scene.depth, fault, arguments.seed, scene.name)
            found = [
                figures(measure(cleaned(z, scene.colour, stage), scene.depth, landed[scene.name]))
                for stage in ("off", "steady")
            ]
            values = [row[key] for key in ("temporal", "absrel") for row in found]
            lines.append([name, scene.name, *(f"{value:.5f}" for value in values)])
            print(*lines[-1], sep=", ", file=sys.stderr, flush=True)
    print(aligned(lines, left=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
