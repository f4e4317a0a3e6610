# SPDX-License-Identifier: Apache-2.0
"""Reconstructions whose depth a network estimates: what they are called, what is kept of them, what goes wrong."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgpack
import pytest
from conftest import Backend, is_alive, kill, shot, until, wait

from shared_protocol import connection as connections
from shared_protocol import messages as m
from shared_protocol.client import Client, new_job_id
from shared_protocol.codec import decode, encode
from shared_protocol.errors import BAD_INPUT, INTERNAL, LIMIT, UNAVAILABLE
from shared_protocol.link import Link

HERE = Path(__file__).parent


@dataclass
class Room:
    """A backend that has the estimator of `another_estimator`, and the folder that rules it."""

    backend: Backend
    folder: Path
    clip: list[Path]

    def job(self, client: Client, **settings: Any) -> m.Reconstruct:
        return m.Reconstruct(tuple(client.upload(path) for path in self.clip), fps=(24, 1), **settings)

    def made(self, client: Client, **settings: Any) -> m.JobInfo:
        info, _ = wait(client, client.submit(self.job(client, **settings)))
        assert info.state == m.DONE, info
        return info

    def scene(self, client: Client, info: m.JobInfo) -> dict[str, Any]:
        return json.loads(client.fetch(info.artifact, "scene.json"))  # type: ignore[no-any-return]

    @property
    def runs(self) -> int:
        """How often the network ran."""
        return len((self.folder / "runs").read_bytes())


@pytest.fixture
def room(backend: Backend, short_clip: list[Path], tmp_path: Path) -> Iterator[Room]:
    folder = tmp_path / "room"
    folder.mkdir()
    (folder / "weights").write_bytes(b"A")
    (folder / "runs").touch()
    backend.env = {"PYTHONPATH": str(HERE / "another_estimator"), "EX4D_TEST_ROOM": str(folder)}
    yield Room(backend, folder, short_clip)
    (folder / "hold").unlink(missing_ok=True)


def test_the_door_says_what_the_estimator_is(room: Room) -> None:
    (room.folder / "shut").touch()
    door = next(d for d in room.backend.start().client().welcome.doors if d.name == "video-depth-anything")
    assert (door.gives, door.steady, door.size, door.available) == ("disparity", True, 1000, False)
    assert door.reason == "its weights are missing (ex4d models download slope)."
    names = [setting.name for setting in door.settings]
    assert names[:2] == ["resolution", "commercial"]
    assert {"steady", "edges", "sky"} <= set(names)


def test_the_scene_and_the_take_tell_where_the_depth_comes_from(room: Room) -> None:
    client = room.backend.start().client()
    info = room.made(client)
    scene = room.scene(client, info)
    assert 0.0 < scene["near"] < scene["far_depth"] <= scene["far"]
    assert scene["metric"] is False
    assert (scene["estimator"], scene["focal"]) == ("video-depth-anything", 40.0)
    told = {"model": "slope", "licence": "Apache-2.0", "commercial_use": True}
    assert told.items() <= scene["provenance"]["depth"].items()
    assert "made by a slope" in scene["notes"]
    assert any("the best that can be used here" in note for note in scene["notes"])
    previews = [f.name for f in client.files(info.artifact).files if f.name.startswith("depth_preview/")]
    assert sorted(previews) == [f"depth_preview/{n:04d}.png" for n in (1, 2, 3, 4)]
    rendered, _ = wait(client, client.submit(shot(client, info)))
    take, _ = wait(client, client.submit(m.Generate(rendered.artifact)))
    assert told.items() <= json.loads(client.fetch(take.artifact, "take.json"))["depth"].items()


def test_the_same_clip_and_settings_never_run_the_network_twice(room: Room) -> None:
    client = room.backend.start().client()
    first = room.made(client)
    again = room.made(client, estimator="video-depth-anything", depth_options=(("resolution", 518),))
    assert (again.artifact, room.runs) == (first.artifact, 1), "the same in other words"
    others = (
        {"depth_options": (("edges", "on"), ("sky", "off"))},
        {"lens": (35.0, 36.0)},
        {"focal": 77.0},
        {"measures": (m.Measure(0, 4.5, 4.5, 28.5, 20.5, 1.8),)},
    )
    made = [room.made(client, **settings) for settings in others]
    assert len({info.artifact for info in (first, *made)}) == 5
    assert room.runs == 1, "none of this is the network's concern"
    assert room.scene(client, made[2])["focal"] == 77.0
    assert "made by a slope" in room.scene(client, made[2])["notes"]

    room.made(client, depth_options=(("resolution", 400),))
    room.made(client, count=3)
    assert room.runs == 3
    (room.folder / "weights").write_bytes(b"B")
    other = room.made(client)
    assert (other.artifact != first.artifact, room.runs) == (True, 4), "other weights never answer from the store"
    room.backend.end()

    client = room.backend.start().client()
    room.made(client, focal=78.0)
    assert room.runs == 4, "it is kept over a restart"


def test_depth_that_was_kept_gives_the_same_files(room: Room) -> None:
    client = room.backend.start().client()
    first = room.made(client)
    (room.backend.state / "artifacts" / first.artifact / "mesh" / "0002.exr").unlink()
    (room.backend.state / "artifacts" / first.artifact / "scene.json").unlink()
    before = {f.name: f.sha256 for f in client.files(first.artifact).files}
    again, _ = wait(client, client.submit(room.job(client)))
    assert (again.artifact, room.runs) == (first.artifact, 1)
    assert {f.name: f.sha256 for f in client.files(again.artifact).files} == before


def test_kept_depth_that_is_damaged_is_made_again(room: Room) -> None:
    client = room.backend.start().client()
    room.made(client)
    (values,) = (room.backend.state / "depth").glob("*/depth")
    data = bytearray(values.read_bytes())
    data[-5] ^= 1
    values.write_bytes(data)
    room.made(client, focal=77.0)
    assert room.runs == 2
    room.made(client, focal=78.0)
    assert room.runs == 2


def test_auto_takes_the_next_one_where_memory_does_not_suffice(room: Room) -> None:
    client = room.backend.start().client()
    (room.folder / "large").touch()
    draft = room.made(client)
    assert room.scene(client, draft)["estimator"] == "draft"
    assert any("99 GiB" in note for note in room.scene(client, draft)["notes"])
    assert room.made(client, estimator="draft").artifact == draft.artifact
    (room.folder / "large").unlink()
    better = room.made(client)
    assert better.artifact != draft.artifact, "a guess never answers for what is possible now"
    assert (room.scene(client, better)["estimator"], room.runs) == ("video-depth-anything", 1)
    (room.folder / "large").touch()
    assert room.made(client).artifact == better.artifact, "what is there already needs no memory"


@pytest.mark.parametrize(
    ("trouble", "code", "text"),
    [("full", LIMIT, "memory of Card"), ("nan", INTERNAL, "no numbers for frame 2"), ("shut", UNAVAILABLE, "missing")],
)
def test_what_goes_wrong_is_one_line(room: Room, trouble: str, code: str, text: str) -> None:
    client = room.backend.start().client()
    (room.folder / trouble).touch()
    info, _ = wait(client, client.submit(room.job(client, estimator="video-depth-anything")))
    assert info.error is not None
    assert (info.state, info.error.code) == (m.FAILED, code)
    assert text in info.error.message
    assert info.error.hint
    assert "\n" not in info.error.message + info.error.hint
    assert not list((room.backend.state / "temp").iterdir())
    (room.folder / trouble).unlink()
    room.made(client, estimator="video-depth-anything")


def test_a_wrong_option_fails_at_once_by_name(room: Room) -> None:
    client = room.backend.start().client()
    for option in (("resoluton", 400), ("resolution", 3), ("steady", "maybe")):
        job = room.job(client, estimator="video-depth-anything", depth_options=(option,))
        info, _ = wait(client, client.submit(job))
        assert info.error is not None
        assert info.error.code == BAD_INPUT
        assert str(option[0] if option[0] == "resoluton" else option[1]) in info.error.message
    assert room.runs == 0


def held(room: Room, client: Client, **settings: Any) -> m.JobInfo:
    """A job that holds within its third frame."""
    (room.folder / "hold").touch()
    info = client.submit(room.job(client, **settings))
    until(lambda: client.job(info.job_id).phase == "Estimating depth" and client.job(info.job_id).done == 2)
    return client.job(info.job_id)


def test_a_cancel_stops_the_network_within_its_step_and_keeps_nothing_half(room: Room) -> None:
    client = room.backend.start().client()
    info = held(room, client)
    assert (info.state, info.total) == (m.RUNNING, 4)
    assert client.cancel(info.job_id).state == m.CANCELLED
    until(lambda: not list((room.backend.state / "temp").iterdir()))
    assert not (room.backend.state / "depth").exists()
    (room.folder / "hold").unlink()
    room.made(client)
    assert room.runs == 2


def test_a_worker_that_is_killed_leaves_nothing_behind_in_the_end(room: Room) -> None:
    client = room.backend.start().client()
    info = held(room, client)
    worker = room.backend.worker_pid()
    assert list((room.backend.state / "temp").glob(".arrays-*"))
    kill(worker)
    until(lambda: not is_alive(worker))
    (room.folder / "hold").unlink()
    done, _ = wait(client, info)
    assert (done.state, done.artifact) == (m.DONE, info.artifact)
    assert not list((room.backend.state / "temp").iterdir())


def test_a_draft_does_not_wait_for_the_name_of_another(room: Room) -> None:
    client = room.backend.start().client()
    info = held(room, client)
    draft = client.submit(room.job(client, estimator="draft"))
    until(lambda: client.job(draft.job_id).artifact)
    assert client.job(info.job_id).state == m.RUNNING


def test_a_client_of_the_minor_version_before_is_served(room: Room) -> None:
    """It knows none of the new fields: it sends none, and skips those that it is sent."""
    client = room.backend.start().client()
    job_id = new_job_id()
    (packed,) = encode(m.Submit(job_id, room.job(client, depth_kind="depth")), 2, protocol=(1, 2))
    header = msgpack.unpackb(packed)
    for field in ("depth_options", "lens", "points", "measures", "camera_height", "ground"):
        del header["b"]["job"]["value"][field]
    hello, query = (
        encode(each, n, protocol=(1, 2)) for n, each in ((1, m.Hello("old", (1, 2))), (3, m.JobQuery(job_id)))
    )
    link = Link(connections.read(room.backend.connection_file), 10.0)
    state, artifacts, files = "", [""], 0
    try:
        for parts in (hello, [msgpack.packb(header)], query):
            link.send(parts, 5.0)
        deadline = time.monotonic() + 60.0
        while state not in m.FINISHED and time.monotonic() < deadline:
            arrived = link.receive(1.0)
            message = None if arrived is None else decode(arrived).message
            if isinstance(message, m.JobInfo):
                state = message.state
                artifacts.append(message.artifact)
            elif isinstance(message, m.FileReady):
                files += 1
                assert message.artifact == artifacts[-1], "the artifact is told before its files"
    finally:
        link.close()
    assert (state, files) == (m.DONE, 13)
    assert room.made(client).artifact == artifacts[-1]
