# SPDX-License-Identifier: Apache-2.0
"""The codec: what goes in comes out, and whatever else arrives gives a typed error."""

from __future__ import annotations

import dataclasses
import math
import random
import types
import typing

import msgpack
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared_protocol import messages as m
from shared_protocol.codec import WITH_PART, DecodeError, Message, decode, encode
from shared_protocol.errors import BAD_INPUT, BAD_MESSAGE, LIMIT, VERSION, Ex4dError
from shared_protocol.limits import MAX_GLIMPSE, MAX_HEADER, MAX_OPTIONS, MAX_PART

ID, JOB = "ab" * 32, "cd" * 16
ASSET = m.Asset("0f" * 32, 10, "clip äö.mp4")
CAMERA = m.CameraSample(
    (1.0, 0, 0, 0.5, 0, 1.0, 0, 0, 0, 0, 1.0, -2, 0, 0, 0, 1.0), 50.0, 50.0, 16.0, 12.0, 3, 40.0, 8, 8, 1.0, 0.0
)  # fmt: skip
STEPS = m.SettingInfo("steps", "Steps", "How many steps.", 25, (), 1.0, 100.0, "Sampling")
MODEL = m.Door(
    "generator", "wan", "Wan", "Apache-2.0", True, True, "", "closed", 24,
    (
        STEPS,
        m.SettingInfo("prompt", "Prompt", "What is seen.", "4K, cinématique"),
        m.SettingInfo("size", "Size", "Which.", "480p", ("480p", "720p")),
        m.SettingInfo("compile", "Compile", "Quicker.", False),
        m.SettingInfo("cfg", "Guidance", "How much.", 5.0, least=0.0),
    ),
)  # fmt: skip
ESTIMATOR = m.Door(
    "depth", "vda", "Video Depth", "Apache-2.0", True, True, "", settings=(STEPS,), gives="metric", steady=True,
    size=116_000_000,
)  # fmt: skip
MEASURE, PICK = m.Measure(0, 1.0, 2.0, 3.0, 4.0, 1.5), m.Pick(0, 1.0, 2.0)
SAMPLES: list[Message] = [
    m.Hello("test 1.0", m.PROTOCOL),
    m.Welcome("b", m.PROTOCOL, 1, (m.Door("depth", "draft", "Draft", "Apache-2.0", True, False, "why"),)),
    m.Welcome("b", m.PROTOCOL, 1, (MODEL,)),
    m.Welcome("b", m.PROTOCOL, 1, (ESTIMATOR,)),
    m.Ping(),
    m.Pong(),
    m.Shutdown(),
    m.Failure(LIMIT, "much", "less"),
    m.AssetQuery(ASSET),
    m.AssetChunk(ASSET, 4),
    m.AssetState(ASSET.sha256, 4),
    m.Submit(JOB, m.Reconstruct((ASSET,), depth=(ASSET, ASSET), fps=(24000, 1001), focal=30.5)),
    m.Submit(JOB, m.Reconstruct((ASSET,))),
    m.Submit(JOB, m.Reconstruct((ASSET,), source_camera=m.Asset("0e" * 32, 10, "kamera ä.json"))),
    m.Submit(
        JOB,
        m.Reconstruct(
            (ASSET,),
            estimator="video-depth-anything",
            depth_options=(("model", "auto"), ("steady", "on"), ("commercial", True)),
            lens=(35.0, 36.0),
            points=m.Asset("0e" * 32, 10, "solve.json"),
            measures=(m.Measure(3, 10.5, 20.5, 30.0, 40.0, 1.8),),
            camera_height=1.6,
            ground=(m.Pick(0, 5.5, 20.5), m.Pick(0, 15.5, 22.0)),
        ),
    ),
    m.Submit(JOB, m.Render(ID, 32, 24, (24, 1), (CAMERA, CAMERA))),
    m.Submit(JOB, m.Render(ID, 32, 24, (24, 1), (CAMERA,), geometry="bounded", persist=True, lead_in=5, seed=9)),
    m.Submit(JOB, m.Generate(ID, options=(("a", 1), ("b", True), ("c", 1.5), ("d", "x")))),
    m.JobQuery(JOB),
    m.Cancel(JOB),
    m.JobInfo(JOB, "render", m.FAILED, "", 0, 5, ID, m.Failure(LIMIT, "much", "")),
    m.JobInfo(JOB, "render", m.RUNNING, "p", 1, 5, ID),
    m.JobInfo(JOB, "generate", m.RUNNING, "Denoising", 3, 25, ID, seconds_left=90, glimpse=2),
    m.JobInfo(JOB, "generate", m.QUEUED, "", 0, 0, ""),
    m.GlimpseQuery(JOB),
    m.Glimpse(JOB, 2, 4, 3),
    m.FileReady(JOB, ID, m.FileInfo("frames/0001.png", 5, "0f" * 32)),
    m.ListFiles(ID),
    m.FileList(ID, True, (m.FileInfo("take.json", 5, "0f" * 32),)),
    m.Fetch(ID, "take.json", 0, 100),
    m.FileChunk(ID, "take.json", 0, 100),
]


