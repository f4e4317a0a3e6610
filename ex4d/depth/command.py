# SPDX-License-Identifier: Apache-2.0
"""The command `ex4d depth`: a clip's depth as an EXR sequence, for a compositor."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ex4d.arguments import at_least_one, whole
from ex4d.console import Console
from ex4d.depth.arguments import add_arguments as add_depth_arguments
from ex4d.depth.arguments import depth_wish
from ex4d.depth.settings import STAGE_SETTINGS
from ex4d.depth.stored import HOLDS, HOLDS_DEPTH, HOLDS_DISPARITY, METRES, RELATIVE, SCENE_UNITS, UNITS
from ex4d.depth.table import DEPTH_DOORS
from ex4d.settings import Setting
from ex4d.values import Clip
from ex4d.versions import project_version

if TYPE_CHECKING:
    from ex4d.depth.choose import Choice
    from ex4d.depth_step import ClipDepth

FIRST_FRAME = 1001  # of what is delivered
_OPTION = "option_"  # in front of the names of settings, among the parsed arguments


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `depth`."""
    parser.add_argument("clip", type=Path, metavar="CLIP", help="movie, or folder of PNG or EXR pictures")
    parser.add_argument(
        "-o",
        "--output",
        type=Path,
        required=True,
        help="depth.exr (depth.1001.exr, ...), depth.####.exr or depth.%%04d.exr for other numbers, a folder, or "
        "depth.npz",
    )
    parser.add_argument("--preview", type=Path, help="the depth in colours: a movie, a folder, or name.####.png")
    parser.add_argument("--disparity", action="store_true", help="write 1 / z, in a channel of that name")
    parser.add_argument(
        "--first_frame",
        type=whole,
        default=FIRST_FRAME,
        metavar="N",
        help=f"number of the first file (default: {FIRST_FRAME})",
    )
    parser.add_argument("--overwrite", action="store_true", help="write over files that are there")
    parser.add_argument("--first", type=_frame, default=1, metavar="N", help="frame of the clip to begin with")
    parser.add_argument("--num_frames", type=at_least_one, default=0, help="frames from there on (default: all)")
    parser.add_argument("--max_side", type=whole, default=0, help="larger pictures are scaled down (default: never)")
    add_depth_arguments(parser)
    _add_settings(parser)


def _add_settings(parser: argparse.ArgumentParser) -> None:
    """A flag for every option of the estimators and of the clean-up that has none yet."""
    owners: dict[str, list[str]] = {}
    settings: dict[str, Setting] = {}
    for owner, found in (
        ("every estimator", STAGE_SETTINGS),
        *((door.name, door.settings) for door in DEPTH_DOORS.values()),
    ):
        for setting in found:
            owners.setdefault(setting.name, []).append(owner)
            settings.setdefault(setting.name, setting)
    taken = {flag for action in parser._actions for flag in action.option_strings}
    group = parser.add_argument_group("options of estimators")
    for name, setting in settings.items():
        if f"--{name}" in taken:
            continue
        choices = f"; {', '.join(setting.choices)}" if setting.choices else ""
        told = f"{setting.help} ({', '.join(owners[name])}{choices})".replace("%", "%%")
        kept: dict[str, Any] = {"dest": _OPTION + name, "default": argparse.SUPPRESS, "help": told}
        if isinstance(setting.default, bool):
            group.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, **kept)
        else:
            group.add_argument(f"--{name}", metavar="X", **kept)


def _with_settings(arguments: argparse.Namespace) -> argparse.Namespace:
    """The flags of `_add_settings` as what they are short for: --depth_option NAME=VALUE."""
    typed = {name.removeprefix(_OPTION): value for name, value in vars(arguments).items() if name.startswith(_OPTION)}
    texts = {name: value if isinstance(value, str) else "yes" if value else "no" for name, value in typed.items()}
    options = [*arguments.depth_option, *(f"{name}={text}" for name, text in texts.items())]
    return argparse.Namespace(**{**vars(arguments), "depth_option": options})


def _frame(text: str) -> int:
    """A frame, counted from 1."""
    value = whole(text)
    if not value:
        raise argparse.ArgumentTypeError("frames are counted from 1")
    return value


