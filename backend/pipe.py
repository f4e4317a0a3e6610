# SPDX-License-Identifier: Apache-2.0
"""What server and worker tell each other, over the worker's stdin and stdout: a length, then msgpack."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO, Final

import msgpack

from shared_protocol import messages as m
from shared_protocol.errors import BAD_MESSAGE, Ex4dError
from shared_protocol.plain import from_plain, to_plain

_LENGTH: Final = struct.Struct(">I")
_MAX: Final = 256 << 20


@dataclass(frozen=True)
class Run:
    """To the worker: make this artifact. It does one at a time."""

    artifact: str
    job: m.Reconstruct | m.Render | m.Generate
    scene: str  # generate: id of the reconstruction that its conditioning was rendered from; else ""
    done: tuple[m.FileInfo, ...]  # finished earlier; everything else in the folder is to be made


@dataclass(frozen=True)
class Stop:
    """To the worker: cancel this artifact at the next step."""

    artifact: str


@dataclass(frozen=True)
class Name:
    """To the worker: which artifact does this job make? It answers while it works."""

    job_id: str
    job: m.Reconstruct | m.Generate


@dataclass(frozen=True)
class Named:
    """From the worker: the answer to `Name`, or why the job cannot be done."""

    job_id: str
    artifact: str
    error: m.Failure | None


@dataclass(frozen=True)
class Ready:
    """From the worker, once, when it can take work."""

    doors: tuple[m.Door, ...]


@dataclass(frozen=True)
class Progress:
    """From the worker."""

    artifact: str
    phase: str
    done: int
    total: int


@dataclass(frozen=True)
class Glimpse:
    """From the worker: how the unfinished result looks."""

    artifact: str
    width: int
    height: int
    rgb: bytes  # width * height * 3, row by row from the top


@dataclass(frozen=True)
class Made:
    """From the worker: this file is whole and on the disk."""

    artifact: str
    file: m.FileInfo


@dataclass(frozen=True)
class Ended:
    """From the worker: the artifact is complete, or failed, or was cancelled (code CANCELLED)."""

    artifact: str
    error: m.Failure | None


@dataclass(frozen=True)
class Moved:
    """From the worker, before it made anything: here and now, the job of this artifact makes another one."""

    artifact: str
    to: str


PipeMessage = Run | Stop | Name | Named | Ready | Progress | Glimpse | Made | Ended | Moved
_TYPES: Final[dict[str, type[PipeMessage]]] = {t.__name__: t for t in PipeMessage.__args__}


def send(stream: BinaryIO, message: PipeMessage) -> None:
    """Writes one message and flushes."""
    data = msgpack.packb((type(message).__name__, to_plain(message)))
    stream.write(_LENGTH.pack(len(data)) + data)
    stream.flush()


def receive(stream: BinaryIO) -> PipeMessage | None:
    """The next message, or None when the other side has closed the pipe.

    Raises:
        Ex4dError: BAD_MESSAGE: the other side is not what it should be.
    """
    head = stream.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    if length > _MAX:
        raise Ex4dError(BAD_MESSAGE, f"A message of {length:,} bytes between server and worker.")
    data = stream.read(length)
    if len(data) < length:
        return None
    try:
        name, value = msgpack.unpackb(data, use_list=False)
        kind = _TYPES[name]
    except (ValueError, TypeError, KeyError, msgpack.UnpackException) as exc:
        raise Ex4dError(BAD_MESSAGE, "Server and worker do not understand each other.") from exc
    return from_plain(kind, value)