def part_of(message: Message) -> bytes:
    if isinstance(message, m.Glimpse):
        return bytes(max(message.width * message.height * 3, 0))
    return b"bytes" if type(message) in WITH_PART else b""


def packed(**changes: object) -> list[bytes]:
    header = {"v": m.PROTOCOL, "t": "Ping", "id": 7, "b": {}}
    return [msgpack.packb({**header, **changes})]


EXPECTED = {"decoded", BAD_MESSAGE, LIMIT, BAD_INPUT, VERSION}


def outcome(parts: list[bytes]) -> str:
    """Code of the refusal; every other exception than a refusal is a bug and goes on."""
    try:
        decode(parts)
    except DecodeError as exc:
        return exc.code if len(exc.message) < 500 else "endless message"
    return "decoded"


def refusal(parts: list[bytes]) -> DecodeError:
    with pytest.raises(DecodeError) as caught:
        decode(parts)
    return caught.value


def test_there_is_a_sample_of_every_message_type() -> None:
    assert {type(s) for s in SAMPLES} == set(Message.__args__)


@pytest.mark.parametrize("message", SAMPLES, ids=lambda s: type(s).__name__)
def test_a_message_comes_out_as_it_went_in(message: Message) -> None:
    arrived = decode(encode(message, 9, part_of(message)))
    assert arrived.message == message
    assert (arrived.request, arrived.part, arrived.protocol) == (9, part_of(message), m.PROTOCOL)


def test_option_values_keep_their_types() -> None:
    job = m.Generate(ID, options=(("a", 1), ("b", True), ("c", 1.0)))
    arrived = decode(encode(m.Submit(JOB, job))).message
    assert [type(v) for _, v in arrived.job.options] == [int, bool, float]


def test_an_unknown_type_is_refused_with_the_request_id() -> None:
    error = refusal(packed(t="Pickle"))
    assert (error.code, error.request) == (BAD_MESSAGE, 7)


@pytest.mark.parametrize(
    "parts",
    [
        [],
        [b""],
        [b"\xc1"],
        packed() * 3,
        [*packed(), b"raw"],  # Ping has no raw part
        encode(m.AssetChunk(ASSET, 0), 1, b"x")[:1],  # AssetChunk without its part
        packed(v=None),
        packed(v=[1]),
        packed(id=-1),
        packed(id="7"),
        packed(id=True),
        packed(b=None),
        packed(b=[]),
        packed(more=1),
        packed(b={"more": 1}),
        packed(t="Fetch", b={"artifact": ID}),
        packed(t="Cancel", b={"job_id": 5}),
        packed(t="Cancel", b={"job_id": b"x"}),
        packed(t="Cancel", b={"job_id": "../../etc/passwd"}),
        packed(t="Submit", b={"job_id": JOB, "job": {"type": "Shutdown", "value": {}}}),
        packed(t="Submit", b={"job_id": JOB, "job": {"type": ["Render"], "value": {}}}),
        packed(t="Ping", b={"x": msgpack.ExtType(5, b"")}),
        [b"\x82" + msgpack.packb("v") + msgpack.packb([1, 0]) + msgpack.packb("v") + msgpack.packb([1, 0])],
        [b"\x91" * 100_000],
        [b"\xdb\xff\xff\xff\xff"],
        [msgpack.packb({1: 2})],
        [b"\x80\x04\x95\x0b\x00\x00\x00\x00\x00\x00\x00\x8c\x02os\x94\x8c\x06system\x94\x93\x94."],  # a pickle
    ],
)
def test_what_is_not_a_message_gives_bad_message(parts: list[bytes]) -> None:
    assert refusal(parts).code == BAD_MESSAGE


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_refused(number: float) -> None:
    camera = {f.name: getattr(CAMERA, f.name) for f in dataclasses.fields(CAMERA)} | {"fx": number}
    render = {"scene": ID, "width": 4, "height": 4, "fps": [24, 1], "cameras": [camera]}
    error = refusal(packed(t="Submit", b={"job_id": JOB, "job": {"type": "Render", "value": render}}))
    assert error.code == BAD_MESSAGE
    assert "fx" in error.message
    with pytest.raises(Ex4dError):
        encode(m.Submit(JOB, m.Render(ID, 4, 4, (24, 1), (dataclasses.replace(CAMERA, fx=number),))))


