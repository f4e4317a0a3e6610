# SPDX-License-Identifier: Apache-2.0
"""Times of several ways to do the same, on a machine that does other things as well."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from importlib.metadata import version
from statistics import median

import numba

from ex4d.render.compiled import threads


def medians(ways: Mapping[str, Callable[[], object]], repetitions: int) -> dict[str, float]:
    """Median seconds of each way.

    They take turns, so that whatever else the machine does in the meantime meets all of them; the first round
    (compiling, first use of memory) does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(repetitions + 1):
        for name, work in ways.items():
            start = time.perf_counter()
            work()
            if turn:
                times[name].append(time.perf_counter() - start)
    return {name: median(taken) for name, taken in times.items()}


def machine() -> str:
    """Processor, Python and packages, for the head of a table."""
    model = platform.processor() or platform.machine()
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            model = next(line.split(":", 1)[1].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):  # another system: what `platform` knows has to do
        pass
    load = f", load {os.getloadavg()[0]:.1f} at the start" if hasattr(os, "getloadavg") else ""
    packages = f"numba {numba.__version__}, numpy {version('numpy')}"
    return f"{model}, {threads()} threads{load}; Python {platform.python_version()}, {packages}"
