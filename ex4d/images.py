# SPDX-License-Identifier: Apache-2.0
"""Single pictures on disk: PNG through OpenCV, EXR through OpenEXR. Writing is atomic, reading never half succeeds."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ex4d.files import replacing
from ex4d.values import F32, U8
from shared_protocol.errors import BAD_INPUT, NOT_A_CLIP, NOT_FOUND, Ex4dError

_PNG = [cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE]  # with level 1: smaller than level 3, in half the time
if hasattr(cv2, "IMWRITE_PNG_FILTER"):  # from OpenCV 4.12 on
    _PNG += [cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_PAETH]
PNG_END = b"IEND\xaeB`\x82"  # type and checksum of the chunk that ends every PNG


def read_file(path: Path) -> bytes:
    """The bytes of a file.

    Raises:
        Ex4dError: NOT_FOUND when it is missing or not readable.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {error.strerror or error}.") from error


def read_png(path: Path) -> U8:
    """An 8-bit picture.

    16-bit values are rounded to 8 bits, an alpha channel is left out. JPEG and TIFF files are read as well.

    Returns:
        [H, W, 3] RGB or [H, W] grey, uint8, as stored (no colour conversion).

    Raises:
        Ex4dError: NOT_FOUND, or NOT_A_CLIP for a file that is not a whole picture.
    """
    image = read_raw_png(path)
    if image.dtype == np.uint16:
        image = ((image.astype(np.uint32) + 128) // 257).astype(np.uint8)
    return np.ascontiguousarray(image, dtype=np.uint8)


def read_raw_png(path: Path) -> NDArray[np.uint8] | NDArray[np.uint16]:
    """Like `read_png`, with 16-bit files as uint16 as they are."""
    data = read_file(path)
    if data[:4] == b"\x89PNG" and PNG_END not in data[-64:]:
        raise Ex4dError(NOT_A_CLIP, f"{path} is not whole: the file ends too early.", "Copy or render it again.")
    try:
        image: Any = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED) if data else None
    except cv2.error as error:
        raise Ex4dError(NOT_A_CLIP, f"{path} is not a picture that can be read.") from error
    if image is None or image.dtype not in (np.uint8, np.uint16):
        raise Ex4dError(NOT_A_CLIP, f"{path} is not a picture that can be read.", "PNG with 8 or 16 bits is.")
    if image.ndim == 2:
        return np.asarray(image)
    if image.shape[2] in (1, 2):  # grey, grey with alpha
        return np.ascontiguousarray(image[..., 0])
    from_bgr = cv2.COLOR_BGR2RGB if image.shape[2] == 3 else cv2.COLOR_BGRA2RGB
    return np.asarray(cv2.cvtColor(image, from_bgr))


def write_png(path: Path, image: NDArray[Any], *, durable: bool = False, compression: int = 1) -> None:
    """Writes an 8 or 16-bit picture, losslessly and in one step.

    Args:
        path: file to make or replace.
        image: [H, W, 3] RGB or [H, W] grey, uint8 or uint16.
        durable: flush it to the disk before it takes its place.
        compression: zlib's level, 0 to 9.

    Raises:
        Ex4dError: BAD_INPUT for another shape or type, DISK when it cannot be written.
    """
    grey = image.ndim == 2
    if image.dtype not in (np.uint8, np.uint16) or not (grey or (image.ndim == 3 and image.shape[2] == 3)):
        raise Ex4dError(BAD_INPUT, f"A PNG cannot be made of a {image.dtype} array of shape {image.shape}.")
    if image.size == 0:
        raise Ex4dError(BAD_INPUT, "A PNG needs at least one pixel.")
    stored = image if grey else cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_RGB2BGR)
    done, data = cv2.imencode(".png", np.ascontiguousarray(stored), [cv2.IMWRITE_PNG_COMPRESSION, compression, *_PNG])
    if not done:
        raise Ex4dError(BAD_INPUT, f"{path} could not be encoded as PNG.")
    with replacing(path, durable=durable) as temporary:
        temporary.write_bytes(data.tobytes())


def read_exr(path: Path) -> dict[str, F32]:
    """All channels of an OpenEXR file.

    A file that stores only a part of its display window (a cropped render) is filled up with zeros, what lies outside
    is cut off. Channels of further parts of a file carry the part's name in front ("depth.Z") where it is needed
    to tell them apart.

    Returns:
        Name to [H, W] float32. Values are linear, as stored.

    Raises:
        Ex4dError: NOT_FOUND, or NOT_A_CLIP for a file that is not a whole EXR.
    """
    channels: dict[str, F32] = {}
    with _opened_exr(path) as file:
        for part in file.parts:
            for name, channel in part.channels.items():
                full = f"{part.name()}.{name}" if name in channels else name
                channels[full] = _into_display_window(np.asarray(channel.pixels), part.header)
        if not channels:
            raise KeyError(path)
    return channels


