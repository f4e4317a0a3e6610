# SPDX-License-Identifier: Apache-2.0
"""Frames of a movie as 8-bit sRGB pictures, every one of them in order, none twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import IO

import numpy as np

from ex4d.media.ffmpeg import source, stream
from ex4d.media.probe import Movie
from ex4d.media.rate import Rate
from ex4d.values import U8
from shared_protocol.errors import NOT_A_CLIP, UNSUPPORTED, Ex4dError

HDR = {"smpte2084": "PQ", "arib-std-b67": "HLG"}
WIDE = ("bt2020", "smpte432", "smpte431")  # primaries that differ from sRGB's by more than an eye forgives
MATRICES = {"bt709": "bt709", "smpte170m": "bt601", "bt470bg": "bt601", "fcc": "fcc", "smpte240m": "smpte240m"}
MATRICES |= {"bt2020nc": "bt2020", "bt2020c": "bt2020"}
# Only lines of ffmpeg's parts ("[h264 @ 0x...] ..."): file names and titles may hold any word.
DAMAGE = re.compile(
    r"^\[.*(partial file|Invalid data found when|Invalid NAL|error while decoding|corrupt|concealing|truncat)",
    re.I | re.M,
)


class Decoded:
    """Frames as they come, and what is to be said about them."""

    def __init__(self, movie: Movie, rate: Rate, first: int, count: int) -> None:
        self.movie = movie
        self.notes: list[str] = []
        self.damaged = False  # after the last frame: whether ffmpeg met broken data on the way
        self._filters = self._chain(rate, first, count)

    def frames(self) -> Iterator[U8]:
        """[H, W, 3] sRGB, one after the other. Pixels are as stored: not yet made square.

        Raises:
            Ex4dError: NOT_A_CLIP when ffmpeg gets stuck, or fails before it gives a single frame.
        """
        # Each picture comes with a header of its own (PPM), so its size never has to be guessed.
        sink = ["-fps_mode", "passthrough", "-f", "image2pipe", "-c:v", "ppm", "pipe:1"]
        chain = ["-map", "0:V:0", "-vf", ",".join(self._filters)]
        given = 0
        with stream(["-v", "warning", *source(self.movie.path), *chain, *sink]) as running:
            pipe = running.process.stdout
            assert pipe is not None  # noqa: S101 - for the type checker: it was asked for
            while (picture := _read_ppm(pipe)) is not None:
                running.alive()
                given += 1
                yield picture
                running.alive()  # the time that the caller took is not ffmpeg's
            code, log = running.end()
        self.damaged = code != 0 or any(DAMAGE.search(text) for text in (log, self.movie.log))
        if running.stuck:
            raise Ex4dError(NOT_A_CLIP, f"ffmpeg got stuck in {self.movie.path.name} after frame {given - 1}.")
        if code != 0 and not given:
            lines = log.strip().splitlines() or [f"exit status {code}"]
            raise Ex4dError(NOT_A_CLIP, f"{self.movie.path.name} cannot be decoded: {lines[-1].strip()}")

    def _chain(self, rate: Rate, first: int, count: int) -> list[str]:
        movie = self.movie
        chain: list[str] = []
        turn = round(movie.rotation / 90) % 4
        if abs(movie.rotation - 90 * round(movie.rotation / 90)) > 0.5:
            raise Ex4dError(
                UNSUPPORTED,
                f"{movie.path.name} is turned by {movie.rotation:g} degrees, which is not a quarter turn.",
                "Export it upright.",
            )
        if turn:  # ffmpeg's own filters do it, in front of ours, flips included
            self.notes.append(f"turned by {turn * 90 if turn < 3 else -90} degrees, as the file says")
        if movie.field_order != "progressive":
            chain.append(f"bwdif=mode=send_frame:parity={movie.field_order}:deint=all")
            order = {"tff": "top field first", "bff": "bottom field first"}[movie.field_order]
            self.notes.append(f"interlaced ({order}): deinterlaced, one frame for two fields")
        if rate.variable:
            chain.append(f"fps={rate.fps.numerator}/{rate.fps.denominator}:round=near")
        if first or count:
            chain.append(f"trim=start_frame={first}" + (f":end_frame={first + count}" if count else ""))
        return [*chain, *self._colour()]

    def _colour(self) -> list[str]:
        movie = self.movie
        rgb = movie.pixel_format.startswith(("gbr", "rgb", "bgr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb"))
        grey = movie.pixel_format.startswith(("gray", "mono", "ya"))
        deep = re.search(r"(?:p|gray|f|ya)(9|10|12|14|16|32)(?:le|be)?$|^(?:p0|p2|p4|y2|v3|xv|x2)", movie.pixel_format)
        hdr = HDR.get(movie.transfer)
        if movie.pixel_format.startswith(("yuva", "gbrap", "rgba", "bgra", "argb", "abgr", "ya")):
            self.notes.append("transparency left out")
        if hdr or movie.primaries in WIDE:
            return self._wide(hdr, rgb)
        if deep:
            self.notes.append(f"{movie.pixel_format} rounded to 8 bits")
        if rgb or grey:
            return ["format=rgb24"]
        matrix = MATRICES.get(movie.matrix)
        if matrix is None:
            # What players do: HD is BT.709, anything smaller is BT.601.
            matrix = "bt709" if max(movie.width, movie.height) >= 1280 or movie.height > 576 else "bt601"
            if matrix == "bt709":
                self.notes.append("no colour matrix is stored; read as BT.709")
        span = "pc" if movie.full_range else "tv"
        flags = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp"
        return [
            f"scale=in_range={span}:in_color_matrix={matrix}:out_range=pc:flags={flags}",
            "format=rgb24",
        ]

    def _wide(self, hdr: str | None, rgb: bool) -> list[str]:
        """HDR, or primaries wider than sRGB's: through linear light."""
        movie = self.movie
        matrix = "gbr" if rgb else movie.matrix if movie.matrix in MATRICES else "bt2020nc"
        span = "full" if movie.full_range or rgb else "limited"
        primaries = movie.primaries or "bt2020"
        transfer = movie.transfer if hdr else "bt709"
        self.notes.append(
            f"HDR ({hdr}) tone-mapped to 8-bit sRGB" if hdr else f"colours converted from {primaries} to sRGB"
        )
        whole = "gbrp16le" if rgb else "yuv444p16le"  # zscale takes no odd sizes with subsampled chroma
        tags = {"matrixin": matrix, "rangein": span, "primariesin": primaries, "transferin": transfer}
        given = ":".join(f"{key}={value}" for key, value in tags.items())
        return [
            f"format={whole}",
            f"zscale={given}:transfer=linear:npl=203:matrix=gbr",  # 203 cd/m2: HDR's diffuse white, BT.2408
            "format=gbrpf32le",
            "zscale=primaries=bt709",
            *(["tonemap=mobius:param=0.6:desat=0"] if hdr else []),
            f"zscale=transfer={'iec61966-2-1' if hdr else 'bt709'}:matrix=gbr:range=full",
            "format=rgb24",
        ]


def square_size(width: int, height: int, aspect: Fraction) -> tuple[int, int]:
    """Width and height with square pixels, made by enlarging one side so that nothing is lost."""
    if aspect >= 1:
        return round(width * aspect), height
    return width, round(height / aspect)


def movie_size(movie: Movie) -> tuple[int, int]:
    """Width and height of an upright frame with square pixels."""
    width, height = square_size(movie.width, movie.height, movie.pixel_aspect)
    return (height, width) if movie.turned else (width, height)


def _read_ppm(pipe: IO[bytes]) -> U8 | None:
    """One binary PPM with 8 bits as ffmpeg writes it ("P6", "W H", "255", each on a line); None at the end."""
    if pipe.readline() != b"P6\n":
        return None
    size = pipe.readline().split()
    if len(size) != 2 or pipe.readline() != b"255\n":
        return None
    width, height = int(size[0]), int(size[1])
    data = pipe.read(height * width * 3)
    if len(data) < height * width * 3:
        return None  # ended in the middle of a picture
    return np.frombuffer(data, np.uint8).reshape(height, width, 3)


def name_of(path: Path) -> str:
    """What a clip from this file is called."""
    return path.stem or path.name
