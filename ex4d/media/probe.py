# SPDX-License-Identifier: Apache-2.0
"""What a movie file is: its first video stream as ffmpeg describes it, and the times of its frames.

There is no ffprobe beside imageio-ffmpeg's ffmpeg, so the description is read from ffmpeg's log. The times come from
its `framecrc` output of the packets, which takes no decoding.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from ex4d.media.ffmpeg import run, source
from shared_protocol.errors import NOT_A_CLIP, NOT_FOUND, Ex4dError

PROBE_TIMEOUT_S = 600.0  # reading all packets of a long file from a slow disk takes a while

_STREAM = re.compile(r"^  Stream #0:(\d+)(?:\[0x[0-9a-f]+\])?(?:\([^)]*\))?: (\w+): (.*)$")
_PICTURE = re.compile(r", ([a-z][a-z0-9_]*)(?:\(((?:[^()]|\([^()]*\))*)\))?, (\d+)x(\d+)")
_SAR = re.compile(r"\bSAR (\d+):(\d+)")
_RATE = re.compile(r", ([\d.]+k?) (fps|tbr)\b")
_ROTATION = re.compile(r"rotation of (-?[\d.]+) degrees")
_PACKET = re.compile(r"^0,\s*(\S+),\s*(\S+),\s*(\d+),(?:.*\bF=0x([0-9A-Fa-f]+))?")
_UNKNOWN = -(2**63)  # how a missing time is printed
_UNSHOWN = 0x4  # flag of packets that are only decoded for others' sake: an edit list cuts them away
_BASE = re.compile(r"^#tb 0: (\d+)/(\d+)")
_FRAME = re.compile(r"\bn: *\d+ pts:.* i:([PTB])")


@dataclass(frozen=True)
class Movie:
    """The first video stream of a file (cover pictures do not count)."""

    path: Path
    pixel_format: str
    width: int  # as stored, before rotation and before pixels are made square
    height: int
    pixel_aspect: Fraction  # width over height of a stored pixel
    rotation: float  # degrees counter-clockwise, as its display matrix says
    full_range: bool | None  # None: not tagged
    matrix: str  # ffmpeg's names, "" when not tagged
    primaries: str
    transfer: str
    field_order: str  # "progressive", "tff", "bff"
    printed_rates: tuple[float, ...]  # frames per second as the container declares them, rounded to two places
    time_base: Fraction  # seconds per tick
    times: tuple[int, ...]  # ticks, ascending; empty when the file has none
    duration: int  # ticks, of the first packet; 0 when not known
    packets: int  # frames that it shows
    streams: int  # video streams in the file
    log: str

    @property
    def turned(self) -> bool:
        """Whether the display matrix swaps width and height."""
        return round(self.rotation / 90) % 2 == 1


def probe(path: Path, limit: int = 0) -> Movie:
    """Describes a movie.

    Args:
        path: the file.
        limit: read the times of this many packets at most; 0 = of all.

    Raises:
        Ex4dError: NOT_FOUND for a missing file; NOT_A_CLIP for one without pictures or one ffmpeg cannot read.
    """
    if not path.is_file():
        raise Ex4dError(NOT_FOUND, f"There is no file {path}.", "Check the path.")
    some = ["-frames:v", str(limit)] if limit else []
    copy = ["-map", "0:V:0", "-c", "copy", "-copyts", *some, "-f", "framecrc", "pipe:1"]
    rows, log = run(["-v", "info", *source(path), *copy], PROBE_TIMEOUT_S)
    kinds, text, rotation = _describe(log)
    picture = _PICTURE.search(text) if text is not None else None
    if text is None or picture is None or int(picture[3]) == 0 or int(picture[4]) == 0:
        raise _no_pictures(path, kinds, log)
    base, times, duration, packets = _times(rows)
    if not packets and "partial file" in log:
        raise Ex4dError(NOT_A_CLIP, f"{path.name} is cut off before its first frame.", "Copy it again.")
    if not packets:
        raise Ex4dError(NOT_A_CLIP, f"{path.name} has a video stream without a single frame.")
    details = [part.strip() for part in (picture[2] or "").split(",")]
    colours = next((d for d in details if _is_colour(d)), "").split("/")
    colours = [("" if c in ("unknown", "reserved") else c) for c in (colours * 3 if len(colours) == 1 else colours)]
    sar = _SAR.search(text)
    rates = tuple(_number(value) for value, _ in sorted(_RATE.findall(text), key=lambda found: found[1]))
    full = True if "pc" in details or picture[1].startswith("yuvj") else False if "tv" in details else None
    return Movie(
        path=path,
        pixel_format=picture[1],
        width=int(picture[3]),
        height=int(picture[4]),
        pixel_aspect=Fraction(int(sar[1]), int(sar[2])) if sar and int(sar[1]) and int(sar[2]) else Fraction(1),
        rotation=rotation,
        full_range=full,
        matrix=colours[0],
        primaries=colours[1],
        transfer=colours[2],
        field_order=_field_order(path, details),
        printed_rates=rates,
        time_base=base,
        times=times,
        duration=duration,
        packets=packets,
        streams=kinds.count("Video"),
        log=log,
    )


def _describe(log: str) -> tuple[list[str], str | None, float]:
    """Kinds of all streams, the line of the first video stream, and the rotation of its display matrix."""
    kinds: list[str] = []
    chosen: str | None = None
    rotation = 0.0
    inside = False
    for line in log.splitlines():
        if line.startswith(("Stream mapping", "Output #")):
            break
        found = _STREAM.match(line)
        if found:
            cover = "(attached pic)" in found[3]
            kinds.append("Cover" if cover else found[2])
            inside = found[2] == "Video" and chosen is None and not cover
            if inside:
                chosen = found[3]
        elif inside and (turn := _ROTATION.search(line)):
            rotation = float(turn[1])
    return kinds, chosen, rotation


def _times(rows: str) -> tuple[Fraction, tuple[int, ...], int, int]:
    """Time base, presentation times in order, first packet's duration and the number of packets."""
    base = Fraction(1)
    shown: list[int] = []
    decoded: list[int] = []
    durations: list[int] = []
    packets = 0
    for row in rows.splitlines():
        if found := _PACKET.match(row):
            if int(found[4] or "0", 16) & _UNSHOWN:
                continue
            packets += 1
            for text, values in ((found[2], shown), (found[1], decoded)):
                if re.fullmatch(r"-?\d+", text) and int(text) != _UNKNOWN:
                    values.append(int(text))
            durations.append(int(found[3]))
        elif found := _BASE.match(row):
            base = Fraction(int(found[1]), int(found[2]))
    # Some containers (AVI, MPEG) only store when frames are decoded, which is at the same even steps.
    times = shown if len(shown) == packets else decoded if len(decoded) == packets else []
    return base, tuple(sorted(times)), durations[0] if durations else 0, packets


