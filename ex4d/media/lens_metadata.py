# SPDX-License-Identifier: Apache-2.0
"""The focal length that a file tells: of the lens, and of the sensor that the picture is of.

A focal length in millimetres says nothing by itself: without the sensor's size, it is left aside. What is read:

- EXIF of JPEG, PNG and TIFF (CIPA DC-008): FocalPlaneXResolution with FocalLength, else FocalLengthIn35mmFilm, which is
  by the diagonal of 43.27 mm. Pillow reads it, where it is installed.
- OpenEXR's standard attributes: pinholeFocalLength (else effective, else nominal) with sensorPhotositePitch and
  sensorAcquisitionRectangle, else sensorOverallDimensions.
- QuickTime and MP4 as phones write them: com.apple.quicktime.camera.focal_length.35mm_equivalent, which goes by the
  width of the picture, 36 mm: it is 27 where the same camera's photographs of 4:3 have 26 by the diagonal.

A crop made after the recording cannot be known. Pictures of another aspect than what their metadata describe, or with
pixels that are not square (anamorphic lenses), get no focal length from it.
"""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ex4d.media.quicktime import quicktime_items

FULL_FRAME = 36.0, 24.0  # millimetres of 35 mm film
_DIAGONAL = math.hypot(*FULL_FRAME)
_ASPECT = 0.02  # what the aspects of picture and metadata may differ by
_RANGE = 0.1, 100.0  # focal lengths that are believed, in sides of the picture
_APPLE = "com.apple.quicktime.camera.focal_length.35mm_equivalent"

# Tags of EXIF.
_EXIF, _FOCAL, _FOCAL_35, _DENSITY, _UNIT, _WIDTH, _HEIGHT = 34665, 37386, 41989, 41486, 41488, 40962, 40963
_BROKEN = (OSError, ValueError, TypeError, LookupError, ArithmeticError, RuntimeError, SyntaxError, struct.error)
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # of the units of _DENSITY


@dataclass(frozen=True)
class FileLens:
    """The lens that a file tells of."""

    focal: float  # pixels of the file's own, upright picture with square pixels
    told: str  # how the file says it: "26 mm, equivalent of 35 mm film"


def lens_of_picture(path: Path, width: int, height: int) -> FileLens | None:
    """What a picture's metadata say; None where they do not, or nobody can read them.

    Args:
        path: a file that is a picture.
        width, height: as it is read.
    """
    try:
        found = _of_exr(path, width, height) if path.suffix.lower() == ".exr" else _of_exif(path, width, height)
    except _BROKEN:
        return None  # without them it goes as well
    return _believed(found, width, height)


def lens_of_movie(path: Path, width: int, height: int, *, square: bool) -> FileLens | None:
    """What a movie's metadata say; None where they do not.

    Args:
        path: a file that is a movie.
        width, height: of its upright picture with square pixels.
        square: whether its pixels were square already.
    """
    number = re.match(r"\s*(\d+(?:\.\d+)?)\s*(?:mm)?\s*$", quicktime_items(path).get(_APPLE, ""))
    if number is None or not square:
        return None
    told = float(number[1])
    focal = told / FULL_FRAME[0] * max(width, height)
    return _believed(FileLens(focal, f"{told:g} mm, equivalent of 35 mm film"), width, height)


def _of_exif(path: Path, width: int, height: int) -> FileLens | None:
    try:
        from PIL import Image
    except ImportError:
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about sizes and damaged tags: the picture itself was read already
        try:
            with Image.open(path, formats=("JPEG", "PNG", "TIFF")) as picture:
                tags: dict[int, Any] = picture.getexif().get_ifd(_EXIF)
        except Image.DecompressionBombError:
            return None
    wide, high = (int(tags.get(tag, side)) for tag, side in ((_WIDTH, width), (_HEIGHT, height)))
    if not _same_shape(wide, high, width, height):
        return None
    focal, density, unit = (float(tags.get(tag, 0)) for tag in (_FOCAL, _DENSITY, _UNIT))
    if focal > 0.0 and density > 0.0:
        per_pixel = _MILLIMETRES.get(int(unit) or 2, 0.0) / density  # inches where no unit is given
        if per_pixel > 0.0:
            sensor = per_pixel * wide
            return FileLens(focal / sensor * width, f"{focal:g} mm on a sensor {sensor:.3g} mm wide")
    full_frame = float(tags.get(_FOCAL_35, 0))
    if full_frame > 0.0:
        focal = full_frame / _DIAGONAL * math.hypot(width, height)
        return FileLens(focal, f"{full_frame:g} mm, equivalent of 35 mm film")
    return None


def _of_exr(path: Path, width: int, height: int) -> FileLens | None:
    import OpenEXR

    with OpenEXR.File(str(path), header_only=True) as file:  # whose arrays end with it
        return _of_exr_header(file.parts[0].header, width, height)


def _of_exr_header(header: Mapping[str, Any], width: int, height: int) -> FileLens | None:
    names = ("pinholeFocalLength", "effectiveFocalLength", "nominalFocalLength")
    focal = next((float(header[name]) for name in names if name in header), 0.0)
    if focal <= 0.0 or abs(float(header.get("pixelAspectRatio", 1.0)) - 1.0) > _ASPECT:
        return None
    if "sensorPhotositePitch" in header and "sensorAcquisitionRectangle" in header:
        low, high = header["sensorAcquisitionRectangle"]
        pitch = 0.001 * float(header["sensorPhotositePitch"])  # it is in micrometres
        wide, tall = ((int(high[axis]) - int(low[axis]) + 1) * pitch for axis in (0, 1))
    elif "sensorOverallDimensions" in header:
        wide, tall = (float(side) for side in header["sensorOverallDimensions"])
    else:
        return None
    if not _same_shape(wide, tall, width, height):
        return None
    return FileLens(focal / wide * width, f"{focal:g} mm on a sensor {wide:.3g} mm wide")


def _same_shape(wide: float, high: float, width: int, height: int) -> bool:
    """Whether the picture is all of what the metadata describe; of that turned on its side nobody can say."""
    return wide > 0 and high > 0 and abs(wide * height / (high * width) - 1.0) <= _ASPECT


def _believed(found: FileLens | None, width: int, height: int) -> FileLens | None:
    if found is None or not _RANGE[0] <= found.focal / max(width, height) <= _RANGE[1]:
        return None
    return found
