# SPDX-License-Identifier: Apache-2.0
"""sha256 of model files: made once, kept beside them, made again when the file changed."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest

from ex4d.models import verify
from ex4d.models.record import KnownFile, Record
from ex4d.models.registry import model_spec
from ex4d.models.verify import check, fingerprint, fingerprints, measure
from shared_protocol.errors import NOT_FOUND, Ex4dError


@pytest.fixture(autouse=True)
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's caches, empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "caches"))
    return tmp_path / "caches"


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Every file that is read to be summed."""
    done: list[Path] = []
    read = verify.read_sha256

    def counted(path: Path, progress: verify.Progress = lambda more: None) -> str:
        done.append(path)
        return read(path, progress)

    monkeypatch.setattr(verify, "read_sha256", counted)
    return done


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def weights(folder: Path, data: bytes = b"weights") -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / "model.safetensors"
    path.write_bytes(data)
    return path


def test_a_file_is_read_once_until_it_changes(tmp_path: Path, reads: list[Path]) -> None:
    file = weights(tmp_path / "models")
    assert fingerprint(file) == fingerprint(file) == sha256(b"weights")
    assert reads == [file]
    weights(tmp_path / "models", b"others!")
    os.utime(file, ns=(1, file.stat().st_mtime_ns + 1))
    assert fingerprint(file) == sha256(b"others!")
    weights(tmp_path / "models", b"longer than before")
    assert fingerprints({"transformer": file}) == {"transformer": sha256(b"longer than before")}
    assert len(reads) == 3


def test_a_sum_that_is_asked_for_anew_is_not_taken_from_what_was_kept(tmp_path: Path) -> None:
    file = weights(tmp_path / "models")
    before = file.stat().st_mtime_ns
    assert fingerprint(file) == sha256(b"weights")
    file.write_bytes(b"damaged")
    os.utime(file, ns=(before, before))
    assert fingerprint(file) == sha256(b"weights")
    assert measure(file) == sha256(b"damaged")
    assert fingerprint(file) == sha256(b"damaged")


def test_where_the_folder_cannot_be_written_the_users_caches_keep_the_sum(
    tmp_path: Path, caches: Path, reads: list[Path]
) -> None:
    file = weights(tmp_path / "models")
    (file.parent / ".ex4d-sha256.json").mkdir()  # so that no file of that name can be made, by root neither
    assert fingerprint(file) == fingerprint(file)
    assert reads == [file]
    assert str(file) in (caches / "ex4d" / "sha256.json").read_text()


def test_what_was_kept_and_is_broken_is_made_again(tmp_path: Path, reads: list[Path]) -> None:
    file = weights(tmp_path / "models")
    for broken in ("{", "[]", '{"model.safetensors": 3}', '{"model.safetensors": {"size": 7}}'):
        (file.parent / ".ex4d-sha256.json").write_text(broken)
        assert fingerprint(file) == sha256(b"weights")
    assert len(reads) == 4


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError, match=r"gone\.safetensors") as gone:
        fingerprint(tmp_path / "gone.safetensors")
    assert gone.value.code == NOT_FOUND


def test_every_kind_of_damage_is_told(tmp_path: Path) -> None:
    spec = model_spec("ex4d")
    for name in ("whole.bin", "other.bin", "short.bin"):
        (tmp_path / name).write_bytes(b"weights")
    known = KnownFile(7, sha256(b"weights"))
    files = {
        "whole.bin": known,
        "other.bin": KnownFile(7, sha256(b"WEIGHTS")),
        "short.bin": KnownFile(70, known.sha256),
        "gone.bin": known,
        "ex4d.ckpt": known,
    }
    read: list[int] = []
    record = Record(spec.repository, "main", True, files)
    found = {item.path: item.what for item in check(spec, tmp_path, record, read.append)}
    assert set(found) == {"other.bin", "short.bin", "gone.bin", "ex4d.ckpt"}
    assert "sha256" in found["other.bin"]
    assert "7 bytes instead of 70" in found["short.bin"]
    assert found["gone.bin"] == "is missing"
    assert sum(read) == 14
    (tmp_path / "ex4d.safetensors").write_bytes(b"tensors")
    assert "ex4d.ckpt" not in {item.path for item in check(spec, tmp_path, record)}


def test_files_that_were_never_read_are_told_in_percent_and_can_be_stopped(tmp_path: Path) -> None:
    files = {}
    for number in range(4):
        files[str(number)] = tmp_path / f"{number}.safetensors"
        files[str(number)].write_bytes(bytes([number]) * 1000)
    fingerprint(files["0"])
    told: list[int] = []
    sums = fingerprints(files, told.append)
    assert sums.keys() == files.keys()
    assert told == [33, 66, 100]
    assert fingerprints(files, told.append) == sums
    assert len(told) == 3  # by now all are known

    def stop(percent: int) -> None:
        raise KeyboardInterrupt

    files["0"].write_bytes(b"longer than before" * 100)
    with pytest.raises(KeyboardInterrupt):
        fingerprints(files, stop)
