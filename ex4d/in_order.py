# SPDX-License-Identifier: Apache-2.0
"""Frames worked on side by side, handed on one after the other."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Generic, TypeVar

T = TypeVar("T")

CORES = os.cpu_count() or 1


class InOrder(Generic[T]):
    """Does pieces of work on threads, and hands their results on in the order in which they were given. For `with`.

    Worth it for work that does not hold Python's lock: rendering a frame, compressing a picture, waiting for a disk.
    All that was given is done when the block ends; where it ends with an exception, what has not begun is dropped.
    """

    def __init__(self, done: Callable[[T], object], threads: int) -> None:
        """`done(result)` is called on the caller's own thread, within `add` or at the end of the block."""
        self._done = done
        self._most = 2 * threads  # pieces whose data are held
        self._pool = ThreadPoolExecutor(threads, "ex4d-in-order")
        self._waiting: deque[Future[T]] = deque()

    def __enter__(self) -> InOrder[T]:
        return self

    def add(self, work: Callable[[], T]) -> None:
        """Begins a piece of work, or waits until it may begin. Raises what an earlier piece raised."""
        self._waiting.append(self._pool.submit(work))
        while self._waiting and (len(self._waiting) > self._most or self._waiting[0].done()):
            self._done(self._waiting.popleft().result())

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            while error is None and self._waiting:
                self._done(self._waiting.popleft().result())
        finally:
            self._pool.shutdown(cancel_futures=True)