def _field_order(path: Path, details: list[str]) -> str:
    """Interlacing by the container's or codec's flag, or else by the flags of the first frames themselves."""
    for detail in details:
        if detail.startswith("top "):
            return "tff"
        if detail.startswith("bottom "):
            return "bff"
    look = ["-map", "0:V:0", "-frames:v", "3", "-vf", "showinfo=checksum=0", "-f", "null", "-"]
    flags = _FRAME.findall(run(["-v", "info", *source(path), *look], PROBE_TIMEOUT_S)[1])
    return "tff" if "T" in flags else "bff" if "B" in flags else "progressive"


def _is_colour(detail: str) -> bool:
    return "/" in detail or detail.startswith(("bt", "smpte", "gbr", "fcc", "ycgco", "arib", "ictcp"))


def _number(text: str) -> float:
    return float(text[:-1]) * 1000 if text.endswith("k") else float(text)


def _no_pictures(path: Path, kinds: list[str], log: str) -> Ex4dError:
    if "Video" in kinds:
        what = f"{path.name} has a video stream that cannot be decoded: it is cut off, damaged or of an unknown kind."
        return Ex4dError(NOT_A_CLIP, what, "If it plays elsewhere, convert it to H.264.")
    if "Audio" in kinds:
        return Ex4dError(NOT_A_CLIP, f"{path.name} has sound, but no pictures.", "Choose a movie file.")
    if "moov atom not found" in log or "error reading header" in log:
        reason = "its index is missing or broken: the file was cut off, or is still being written"
    else:
        reason = "it is not a movie that ffmpeg knows, or it is damaged"
    return Ex4dError(NOT_A_CLIP, f"{path.name} cannot be read: {reason}.", "Choose a movie file that plays elsewhere.")