@pytest.mark.parametrize(
    ("job", "code"),
    [
        (m.Render(ID, 0, 24, (24, 1), (CAMERA,)), BAD_INPUT),
        (m.Render(ID, 100_000, 24, (24, 1), (CAMERA,)), LIMIT),
        (m.Render(ID, 32, 24, (24, 0), (CAMERA,)), BAD_INPUT),
        (m.Render(ID, 32, 24, (24, 1), ()), BAD_INPUT),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,) * 10_001), LIMIT),
        (m.Render(ID, 32, 24, (24, 1), (dataclasses.replace(CAMERA, fx=-1.0),)), BAD_INPUT),
        (
            m.Render(ID, 32, 24, (24, 1), (dataclasses.replace(CAMERA, world_from_camera=(1.0,)),)),
            BAD_MESSAGE,
        ),
        (
            m.Render(ID, 2, 2, (24, 1), (dataclasses.replace(CAMERA, world_from_camera=(2.0,) * 16),)),
            BAD_INPUT,
        ),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,), geometry="open"), BAD_INPUT),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,), geometry="upstream"), BAD_INPUT),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,), lead_in=-1), BAD_INPUT),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,), lead_in=10_000), LIMIT),
        (m.Render(ID, 32, 24, (24, 1), (CAMERA,), lead_in=1, seed=-1), BAD_INPUT),
        (m.Render("../x", 2, 2, (24, 1), (CAMERA,)), BAD_MESSAGE),
        (m.Reconstruct(()), BAD_INPUT),
        (m.Reconstruct((dataclasses.replace(ASSET, size=0),)), BAD_INPUT),
        (m.Reconstruct((dataclasses.replace(ASSET, size=1 << 50),)), LIMIT),
        (m.Reconstruct((dataclasses.replace(ASSET, name="a\nb.mp4"),)), BAD_MESSAGE),
        (m.Reconstruct((ASSET,), first=-1), BAD_INPUT),
        (m.Reconstruct((ASSET,), source_camera=dataclasses.replace(ASSET, size=1 << 30)), LIMIT),
        (m.Reconstruct((ASSET,), source_camera=dataclasses.replace(ASSET, sha256="x")), BAD_MESSAGE),
        (m.Reconstruct((ASSET,), depth_kind="guess"), BAD_INPUT),
        (m.Reconstruct((ASSET,), estimator="../x"), BAD_MESSAGE),
        (m.Reconstruct((ASSET,), depth_options=(("a", 1), ("a", 2))), BAD_INPUT),
        (m.Reconstruct((ASSET,), depth_options=tuple((f"a{i}", i) for i in range(MAX_OPTIONS + 1))), LIMIT),
        (m.Reconstruct((ASSET,), lens=(0.0, 36.0)), BAD_INPUT),
        (m.Reconstruct((ASSET,), lens=(35.0, 1e6)), BAD_INPUT),
        (m.Reconstruct((ASSET,), focal=900.0, lens=(35.0, 36.0)), BAD_INPUT),
        (m.Reconstruct((ASSET,), points=dataclasses.replace(ASSET, size=1 << 30)), LIMIT),
        (m.Reconstruct((ASSET,), measures=(MEASURE, MEASURE)), BAD_INPUT),
        (m.Reconstruct((ASSET,), measures=tuple(dataclasses.replace(MEASURE, frame=i) for i in range(65))), LIMIT),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, bx=1.0, by=2.0),)), BAD_INPUT),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, distance=0.0),)), BAD_INPUT),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, distance=math.inf),)), BAD_MESSAGE),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, frame=-1),)), BAD_INPUT),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, by=-0.5),)), BAD_INPUT),
        (m.Reconstruct((ASSET,), measures=(dataclasses.replace(MEASURE, ax=2e5),)), LIMIT),
        (m.Reconstruct((ASSET,), camera_height=0.0), BAD_INPUT),
        (m.Reconstruct((ASSET,), ground=(PICK,)), BAD_INPUT),
        (m.Reconstruct((ASSET,), camera_height=1.6, ground=(PICK, PICK)), BAD_INPUT),
        (m.Reconstruct((ASSET,), camera_height=1.6, ground=(dataclasses.replace(PICK, frame=20_000),)), LIMIT),
        (m.Reconstruct((ASSET,), camera_height=1.6, ground=tuple(m.Pick(i, 1, 1) for i in range(1001))), LIMIT),
        (m.Generate(ID, seed=-1), BAD_INPUT),
        (m.Generate(ID, options=(("a", 1), ("a", 2))), BAD_INPUT),
        (m.Generate(ID, options=(("a", "x" * 5000),)), LIMIT),
        (m.Generate(ID, options=(("a", "火" * 2000),)), LIMIT),  # 6,000 bytes
    ],
)
def test_values_that_cannot_be_used_are_refused_on_both_sides(job: object, code: str) -> None:
    from shared_protocol.plain import to_plain

    with pytest.raises(Ex4dError) as caught:
        encode(m.Submit(JOB, job))  # type: ignore[arg-type]
    assert caught.value.code == code
    body = {"job_id": JOB, "job": {"type": type(job).__name__, "value": to_plain(job)}}
    assert refusal(packed(t="Submit", b=body)).code == code