def read_exr_channel(path: Path, choose: Callable[[Sequence[str]], str]) -> tuple[F32, dict[str, Any]]:
    """One channel of an OpenEXR file, of whichever part it lies in.

    Args:
        path: the file.
        choose: picks one of the names of all channels. In a file of several parts, a part's name stands in front of
            those of its channels ("depth.Z"), unless they begin with it themselves, as Blender's do.

    Returns:
        [H, W] float32 as `read_exr` gives it, and the attributes of its part's header.

    Raises:
        Ex4dError: as `read_exr`; and whatever `choose` raises.
    """
    with _opened_exr(path) as file:
        several = len(file.parts) > 1
        found: dict[str, tuple[Any, Any]] = {}
        for part in file.parts:
            front = f"{part.name()}." if several and part.name() else ""
            for name, channel in part.channels.items():
                found[name if name.startswith(front) else front + name] = (part, channel)
        if not found:
            raise KeyError(path)
        part, channel = found[choose(list(found))]
        return _into_display_window(np.asarray(channel.pixels), part.header), dict(part.header)


@contextmanager
def _opened_exr(path: Path) -> Iterator[Any]:
    """An `OpenEXR.File`. What it raises becomes an error that says so, and so does a KeyError for a missing part."""
    import OpenEXR  # its import takes a moment, and most work needs no EXR

    if read_file_head(path, 4) != b"\x76\x2f\x31\x01":
        raise Ex4dError(NOT_A_CLIP, f"{path} is not an OpenEXR file.")
    try:
        with OpenEXR.File(os.fspath(path), separate_channels=True) as file:
            yield file
    except (RuntimeError, ValueError, TypeError, KeyError) as error:
        raise Ex4dError(NOT_A_CLIP, f"{path} is not a whole OpenEXR file.", "Copy or render it again.") from error


def read_file_head(path: Path, size: int) -> bytes:
    """The first bytes of a file; raises as `read_file` does."""
    try:
        with path.open("rb") as file:
            return file.read(size)
    except FileNotFoundError as error:
        raise Ex4dError(NOT_FOUND, f"There is no file {path}.", "Check the path.") from error
    except OSError as error:
        raise Ex4dError(NOT_FOUND, f"{path} cannot be read: {error.strerror or error}.") from error


def write_exr(
    path: Path,
    channels: Mapping[str, NDArray[Any]],
    *,
    attributes: Mapping[str, str | int | float] | None = None,
    durable: bool = False,
) -> None:
    """Writes channels as float32 (half where the array is float16), ZIP-compressed, in one step.

    Args:
        path: file to make or replace.
        channels: name to [H, W]; all of one size.
        attributes: of the header, beside those that every file has.
        durable: flush it to the disk before it takes its place.

    Raises:
        Ex4dError: BAD_INPUT for no channels or differing sizes, DISK when it cannot be written.
    """
    import OpenEXR

    shapes = {array.shape for array in channels.values()}
    if len(shapes) != 1 or len(next(iter(shapes))) != 2 or 0 in next(iter(shapes)):
        raise Ex4dError(BAD_INPUT, f"An EXR needs channels of one size, not {sorted(shapes)}.")
    arrays = {
        name: np.ascontiguousarray(array, dtype=np.float16 if array.dtype == np.float16 else np.float32)
        for name, array in channels.items()
    }
    header = {**(attributes or {}), "compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage}
    with replacing(path, durable=durable) as temporary:
        try:
            with OpenEXR.File(header, arrays) as file:
                file.write(os.fspath(temporary))
        except RuntimeError as error:  # OpenEXR's C++ exceptions: they carry the system's reason as text alone
            text = str(error)
            raise OSError(errno.ENOSPC if os.strerror(errno.ENOSPC) in text else errno.EIO, text.rstrip(".")) from error


def _into_display_window(pixels: NDArray[Any], header: Mapping[str, Any]) -> F32:
    """Moves what is stored (data window) to where it belongs in the picture (display window)."""
    pixels = pixels.astype(np.float32)
    (dx0, dy0), _ = (tuple(int(v) for v in corner) for corner in header["dataWindow"])
    (x0, y0), (x1, y1) = (tuple(int(v) for v in corner) for corner in header["displayWindow"])
    height, width = y1 - y0 + 1, x1 - x0 + 1
    if (dx0, dy0) == (x0, y0) and pixels.shape == (height, width):
        return pixels
    whole = np.zeros((height, width), np.float32)
    top, left = dy0 - y0, dx0 - x0
    rows = slice(max(top, 0), max(min(top + pixels.shape[0], height), 0))
    columns = slice(max(left, 0), max(min(left + pixels.shape[1], width), 0))
    if rows.stop > rows.start and columns.stop > columns.start:
        whole[rows, columns] = pixels[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
    return whole
