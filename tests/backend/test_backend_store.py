# SPDX-License-Identifier: Apache-2.0
"""Journal, store and ids without a server."""

from __future__ import annotations

import hashlib
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from backend.ids import artifact_id, suffix_of
from backend.journal import Journal
from backend.state_folder import StateFolder
from backend.store import Artifacts, Assets
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, DISK, UNSUPPORTED, Ex4dError

CLIP = m.Asset("ab" * 32, 10, "a.mp4")
CAMERA = m.Asset("ef" * 32, 10, "camera.json")
JOB = m.Reconstruct((CLIP,))
DATA = b"0123456789"
GOOD = m.Asset(hashlib.sha256(DATA).hexdigest(), len(DATA), "x.png")


def test_an_artifact_depends_on_contents_and_parameters_and_not_on_names() -> None:
    renamed = m.Reconstruct((replace(CLIP, name="B.MP4"),))
    assert artifact_id(JOB) == artifact_id(renamed)
    others = [
        m.Reconstruct((replace(CLIP, sha256="cd" * 32),)),
        m.Reconstruct((replace(CLIP, name="a.mov"),)),
        m.Reconstruct((CLIP, CLIP)),
        m.Reconstruct((CLIP,), depth=(replace(CLIP, name="d.npz"),)),
        m.Reconstruct((CLIP,), first=1),
        m.Reconstruct((CLIP,), max_side=64),
        m.Reconstruct((CLIP,), source_camera=CAMERA),
        m.Reconstruct((CLIP,), source_camera=replace(CAMERA, sha256="cd" * 32)),
        m.Reconstruct((CLIP,), source_camera=replace(CAMERA, name="a.npz")),
    ]
    assert len({artifact_id(j) for j in [JOB, *others]}) == 10
    named = m.Reconstruct((CLIP,), source_camera=replace(CAMERA, name="shot camera.JSON"))
    assert artifact_id(named) == artifact_id(others[-3])


def test_a_renderings_seed_counts_only_where_there_is_a_lead_in() -> None:
    pose = tuple(float(i % 5 == 0) for i in range(16))
    camera = m.CameraSample(pose, 5.0, 5.0, 2.0, 1.5, 0, 5.0, 2.0, 1.5, 1.0, 0.0)
    plain = m.Render("ef" * 32, 4, 3, (24, 1), (camera,))
    assert artifact_id(replace(plain, seed=3)) == artifact_id(plain)
    others = [
        replace(plain, geometry="bounded"),
        replace(plain, persist=True),
        replace(plain, lead_in=4),
        replace(plain, lead_in=4, seed=3),
    ]
    assert len({artifact_id(j) for j in [plain, *others]}) == 5


def test_an_artifact_depends_on_the_algorithms_version(monkeypatch: pytest.MonkeyPatch) -> None:
    before = artifact_id(JOB)
    monkeypatch.setattr("backend.ids.ALGORITHMS", {"reconstruct": {"clip": 99}})
    assert artifact_id(JOB) != before


@pytest.mark.parametrize("name", ["a", "a.mp4.exe", "a.sh", ".png", "../a.py", "a.mp3"])
def test_files_that_no_reader_knows_are_refused_by_name(name: str) -> None:
    with pytest.raises(Ex4dError, match="neither a movie nor a picture"):
        suffix_of(replace(CLIP, name=name))


@pytest.mark.parametrize("name", ["camera", "camera.fbx", "a.mp4", ".json"])
def test_source_cameras_that_no_reader_knows_are_refused_by_name(name: str) -> None:
    with pytest.raises(Ex4dError, match="not a camera path") as caught:
        artifact_id(m.Reconstruct((CLIP,), source_camera=replace(CAMERA, name=name)))
    assert caught.value.code == BAD_INPUT