@pytest.mark.parametrize(
    ("door", "code"),
    [
        (dataclasses.replace(MODEL, settings=(STEPS, STEPS)), BAD_MESSAGE),
        (
            dataclasses.replace(
                MODEL, settings=tuple(dataclasses.replace(STEPS, name=f"s{i}") for i in range(MAX_OPTIONS + 1))
            ),
            LIMIT,
        ),
        (dataclasses.replace(ESTIMATOR, gives="guess"), BAD_MESSAGE),
        (dataclasses.replace(ESTIMATOR, size=-1), BAD_INPUT),
        (dataclasses.replace(MODEL, lead_in=-1), BAD_INPUT),
        (dataclasses.replace(MODEL, lead_in=10_001), LIMIT),
        (dataclasses.replace(MODEL, name="../wan"), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(dataclasses.replace(STEPS, name="Steps!"),)), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(dataclasses.replace(STEPS, least=5.0, most=1.0),)), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(dataclasses.replace(STEPS, default="25"),)), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(dataclasses.replace(STEPS, choices=("a", "b")),)), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(m.SettingInfo("a", "A", "", "b", ("b", "c", "b")),)), BAD_MESSAGE),
        (dataclasses.replace(MODEL, settings=(m.SettingInfo("a", "A", "", "", ("", "c")),)), BAD_MESSAGE),
        (
            dataclasses.replace(MODEL, settings=(m.SettingInfo("a", "A", "", "0", tuple(str(i) for i in range(65))),)),
            LIMIT,
        ),
    ],
)
def test_a_door_whose_options_make_no_sense_is_refused_on_both_sides(door: m.Door, code: str) -> None:
    from shared_protocol.plain import to_plain

    welcome = m.Welcome("b", m.PROTOCOL, 1, (door,))
    with pytest.raises(Ex4dError) as caught:
        encode(welcome)
    assert caught.value.code == code
    assert refusal(packed(t="Welcome", b=to_plain(welcome))).code == code


@pytest.mark.parametrize(
    ("glimpse", "size", "code"),
    [
        (m.Glimpse(JOB, 1, 4, 3), 35, BAD_MESSAGE),
        (m.Glimpse(JOB, 1, 4, 3), 0, BAD_MESSAGE),
        (m.Glimpse(JOB, 0, 4, 3), 36, BAD_INPUT),
        (m.Glimpse(JOB, 1, 0, 3), 0, BAD_INPUT),
        (m.Glimpse(JOB, 1, MAX_GLIMPSE + 1, 1), 3 * (MAX_GLIMPSE + 1), LIMIT),
        (m.Glimpse("x", 1, 4, 3), 36, BAD_MESSAGE),
    ],
)
def test_a_glimpse_fits_its_bytes_and_is_small(glimpse: m.Glimpse, size: int, code: str) -> None:
    from shared_protocol.plain import to_plain

    with pytest.raises(Ex4dError) as caught:
        encode(glimpse, 1, bytes(size))
    assert caught.value.code == code
    assert refusal([*packed(t="Glimpse", b=to_plain(glimpse)), bytes(size)]).code == code


def test_the_largest_glimpse_fits_into_a_message() -> None:
    size = MAX_GLIMPSE * MAX_GLIMPSE * 3
    assert size <= MAX_PART
    arrived = decode(encode(m.Glimpse(JOB, 1, MAX_GLIMPSE, MAX_GLIMPSE), 1, bytes(size)))
    assert len(arrived.part) == size


@pytest.mark.parametrize("bomb", [b"\xdd\xff\xff\xff\xff", b"\xdf\xff\xff\xff\xff"])
def test_claims_of_huge_arrays_and_maps_are_over_a_limit(bomb: bytes) -> None:
    assert refusal([bomb + b"x" * 100]).code == LIMIT


