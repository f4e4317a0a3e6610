# SPDX-License-Identifier: Apache-2.0
"""Work on threads whose results come in order."""

from __future__ import annotations

import threading
from functools import partial

import pytest

from ex4d.in_order import InOrder


def test_results_come_in_order_on_the_callers_thread_whatever_ends_first() -> None:
    first_may_end = threading.Event()
    told: list[tuple[int, str]] = []

    def work(index: int) -> int:
        if index == 0:
            assert first_may_end.wait(30)
        if index == 3:
            first_may_end.set()
        return index

    with InOrder(lambda index: told.append((index, threading.current_thread().name)), 4) as frames:
        for index in range(20):
            frames.add(partial(work, index))
    assert [index for index, _ in told] == list(range(20))
    assert {name for _, name in told} == {threading.current_thread().name}


def test_no_more_is_held_than_threads_can_begin_soon() -> None:
    begun: list[int] = []
    told: list[int] = []
    with InOrder(told.append, 2) as frames:
        for index in range(50):
            frames.add(lambda index=index: begun.append(index) or index)  # type: ignore[misc]
            assert index - len(told) < 4
    assert told == sorted(begun) == list(range(50))


def test_a_failure_reaches_the_caller_and_what_had_not_begun_is_dropped() -> None:
    gate = threading.Event()
    done: list[int] = []

    def work(index: int) -> int:
        if index == 1:
            raise ValueError("frame 2")
        assert index == 0 or gate.wait(30)
        done.append(index)
        return index

    told: list[int] = []

    def block() -> None:
        with InOrder(told.append, 1) as frames:
            for index in range(100):
                frames.add(partial(work, index))

    threading.Timer(0.2, gate.set).start()
    with pytest.raises(ValueError, match="frame 2"):
        block()
    assert told == [0]
    assert len(done) < 10


def test_where_the_caller_stops_nothing_new_begins() -> None:
    def stop(index: int) -> None:
        raise KeyboardInterrupt

    begun: list[int] = []

    def block() -> None:
        with InOrder(stop, 1) as frames:
            for index in range(100):
                frames.add(lambda index=index: begun.append(index) or index)  # type: ignore[misc]

    with pytest.raises(KeyboardInterrupt):
        block()
    assert len(begun) < 10
