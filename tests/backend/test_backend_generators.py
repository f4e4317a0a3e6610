# SPDX-License-Identifier: Apache-2.0
"""Generators with weights and options: what is told of them, what their takes are called, how they go on."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from conftest import Backend, is_alive, kill, named, until, wait

from backend.journal import Journal
from blender_addon.core import events as ev
from blender_addon.core.session import Session
from shared_protocol import connection as connections
from shared_protocol import messages as m
from shared_protocol.client import Client, new_job_id
from shared_protocol.codec import decode, encode
from shared_protocol.errors import BAD_INPUT, BAD_MESSAGE, NOT_FOUND, UNAVAILABLE, Ex4dError
from shared_protocol.limits import MAX_GLIMPSE
from shared_protocol.link import Link

HERE = Path(__file__).parent


@dataclass
class Room:
    """A backend that has the generator of `another_generator`, and the folder that rules it."""

    backend: Backend
    folder: Path
    shot: m.JobInfo  # a rendered one, of 40 frames

    def job(self, *options: tuple[str, m.OptionValue], seed: int = 0) -> m.Generate:
        return m.Generate(self.shot.artifact, "steps", seed, options)

    def take(self, client: Client, info: m.JobInfo) -> dict[str, object]:
        return json.loads(client.fetch(info.artifact, "take.json"))  # type: ignore[no-any-return]


@pytest.fixture
def room(backend: Backend, rendered: m.JobInfo, tmp_path: Path) -> Iterator[Room]:
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "weights").write_bytes(b"A")
    backend.env = {"PYTHONPATH": str(HERE / "another_generator"), "EX4D_TEST_ROOM": str(folder)}
    yield Room(backend, folder, rendered)
    for name in ("hold", "read"):
        (folder / name).unlink(missing_ok=True)


def held(room: Room, client: Client, job: m.Generate) -> m.JobInfo:
    """A job that holds after its third step."""
    (room.folder / "hold").touch()
    info = client.submit(job)
    until(lambda: client.job(info.job_id).done == 3)
    return client.job(info.job_id)


def refused(call: Callable[[], object]) -> str:
    with pytest.raises(Ex4dError) as caught:
        call()
    return caught.value.code


def test_doors_tell_options_lead_in_and_why_they_are_shut(room: Room) -> None:
    (room.folder / "shut").touch()
    doors = {d.name: d for d in room.backend.start().client().welcome.doors}
    steps = doors["steps"]
    assert (steps.lead_in, steps.available) == (5, False)
    assert steps.reason == "its weights are missing (ex4d models download steps)."
    assert steps.settings == (
        m.SettingInfo("count", "Count", "How many steps.", 6, (), 1.0, 50.0, "Sampling"),
        m.SettingInfo("look", "Look", "How it looks.", "plain", ("plain", "loud")),
    )
    assert doors["preview"].settings == ()


def test_a_shut_generator_and_a_wrong_option_fail_at_once_by_name(room: Room) -> None:
    client = room.backend.start().client()
    busy = held(room, client, room.job())
    for option, text in ((("cuont", 3), "cuont"), (("count", 99), "count"), (("look", "nice"), "nice")):
        info, _ = wait(client, client.submit(room.job(option)))
        assert info.error is not None
        assert (info.state, info.error.code) == (m.FAILED, BAD_INPUT)
        assert text in info.error.message
    (room.folder / "shut").touch()
    info, _ = wait(client, client.submit(room.job(seed=1)))
    assert info.error is not None
    assert info.error.code == UNAVAILABLE
    assert "ex4d models download steps" in info.error.hint
    assert client.job(busy.job_id).state == m.RUNNING, "none of them waited for its turn"


def test_other_weights_never_answer_from_the_store(room: Room) -> None:
    client = room.backend.start().client()
    first, files = wait(client, client.submit(room.job()))
    assert first.state == m.DONE
    stamp = (room.backend.state / "artifacts" / first.artifact / "frames" / "0001.png").stat()

    again, told = wait(client, client.submit(room.job(("count", 6), ("look", "plain"))))
    assert again.artifact == first.artifact, "what is asked for is the default"
    assert [t.file for t in told] == [f.file for f in files]
    assert (room.backend.state / "artifacts" / first.artifact / "frames" / "0001.png").stat() == stamp

    assert wait(client, client.submit(room.job(("look", "loud"))))[0].artifact != first.artifact
    (room.folder / "weights").write_bytes(b"B")
    other, _ = wait(client, client.submit(room.job()))
    assert (other.state, other.artifact != first.artifact) == (m.DONE, True)
    assert client.fetch(other.artifact, "frames/0001.png") != client.fetch(first.artifact, "frames/0001.png")
    (room.folder / "weights").write_bytes(b"A")
    assert wait(client, client.submit(room.job()))[0].artifact == first.artifact


def test_who_follows_a_job_hears_its_artifact_before_its_files(room: Room) -> None:
    client = room.backend.start().client()
    first, _ = wait(client, client.submit(room.job()))
    (room.folder / "read").touch()
    info = client.submit(room.job())
    assert (info.state, info.artifact) == (m.QUEUED, "")
    assert client.watch(info.job_id).artifact == ""
    (room.folder / "read").unlink()
    news: list[m.JobInfo | m.FileReady] = []
    until(lambda: news.extend(client.poll(0.1)) or (news and getattr(news[-1], "state", "") == m.DONE))
    first_file = next(i for i, n in enumerate(news) if isinstance(n, m.FileReady))
    before = news[first_file - 1]
    assert isinstance(before, m.JobInfo)
    assert (before.artifact, before.state) == (first.artifact, m.RUNNING)
    assert sum(isinstance(n, m.FileReady) for n in news) == 41


def test_who_follows_a_job_that_fails_before_its_turn_never_hears_that_it_runs(room: Room) -> None:
    client = room.backend.start().client()
    (room.folder / "read").touch()
    info = client.submit(room.job())
    client.watch(info.job_id)
    (room.folder / "shut").touch()
    other = client.submit(room.job(seed=1))
    client.watch(other.job_id)
    client.cancel(info.job_id)
    (room.folder / "read").unlink()
    news: list[m.JobInfo | m.FileReady] = []
    until(lambda: news.extend(client.poll(0.1)) or sum(getattr(n, "state", "") in m.FINISHED for n in news) == 2)
    assert {n.state for n in news if isinstance(n, m.JobInfo)} <= {m.QUEUED, m.CANCELLED, m.FAILED}


def test_reading_the_weights_holds_up_nobody(room: Room) -> None:
    """Minutes, for a large model: the server answers, and the worker works on other jobs."""
    client = room.backend.start().client()
    (room.folder / "read").touch()
    waiting = client.submit(room.job())
    assert isinstance(client.request(m.Ping())[0], m.Pong)
    with closing(Journal(room.backend.state / "journal.sqlite3", read_only=True)) as journal:
        known = journal.artifact(room.shot.artifact)
    assert known is not None
    other, _ = wait(client, client.submit(replace(known[1], width=64)))
    assert other.state == m.DONE
    assert client.job(waiting.job_id).state == m.QUEUED
    assert client.cancel(waiting.job_id).state == m.CANCELLED
    (room.folder / "read").unlink()
    assert wait(client, client.submit(room.job()))[0].state == m.DONE


def test_a_preview_does_not_wait_for_the_weights_of_another_generator(room: Room) -> None:
    client = room.backend.start().client()
    (room.folder / "read").touch()
    waiting = client.submit(room.job())
    preview, _ = wait(client, client.submit(m.Generate(room.shot.artifact, "preview")))
    assert preview.state == m.DONE
    assert client.job(waiting.job_id).state == m.QUEUED


def test_a_glimpse_that_cannot_be_sent_is_answered_and_costs_the_job_nothing(room: Room, tmp_path: Path) -> None:
    (room.folder / "grey").touch()  # without colours, which is not what a glimpse has to be
    room.backend.start()
    client = room.backend.client()
    info = held(room, client, room.job())
    until(lambda: client.job(info.job_id).glimpse)
    assert refused(lambda: client.glimpse(info.job_id)) == BAD_MESSAGE
    session = Session()
    session.start()
    try:
        session.send(ev.Connect(room.backend.connection_file, 10.0))
        session.send(ev.StartJob(info.job_id, room.job(), tmp_path / "take"))
        news: list[ev.Event] = []
        until(lambda: (event := session.next_event()) is not None and (news.append(event) or len(news) > 2))
        (room.folder / "hold").unlink()
        until(lambda: isinstance(session.next_event(), ev.JobFinished), 30.0)
    finally:
        assert session.close()


def test_an_error_that_names_a_file_with_a_name_that_is_no_unicode_is_told(room: Room) -> None:
    client = room.backend.start().client()
    (room.folder / "weights").unlink()
    (room.folder / "broken").touch()
    info, _ = wait(client, client.submit(room.job()), 10.0)
    assert info.error is not None
    assert info.error.message == "weights?.bin is broken."


def test_weights_that_change_while_a_job_waits_are_noticed(room: Room) -> None:
    client = room.backend.start().client()
    busy = held(room, client, room.job())
    waiting = named(client, client.submit(room.job(seed=1)))
    (room.folder / "weights").write_bytes(b"B")
    (room.folder / "hold").unlink()
    assert wait(client, busy)[0].state == m.DONE
    info, _ = wait(client, waiting)
    assert info.error is not None
    assert "changed while the job waited" in info.error.message


def test_a_running_job_tells_the_time_left_and_shows_how_it_looks(room: Room) -> None:
    client = room.backend.start().client()
    info = held(room, client, room.job())
    assert (info.phase, info.done, info.total) == ("Sampling", 3, 6)
    until(lambda: client.job(info.job_id).glimpse)
    until(lambda: client.job(info.job_id).seconds_left is not None)
    seen = client.glimpse(info.job_id)
    assert seen is not None
    glimpse, rgb = seen
    assert (glimpse.job_id, glimpse.width, glimpse.height) == (info.job_id, MAX_GLIMPSE, MAX_GLIMPSE // 2)
    picture = np.frombuffer(rgb, np.uint8).reshape(glimpse.height, glimpse.width, 3)
    assert tuple(picture[0, 0, 1:]) == (200, 30)
    assert not picture[-1].any(), "the first row is the top"
    twin = client.submit(room.job())
    until(lambda: client.job(twin.job_id).state == m.RUNNING)
    assert client.glimpse(twin.job_id) is not None

    (room.folder / "hold").unlink()
    done, _ = wait(client, info)
    assert (done.state, done.glimpse, done.seconds_left) == (m.DONE, 0, None)
    assert client.glimpse(info.job_id) is None
    assert refused(lambda: client.request(m.GlimpseQuery("ab" * 16))) == NOT_FOUND


def test_a_client_of_an_older_minor_version_is_told_what_it_knows(room: Room) -> None:
    """It never asks for a glimpse, and nothing but what it knows is pushed to it."""
    room.backend.start()
    link = Link(connections.read(room.backend.connection_file), 10.0)
    job_id, known = new_job_id(), set()
    try:
        job = m.Generate(room.shot.artifact, "steps")
        requests = (m.Hello("old", (1, 1)), m.Submit(job_id, job), m.JobQuery(job_id))
        for number, message in enumerate(requests, 1):
            link.send(encode(message, number, protocol=(1, 1)), 5.0)
        state, deadline = "", time.monotonic() + 60.0
        while state != m.DONE and time.monotonic() < deadline:
            parts = link.receive(1.0)
            if parts is None:
                continue
            assert len(parts) == 1
            message = decode(parts).message
            known.add(type(message))
            state = message.state if isinstance(message, m.JobInfo) else state
    finally:
        link.close()
    assert state == m.DONE
    assert known == {m.Welcome, m.JobInfo, m.FileReady}


@pytest.mark.parametrize("victim", ["worker", "server"])
def test_a_job_that_is_killed_between_steps_goes_on_from_the_last_one(room: Room, victim: str) -> None:
    client = room.backend.start().client()
    info = held(room, client, room.job())
    folder = room.backend.state / "artifacts" / info.artifact
    assert (folder / "unfinished" / "state.json").is_file()
    assert client.files(info.artifact).files == ()
    assert refused(lambda: client.fetch(info.artifact, "unfinished/state.json")) == NOT_FOUND
    worker = room.backend.worker_pid()
    if victim == "worker":
        kill(worker)
    else:
        room.backend.kill()
        until(lambda: not is_alive(worker))
    (room.folder / "hold").unlink()
    if victim == "server":
        client = room.backend.start().client()
    done, told = wait(client, info)
    assert (done.state, done.artifact) == (m.DONE, info.artifact)
    assert room.take(client, done)["generator"]["made_with"]["went_on_from_step"] == 3  # type: ignore[index]
    assert not (folder / "unfinished").exists()
    assert not [t for t in told if t.file.name.startswith("unfinished")]


def test_a_cancelled_job_stops_within_its_step_and_goes_on_from_there_when_it_is_asked_for_again(room: Room) -> None:
    client = room.backend.start().client()
    info = held(room, client, room.job())
    assert client.cancel(info.job_id).state == m.CANCELLED
    wait(client, client.submit(room.job(("count", 2))))  # which has its turn when the step was given up
    (room.folder / "hold").unlink()
    done, _ = wait(client, client.submit(room.job()))
    assert done.artifact == info.artifact
    assert room.take(client, done)["generator"]["made_with"]["went_on_from_step"] == 3  # type: ignore[index]


def test_the_extensions_session_brings_glimpses_and_the_take(room: Room, tmp_path: Path) -> None:
    room.backend.start()
    (room.folder / "hold").touch()
    session, events = Session(), []

    def said(kind: type) -> bool:
        while (event := session.next_event()) is not None:
            events.append(event)
        return any(isinstance(event, kind) for event in events)

    session.start()
    try:
        session.send(ev.Connect(room.backend.connection_file, 10.0))
        session.send(ev.StartJob(new_job_id(), room.job(("count", 5)), tmp_path / "take"))
        until(lambda: said(ev.GlimpseArrived))
        (room.folder / "hold").unlink()
        until(lambda: said(ev.JobFinished) or said(ev.JobFailed), 30.0)
    finally:
        assert session.close()
    assert isinstance(events[-1], ev.JobFinished)
    glimpses = [event for event in events if isinstance(event, ev.GlimpseArrived)]
    assert len(glimpses[0].rgb) == glimpses[0].width * glimpses[0].height * 3
    assert len(list((tmp_path / "take" / "frames").iterdir())) == 40