def test_the_journal_keeps_jobs_and_files_in_order(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite3")
    for number in range(3):
        journal.add(f"{number:032x}", "ab" * 32, "reconstruct", JOB, m.QUEUED)
    files = [m.FileInfo(f"mesh/{n:04d}.exr", n, "ef" * 32) for n in range(5)]
    for file in files:
        journal.add_file("ab" * 32, file)
    info = journal.job(f"{1:032x}")
    assert info is not None
    journal.update(replace(info, state=m.FAILED, error=m.Failure("DISK", "full", "")))
    journal.close()
    again = Journal(tmp_path / "j.sqlite3")
    assert [f for _, f in again.files("ab" * 32)] == files
    assert [j.job_id for j in again.unfinished()] == [f"{n:032x}" for n in (0, 2)]
    failed = again.job(f"{1:032x}")
    assert failed is not None
    assert failed.error == m.Failure("DISK", "full", "")
    assert again.artifact("ab" * 32) == ("reconstruct", JOB, False)
    again.close()


def test_a_file_that_is_made_again_comes_after_the_position_a_watcher_knows(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite3")
    journal.add("0" * 32, "ab" * 32, "reconstruct", JOB, m.QUEUED)
    for name in ("a.png", "b.png", "a.png"):
        journal.add_file("ab" * 32, m.FileInfo(name, 1, "ef" * 32))
    assert [f.name for _, f in journal.files("ab" * 32)] == ["b.png", "a.png"]
    assert [f.name for _, f in journal.files("ab" * 32, after=2)] == ["a.png"]
    journal.close()


def test_deaths_are_counted_and_interrupted_jobs_queue_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite3")
    journal.add("0" * 32, "ab" * 32, "reconstruct", JOB, m.RUNNING)
    assert journal.interrupt_running() == 1
    assert journal.interrupt_running() == 0
    assert [journal.count_death("0" * 32) for _ in range(3)] == [1, 2, 3]
    assert journal.count_death("f" * 32) == 0
    journal.close()


def test_records_of_a_newer_release_are_left_alone(tmp_path: Path) -> None:
    Journal(tmp_path / "j.sqlite3").close()
    db = sqlite3.connect(tmp_path / "j.sqlite3")
    db.execute("PRAGMA user_version=99")
    db.close()
    with pytest.raises(Ex4dError) as caught:
        Journal(tmp_path / "j.sqlite3")
    assert caught.value.code == UNSUPPORTED


def test_an_asset_is_whole_when_its_hash_fits(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    assert assets.received(GOOD) == 0
    assert assets.append(GOOD, 0, DATA[:4]) == 4
    assert assets.append(GOOD, 0, DATA) == 4  # for another place: nothing changes
    assert assets.append(GOOD, 4, DATA[4:]) == 10
    assert not assets.whole(GOOD)
    assets.finish(GOOD)
    assert assets.whole(GOOD)
    assert [p.name for p in tmp_path.iterdir()] == [GOOD.sha256]


def test_a_damaged_upload_is_thrown_away(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    assets.append(GOOD, 0, b"9876543210")
    with pytest.raises(Ex4dError) as caught:
        assets.finish(GOOD)
    assert caught.value.code == BAD_INPUT
    assert assets.received(GOOD) == 0


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_during_an_upload_is_told_and_the_upload_can_be_tried_again(tmp_path: Path) -> None:
    assets = Assets(tmp_path)
    (tmp_path / f"{GOOD.sha256}.part").symlink_to("/dev/full")
    with pytest.raises(Ex4dError) as caught:
        assets.append(GOOD, 0, DATA)
    assert caught.value.code == DISK
    assert "full" in caught.value.message
    assert assets.append(GOOD, 0, DATA) == 10
    assets.finish(GOOD)


def test_an_upload_that_cannot_fit_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(Ex4dError) as caught:
        Assets(tmp_path).received(m.Asset("ab" * 32, 1 << 60, "huge.mov"))
    assert caught.value.code == DISK


def test_a_sweep_removes_what_was_not_recorded(tmp_path: Path) -> None:
    folder = tmp_path / ("ab" * 32) / "frames"
    folder.mkdir(parents=True)
    for name in ("0001.png", "0002.png", ".0002-x.png"):
        (folder / name).write_bytes(b"x")
    Artifacts(tmp_path).sweep("ab" * 32, frozenset({"frames/0001.png"}))
    assert [p.name for p in folder.iterdir()] == ["0001.png"]


def test_a_state_folder_has_one_owner_and_is_free_again_afterwards(tmp_path: Path) -> None:
    first = StateFolder(tmp_path / "s")
    (first.temp / "left").write_text("x")
    with pytest.raises(Ex4dError, match="Another backend"):
        StateFolder(tmp_path / "s")
    assert (first.temp / "left").exists(), "the second one tidied up in the first one's folder"
    first.close()
    second = StateFolder(tmp_path / "s")
    assert not (second.temp / "left").exists()
    second.close()


def test_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("backend.state_folder._file_system", lambda _: "nfs4")
    with pytest.raises(Ex4dError, match="network file system"):
        StateFolder(tmp_path / "s")


@pytest.mark.parametrize("name", ["..", "../x", "/etc/passwd", "", "AB" * 32, "ab" * 32 + "/.."])
def test_the_store_itself_keeps_every_path_inside(tmp_path: Path, name: str) -> None:
    artifacts = Artifacts(tmp_path)
    inside = m.FileInfo("frames/0001.png", 1, "ab" * 32)
    for use in (
        lambda: Assets(tmp_path).path(name),
        lambda: artifacts.folder(name),
        lambda: artifacts.read(name, inside, 0, 1),
        lambda: artifacts.read("ab" * 32, replace(inside, name=f"../{name}"), 0, 1),
    ):
        with pytest.raises(Ex4dError) as refused:
            use()
        assert refused.value.code == BAD_INPUT
