# SPDX-License-Identifier: Apache-2.0
"""The focal length of a clip: what files tell of it, and which one is taken."""

from __future__ import annotations

import math
import struct
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import OpenEXR
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ex4d.clip import read_clip
from ex4d.lens import known_lens, settled_lens
from ex4d.media.ffmpeg import run
from ex4d.media.lens_metadata import lens_of_movie, lens_of_picture
from ex4d.media.quicktime import quicktime_items
from ex4d.values import Clip
from shared_protocol.errors import BAD_INPUT, Ex4dError

APPLE = "com.apple.quicktime.camera.focal_length.35mm_equivalent"
FOCAL, FILM, DENSITY, UNIT, WIDE, HIGH = 37386, 41989, 41486, 41488, 40962, 40963  # EXIF


def exif_picture(path: Path, tags: Mapping[int, Any], size: tuple[int, int] = (60, 40)) -> Path:
    image = pytest.importorskip("PIL.Image")
    exif = image.Exif()
    exif.get_ifd(34665).update(tags)
    image.new("RGB", size, (9, 80, 200)).save(path, exif=exif.tobytes())
    return path


def exr_picture(path: Path, **attributes: Any) -> Path:
    header = {"compression": OpenEXR.ZIP_COMPRESSION, "type": OpenEXR.scanlineimage, **attributes}
    with OpenEXR.File(header, {"RGB": np.full((40, 60, 3), 0.2, np.float32)}) as file:
        file.write(str(path))
    return path


def movie(path: Path, *arguments: str, size: str = "64x48") -> Path:
    made = ["-y", "-v", "error", "-f", "lavfi", "-i", f"testsrc=s={size}:d=0.2:r=10", *arguments, str(path)]
    _, log = run(made, 60.0)
    assert path.exists(), log
    return path


# --- what files tell ---


@pytest.mark.parametrize("ending", [".jpg", ".png", ".tif"])
def test_exif_tells_the_lens_and_the_sensor(tmp_path: Path, ending: str) -> None:
    # 600 pixels a centimetre of a sensor that was 60 pixels wide: 1 mm.
    path = exif_picture(tmp_path / f"a{ending}", {FOCAL: 1.5, DENSITY: 600.0, UNIT: 3, WIDE: 60, HIGH: 40})
    found = lens_of_picture(path, 60, 40)
    assert found is not None
    assert found.focal == pytest.approx(1.5 * 60)
    assert found.told == "1.5 mm on a sensor 1 mm wide"
    clip = read_clip([path], max_side=30)
    assert clip.focal == pytest.approx(1.5 * 30)
    assert clip.lens == found.told


def test_exif_of_35_mm_film_goes_by_the_diagonal(tmp_path: Path) -> None:
    found = lens_of_picture(exif_picture(tmp_path / "a.jpg", {FOCAL: 4.2, FILM: 26}), 60, 40)
    assert found is not None
    assert found.focal == pytest.approx(26 / math.hypot(36, 24) * math.hypot(60, 40))
    assert found.told == "26 mm, equivalent of 35 mm film"


@pytest.mark.parametrize(
    "tags",
    [
        {},
        {FOCAL: 35.0},  # of which sensor?
        {FILM: 26, WIDE: 4000, HIGH: 1000},  # the picture was cropped
        {FILM: 0},
        {FILM: 60_000},
        {FOCAL: 35.0, DENSITY: 600.0, UNIT: 9},
    ],
)
def test_exif_that_says_too_little_is_left_aside(tmp_path: Path, tags: dict[int, Any]) -> None:
    path = exif_picture(tmp_path / "a.jpg", tags)
    assert lens_of_picture(path, 60, 40) is None
    assert read_clip([path]).focal is None


def test_a_smaller_copy_of_a_photograph_keeps_its_view(tmp_path: Path) -> None:
    path = exif_picture(tmp_path / "a.jpg", {FOCAL: 24.0, DENSITY: 4000.0 / 36.0, UNIT: 4, WIDE: 4000, HIGH: 2667})
    found = lens_of_picture(path, 60, 40)
    assert found is not None
    assert found.focal == pytest.approx(24.0 / 36.0 * 60)


