# SPDX-License-Identifier: Apache-2.0
"""How the rooms' inner loops are compiled, and run on all cores.

Functions are compiled without Numba's own threading: they release the interpreter's lock, and plain threads run them
on separate rows. Numba's thread layers are not all safe to enter from two threads at once, and share OpenMP with other
libraries in the process; plain threads have neither trouble, need no lock, and compile in a third of the time.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import pairwise
from typing import Any

import numba

_log = logging.getLogger(__name__)
_THREADS = "ex4d-render"


def compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code for `function`, kept on disk between runs wherever that is possible.

    Numba keeps it beside the source file, or else in the user's cache folder (or in NUMBA_CACHE_DIR). On an
    installation where none can be written it refuses to work; then each process compiles for itself.
    """
    try:
        return numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError as problem:
        _log.info("compiled code is not kept between runs: %s", problem)
        return numba.njit(nogil=True, error_model="numpy")(function)


def threads() -> int:
    """How many threads work at once: NUMBA_NUM_THREADS, or as many as this process may use."""
    return int(numba.config.NUMBA_NUM_THREADS)  # type: ignore[attr-defined]


@lru_cache(maxsize=1)
def _pool(process: int) -> ThreadPoolExecutor:
    """One pool for each process: threads do not live on in a forked child."""
    return ThreadPoolExecutor(max_workers=threads(), thread_name_prefix=_THREADS)


def in_parallel(work: Callable[[int, int], object], total: int, pieces: int) -> None:
    """Calls work(start, stop) for consecutive pieces of range(total), in any order, on all cores."""
    edges = [total * k // pieces for k in range(pieces + 1)]
    spans = [(start, stop) for start, stop in pairwise(edges) if stop > start]
    if threading.current_thread().name.startswith(
        _THREADS
    ):  # work within work: waiting for the pool could last for ever
        for span in spans:
            work(*span)
        return
    for _ in _pool(os.getpid()).map(lambda span: work(*span), spans):
        pass
