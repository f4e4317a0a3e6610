# SPDX-License-Identifier: Apache-2.0
"""Who is let in, and what the others get."""

from __future__ import annotations

import dataclasses
import os
import random
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq
from conftest import Backend, conditioning

from shared_protocol import connection as connections
from shared_protocol import messages as m
from shared_protocol.client import Client
from shared_protocol.codec import decode, encode
from shared_protocol.errors import BAD_MESSAGE, NOT_A_BACKEND, UNREACHABLE, VERSION, Ex4dError
from shared_protocol.limits import MAX_HEADER
from shared_protocol.link import Link


@pytest.fixture
def raw(running: Backend) -> Iterator[zmq.Socket[bytes]]:
    """A socket with the right keys and no client around it."""
    facts = connections.read(running.connection_file)
    context = zmq.Context()
    socket_ = context.socket(zmq.DEALER)
    socket_.linger = 0
    socket_.curve_serverkey = facts.server_public.encode()
    socket_.curve_publickey, socket_.curve_secretkey = (
        facts.client_public.encode(),
        facts.client_secret.encode(),
    )
    socket_.rcvtimeo = 5000
    socket_.connect(facts.address)
    yield socket_
    context.destroy(0)


def refusal(tmp_path: Path, facts: connections.Connection) -> tuple[Ex4dError, float]:
    path = tmp_path / "other.json"
    connections.write(path, facts)
    start = time.monotonic()
    with pytest.raises(Ex4dError) as caught:
        Client.connect(path)
    return caught.value, time.monotonic() - start


def test_the_connection_file_is_its_owners_alone(running: Backend) -> None:
    assert stat.S_IMODE(running.connection_file.stat().st_mode) == 0o600
    assert stat.S_IMODE(running.state.stat().st_mode) == 0o700


def test_a_client_with_another_key_pair_is_refused(running: Backend, tmp_path: Path) -> None:
    public, secret = (k.decode() for k in zmq.curve_keypair())
    facts = connections.read(running.connection_file)
    error, seconds = refusal(tmp_path, dataclasses.replace(facts, client_public=public, client_secret=secret))
    assert error.code == NOT_A_BACKEND
    assert seconds < 4.0
    assert "unknown key was refused" in running.log()


def test_a_client_that_expects_another_server_key_is_refused(running: Backend, tmp_path: Path) -> None:
    public, _ = (k.decode() for k in zmq.curve_keypair())
    facts = connections.read(running.connection_file)
    error, seconds = refusal(tmp_path, dataclasses.replace(facts, server_public=public))
    assert error.code == NOT_A_BACKEND
    assert seconds < 4.0


def test_a_client_without_keys_gets_nothing(running: Backend) -> None:
    context = zmq.Context()
    plain = context.socket(zmq.DEALER)
    plain.linger = 0
    plain.connect(connections.read(running.connection_file).address)
    plain.send(encode(m.Hello("plain", m.PROTOCOL), 1)[0])
    assert not plain.poll(700)
    context.destroy(0)
    assert isinstance(running.client().request(m.Ping())[0], m.Pong)


