# SPDX-License-Identifier: Apache-2.0
"""Depth in a movie: the grey values as they are stored, of any number of bits."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.depth.stored import Stored
from ex4d.media.decode import DAMAGE, movie_size
from ex4d.media.ffmpeg import source, stream
from ex4d.media.probe import Movie, probe
from ex4d.media.rate import settle
from ex4d.memory import check_memory
from ex4d.values import F32
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, Ex4dError

_LOSSLESS = ("ffv1", "ffvhuff", "huffyuv", "utvideo", "magicyuv", "rawvideo", "png", "apng", "qtrle", "v210", "v410")
_COLOURED = 0.02  # of the whole range: what compression adds to the colour of grey pictures stays below
_SUBSAMPLING = {"444": (1, 1), "440": (1, 2), "422": (2, 1), "420": (2, 2), "411": (4, 1), "410": (4, 4)}
_NOT_PLANAR = {"nv12": "420", "nv21": "420", "nv16": "422", "nv20": "422", "p0": "420", "p2": "422", "y2": "422"}


@dataclass(frozen=True)
class _Layout:
    """How ffmpeg hands over a frame: its first plane is what counts, the others tell whether it is grey."""

    pixel_format: str  # ffmpeg's name
    bits: int
    chroma: tuple[int, int] | None  # how many times smaller the two planes of colour are; None = there are none
    rgb: bool = False  # planes of green, blue and red

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a value."""
        return np.dtype(np.uint8) if self.bits == 8 else np.dtype("<u2")


def open_movie(path: Path) -> Stored:
    """A grey movie.

    Raises:
        Ex4dError: NOT_A_CLIP for a file that cannot be decoded; while reading BAD_INPUT for a coloured one.
    """
    movie = probe(path)
    layout = _layout(movie.pixel_format)
    width, height = movie_size(movie)
    check_memory(3 * width * height * 4, f"A frame of {width}x{height} of {path.name}")
    notes = ["depth has only 8 bits: expect steps in it"] if layout.bits == 8 else []
    codec = re.search(r"Video: (\w+)", movie.log)
    if codec and codec[1] not in _LOSSLESS:
        notes.append(f"{codec[1]} compression is not exact: expect noise at the edges of depth")
    return Stored(
        path.name,
        movie.packets,
        "disparity",
        lambda wanted: _frames(movie, layout, wanted),
        whole=True,
        notes=tuple(notes),
        remarks=(("depth", "values of the movie read as millimetres, 0 as background"),),
    )


def _frames(movie: Movie, layout: _Layout, wanted: Sequence[int]) -> Iterator[F32]:
    height, width = (movie.width, movie.height) if movie.turned else (movie.height, movie.width)
    first, last = wanted[0], wanted[-1]
    rate = settle(movie.times, movie.time_base, movie.printed_rates, movie.duration)
    chain = [f"fps={rate.fps.numerator}/{rate.fps.denominator}:round=near"] if rate.variable else []  # as of the clip
    chain.append(f"trim=start_frame={first}:end_frame={last + 1}")
    taken = ["-map", "0:V:0", "-vf", ",".join(chain), "-fps_mode", "passthrough"]
    raw = ["-f", "rawvideo", "-pix_fmt", layout.pixel_format, "pipe:1"]
    shapes = [(height, width), *_colour_shapes(layout, height, width)]
    size = sum(h * w for h, w in shapes) * layout.dtype.itemsize
    given = first
    with stream(["-v", "warning", *source(movie.path), *taken, *raw]) as running:
        pipe = running.process.stdout
        while given <= last and pipe is not None and len(data := pipe.read(size)) == size:
            running.alive()
            if given in wanted:
                yield _values(np.frombuffer(data, layout.dtype), shapes, layout, movie, given)
                running.alive()  # the time that the caller took is not ffmpeg's
            given += 1
        code, log = running.end()  # no more frames were asked for than were read
    if running.stuck or given <= last or code or DAMAGE.search(log) or DAMAGE.search(movie.log):
        good = f"Frames {first + 1} to {given} can be read." if given > first else ""
        raise Ex4dError(NOT_A_CLIP, f"{movie.path.name} is damaged or cut off.", good)


def _values(
    data: NDArray[Any],
    shapes: Sequence[tuple[int, int]],
    layout: _Layout,
    movie: Movie,
    index: int,
) -> F32:
    """[H, W], 0 to the largest number of so many bits."""
    ends = np.cumsum([h * w for h, w in shapes])
    grey, *colour = (plane.astype(np.float32) for plane in np.split(data, ends[:-1]))
    most = 2.0**layout.bits - 1.0
    neutral = grey if layout.rgb else np.float32(2.0 ** (layout.bits - 1))
    if any(float(np.abs(plane - neutral).mean()) > _COLOURED * most for plane in colour):
        raise Ex4dError(
            BAD_INPUT,
            f"{movie.path.name} is a coloured movie (frame {index + 1}): a picture, or depth in false colours.",
            "Depth is grey: one value for each pixel. Export it so, with 10 bits or more where that is possible.",
        )
    limited = not layout.rgb and (movie.full_range is False or (layout.chroma is not None and not movie.full_range))
    if limited:  # black is 16 and white 235 of 8 bits (ITU-R BT.709), and in step with that for more
        step = 2.0 ** (layout.bits - 8)
        grey = np.clip((grey - 16.0 * step) * (most / (219.0 * step)), 0.0, most).astype(np.float32)
    values = grey.reshape(shapes[0])
    wide, high = movie_size(movie)
    if values.shape == (high, wide):
        return values
    return np.asarray(cv2.resize(values, (wide, high), interpolation=cv2.INTER_NEAREST_EXACT), np.float32)


def _colour_shapes(layout: _Layout, height: int, width: int) -> list[tuple[int, int]]:
    if layout.chroma is None:
        return []
    across, down = layout.chroma
    return [(-(-height // down), -(-width // across))] * 2


def _layout(pixel_format: str) -> _Layout:
    """A layout that keeps the stored values, for every pixel format of ffmpeg."""
    name = re.sub(r"(le|be)$", "", pixel_format)
    if name.startswith(("gray", "ya", "mono")):
        found = re.search(r"(9|10|12|14|16)$", name)
        bits = int(found[1]) if found else 8 if name in ("gray", "ya8", "monow", "monob") else 16
        return _Layout("gray" if bits == 8 else f"gray{bits}le", bits, None)
    if planar := re.fullmatch(r"yuv(a|j)?(4\d\d)p(\d*)", name):
        bits, across = int(planar[3] or 8), planar[2]
        plain = f"yuv{'j' if planar[1] == 'j' else ''}{across}p"
        return _Layout(plain if bits == 8 else f"{plain}{bits}le", bits, _SUBSAMPLING[across])
    if not re.match(r"(a?rgb|a?bgr|gbr|0rgb|0bgr|x2|pal8|rgba)", name):
        across = next((kind for start, kind in _NOT_PLANAR.items() if name.startswith(start)), "444")
        found = None if name.startswith("nv") else re.search(r"(10|12|16)$", name)
        bits = 10 if name in ("nv20", "xv30", "v30x") else 12 if name == "xv36" else int(found[1]) if found else 8
        return _Layout(f"yuv{across}p" + (f"{bits}le" if bits > 8 else ""), bits, _SUBSAMPLING[across])
    found = re.search(r"^gbra?p(9|10|12|14|16)", name)
    bits = int(found[1]) if found else 16 if "48" in name or "64" in name or "x2" in name or "f" in name[4:] else 8
    return _Layout("gbrp" if bits == 8 else f"gbrp{bits}le", bits, (1, 1), rgb=True)