def test_oversized_headers_and_parts_are_refused_with_both_numbers() -> None:
    error = refusal([b"\xc0" * (MAX_HEADER + 1)])
    assert error.code == LIMIT
    assert f"{MAX_HEADER:,}" in error.message
    chunk = encode(m.AssetChunk(ASSET, 0), 1, b"x")
    assert refusal([chunk[0], bytes(MAX_PART + 1)]).code == LIMIT


def test_another_major_version_is_named_in_a_sentence() -> None:
    error = refusal(encode(m.Ping(), 3, protocol=(2, 5)))
    assert (error.code, error.request, error.protocol) == (VERSION, 3, (2, 5))
    assert ".".join(map(str, m.PROTOCOL)) in error.message
    assert "2.5" in error.message


def test_fields_of_a_newer_minor_version_are_skipped() -> None:
    newer = packed(v=[1, 9], t="Cancel", b={"job_id": JOB, "reason": {"x": 1}}, trace="abc")
    assert decode(newer).message == m.Cancel(JOB)
    assert refusal(packed(v=[1, 0], t="Cancel", b={"job_id": JOB, "reason": 1})).code == BAD_MESSAGE


def test_what_an_older_minor_version_says_is_understood() -> None:
    door = {"kind": "generator", "name": "wan", "label": "Wan", "licence": "", "commercial_use": True,
            "available": True, "reason": ""}  # fmt: skip
    welcome = {"server": "b", "protocol": [1, 1], "pid": 1, "doors": [door]}
    arrived = decode(packed(v=[1, 1], t="Welcome", b=welcome)).message
    assert isinstance(arrived, m.Welcome)
    assert (arrived.doors[0].lead_in, arrived.doors[0].settings) == (0, ())
    info = {"job_id": JOB, "kind": "render", "state": "running", "phase": "", "done": 0, "total": 1, "artifact": ID}
    assert decode(packed(v=[1, 1], t="JobInfo", b=info)).message == m.JobInfo(JOB, "render", "running", "", 0, 1, ID)


def test_fields_with_defaults_may_be_left_out() -> None:
    assert decode(packed(t="JobQuery", b={"job_id": JOB})).message == m.JobQuery(JOB, watch=True)


def strategy(hint: object) -> st.SearchStrategy[object]:
    """Values of a type, valid or nearly so."""
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        return st.builds(hint, **{f.name: strategy(hints[f.name]) for f in dataclasses.fields(hint)})
    if typing.get_origin(hint) is tuple:
        args = typing.get_args(hint)
        if args[-1] is Ellipsis:
            return st.lists(strategy(args[0]), max_size=3).map(tuple)
        return st.tuples(*(strategy(a) for a in args))
    if isinstance(hint, types.UnionType):
        return st.one_of(*(strategy(a) for a in typing.get_args(hint)))
    if hint is str:
        return st.sampled_from([ID, JOB, "auto", "frames/0001.png"]) | st.text(max_size=20)
    scalars = {int: st.integers(-3, 3000), float: st.floats(), bool: st.booleans(), type(None): st.none()}
    return scalars[hint]  # type: ignore[index]


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_whatever_can_be_encoded_decodes_to_the_same(data: st.DataObject) -> None:
    message = data.draw(st.sampled_from(Message.__args__).flatmap(strategy))
    try:
        parts = encode(message, 1, part_of(message))
    except Ex4dError:
        return
    assert decode(parts).message == message


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text() | st.binary(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_any_msgpack_value_gives_a_typed_error(value: object) -> None:
    for parts in (
        [msgpack.packb(value)],
        packed(b=value),
        packed(v=value),
        packed(id=value),
        packed(t=value),
    ):
        assert outcome(parts) in EXPECTED


def test_thousands_of_mutated_messages_give_a_message_or_a_typed_error() -> None:
    dice = random.Random(7)  # noqa: S311  repeatable
    seeds = [encode(s, 5, part_of(s)) for s in SAMPLES]
    refused = 0
    for _ in range(6000):
        parts = [bytearray(p) for p in dice.choice(seeds)]
        for _ in range(dice.randint(1, 4)):
            part = dice.choice(parts)
            where = dice.randrange(len(part) + 1)
            what = dice.random()
            if what < 0.5 and where < len(part):
                part[where] = dice.randrange(256)
            elif what < 0.8:
                part[where:where] = dice.randbytes(dice.randint(1, 9))
            else:
                del part[where : where + dice.randint(1, 9)]
        result = outcome([bytes(p) for p in parts])
        assert result in EXPECTED
        refused += result != "decoded"
    assert refused > 3000
