# SPDX-License-Identifier: Apache-2.0
"""Jobs through a real server and a real worker."""

from __future__ import annotations

import hashlib
import json
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest
from conftest import Backend, conditioning, named, reconstruct, shot, wait

from backend.journal import Journal
from shared_protocol import messages as m
from shared_protocol.client import Client, new_job_id
from shared_protocol.errors import (
    BAD_INPUT,
    BAD_MESSAGE,
    EMPTY_VIEW,
    NOT_A_CLIP,
    NOT_FOUND,
    SIZE_MISMATCH,
    Ex4dError,
)
from shared_protocol.messages import CANCELLED, DONE, FAILED, QUEUED


def code_of(call: object, *args: object) -> str:
    with pytest.raises(Ex4dError) as caught:
        call(*args)  # type: ignore[operator]
    return caught.value.code


def test_the_three_steps_make_their_files_and_tell_each_of_them(client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    render, files = wait(client, client.submit(shot(client, scene)))
    assert render.state == DONE
    assert {f"colour/{i:04d}.png" for i in range(1, 5)} <= {f.file.name for f in files}
    take, files = wait(client, client.submit(m.Generate(render.artifact)))
    assert take.state == DONE
    assert {f.file.name for f in files} == {*(f"frames/{i:04d}.png" for i in range(1, 5)), "take.json"}
    for file in files:
        data = client.fetch(take.artifact, file.file.name)
        assert hashlib.sha256(data).hexdigest() == file.file.sha256
        assert len(data) == file.file.size
    listed = client.files(take.artifact)
    assert listed.complete
    assert set(listed.files) == {f.file for f in files}
    coverage = json.loads(client.fetch(render.artifact, "coverage.json"))["coverage"]
    assert len(coverage) == 4
    assert all(0.0 < share <= 1.0 for share in coverage)


def test_the_clip_keeps_the_artists_name_and_inputs_are_recorded(client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    assert json.loads(client.fetch(scene.artifact, "scene.json"))["name"] == "shot"
    take, _ = wait(client, client.submit(m.Generate(conditioning(client, short_clip).artifact)))
    inputs = json.loads(client.fetch(take.artifact, "take.json"))["scene"]["inputs"]
    assert [i["name"] for i in inputs] == [p.name for p in short_clip]


def test_a_request_sent_a_hundred_times_is_one_job(running: Backend, client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    job, job_id = shot(client, scene, step=0.02), new_job_id()
    answers = [client.submit(job, job_id) for _ in range(100)]
    assert {a.job_id for a in answers} == {job_id}
    wait(client, answers[0])
    assert running.log().count(f"job {job_id}: render") == 1


def test_two_jobs_for_the_same_files_are_one_run(running: Backend, client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    job = shot(client, scene, step=0.03)
    first, second = client.submit(job), client.submit(job)
    assert first.job_id != second.job_id
    assert first.artifact == second.artifact
    assert wait(client, first)[0].state == wait(client, second)[0].state == DONE
    before = {p: p.stat().st_ino for p in (running.state / "artifacts" / first.artifact).rglob("*.png")}
    third = client.submit(job)
    assert third.state == DONE
    assert {p: p.stat().st_ino for p in before} == before


def test_a_finished_job_can_be_followed_again(client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    info, files = wait(client, scene)
    assert info.state == DONE
    assert {f.file for f in files} == set(client.files(scene.artifact).files)


def test_files_that_someone_deleted_are_made_again(running: Backend, client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    folder = running.state / "artifacts" / scene.artifact
    kept = (folder / "source" / "0001.png").stat()
    (folder / "mesh" / "0002.exr").unlink()
    (folder / "source" / "0003.png").write_bytes(b"half")
    again = reconstruct(client, short_clip)
    assert again.artifact == scene.artifact
    assert (folder / "source" / "0001.png").stat() == kept
    for file in client.files(again.artifact).files:
        client.fetch(again.artifact, file.name)


def test_a_cancelled_job_stops_between_frames_and_can_be_asked_for_again(backend: Backend, rendered: m.JobInfo) -> None:
    client = backend.start().client()
    info = named(client, client.submit(m.Generate(rendered.artifact)))
    client.watch(info.job_id)
    files, states = 0, [info.state]
    while states[-1] not in m.FINISHED:
        for news in client.poll(1.0):
            if isinstance(news, m.JobInfo):
                states.append(news.state)
                continue
            files += 1
            if files == 1:
                assert client.cancel(info.job_id).state == CANCELLED
    assert states[-1] == CANCELLED
    assert 0 < files < 41
    assert not client.files(info.artifact).complete
    again, told = wait(client, client.submit(m.Generate(rendered.artifact)))
    assert again.state == DONE
    assert again.artifact == info.artifact
    assert len(told) == 41


def test_a_queued_job_can_be_cancelled(backend: Backend, rendered: m.JobInfo) -> None:
    client = backend.start().client()
    first = client.submit(m.Generate(rendered.artifact))
    second = client.submit(m.Generate(rendered.artifact, seed=3))
    assert second.state == QUEUED
    assert client.cancel(second.job_id).state == CANCELLED
    assert wait(client, first)[0].state == DONE


def test_a_clip_that_is_none_fails_with_the_artists_file_name(client: Client, tmp_path: Path) -> None:
    path = tmp_path / "Mein Lied.mp4"
    path.write_bytes(b"ID3" + bytes(5000))
    info, _ = wait(client, client.submit(m.Reconstruct((client.upload(path),))))
    assert info.state == FAILED
    assert info.error is not None
    assert info.error.code == NOT_A_CLIP
    assert "Mein Lied.mp4" in info.error.message
    assert "/" not in info.error.message
    assert "\n" not in info.error.message


def test_depth_of_another_size_fails_by_name(client: Client, short_clip: list[Path], tmp_path: Path) -> None:
    import numpy as np

    path = tmp_path / "depth.npz"
    np.savez(path, depth=np.ones((4, 20, 30), np.float32))
    clip = tuple(client.upload(p) for p in short_clip)
    info, _ = wait(client, client.submit(m.Reconstruct(clip, (client.upload(path),), fps=(24, 1))))
    assert info.error is not None
    assert info.error.code == SIZE_MISMATCH


def test_inputs_that_are_not_there_are_refused_at_once(client: Client, short_clip: list[Path]) -> None:
    unknown = m.Asset("12" * 32, 10, "x.mp4")
    assert code_of(client.submit, m.Reconstruct((unknown,))) == NOT_FOUND
    assert code_of(client.submit, m.Reconstruct((m.Asset("12" * 32, 10, "x.mp3"),))) == NOT_A_CLIP
    assert code_of(client.submit, m.Generate("ab" * 32)) == NOT_FOUND
    scene = reconstruct(client, short_clip)
    assert code_of(client.submit, m.Generate(scene.artifact)) == BAD_INPUT
    assert code_of(client.job, "ab" * 16) == NOT_FOUND
    assert code_of(client.files, "ab" * 32) == NOT_FOUND


@pytest.mark.parametrize(
    "name", ["../../journal.sqlite3", "/etc/passwd", "..", "frames/../../x", "C:\\x", "frames\\0001.png"]
)
def test_paths_stay_inside_the_artifact(client: Client, short_clip: list[Path], name: str) -> None:
    scene = reconstruct(client, short_clip)
    assert code_of(client.fetch, scene.artifact, name) == BAD_MESSAGE
    assert code_of(client.fetch, "../" + scene.artifact, "scene.json") == BAD_MESSAGE


def test_files_that_no_journal_lists_are_not_served(running: Backend, client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    folder = running.state / "artifacts" / scene.artifact
    (folder / "stray.png").write_bytes(b"x")
    (folder / "link.png").symlink_to("/etc/passwd")
    assert code_of(client.fetch, scene.artifact, "stray.png") == NOT_FOUND
    assert code_of(client.fetch, scene.artifact, "link.png") == NOT_FOUND


def test_uploads_resume_and_are_checked(running: Backend, client: Client, tmp_path: Path) -> None:
    path = tmp_path / "big.mp4"
    path.write_bytes(bytes(range(256)) * 4096 * 3)

    class StopHereError(Exception):
        pass

    def stop(done: int, total: int) -> None:
        if done >= 1 << 20:
            raise StopHereError

    with pytest.raises(StopHereError):
        client.upload(path, stop)
    seen: list[int] = []
    asset = running.client().upload(path, lambda done, total: seen.append(done))
    assert seen == [1 << 20, 2 << 20, 3 << 20]
    assert (running.state / "assets" / asset.sha256).read_bytes() == path.read_bytes()
    seen.clear()
    client.upload(path, lambda done, total: seen.append(done))
    assert seen == [3 << 20]

    forged = m.Asset("34" * 32, 10, "x.mp4")
    assert code_of(client.request, m.AssetChunk(forged, 0), b"0123456789") == BAD_INPUT
    assert code_of(client.request, m.AssetChunk(forged, 0), b"0123456789ab") == BAD_INPUT
    reply, _ = client.request(m.AssetQuery(forged))
    assert reply == m.AssetState(forged.sha256, 0)


def test_a_camera_that_sees_nothing_fails_by_name(client: Client, short_clip: list[Path]) -> None:
    job = shot(client, reconstruct(client, short_clip))
    behind = (-1.0, 0, 0, 0, 0, 1.0, 0, 0, 0, 0, -1.0, -500.0, 0, 0, 0, 1.0)
    cameras = tuple(replace(c, world_from_camera=behind) for c in job.cameras)
    info, _ = wait(client, client.submit(replace(job, cameras=cameras)))
    assert info.state == FAILED
    assert info.error is not None
    assert info.error.code == EMPTY_VIEW


def test_an_unknown_generator_fails_by_name(client: Client, short_clip: list[Path]) -> None:
    made = conditioning(client, short_clip)
    info, _ = wait(client, client.submit(m.Generate(made.artifact, generator="nonsense")))
    assert info.error is not None
    assert info.error.code == BAD_INPUT
    assert "nonsense" in info.error.message


def test_files_that_cannot_be_uploaded_are_named(client: Client, tmp_path: Path) -> None:
    assert code_of(client.upload, tmp_path / "missing.mp4") == NOT_FOUND
    assert code_of(client.upload, tmp_path) == NOT_FOUND
    (tmp_path / "empty.mp4").touch()
    assert code_of(client.upload, tmp_path / "empty.mp4") == BAD_INPUT


def test_steps_may_be_queued_before_the_earlier_ones_are_finished(client: Client, short_clip: list[Path]) -> None:
    scene = reconstruct(client, short_clip)
    render = client.submit(shot(client, scene, step=0.04))
    take = client.submit(m.Generate(render.artifact))
    assert wait(client, take)[0].state == DONE
    assert client.job(render.job_id).state == DONE


def test_a_step_whose_earlier_one_was_cancelled_fails_by_name(backend: Backend, rendered: m.JobInfo) -> None:
    client = backend.start().client()
    busy = client.submit(m.Generate(rendered.artifact))
    with closing(Journal(backend.state / "journal.sqlite3", read_only=True)) as journal:
        known = journal.artifact(rendered.artifact)
    assert known is not None
    render = client.submit(replace(known[1], width=80))
    take = client.submit(m.Generate(render.artifact))
    client.cancel(render.job_id)
    failed, _ = wait(client, take)
    assert failed.state == FAILED
    assert failed.error is not None
    assert failed.error.code == NOT_FOUND
    assert wait(client, busy)[0].state == DONE
