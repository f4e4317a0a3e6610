# SPDX-License-Identifier: Apache-2.0
"""The connection file is its owner's alone, and never half there."""

from __future__ import annotations

import dataclasses
import json
import os
import stat
from pathlib import Path

import pytest

from shared_protocol import connection as connections
from shared_protocol.connection import Connection
from shared_protocol.errors import BAD_INPUT, DISK, NOT_A_BACKEND, UNREACHABLE, Ex4dError

GOOD = Connection("tcp://127.0.0.1:5555", "s" * 40, "c" * 40, "x" * 40, 1234, (1, 0))


def code_of_reading(path: Path) -> str:
    with pytest.raises(Ex4dError) as caught:
        connections.read(path)
    return caught.value.code


def test_it_comes_back_as_written_and_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "connection.json"
    connections.write(path, GOOD)
    assert connections.read(path) == GOOD
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert [p.name for p in path.parent.iterdir()] == ["connection.json"]


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    connections.write(path, GOOD)
    path.chmod(0o644)
    assert code_of_reading(path) == BAD_INPUT


def test_a_missing_file_means_that_no_backend_runs(tmp_path: Path) -> None:
    assert code_of_reading(tmp_path / "c.json") == UNREACHABLE


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "{}",
        json.dumps({**dataclasses.asdict(GOOD), "address": "tcp://10.0.0.1:5555"}),
        json.dumps({**dataclasses.asdict(GOOD), "address": "ipc:///tmp/x"}),
        json.dumps({**dataclasses.asdict(GOOD), "address": "tcp://127.0.0.1:99999"}),
        json.dumps({**dataclasses.asdict(GOOD), "client_secret": "short"}),
        json.dumps({**dataclasses.asdict(GOOD), "protocol": "1.0"}),
        " " * 100_000,
    ],
)
def test_a_file_with_something_else_in_it_is_named(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    path.chmod(0o600)
    assert code_of_reading(path) == NOT_A_BACKEND


def test_a_newer_backends_file_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "c.json"
    connections.write(path, dataclasses.replace(GOOD, server_public="n" * 40))
    connections.remove(path, GOOD)
    assert path.exists()
    connections.write(path, GOOD)
    connections.remove(path, GOOD)
    assert not path.exists()


def test_the_secret_does_not_show_in_a_log_line() -> None:
    assert GOOD.client_secret not in repr(GOOD)


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="needs a user who may not write everywhere")
def test_a_folder_that_cannot_be_written_gives_one_line(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(Ex4dError) as caught:
        connections.write(tmp_path / "c.json", GOOD)
    assert caught.value.code == DISK
