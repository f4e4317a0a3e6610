# SPDX-License-Identifier: Apache-2.0
"""Arrays of a clip that lie in files: their place, their end, and what they leave of main memory."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ex4d.on_disk import disk_array, forget, streamed, sweep, workspace
from shared_protocol.errors import DISK, Ex4dError


def test_a_workspace_is_gone_at_the_end_whatever_happens(tmp_path: Path) -> None:
    parent = tmp_path / "not" / "there"

    def work() -> None:
        with workspace(parent) as folder:
            assert folder.parent == parent
            disk_array(folder, "a", (2, 3), np.float32)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert list(parent.iterdir()) == []


def test_what_a_killed_process_left_is_swept_and_what_another_uses_is_not(tmp_path: Path) -> None:
    work = (
        "import sys, time; from pathlib import Path; from ex4d.on_disk import workspace\n"
        "with workspace(Path(sys.argv[1])) as folder:\n"
        "    (folder / 'depth').write_bytes(b'x'); print(folder, flush=True); time.sleep(60)"
    )
    other = subprocess.Popen([sys.executable, "-c", work, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    try:
        assert other.stdout is not None
        folder = Path(other.stdout.readline().strip())
        with workspace(tmp_path):
            assert (folder / "depth").exists()
    finally:
        other.kill()
        other.communicate()
    assert (folder / "depth").exists()
    sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_array_holds_its_values_and_grows_in_its_file(tmp_path: Path) -> None:
    array = disk_array(tmp_path, "a", (2, 3), np.int32)
    array[:] = [[1, 2, 3], [4, 5, 6]]
    more = disk_array(tmp_path, "a", (4, 3), np.int32, extend=True)
    assert more.tolist() == [[1, 2, 3], [4, 5, 6], [0, 0, 0], [0, 0, 0]]
    new = disk_array(tmp_path, "a", (2, 3), np.int32)
    assert not new.any()
    assert array[1, 2] == 6, "what was there before keeps its values"
    assert disk_array(tmp_path, "b", (0, 3), np.int32).shape == (0, 3)


def test_forgetting_loses_nothing_and_gives_memory_back(tmp_path: Path) -> None:
    array = disk_array(tmp_path, "a", (64, 1 << 20), np.uint8)
    array[:] = 7
    held = _mapped_memory()
    forget(array, np.ones(3), None)
    assert held - _mapped_memory() > 60 << 20
    assert (array == 7).all()


def test_frames_come_one_by_one_and_are_let_go_of(tmp_path: Path) -> None:
    array = disk_array(tmp_path, "a", (64, 1 << 20), np.uint8)
    before, most = _mapped_memory(), 0
    for index, frame in enumerate(streamed(array)):
        frame[:] = index
        most = max(most, _mapped_memory())
    assert most - before < 32 << 20
    assert array[:, 5].tolist() == list(range(64))


def _mapped_memory() -> int:
    """Bytes of files that this process holds in memory."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("RssFile"))


def test_a_disk_without_room_is_told_with_both_numbers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Ex4dError, match=r"GiB are needed in .* GiB are free") as caught:
        disk_array(tmp_path, "a", (1 << 50,), np.uint8)
    assert caught.value.code == DISK

    def full(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Ex4dError, match="No space left") as caught:
        disk_array(tmp_path, "a", (10,), np.uint8)
    assert caught.value.code == DISK
    assert list(tmp_path.iterdir()) == []


def test_file_systems_that_cannot_reserve_are_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(handle: int, offset: int, size: int) -> None:
        raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))

    monkeypatch.setattr(os, "posix_fallocate", unknown)
    array = disk_array(tmp_path, "a", (3, 1000), np.float64)
    array[:] = 1.5
    assert (tmp_path / "a").stat().st_blocks * 512 >= array.nbytes
    assert (disk_array(tmp_path, "a", (4, 1000), np.float64, extend=True)[:3] == 1.5).all()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Ex4dError, match="file") as caught, workspace(tmp_path / "file" / "below"):
        pass
    assert caught.value.code == DISK