def test_exr_tells_the_lens_and_the_sensor(tmp_path: Path) -> None:
    part = exr_picture(
        tmp_path / "a.exr",
        nominalFocalLength=32.0,
        pinholeFocalLength=31.5,
        sensorPhotositePitch=6.0,
        sensorAcquisitionRectangle=((0, 0), (2999, 1999)),
        sensorOverallDimensions=np.array([36.0, 24.0], np.float32),
    )
    found = lens_of_picture(part, 60, 40)
    assert found is not None
    assert found.focal == pytest.approx(31.5 / 18.0 * 60, rel=1e-5)
    assert read_clip([part]).focal == found.focal
    whole = exr_picture(
        tmp_path / "b.exr", nominalFocalLength=50.0, sensorOverallDimensions=np.array([36.0, 24.0], np.float32)
    )
    found = lens_of_picture(whole, 60, 40)
    assert found is not None
    assert found.focal == pytest.approx(50.0 / 36.0 * 60, rel=1e-5)
    assert found.told == "50 mm on a sensor 36 mm wide"


@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"nominalFocalLength": 50.0},
        {"sensorOverallDimensions": np.array([36.0, 24.0], np.float32)},
        {"nominalFocalLength": 50.0, "sensorOverallDimensions": np.array([36.0, 10.0], np.float32)},  # cropped
        {
            "nominalFocalLength": 50.0,
            "sensorOverallDimensions": np.array([36.0, 24.0], np.float32),
            "pixelAspectRatio": 2.0,  # anamorphic
        },
        {"nominalFocalLength": 0.0, "sensorOverallDimensions": np.array([36.0, 24.0], np.float32)},
        {"nominalFocalLength": 50.0, "sensorOverallDimensions": np.array([0.0, 0.0], np.float32)},
    ],
)
def test_exr_that_says_too_little_is_left_aside(tmp_path: Path, attributes: dict[str, Any]) -> None:
    assert lens_of_picture(exr_picture(tmp_path / "a.exr", **attributes), 60, 40) is None


@pytest.mark.parametrize("ending", [".mov", ".mp4"])
@pytest.mark.parametrize("value", ["27", "27.00mm"])
def test_a_phones_movie_tells_its_lens(tmp_path: Path, ending: str, value: str) -> None:
    path = movie(tmp_path / f"a{ending}", "-movflags", "use_metadata_tags", "-metadata", f"{APPLE}={value}")
    clip = read_clip([path], max_side=32)
    assert clip.focal == pytest.approx(27 / 36 * 32)
    assert clip.lens == "27 mm, equivalent of 35 mm film"


def test_a_movie_held_upright_has_its_sensor_upright(tmp_path: Path) -> None:
    path = movie(tmp_path / "a.mov", "-movflags", "use_metadata_tags", "-metadata", f"{APPLE}=27", size="48x64")
    assert read_clip([path]).focal == pytest.approx(27 / 36 * 64)


def test_a_movie_of_other_pixels_or_without_a_lens_tells_nothing(tmp_path: Path) -> None:
    tagged = ("-movflags", "use_metadata_tags", "-metadata", f"{APPLE}=27")
    assert read_clip([movie(tmp_path / "wide.mov", *tagged, "-vf", "setsar=2")]).focal is None
    assert read_clip([movie(tmp_path / "plain.mov")]).focal is None
    assert read_clip([movie(tmp_path / "other.mkv")]).focal is None
    odd = movie(tmp_path / "odd.mov", "-movflags", "use_metadata_tags", "-metadata", f"{APPLE}=wide")
    assert read_clip([odd]).focal is None


def atom(kind: bytes, *content: bytes) -> bytes:
    whole = b"".join(content)
    return struct.pack(">I4s", 8 + len(whole), kind) + whole


def item(number: int, kind: int, value: bytes) -> bytes:
    return atom(struct.pack(">I", number), atom(b"data", struct.pack(">II", kind, 0), value))


def phone(path: Path, *, version: bytes = b"", value: tuple[int, bytes] = (21, struct.pack(">h", 27))) -> Path:
    """A file as a phone writes it: the lens in its track's items, other things in the file's."""
    names = [b"com.apple.quicktime.make", APPLE.encode()]
    keys = atom(b"keys", struct.pack(">II", 0, len(names)), *(atom(b"mdta", name) for name in names))
    handler = atom(b"hdlr", b"\0" * 8, b"mdta", b"\0" * 12)
    make = item(1, 1, b"Apple")
    file_items = atom(b"meta", version, handler, keys, atom(b"ilst", make))
    track_items = atom(b"meta", version, handler, keys, atom(b"ilst", make, item(2, *value)))
    moov = atom(b"moov", atom(b"trak", atom(b"tkhd", b"\0" * 84)), file_items, atom(b"trak", track_items))
    large = struct.pack(">I4sQ", 1, b"mdat", 16 + 1000) + b"\0" * 1000
    path.write_bytes(atom(b"ftyp", b"qt  ", b"\0" * 4) + large + moov)
    return path


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (1, b"27"),
        (21, struct.pack(">h", 27)),
        (22, b"\x1b"),
        (23, struct.pack(">f", 27.0)),
        (24, struct.pack(">d", 27.0)),
    ],
)
@pytest.mark.parametrize("version", [b"", b"\0" * 4])
def test_the_lens_of_a_track_is_found(tmp_path: Path, kind: int, value: bytes, version: bytes) -> None:
    path = phone(tmp_path / "a.mov", version=version, value=(kind, value))
    assert quicktime_items(path) == {"com.apple.quicktime.make": "Apple", APPLE: "27"}
    found = lens_of_movie(path, 1920, 1080, square=True)
    assert found is not None
    assert found.focal == pytest.approx(1440.0)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_tell_nothing_and_break_nothing(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    path = phone(tmp_path_factory.getbasetemp() / "damaged.mov")
    whole = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(0, 6))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole)))])
    assert all(isinstance(value, str) for value in quicktime_items(path).values())


