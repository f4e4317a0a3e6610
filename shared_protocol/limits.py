# SPDX-License-Identifier: Apache-2.0
"""The limits of the wire, and what must hold for the values of a message beyond their types.

Both sides check: the client before it sends, so that a slip is caught where it was made, and the backend because it
believes nobody.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Final

from . import messages as m
from .errors import BAD_INPUT, BAD_MESSAGE, LIMIT, Ex4dError

MAX_HEADER: Final = 4 << 20  # bytes of one msgpack header
MAX_PART: Final = 4 << 20  # bytes of the raw part behind it
MAX_PARTS: Final = 1  # raw parts behind a header
MAX_STRING: Final = 4096  # UTF-8 bytes of any string
MAX_ARRAY: Final = 50_000  # members of any array
MAX_MAP: Final = 64  # members of any map
MAX_MAPS: Final = 120_000  # maps in one header; a bomb of empty ones would cost much memory
MAX_DEPTH: Final = 16  # arrays and maps inside each other
MAX_INT: Final = 1 << 53
MAX_NAME: Final = 255  # characters of a file name
MAX_FRAMES: Final = 10_000  # frames of a clip or a shot
MAX_SIDE: Final = 8192  # pixels of the longest side of a picture
MAX_PIXELS: Final = 8192 * 4320
MAX_ASSET: Final = 64 << 30  # bytes of an upload
MAX_CAMERA: Final = 64 << 20  # bytes of a camera path file: some 6 KB a frame at most
MAX_POINTS: Final = 128 << 20  # bytes of a file of known points
MAX_MEASURES: Final = 64  # known distances of a clip
MAX_PICKS: Final = 1000  # points on the ground
MAX_AT: Final = 100_000.0  # pixels: a clip may come in larger than it is worked on
MAX_LENGTH: Final = 1e6  # scene units, of what is measured in the world
MAX_LENS: Final = 1e5  # millimetres
MAX_OPTIONS: Final = 64  # options of a generator or an estimator
MAX_CHOICES: Final = 64  # of one of them
MAX_GLIMPSE: Final = 512  # pixels of the longest side of a glimpse

GIVES: Final = ("disparity", "depth", "metric", "either")  # of `Door.gives`
GEOMETRIES: Final = ("closed", "bounded")  # of `Render.geometry`; the public code's own needs a scene of its own

_ID = re.compile(r"[0-9a-f]{64}")
_JOB_ID = re.compile(r"[0-9a-f]{32}")
_DOOR = re.compile(r"[a-z0-9_-]{1,64}")
_SETTING = re.compile(r"[a-z][a-z0-9_]{0,47}")
_FILE_NAME = re.compile(r"(?:[a-z0-9_-][a-z0-9_.-]*/){0,3}[a-z0-9_-][a-z0-9_.-]*")
_DEVICE = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\.|$)")  # names that Windows keeps for itself


def is_id(text: str) -> bool:
    """Whether `text` may be the id of an artifact or an asset: a sha256, 64 lower-case hex digits."""
    return _ID.fullmatch(text) is not None


def is_file_name(name: str) -> bool:
    """Whether `name` may name a file of an artifact: relative, "/" between at most four parts, none hidden or dots."""
    if len(name) > MAX_NAME or _FILE_NAME.fullmatch(name) is None:
        return False
    return not any(_DEVICE.match(part) or part.endswith(".") for part in name.split("/"))


def check(message: object) -> None:
    """Checks the values of a message or job whose types are right.

    Raises:
        Ex4dError: BAD_MESSAGE for a malformed id or name, BAD_INPUT for a value that cannot be used, LIMIT for one
            that is over a limit (with both numbers).
    """
    test = _CHECKS.get(type(message))
    if test is not None:
        test(message)


def check_part(message: object, size: int) -> None:
    """Checks the size in bytes of the raw part that comes with a message, where the message tells it.

    Raises:
        Ex4dError: BAD_MESSAGE.
    """
    if isinstance(message, m.Glimpse):
        right = message.width * message.height * 3
        _need(size == right, BAD_MESSAGE, f"A glimpse of {right:,} bytes came with {size:,}.")


def _need(right: bool, code: str, text: str) -> None:
    if not right:
        raise Ex4dError(code, text)


def _at_most(value: float, limit: float, what: str) -> None:
    if value > limit:
        raise Ex4dError(LIMIT, f"{what}: {value:,} is over the limit of {limit:,}.")


def _id(text: str, what: str) -> None:
    _need(is_id(text), BAD_MESSAGE, f"The {what} is not an id of 64 hex digits.")


def _job_id(text: str) -> None:
    _need(_JOB_ID.fullmatch(text) is not None, BAD_MESSAGE, "The job's id is not 32 hex digits.")


def _sha256(text: str) -> None:
    _need(is_id(text), BAD_MESSAGE, "The asset's sha256 is not 64 hex digits.")


def _file_name(name: str) -> None:
    _need(is_file_name(name), BAD_MESSAGE, f"{name[:80]!r} cannot be the name of a file in an artifact.")


def _range(value: int, least: int, what: str) -> None:
    _need(value >= least, BAD_INPUT, f"{what} must be at least {least}, and is {value}.")


def _fps(fps: tuple[int, int]) -> None:
    rate_ok = 0 < fps[0] <= 1_000_000 and 0 < fps[1] <= 1_000_000 and fps[0] <= 1000 * fps[1]
    _need(rate_ok, BAD_INPUT, f"{fps[0]}/{fps[1]} is not a frame rate (above 0, up to 1000 frames a second).")


def _picture(width: int, height: int) -> None:
    _range(min(width, height), 1, "The picture's width and height")
    _at_most(max(width, height), MAX_SIDE, "Longest side of the picture in pixels")
    _at_most(width * height, MAX_PIXELS, "Pixels of the picture")


def _asset(asset: m.Asset) -> None:
    _sha256(asset.sha256)
    _need(0 < len(asset.name) <= MAX_NAME, BAD_MESSAGE, "A file's name has no characters or too many.")
    _need(asset.name.isprintable(), BAD_MESSAGE, "A file's name holds control characters.")
    _need(asset.size > 0, BAD_INPUT, f"'{asset.name}' is empty.")
    _at_most(asset.size, MAX_ASSET, f"Bytes of '{asset.name}'")


def _chunk(message: m.AssetChunk) -> None:
    _range(message.offset, 0, "The offset")


def _reconstruct(job: m.Reconstruct) -> None:
    _need(len(job.clip) > 0, BAD_INPUT, "A reconstruction needs a clip.")
    _at_most(len(job.clip), MAX_FRAMES, "Files of the clip")
    _at_most(len(job.depth), MAX_FRAMES, "Files of the depth")
    _at_most(len(job.sky_mask), MAX_FRAMES, "Files of the sky mask")
    kinds = ("auto", "depth", "disparity")
    _need(job.depth_kind in kinds, BAD_INPUT, f"The kind of depth must be one of {', '.join(kinds)}.")
    _need(_DOOR.fullmatch(job.estimator) is not None, BAD_MESSAGE, "That is no name of an estimator.")
    _range(job.first, 0, "The first frame")
    _range(job.count, 0, "The number of frames")
    _at_most(job.count, MAX_FRAMES, "Frames of the clip")
    if job.fps is not None:
        _fps(job.fps)
    if job.focal is not None:
        _need(
            0.0 < job.focal <= 1e6,
            BAD_INPUT,
            "The focal length in pixels must lie above 0 and up to 1,000,000.",
        )
    _range(job.max_side, 16, "The longest side of the frames")
    _at_most(job.max_side, MAX_SIDE, "Longest side of the frames in pixels")
    if job.lens is not None:
        right = all(0.0 < length <= MAX_LENS for length in job.lens)
        _need(right, BAD_INPUT, f"The lens and its sensor must lie above 0 and up to {MAX_LENS:,.0f} millimetres.")
        _need(job.focal is None, BAD_INPUT, "The focal length is given twice: in pixels and in millimetres.")
    if job.source_camera is not None:
        _at_most(job.source_camera.size, MAX_CAMERA, f"Bytes of the source camera '{job.source_camera.name}'")
    _options(job.depth_options, "estimator")
    _known(job)


def _known(job: m.Reconstruct) -> None:
    if job.points is not None:
        _at_most(job.points.size, MAX_POINTS, f"Bytes of the points '{job.points.name}'")
    _at_most(len(job.measures), MAX_MEASURES, "Known distances")
    _need(len(set(job.measures)) == len(job.measures), BAD_INPUT, "A known distance is given twice.")
    _at_most(len(job.ground), MAX_PICKS, "Points on the ground")
    _need(len(set(job.ground)) == len(job.ground), BAD_INPUT, "A point on the ground is given twice.")
    height = job.camera_height
    if height is not None:
        right = 0.0 < height <= MAX_LENGTH
        _need(right, BAD_INPUT, f"The camera's height must lie above 0 and up to {MAX_LENGTH:,.0f} scene units.")
    _need(height is not None or not job.ground, BAD_INPUT, "Points on the ground need the camera's height above it.")


def _pick(pick: m.Pick) -> None:
    _at(pick.frame, pick.x, pick.y)


def _measure(measure: m.Measure) -> None:
    _at(measure.frame, measure.ax, measure.ay)
    _at(measure.frame, measure.bx, measure.by)
    apart = (measure.ax, measure.ay) != (measure.bx, measure.by)
    _need(apart, BAD_INPUT, "The two points of a known distance are the same.")
    right = 0.0 < measure.distance <= MAX_LENGTH
    _need(right, BAD_INPUT, f"A known distance must lie above 0 and up to {MAX_LENGTH:,.0f} scene units.")


def _at(frame: int, x: float, y: float) -> None:
    _range(frame, 0, "The frame of a picked point")
    _at_most(frame, MAX_FRAMES, "Frame of a picked point")
    _need(0.0 <= min(x, y), BAD_INPUT, f"A picked point lies outside of the picture, at {x:g}, {y:g}.")
    _at_most(max(x, y), MAX_AT, "Pixel position of a picked point")


def _options(options: tuple[tuple[str, m.OptionValue], ...], owner: str) -> None:
    _at_most(len(options), MAX_OPTIONS, f"Options of the {owner}")
    names = [name for name, _ in options]
    _need(len(set(names)) == len(names), BAD_INPUT, f"An option of the {owner} is given twice.")


def _camera(camera: m.CameraSample) -> None:
    a = camera.world_from_camera
    _need(len(a) == 16, BAD_MESSAGE, "A camera's matrix must have 16 numbers.")
    _need(max(map(abs, a)) <= 1e9, BAD_INPUT, "A camera stands more than 1e9 units away.")
    rows = (a[0:3], a[4:7], a[8:11])
    for i in range(3):
        for j in range(i + 1):
            dot = sum(x * y for x, y in zip(rows[i], rows[j], strict=True))
            off = abs(dot - (1.0 if i == j else 0.0))
            _need(off <= 1e-3, BAD_INPUT, "A camera's matrix is not a rotation and a translation.")
    (b, c, d), (e, f, g), (h, i_, k) = rows
    turn = b * (f * k - g * i_) - c * (e * k - g * h) + d * (e * i_ - f * h)
    _need(turn > 0.0, BAD_INPUT, "A camera's matrix mirrors.")
    _need(tuple(a[12:]) == (0.0, 0.0, 0.0, 1.0), BAD_INPUT, "The last row of a camera's matrix must be 0 0 0 1.")
    for focal in (camera.fx, camera.fy, camera.source_focal):
        _need(0.0 < focal <= 1e9, BAD_INPUT, "A focal length in pixels must be above 0.")
    for centre in (camera.cx, camera.cy, camera.source_cx, camera.source_cy):
        _need(math.fabs(centre) <= 1e9, BAD_INPUT, "A camera's principal point is out of bounds.")
    _range(camera.source_frame, 0, "The source frame")
    _need(0.0 < camera.disparity_scale <= 1e9, BAD_INPUT, "The disparity scale must be above 0.")
    _need(math.fabs(camera.disparity_shift) <= 1e9, BAD_INPUT, "The disparity shift is out of bounds.")


def _render(job: m.Render) -> None:
    _id(job.scene, "reconstruction")
    _picture(job.width, job.height)
    _fps(job.fps)
    _need(len(job.cameras) > 0, BAD_INPUT, "The shot has zero frames.")
    _range(job.lead_in, 0, "The number of lead-in frames")
    _at_most(len(job.cameras) + job.lead_in, MAX_FRAMES, "Frames of the shot")
    _need(job.geometry in GEOMETRIES, BAD_INPUT, f"The geometry must be one of {', '.join(GEOMETRIES)}.")
    _seed(job.seed)


def _seed(seed: int) -> None:
    _need(0 <= seed < 1 << 32, BAD_INPUT, "The seed must lie in 0 .. 4,294,967,295.")


def _generate(job: m.Generate) -> None:
    _id(job.conditioning, "conditioning")
    _need(_DOOR.fullmatch(job.generator) is not None, BAD_MESSAGE, "That is no name of a generator.")
    _seed(job.seed)
    _options(job.options, "generator")


def _setting(setting: m.SettingInfo) -> None:
    name = setting.name
    _need(_SETTING.fullmatch(name) is not None, BAD_MESSAGE, f"{name[:80]!r} is no name of an option.")
    _at_most(len(setting.choices), MAX_CHOICES, f"Choices of '{name}'")
    if setting.choices:
        _need(setting.default in setting.choices, BAD_MESSAGE, f"The default of '{name}' is none of its choices.")
        once = "" not in setting.choices and len(set(setting.choices)) == len(setting.choices)
        _need(once, BAD_MESSAGE, f"A choice of '{name}' is empty, or is there twice.")
    ends = [end for end in (setting.least, setting.most) if end is not None]
    number = isinstance(setting.default, (int, float)) and not isinstance(setting.default, bool)
    _need(number or not ends, BAD_MESSAGE, f"'{name}' has a range, and is no number.")
    _need(ends == sorted(ends), BAD_MESSAGE, f"The range of '{name}' ends before it begins.")


def _door(door: m.Door) -> None:
    _need(_DOOR.fullmatch(door.name) is not None, BAD_MESSAGE, f"{door.name[:80]!r} is no name of a door.")
    _range(door.lead_in, 0, "The number of lead-in frames")
    _at_most(door.lead_in, MAX_FRAMES, "Lead-in frames")
    _range(door.size, 0, "The size of the weights")
    _at_most(len(door.settings), MAX_OPTIONS, f"Options of '{door.name}'")
    _need(door.gives in ("", *GIVES), BAD_MESSAGE, f"{door.gives[:80]!r} is no kind of depth.")
    names = {setting.name for setting in door.settings}
    _need(len(names) == len(door.settings), BAD_MESSAGE, f"'{door.name}' has two options of one name.")


def _job_info(info: m.JobInfo) -> None:
    _job_id(info.job_id)
    _need(info.artifact == "" or is_id(info.artifact), BAD_MESSAGE, "The job's artifact is not an id of 64 hex digits.")
    _range(info.glimpse, 0, "The number of the glimpse")
    if info.seconds_left is not None:
        _range(info.seconds_left, 0, "The time left")


def _glimpse(message: m.Glimpse) -> None:
    _job_id(message.job_id)
    _range(message.number, 1, "The number of the glimpse")
    _range(min(message.width, message.height), 1, "The glimpse's width and height")
    _at_most(max(message.width, message.height), MAX_GLIMPSE, "Longest side of the glimpse in pixels")


def _fetch(message: m.Fetch) -> None:
    _id(message.artifact, "artifact")
    _file_name(message.name)
    _range(message.offset, 0, "The offset")
    _range(message.length, 1, "The length")


def _file_chunk(message: m.FileChunk) -> None:
    _id(message.artifact, "artifact")
    _file_name(message.name)


def _file_info(message: m.FileInfo) -> None:
    _file_name(message.name)
    _sha256(message.sha256)
    _range(message.size, 0, "The size")


_CHECKS: dict[type, Callable[[Any], None]] = {
    m.SettingInfo: _setting,
    m.Door: _door,
    m.Asset: _asset,
    m.AssetChunk: _chunk,
    m.AssetState: lambda x: _sha256(x.sha256),
    m.Pick: _pick,
    m.Measure: _measure,
    m.Reconstruct: _reconstruct,
    m.CameraSample: _camera,
    m.Render: _render,
    m.Generate: _generate,
    m.Submit: lambda x: _job_id(x.job_id),
    m.JobQuery: lambda x: _job_id(x.job_id),
    m.Cancel: lambda x: _job_id(x.job_id),
    m.JobInfo: _job_info,
    m.GlimpseQuery: lambda x: _job_id(x.job_id),
    m.Glimpse: _glimpse,
    m.FileInfo: _file_info,
    m.FileReady: lambda x: _id(x.artifact, "artifact"),
    m.ListFiles: lambda x: _id(x.artifact, "artifact"),
    m.FileList: lambda x: _id(x.artifact, "artifact"),
    m.Fetch: _fetch,
    m.FileChunk: _file_chunk,
}
