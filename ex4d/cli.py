# SPDX-License-Identifier: Apache-2.0
"""The `ex4d` command: recon, reshoot, sheet, evaluate, doctor."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

from ex4d.console import PARTS, Console, output_folder
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, SIZE_MISMATCH, Ex4dError
from shared_protocol.moves import MOVES


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, or 2 after one line on stderr that says what is wrong and what to do."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING, format="%(levelname)s %(message)s"
    )
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except Ex4dError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(f"error: {error.filename or 'a file'}: {error.strerror or error}", file=sys.stderr)
        return 2
    except MemoryError:
        print("error: There is not enough memory for this. Use --num_frames or a smaller --max_side.", file=sys.stderr)
        return 2
    return 0


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line; how it is right stands in --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ex4d", description="Re-shoot a clip from a new camera.")
    parser.add_argument("--verbose", action="store_true", help="tell what is done")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    recon = commands.add_parser("recon", help="clip → colour and mask video seen from the new camera")
    _add_shot_arguments(recon)
    recon.add_argument("--save_mesh", action="store_true", help="write the first frame's mesh, DW-Mesh.ply")
    recon.add_argument("--save_camera", action="store_true", help="write the camera path as npz as well")
    recon.add_argument(
        "--use_dwmesh", type=int, choices=(0, 1), default=1, help="0: drop stretched faces instead of letting them hide"
    )
    recon.set_defaults(run=_recon)

    reshoot = commands.add_parser("reshoot", help="clip → the new shot, with no Blender")
    _add_shot_arguments(reshoot)
    reshoot.add_argument("--generator", default="preview", help="see `ex4d doctor` (default: preview)")
    reshoot.add_argument("--seed", type=_whole, default=0)
    reshoot.set_defaults(run=_reshoot, use_dwmesh=1)

    sheet = commands.add_parser("sheet", help="one picture: source, conditioning, result at five frames")
    sheet.add_argument("--scene", type=Path, required=True, help="folder of a reconstructed scene")
    sheet.add_argument("--conditioning", type=Path, required=True, help="folder with colour/ and mask/")
    sheet.add_argument("--frames", type=Path, required=True, help="folder with the result's frames")
    sheet.add_argument("--output", type=Path, required=True, help="the PNG to write")
    sheet.set_defaults(run=_sheet)

    evaluate = commands.add_parser("evaluate", help="measure a result").add_subparsers(required=True, metavar="WHAT")
    flicker = evaluate.add_parser("flicker", help="how steady what was painted is, beside the source's own flicker")
    flicker.add_argument("--scene", type=Path, required=True, help="folder of a reconstructed scene")
    flicker.add_argument("--conditioning", type=Path, required=True, help="folder with mask/")
    flicker.add_argument("--frames", type=Path, required=True, help="folder with the result's frames")
    flicker.add_argument("--json", action="store_true", help="for programs")
    flicker.set_defaults(run=_flicker)

    doctor = commands.add_parser("doctor", help="what works here, what is missing, under which licence")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)
    return parser


def _add_shot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input_video", type=Path, required=True, help="movie, or folder of PNG or EXR pictures")
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument("--cam", choices=MOVES, help="a preset move")
    camera.add_argument("--camera", type=Path, help="a camera path, .json or .npz")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--num_frames", type=_at_least_one, default=0, help="frames used from the start (default: all)")
    parser.add_argument("--depth", type=Path, help="depth of the clip: .npz, or folder of EXR or 16-bit PNG")
    parser.add_argument("--depth_kind", choices=("auto", "depth", "disparity"), default="auto")
    parser.add_argument("--estimator", default="auto", help="see `ex4d doctor` (default: the file, else draft)")
    parser.add_argument("--focal", type=_number, help="focal length in pixels (default: 500/512 of the longest side)")
    parser.add_argument("--max_side", type=_whole, default=1280, help="larger pictures are scaled down (0: never)")
    parser.add_argument(
        "--filter_type",
        choices=("jump", "angle", "boundary"),
        default="jump",
        help="which faces count as stretched: relative depth jump, or the public code's angle or boundary rule",
    )


def _whole(text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number from 0 on")
    return int(text)


def _at_least_one(text: str) -> int:
    value = _whole(text)
    if not value:
        raise argparse.ArgumentTypeError("0 frames make no shot; leave it out for all of them")
    return value


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number") from error


def _condition(arguments: argparse.Namespace, work: Path, console: Console) -> tuple[Path, Path, str]:
    """Scene and conditioning folders below `work`, and the move's name for file names."""
    from ex4d import pipeline
    from ex4d.cameras import load_path, preset_path, static_source
    from ex4d.scene import load_scene

    given = None if arguments.camera is None else load_path(arguments.camera)  # said now, not after minutes of work
    scene_folder, conditioning = (work / part for part in PARTS)
    options = pipeline.ReconstructOptions(
        depth_kind=arguments.depth_kind,
        estimator=arguments.estimator,
        count=arguments.num_frames,
        focal=arguments.focal,
        max_side=arguments.max_side,
        edge_rule=arguments.filter_type,
    )
    depth = [] if arguments.depth is None else [arguments.depth]
    pipeline.reconstruct(scene_folder, [arguments.input_video], depth, options, console)
    scene = load_scene(scene_folder)
    total = len(scene.clip.frames)
    if given is not None:
        # Frame k of the path goes with frame k of the clip, so the clip's rate is the shot's.
        path = replace(given, fps=scene.clip.fps)
        name = arguments.camera.stem
        if len(path.world_from_camera) > total:
            raise Ex4dError(
                BAD_INPUT,
                f"The camera path has {len(path.world_from_camera)} frames, the clip {total}.",
                "Give a path no longer than the clip.",
            )
    else:
        path = preset_path(arguments.cam, total, scene.pivot, scene.intrinsics, scene.clip.fps)
        name = arguments.cam
    source = static_source(scene, len(path.world_from_camera))
    pipeline.render(conditioning, scene_folder, path, source, console, use_dwmesh=bool(arguments.use_dwmesh))
    return scene_folder, conditioning, name


