# SPDX-License-Identifier: Apache-2.0
"""What a clip's depth is made of, on the command line: for `ex4d recon`, `ex4d reshoot` and `ex4d depth` alike."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from ex4d.arguments import number
from ex4d.settings import Value, from_text
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    from ex4d.depth.known.values import Known
    from ex4d.depth_step import DepthOptions

# What decides the depth, by the names in the parsed arguments. `depth`, `sky_mask` and `known_points` are files.
DECIDES = (
    *("depth", "depth_kind", "estimator", "depth_option", "sky_mask", "commercial", "focal", "lens", "sensor"),
    *("source_camera", "known_points", "measure", "camera_height", "ground"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the flags: estimator, lens, source camera, and what is known."""
    made = parser.add_argument_group("depth")
    made.add_argument(
        "--depth",
        type=Path,
        help="depth of the clip: folder of EXR or 16-bit PNG, one such file, .npz, .npy, or a movie",
    )
    made.add_argument("--depth_kind", choices=("auto", "depth", "disparity"), default="auto")
    made.add_argument(
        "--estimator", default="auto", help="see `ex4d doctor` (default: the file, else the best that works here)"
    )
    made.add_argument(
        "--depth_option",
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="an option of the estimator or of the clean-up (steady, edges, sky); may be repeated",
    )
    made.add_argument(
        "--sky_mask",
        type=Path,
        metavar="FILE",
        help="where the sky is: a folder of pictures that are white there, or one for all frames (default: it is "
        "looked for)",
    )
    made.add_argument(
        "--commercial",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="only models whose licence allows commercial use (default: yes)",
    )
    lens = parser.add_argument_group("lens", "default: the clip's metadata, the estimator, a usual lens")
    lens.add_argument("--focal", type=number, help="focal length in pixels of the clip as it comes in")
    lens.add_argument("--lens", type=number, metavar="MM", help="focal length in millimetres, with --sensor")
    lens.add_argument(
        "--sensor", type=number, metavar="MM", help="width of the sensor, along the picture's longer side, with --lens"
    )
    lens.add_argument(
        "--source_camera",
        type=Path,
        metavar="FILE",
        help="how the source camera moved: a camera path, .json or .npz; new cameras then stand in the same world",
    )
    known = parser.add_argument_group("real units", "frames count from 1, pixels from the picture's upper left corner")
    known.add_argument(
        "--known_points", type=Path, metavar="FILE", help="points of known depth or place, .json or .npz"
    )
    known.add_argument(
        "--measure",
        action="append",
        default=[],
        metavar="FRAME,X1,Y1,X2,Y2,DISTANCE",
        help="the distance between two points of a frame; may be repeated",
    )
    known.add_argument(
        "--camera_height", type=number, metavar="H", help="height of the first frame's camera above the ground"
    )
    known.add_argument(
        "--ground",
        action="append",
        default=[],
        metavar="FRAME,X,Y",
        help="a point on the ground; three or more (default: the ground is looked for)",
    )


def depth_wish(arguments: argparse.Namespace, first: int = 0) -> DepthOptions:
    """What the flags say.

    Args:
        arguments: parsed.
        first: index of the first frame that is used, within the clip.

    Raises:
        Ex4dError: BAD_INPUT for what does not fit together, NOT_FOUND and others for files.
    """
    from ex4d.cameras import load_path
    from ex4d.depth_step import DepthOptions

    return DepthOptions(
        estimator=arguments.estimator,
        options=_options(arguments),
        files=() if arguments.depth is None else (arguments.depth,),
        sky=() if arguments.sky_mask is None else (arguments.sky_mask,),
        first=first,
        focal=arguments.focal,
        lens=_lens(arguments),
        source_camera=None if arguments.source_camera is None else load_path(arguments.source_camera),
        known=_known(arguments, first),
    )


def _options(arguments: argparse.Namespace) -> dict[str, Value]:
    """As the settings of the estimator have them; of "auto", as those of the first one that has such a setting."""
    from ex4d.depth.settings import STAGE_SETTINGS
    from ex4d.depth.table import DEPTH_DOORS

    name = arguments.estimator
    if name == "auto" and arguments.depth is not None:
        name = "file"
    doors = [DEPTH_DOORS[name]] if name in DEPTH_DOORS else list(DEPTH_DOORS.values())
    settings = {setting.name: setting for door in reversed(doors) for setting in (*STAGE_SETTINGS, *door.settings)}
    found: dict[str, Value] = {
        name: from_text(settings[name], text) if name in settings else text
        for name, text in _pairs(arguments.depth_option).items()
    }
    if arguments.depth is not None and arguments.depth_kind != "auto":
        found["depth_kind"] = arguments.depth_kind
    if not arguments.commercial:
        found["commercial"] = False
    return found


def _pairs(texts: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not name.strip():
            raise Ex4dError(BAD_INPUT, f"'{text}' is no option.", "Write --depth_option NAME=VALUE.")
        if name.strip() in found:
            raise Ex4dError(BAD_INPUT, f"The option {name.strip()} is given twice.", "Give it once.")
        found[name.strip()] = value.strip()
    return found


def _lens(arguments: argparse.Namespace) -> tuple[float, float] | None:
    if (arguments.lens is None) != (arguments.sensor is None):
        there, missing = ("--lens", "--sensor") if arguments.sensor is None else ("--sensor", "--lens")
        raise Ex4dError(
            BAD_INPUT,
            f"{there} was given without {missing}.",
            "A focal length in millimetres needs the sensor's width: 36 for a full frame or for equivalents of it.",
        )
    return None if arguments.lens is None else (arguments.lens, arguments.sensor)


def _known(arguments: argparse.Namespace, first: int) -> Known:
    from ex4d.depth.known.file import load_points
    from ex4d.depth.known.values import Known, Measure, Pick

    measures = [_numbers(text, "--measure", "FRAME,X1,Y1,X2,Y2,DISTANCE") for text in arguments.measure]
    ground = [_numbers(text, "--ground", "FRAME,X,Y") for text in arguments.ground]
    return Known(
        points=None if arguments.known_points is None else load_points(arguments.known_points, first),
        measures=tuple(
            Measure(_frame(frame, first), (x1, y1), (x2, y2), distance) for frame, x1, y1, x2, y2, distance in measures
        ),
        camera_height=arguments.camera_height,
        ground=tuple(Pick(_frame(frame, first), x, y) for frame, x, y in ground),
    )


def _numbers(text: str, flag: str, form: str) -> list[float]:
    parts = text.split(",")
    try:
        numbers = [float(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) != form.count(",") + 1:
        raise Ex4dError(BAD_INPUT, f"'{text}' is not what {flag} takes.", f"Write {flag} {form}, all numbers.")
    return numbers


def _frame(frame: float, first: int) -> int:
    if not (1 <= frame < 1 << 30 and frame % 1 == 0):
        raise Ex4dError(BAD_INPUT, f"There is no frame {frame:g}.", "Frames are counted from 1, the clip's first one.")
    if frame - 1 < first:
        raise Ex4dError(
            BAD_INPUT, f"Frame {frame:g} is not used: frame {first + 1} is the first that is.", "Pick in a later frame."
        )
    return int(frame) - 1 - first
