# SPDX-License-Identifier: Apache-2.0
"""The `ex4d-backend` command: one clear line when something is wrong."""

from __future__ import annotations

import socket
import time
from pathlib import Path

import pytest
from conftest import Backend, conditioning

from backend.cli import main
from backend.state_folder import _mount_type
from shared_protocol import messages as m


def failure(capsys: pytest.CaptureFixture[str], *args: str) -> str:
    """The one line on stderr of a command that fails."""
    assert main(args) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_a_taken_port_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = failure(capsys, "serve", "--state", str(tmp_path), "--port", str(port))
    assert f"Another program uses 127.0.0.1:{port}" in line


@pytest.mark.parametrize("host", ["10.0.0.1", "192.168.1.5", "::", "nonsense.example"])
def test_other_machines_may_not_connect(tmp_path: Path, capsys: pytest.CaptureFixture[str], host: str) -> None:
    assert host in failure(capsys, "serve", "--state", str(tmp_path), "--host", host)


def test_a_second_server_on_the_same_folder_is_refused(running: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    assert "Another backend already uses" in failure(capsys, "serve", "--state", str(running.state))


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("x")
    assert "cannot be used" in failure(capsys, "serve", "--state", str(tmp_path / "file"))


def test_damaged_job_records_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "journal.sqlite3").write_bytes(b"no database at all, but long enough" * 100)
    assert "journal.sqlite3 cannot be used" in failure(capsys, "serve", "--state", str(tmp_path))


def test_status_without_a_backend_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "No backend is running" in failure(capsys, "status", "--state", str(tmp_path))


def test_status_tells_what_works(running: Backend, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["status", "--connection-file", str(running.connection_file)]) == 0
    text = capsys.readouterr().out
    assert f"protocol {m.PROTOCOL[0]}.{m.PROTOCOL[1]}" in text
    assert "numba" in text
    assert "preview" in text


def test_jobs_are_listed_while_a_backend_runs(
    running: Backend, short_clip: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    info = conditioning(running.client(), short_clip)
    assert main(["jobs", "--state", str(running.state)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any(info.job_id in line and "render" in line and "done" in line for line in lines)


def test_stop_ends_the_backend(backend: Backend) -> None:
    backend.start()
    assert main(["stop", "--state", str(backend.state)]) == 0
    assert backend.process is not None
    assert backend.process.wait(10) == 0
    assert not backend.connection_file.exists()


def test_an_idle_backend_ends_by_itself_and_a_busy_one_does_not(backend: Backend, rendered: m.JobInfo) -> None:
    client = backend.start("--exit-when-idle", "1").client()
    assert backend.process is not None
    job = client.submit(m.Generate(rendered.artifact))
    client.close()
    assert backend.process.wait(60) == 0
    assert f"job {job.job_id}: done" in backend.log()


def test_ctrl_c_is_a_clean_end(backend: Backend) -> None:
    import signal

    backend.start()
    assert backend.process is not None
    start = time.monotonic()
    backend.process.send_signal(signal.SIGINT)
    assert backend.process.wait(10) == 0
    assert time.monotonic() - start < 5.0


@pytest.mark.parametrize(
    ("path", "kind"),
    [("/home/a/x", "ext4"), ("/mnt/farm/x", "nfs4"), ("/mnt/farmer", "ext4"), ("/mnt/with space/x", "cifs")],
)
def test_network_file_systems_are_told_from_local_ones(path: str, kind: str) -> None:
    mounts = "/dev/a / ext4 rw 0 0\nsrv:/e /mnt/farm nfs4 rw 0 0\n//s/x /mnt/with\\040space cifs rw 0 0\n"
    assert _mount_type(mounts, path) == kind
