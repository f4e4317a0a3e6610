# SPDX-License-Identifier: Apache-2.0
"""How far a download or a check is: a bar where a person watches, a line each twentieth in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from ex4d.models.places import gigabytes
from ex4d.models.verify import Progress


@contextmanager
def meter(what: str, total: int) -> Iterator[Progress]:
    """For `with`: gives what is to be told how many bytes more are done.

    Args:
        what: stands in front.
        total: bytes in all.
    """
    if not sys.stderr.isatty():
        yield _Lines(what, total).more
        return
    try:
        from huggingface_hub.utils import tqdm
    except ModuleNotFoundError:  # sums can be made without it
        yield _Lines(what, total).more
        return
    make: Callable[..., Any] = tqdm  # it has no types
    with make(total=total, desc=what, unit="B", unit_scale=True) as bar:

        def more(count: int) -> None:
            bar.update(count)

        yield more


class _Lines:
    def __init__(self, what: str, total: int) -> None:
        self._what, self._total = what, total
        self._done = self._told = 0

    def more(self, count: int) -> None:
        self._done += count
        if self._total and self._done * 20 // self._total > self._told * 20 // self._total:
            self._told = self._done
            share = 100 * self._done // self._total
            sys.stderr.write(f"{self._what}: {share} % of {gigabytes(self._total)}\n")