@pytest.mark.parametrize("after", [b"", b"\0" * 4])
def test_an_atom_whose_head_is_cut_off_ends_the_list(tmp_path: Path, after: bytes) -> None:
    cut = struct.pack(">I4s", 1, b"trak") + after  # its size should follow in eight bytes
    path = tmp_path / "a.mov"
    for whole in (atom(b"ftyp", b"qt  ") + atom(b"moov", cut), atom(b"ftyp", b"qt  ") + cut):
        path.write_bytes(whole)
        assert quicktime_items(path) == {}


def test_pictures_with_broken_metadata_are_read_without(tmp_path: Path) -> None:
    path = exif_picture(tmp_path / "a.jpg", {FOCAL: 4.2, FILM: 26})
    data = bytearray(path.read_bytes())
    at = data.index(b"Exif\0\0") + 6
    data[at + 4 : at + 40] = b"\xff" * 36
    path.write_bytes(data)
    assert lens_of_picture(path, 60, 40) is None
    assert read_clip([path]).focal is None
    broken = tmp_path / "b.exr"
    broken.write_bytes(b"\x76\x2f\x31\x01" + b"\0" * 40)
    assert lens_of_picture(broken, 60, 40) is None


# --- which is taken ---


def a_clip(**facts: Any) -> Clip:
    return Clip(np.zeros((1, 36, 64, 3), np.uint8), Fraction(24), "clip", **facts)


def test_what_is_given_goes_first() -> None:
    clip = a_clip(scale=0.5, focal=40.0, lens="26 mm")
    found = known_lens(clip, focal=100.0)
    assert found is not None
    assert (found.focal, found.source, found.note) == (50.0, "pixels", "focal length 100 px as given")
    found = known_lens(clip, lens=(50.0, 36.0))
    assert found is not None
    assert found.focal == pytest.approx(50 / 36 * 64)
    assert (found.source, found.note) == ("millimetres", "focal length 177.8 px (50 mm on a sensor 36 mm wide)")
    found = known_lens(clip)
    assert found is not None
    assert (found.focal, found.source) == (40.0, "metadata")
    assert found.note == "focal length 80 px from the clip's metadata (26 mm)"
    assert settled_lens(clip, found, 70.0, 60.0) is found


def test_the_estimators_and_a_usual_lens_come_last() -> None:
    clip = a_clip(scale=0.5)
    assert known_lens(clip) is None
    found = settled_lens(clip, None, 70.0, 60.0)
    assert (found.focal, found.source) == (70.0, "estimator")
    assert found.note == "focal length 140 px by the depth estimator's own guess"
    found = settled_lens(clip, None, None)
    assert (found.focal, found.source) == (62.5, "default")
    assert "a usual lens was assumed" in found.note
    assert settled_lens(clip, None, None, 60.0).focal == 60.0


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"focal": 0.0}, "A focal length of 0.0 pixels"),
        ({"focal": float("nan")}, "A focal length of nan pixels"),
        ({"focal": 5.0}, "A focal length of 5 pixels is a view of 162 degrees"),
        ({"lens": (0.0, 36.0)}, "A lens of 0 mm"),
        ({"lens": (35.0, float("nan"))}, "A sensor of nan mm"),
        ({"lens": (35.0, 36_000.0)}, "A sensor of 36000 mm"),
        ({"lens": (2.0, 36.0)}, "is a view of 167 degrees"),
        ({"focal": 50.0, "lens": (35.0, 36.0)}, "given twice"),
    ],
)
def test_what_is_no_lens_is_refused(how: dict[str, Any], message: str) -> None:
    with pytest.raises(Ex4dError, match=message) as caught:
        known_lens(a_clip(), **how)
    assert caught.value.code == BAD_INPUT
    assert caught.value.hint