def test_nothing_on_that_port_is_unreachable_at_once(running: Backend, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    facts = connections.read(running.connection_file)
    error, seconds = refusal(tmp_path, dataclasses.replace(facts, address=address))
    assert error.code == UNREACHABLE
    assert "nothing listens" in error.message
    assert seconds < 1.0


@pytest.mark.parametrize("greeting", [b"", b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 400 Bad Request\r\n\r\n" * 9, None])
def test_another_program_on_that_port_is_named(running: Backend, tmp_path: Path, greeting: bytes | None) -> None:
    import threading

    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(5.0)
        held: list[socket.socket] = []

        def answer() -> None:
            connection, _ = other.accept()
            if greeting is None:
                connection.close()
                return
            held.append(connection)
            connection.sendall(greeting)

        thread = threading.Thread(target=answer)
        thread.start()
        facts = connections.read(running.connection_file)
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        error, seconds = refusal(tmp_path, dataclasses.replace(facts, address=address))
        thread.join()
        for connection in held:
            connection.close()
    assert error.code == NOT_A_BACKEND
    assert address.removeprefix("tcp://") in error.message
    assert seconds < 4.0


def test_another_major_version_gets_a_sentence_that_names_both(raw: zmq.Socket[bytes]) -> None:
    raw.send_multipart(encode(m.Hello("future", (2, 0)), 1, protocol=(2, 0)))
    answer = decode(raw.recv_multipart()).message
    assert isinstance(answer, m.Failure)
    assert answer.code == VERSION
    assert f"speaks protocol {m.PROTOCOL[0]}.{m.PROTOCOL[1]}" in answer.message
    assert "speaks 2.0" in answer.message
    assert "Update the backend" in answer.hint


def test_a_backend_of_another_major_version_is_named_by_the_client(
    running: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Link.receive

    def from_the_past(self: Link, timeout_s: float) -> list[bytes] | None:
        parts = real(self, timeout_s)
        return None if parts is None else encode(m.Pong(), decode(parts).request, protocol=(0, 3))

    monkeypatch.setattr(Link, "receive", from_the_past)
    with pytest.raises(Ex4dError) as caught:
        Client.connect(running.connection_file)
    assert caught.value.code == VERSION
    assert "Update the backend" in caught.value.hint


def test_thousands_of_broken_messages_later_the_server_still_serves(running: Backend, raw: zmq.Socket[bytes]) -> None:
    dice = random.Random(11)  # noqa: S311  repeatable
    job = m.Submit("cd" * 16, m.Generate("ab" * 32, options=(("a", 1),)))
    seeds = [encode(s, 1) for s in (m.Ping(), job, m.Fetch("ab" * 32, "x.png", 0, 9), m.ListFiles("ab" * 32))]
    assert running.process is not None
    before = resident(running.process.pid)
    sent = answered = refused = 0
    for _ in range(3000):
        if dice.random() < 0.3:
            parts = [dice.randbytes(dice.randint(0, 60)) for _ in range(dice.randint(1, 4))]
        else:
            parts = [bytearray(p) for p in dice.choice(seeds)]
            for _ in range(dice.randint(1, 5)):
                parts[0][dice.randrange(len(parts[0]))] = dice.randrange(256)
            parts = [bytes(p) for p in parts]
        raw.send_multipart(parts)
        sent += 1
        while sent - answered > 40 or (sent == 3000 and answered < sent and raw.poll(2000)):
            reply = decode(raw.recv_multipart()).message
            answered += 1
            refused += isinstance(reply, m.Failure) and reply.code == BAD_MESSAGE
    assert answered > 2900
    assert refused > 1000
    assert isinstance(running.client().request(m.Ping())[0], m.Pong)
    assert resident(running.process.pid) - before < 50e6


def resident(pid: int) -> int:
    """Bytes of memory a process holds."""
    text = Path(f"/proc/{pid}/statm").read_text("ascii")
    return int(text.split()[1]) * os.sysconf("SC_PAGE_SIZE")


def test_an_oversized_message_ends_that_connection_and_no_other(running: Backend, raw: zmq.Socket[bytes]) -> None:
    other = running.client()
    raw.send_multipart([bytes(MAX_HEADER + 100_000)])
    assert not raw.poll(500)
    assert isinstance(other.request(m.Ping())[0], m.Pong)


def test_a_client_that_never_reads_holds_up_nobody(
    running: Backend, raw: zmq.Socket[bytes], long_clip: list[Path]
) -> None:
    client = running.client()
    made = conditioning(client, long_clip)
    name = client.files(made.artifact).files[0].name
    raw.rcvhwm = 1
    for request in range(1, 400):
        raw.send_multipart(encode(m.Fetch(made.artifact, name, 0, 1 << 20), request), zmq.NOBLOCK)
    start = time.monotonic()
    for _ in range(20):
        client.request(m.Ping())
    assert time.monotonic() - start < 2.0


def test_twenty_clients_at_once_are_served(running: Backend) -> None:
    clients = [running.client() for _ in range(20)]
    for client in clients:
        assert isinstance(client.request(m.Ping())[0], m.Pong)
        client.close()


def test_no_key_is_ever_logged(running: Backend) -> None:
    facts = connections.read(running.connection_file)
    log = running.log()
    assert facts.client_secret not in log
    assert facts.client_public not in log


def test_the_server_process_loads_no_engine(running: Backend) -> None:
    code = "import sys, backend.cli, backend.server; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert not {"torch", "numba", "cv2", "numpy", "OpenEXR"} & set(loaded)
    assert running.process is not None
    assert "numba" not in Path(f"/proc/{running.process.pid}/maps").read_text("utf-8", "replace")


def test_nothing_is_pickled(root: Path) -> None:
    for folder in ("shared_protocol", "backend"):
        for path in (root / folder).rglob("*.py"):
            text = path.read_text("utf-8")
            for word in ("pickle", "marshal", "shelve", "eval(", "exec(", "torch.load", "shell=True"):
                assert word not in text, (path, word)