def _recon(arguments: argparse.Namespace) -> None:
    from ex4d.cameras import save_path
    from ex4d.clip import write_video
    from ex4d.mesh import write_ply
    from ex4d.pipeline import load_conditioning
    from ex4d.scene import scene_mesh

    with output_folder(arguments.output_dir) as out, Console() as console:
        scene_folder, folder, name = _condition(arguments, out, console)
    made = load_conditioning(scene_folder, folder)
    shot = made.shot
    write_video(out / f"color_{name}.mp4", made.colour, shot.path.fps)
    write_video(out / f"mask_{name}.mp4", made.mask[..., None].repeat(3, axis=3).astype("uint8") * 255, shot.path.fps)
    if arguments.save_mesh:
        mesh = scene_mesh(shot.scene, shot.source, 0)
        write_ply(out / "DW-Mesh.ply", mesh, shot.scene.clip.frames[0], use_dwmesh=bool(arguments.use_dwmesh))
    if arguments.save_camera:
        save_path(out / f"camera_{name}.npz", shot.path)
    for kind in ("colour", "mask"):
        (folder / kind).replace(out / kind)
    for file in ("camera.json", "coverage.json", "source_model.json", "provenance.json"):
        (folder / file).replace(out / file)
    folder.rmdir()
    print(f"{_frames(len(made.colour))} in {out}; the source saw {made.coverage.mean():.0%} of the new view")


def _reshoot(arguments: argparse.Namespace) -> None:
    from ex4d import pipeline
    from ex4d.clip import write_video
    from ex4d.doors import choose
    from ex4d.generate import GENERATORS
    from ex4d.images import read_png

    choose(GENERATORS, arguments.generator, "generator")  # said now, not after minutes of work
    with Console() as console:
        with output_folder(arguments.output_dir) as out:
            scene_folder, conditioning, _ = _condition(arguments, out, console)
        pipeline.generate(out, scene_folder, conditioning, arguments.generator, arguments.seed, {}, console)
    take: dict[str, Any] = json.loads((out / "take.json").read_text("utf-8"))
    frames = [read_png(path) for path in pipeline.pictures(out / "frames")]
    write_video(out / "result.mp4", frames, Fraction(*take["fps"]))
    pipeline.sheet(scene_folder, conditioning, out / "frames", out / "contact_sheet.png")
    print(f"{_frames(len(frames))} in {out / 'frames'}; look at {out / 'contact_sheet.png'}")


def _sheet(arguments: argparse.Namespace) -> None:
    from ex4d.pipeline import sheet

    if arguments.output.suffix.lower() != ".png":
        raise Ex4dError(BAD_INPUT, f"{arguments.output.name} is not a name for a PNG.", "Let it end in .png.")
    sheet(arguments.scene, arguments.conditioning, arguments.frames, arguments.output)
    print(arguments.output)


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"


def _flicker(arguments: argparse.Namespace) -> None:
    from ex4d.evaluate.flicker import flicker
    from ex4d.images import read_png
    from ex4d.pipeline import pictures

    frames, masks = pictures(arguments.frames), pictures(arguments.conditioning / "mask")
    if len(frames) < 2 or len(frames) != len(masks):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"There are {len(frames)} frames and {len(masks)} masks.",
            "Flicker is measured between frames: give two or more, with a mask for each.",
        )
    plate = pictures(arguments.scene / "source")
    if len(plate) < 2:
        raise Ex4dError(NOT_FOUND, f"There is no scene of two or more frames in {arguments.scene}.")
    painted = flicker((read_png(path) for path in frames), [read_png(path) < 128 for path in masks])
    source = flicker(read_png(path) for path in plate)
    ratio = painted / source if source > 0.0 else math.nan
    if arguments.json:  # which knows no nan
        figures = {"painted": painted, "source": source, "ratio": ratio}
        print(json.dumps({name: value if math.isfinite(value) else None for name, value in figures.items()}))
        return
    print("flow-warped difference between consecutive frames, levels of 255 (nan: nothing to compare)")
    print(f"  painted areas of the result {painted:.3f}, source {source:.3f}, ratio {ratio:.2f}")


def _doctor(arguments: argparse.Namespace) -> None:
    from ex4d.doctor import doors, parts
    from ex4d.versions import project_version

    found = [(kind, door, *door.available()) for kind, door in doors()]
    if arguments.json:
        rows = [
            {
                "kind": kind,
                "name": door.name,
                "label": door.label,
                "licence": door.licence,
                "commercial_use": door.commercial_use,
                "available": works,
                "reason": reason,
            }
            for kind, door, works, reason in found
        ]
        built_on = [vars(part) for part in parts()]
        print(json.dumps({"version": project_version(), "doors": rows, "parts": built_on}, indent=1))
        return
    print(f"ex4d {project_version()}, Python {sys.version.split()[0]}, free disk {_free_gib():.0f} GiB here\n")
    for kind, door, works, reason in found:
        state = "works" if works else f"missing: {reason}"
        paid = "commercial use allowed" if door.commercial_use else "NOT for commercial use"
        print(f"{kind:11}{door.name:12}{state}\n{'':23}{door.label}\n{'':23}{door.licence}; {paid}")
    print("\nbuilt on")
    for part in parts():
        print(f"  {part.name:24}{part.version or 'missing':12} {part.licence}")


def _free_gib() -> float:
    return shutil.disk_usage(".").free / 2**30
