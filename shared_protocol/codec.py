# SPDX-License-Identifier: Apache-2.0
"""Messages to and from the parts of a ZeroMQ message.

Part 0 is a msgpack map {"v": [major, minor], "t": type, "id": request id, "b": fields}; its four keys stay the same in
every version, so that two programs of differing majors can still tell each other so. Some types carry one raw part
of bytes behind it. A request id is chosen by the client, 1 or more; the answer repeats it, and 0 marks a message that
answers nothing (a push).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import msgpack

from . import messages as m
from .errors import BAD_MESSAGE, LIMIT, VERSION, Ex4dError
from .limits import (
    MAX_ARRAY,
    MAX_DEPTH,
    MAX_HEADER,
    MAX_INT,
    MAX_MAP,
    MAX_MAPS,
    MAX_PART,
    MAX_PARTS,
    MAX_STRING,
    check_part,
)
from .plain import from_plain, to_plain

Message = (
    m.Hello | m.Welcome | m.Ping | m.Pong | m.Shutdown | m.Failure
    | m.AssetQuery | m.AssetChunk | m.AssetState
    | m.Submit | m.JobQuery | m.Cancel | m.JobInfo | m.GlimpseQuery | m.Glimpse
    | m.FileReady | m.ListFiles | m.FileList | m.Fetch | m.FileChunk
)  # fmt: skip

_TYPES: Final[dict[str, type]] = {t.__name__: t for t in Message.__args__}
WITH_PART: Final = frozenset({m.AssetChunk, m.FileChunk, m.Glimpse})


@dataclass(frozen=True)
class Envelope:
    """One message as it arrived."""

    message: Message
    request: int  # 0: a push
    part: bytes  # b"" for types that carry none
    protocol: tuple[int, int]  # of the sender


class DecodeError(Ex4dError):
    """What arrived is not a message.

    Attributes:
        request: its id as far as that could be read, else 0.
        protocol: of the sender, where its major differs from ours (code VERSION), else None.
    """

    def __init__(self, error: Ex4dError, request: int, protocol: tuple[int, int] | None) -> None:
        super().__init__(error.code, error.message, error.hint)
        self.request = request
        self.protocol = protocol


def encode(
    message: Message, request: int = 0, part: bytes = b"", protocol: tuple[int, int] = m.PROTOCOL
) -> list[bytes]:
    """The parts that go on the wire.

    Raises:
        Ex4dError: LIMIT, BAD_INPUT or BAD_MESSAGE, for what the other side would refuse.
    """
    kind = type(message)
    if _TYPES.get(kind.__name__) is not kind:
        raise Ex4dError(BAD_MESSAGE, f"{kind.__name__} is not a message.")
    plain = to_plain(message)
    from_plain(kind, plain)
    header = {"v": protocol, "t": kind.__name__, "id": request, "b": plain}
    try:
        packed: bytes = msgpack.packb(header)
    except (ValueError, OverflowError, UnicodeEncodeError) as exc:
        raise Ex4dError(BAD_MESSAGE, f"{kind.__name__} cannot be written: {exc}.") from exc
    _size(len(packed), MAX_HEADER, "header")
    _size(len(part), MAX_PART, "raw part")
    if (kind in WITH_PART) is False and part:
        raise Ex4dError(BAD_MESSAGE, f"{kind.__name__} carries no raw part.")
    check_part(message, len(part))
    return [packed, part] if kind in WITH_PART else [packed]


def decode(parts: list[bytes]) -> Envelope:
    """The message in `parts`.

    Raises:
        DecodeError: code BAD_MESSAGE, LIMIT, BAD_INPUT or, where the majors differ, VERSION.
    """
    request = 0
    other: tuple[int, int] | None = None
    try:
        if not 1 <= len(parts) <= 1 + MAX_PARTS:
            raise Ex4dError(BAD_MESSAGE, f"A message has one or two parts, and this one has {len(parts)}.")
        _size(len(parts[0]), MAX_HEADER, "header")
        header = _unpack(parts[0])
        if not isinstance(header, dict):
            raise Ex4dError(BAD_MESSAGE, "The header is not a map.")
        number = header.get("id")
        if type(number) is not int or not 0 <= number <= MAX_INT:
            raise Ex4dError(BAD_MESSAGE, "The header has no request id.")
        request = number
        protocol = _protocol(header.get("v"))
        if protocol[0] != m.PROTOCOL[0]:
            other = protocol
            raise version_clash("this side", "the other side", protocol)
        newer = protocol[1] > m.PROTOCOL[1]
        if header.keys() != {"v", "t", "id", "b"} and not newer:
            raise Ex4dError(BAD_MESSAGE, "The header has unknown or missing entries.")
        name = header.get("t")
        kind = _TYPES.get(name) if isinstance(name, str) else None
        if kind is None:
            raise Ex4dError(BAD_MESSAGE, f"There is no message of type {str(name)[:40]!r}.")
        _parts(kind, parts)
        message: Message = from_plain(kind, header.get("b"), newer=newer)
        check_part(message, sum(map(len, parts[1:])))
    except Ex4dError as exc:
        raise DecodeError(exc, request, other) from exc
    return Envelope(message, request, parts[1] if len(parts) == 2 else b"", protocol)


def version_clash(mine: str, theirs: str, protocol: tuple[int, int]) -> Ex4dError:
    """The error for two programs whose majors differ. `mine` and `theirs` name the programs ("The backend")."""
    ours = m.PROTOCOL
    older = mine if ours[0] < protocol[0] else theirs
    return Ex4dError(
        VERSION,
        f"{mine} speaks protocol {ours[0]}.{ours[1]}, {theirs} speaks {protocol[0]}.{protocol[1]}.",
        f"Update {older}, so that both come from the same release.",
    )


def _protocol(value: object) -> tuple[int, int]:
    if not isinstance(value, tuple) or len(value) != 2 or any(type(v) is not int or v < 0 for v in value):
        raise Ex4dError(BAD_MESSAGE, "The header has no protocol version.")
    return (value[0], value[1])


def _parts(kind: type, parts: list[bytes]) -> None:
    if len(parts) != (2 if kind in WITH_PART else 1):
        raise Ex4dError(BAD_MESSAGE, f"{kind.__name__} came with {len(parts) - 1} raw parts.")
    if len(parts) == 2:
        _size(len(parts[1]), MAX_PART, "raw part")


def _size(size: int, limit: int, what: str) -> None:
    if size > limit:
        raise Ex4dError(LIMIT, f"The {what} of the message has {size:,} bytes; the limit is {limit:,}.")


def _depth_within_limit(value: object, left: int) -> bool:
    if left == 0:
        return False
    if isinstance(value, dict):
        return all(_depth_within_limit(v, left - 1) for v in value.values())
    if isinstance(value, tuple):
        return all(_depth_within_limit(v, left - 1) for v in value)
    return True


def _no_extension(code: int, data: bytes) -> Any:
    raise Ex4dError(BAD_MESSAGE, f"The header holds an extension type ({code}, {len(data)} bytes).")


def _unpack(data: bytes) -> Any:
    """msgpack with every limit set, no key twice, no extension types."""
    maps = 0

    def build(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal maps
        maps += 1
        if maps > MAX_MAPS:
            raise Ex4dError(LIMIT, f"The header holds more than {MAX_MAPS:,} maps.")
        built = dict(pairs)
        if len(built) != len(pairs):
            raise Ex4dError(BAD_MESSAGE, "The header names an entry twice.")
        return built

    try:
        value = msgpack.unpackb(
            data,
            raw=False,
            use_list=False,
            strict_map_key=True,
            object_pairs_hook=build,
            max_str_len=MAX_STRING,
            max_bin_len=MAX_STRING,
            max_array_len=MAX_ARRAY,
            max_map_len=MAX_MAP,
            max_ext_len=MAX_STRING,
            ext_hook=_no_extension,
        )
    except Ex4dError:
        raise
    except (msgpack.UnpackException, ValueError, TypeError, RecursionError, OverflowError) as exc:
        if "exceeds max" in str(exc):  # "5000 exceeds max_str_len(4096)"
            raise Ex4dError(LIMIT, f"The header is over a limit: {str(exc)[:100]}.") from exc
        raise Ex4dError(BAD_MESSAGE, f"The header is not valid msgpack ({type(exc).__name__}).") from exc
    if not _depth_within_limit(value, MAX_DEPTH):
        raise Ex4dError(BAD_MESSAGE, f"The header nests deeper than {MAX_DEPTH} levels.")
    return value