def run(arguments: argparse.Namespace) -> None:
    """Runs the command.

    Raises:
        Ex4dError: whatever reading, estimating and writing report.
    """
    from ex4d.clip import read_clip
    from ex4d.depth.deliver import delivery, depth_place, folders_for, preview_place, write_depth, write_preview
    from ex4d.depth_step import depth_of_clip
    from ex4d.mesh.extent import Extent
    from ex4d.on_disk import streamed, workspace

    place = depth_place(arguments.output)
    preview = None if arguments.preview is None else preview_place(arguments.preview)
    wish = depth_wish(_with_settings(arguments), arguments.first - 1)
    told: list[str] = []
    places = [place] if preview is None else [place, preview]
    with Console() as console, folders_for(*places), workspace(place.folder) as arrays:
        clip = read_clip(
            [arguments.clip],
            first=arguments.first - 1,
            count=arguments.num_frames,
            max_side=arguments.max_side,
            workspace=arrays,
            progress=lambda done, expected: console.progress("Reading the clip", done, expected),
        )
        total = len(clip.frames)
        files = place.files(arguments.first_frame, total)
        coloured = [] if preview is None else preview.files(arguments.first_frame, total)
        with delivery([*files, *coloured], arguments.overwrite) as at:
            found = depth_of_clip(clip, arrays, replace(wish, chosen=partial(_tell, console, told)), console.progress)
            z = found.depth.z
            extent = Extent(z.size)
            for frame in streamed(z):
                extent.add(frame)
            near, far, _ = extent.measured(each.z for each in found.depth.beyond)
            about = list(_attributes(clip, found, arguments, near, far))
            write_depth(z, [at[file] for file in files], about, console.progress, disparity=arguments.disparity)
            if coloured:
                write_preview(z, [at[file] for file in coloured], clip.fps, near, far, console.progress)
            console.end()
        left = place.others(files)
    if left:
        more = f" and {len(left) - 1} more" if len(left) > 1 else ""
        print(f"note: {left[0]}{more} were there before, and are not of this run", file=sys.stderr)
    for note in (*clip.notes, *found.depth.notes):
        if note not in told:
            print(f"note: {note}", file=sys.stderr)
    for line in _summary(found, near, far):
        print(line)
    last = f" to {files[-1].name}" if len(files) > 1 else ""
    print(f"{total} frame{'s' if total != 1 else ''} in {files[0]}{last}")


def _tell(console: Console, told: list[str], choice: Choice) -> None:
    """Says which estimator it is, and what its licence does not allow, before the long work begins."""
    console.end()
    nature = choice.door.nature(choice.options, bool(choice.stage["commercial"]))
    told += choice.notes
    if not nature.commercial_use:
        told.append(f"{choice.door.label} is not for commercial use: {nature.licence}")
    for note in told:
        print(f"note: {note}", file=sys.stderr)


def _attributes(clip: Clip, found: ClipDepth, arguments: argparse.Namespace, near: float, far: float) -> Iterator[Any]:
    """What the header of each frame says."""
    facts = found.facts["depth"]
    scale, shift = _applied(found)
    same: dict[str, str | int | float] = {
        HOLDS: HOLDS_DISPARITY if arguments.disparity else HOLDS_DEPTH,
        UNITS: _units(found),
        "ex4d/estimator": facts["estimator"],
        "ex4d/model": facts["model"],
        "ex4d/licence": facts["licence"],
        "ex4d/commercial_use": "allowed" if facts["commercial_use"] else "not allowed",
        "ex4d/disparity_scale": scale,
        "ex4d/disparity_shift": shift,
        "ex4d/lens": found.facts["lens"]["source"] if "lens" in found.facts else "source camera",
        "ex4d/near": near,
        "ex4d/far": far,
        "ex4d/fps": str(clip.fps),
        "ex4d/source": arguments.clip.name,
        "ex4d/version": project_version(),
    }
    if fit := _fit(found):
        same["ex4d/fit_residual"] = float(fit["residual"])
    names = ("ex4d/focal_pixels", "ex4d/focal_pixels_y", "ex4d/cx", "ex4d/cy")
    for t, lens in enumerate(found.camera.intrinsics.tolist()):
        yield {**same, **dict(zip(names, lens, strict=True)), "ex4d/source_frame": arguments.first + t}


def _fit(found: ClipDepth) -> dict[str, Any] | None:
    """How the depth was fitted to what is known or to the source camera; None where it was not."""
    known: dict[str, Any] | None = found.facts.get("known")
    camera: dict[str, Any] = found.facts.get("source_camera", {})
    return known or (camera if camera.get("applied") else None)


def _applied(found: ClipDepth) -> tuple[float, float]:
    fit = _fit(found)
    return (float(fit["scale"]), float(fit["shift"])) if fit else (1.0, 0.0)


def _units(found: ClipDepth) -> str:
    if found.depth.metric:
        return METRES
    given = found.depth.estimator == "file" and found.facts["depth"]["gives"] != "disparity"
    return SCENE_UNITS if given or _fit(found) else RELATIVE


def _summary(found: ClipDepth, near: float, far: float) -> Iterator[str]:
    facts = found.facts["depth"]
    model = f" ({facts['model']})" if facts["model"] else ""
    yield f"depth by {facts['estimator']}{model}; {facts['licence']}"
    yield f"near {near:.4g}, far {far:.4g} (1 % and 99 %), {_units(found)}"
    if fit := _fit(found):
        line = f"1 / z = {fit['scale']:.6g} x estimate {fit['shift']:+.6g}"
        yield f"fitted: {line}, residual {fit['residual']:.2%}"
