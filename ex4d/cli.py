# SPDX-License-Identifier: Apache-2.0
"""The `ex4d` command: recon, reshoot, generate, depth, sheet, export, evaluate, models, doctor."""

from __future__ import annotations

import argparse
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NoReturn

from ex4d import shot_command
from ex4d.depth import command as depth_command
from ex4d.evaluate import depth_command as depth_figures_command
from ex4d.evaluate import geometry_command
from ex4d.export import command as export_command
from ex4d.generate import command as generate_command
from ex4d.models import command as models_command
from ex4d.models.places import gigabytes
from shared_protocol.errors import BAD_INPUT, NOT_FOUND, SIZE_MISMATCH, Ex4dError


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command. Returns 0, or 2 after one line on stderr that says what is wrong and what to do."""
    arguments = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.INFO if arguments.verbose else logging.WARNING, format="%(levelname)s %(message)s"
    )
    if not arguments.verbose:
        _hush_libraries()
    try:
        arguments.run(arguments)
        sys.stdout.flush()
    except Ex4dError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt as stop:  # with what is kept, where something is
        print(": ".join(["stopped", *map(str, stop.args)]), file=sys.stderr)
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


def _hush_libraries() -> None:
    """Keeps what libraries say at their import to other programmers (parts that are not built in) off the terminal."""
    for library in ("torchao", "torch.utils._pytree"):
        logging.getLogger(library).setLevel(logging.ERROR)
    for variable in ("DIFFUSERS_VERBOSITY", "TRANSFORMERS_VERBOSITY"):  # they set their loggers' levels by these
        os.environ.setdefault(variable, "error")


class _Parser(argparse.ArgumentParser):
    """Tells what is wrong in one line; how it is right stands in --help."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"error: {message} (see {self.prog} --help)\n")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="ex4d", description="Re-shoot a clip from a new camera.")
    parser.add_argument("--verbose", action="store_true", help="tell what is done")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    shot_command.add_recon(commands)
    shot_command.add_reshoot(commands)
    generate_command.add_generate(commands)

    depth = commands.add_parser("depth", help="a clip's depth as an EXR sequence, for a compositor")
    depth_command.add_arguments(depth)
    depth.set_defaults(run=depth_command.run)

    sheet = commands.add_parser("sheet", help="one picture: source, conditioning, result at five frames")
    sheet.add_argument("--scene", type=Path, required=True, help="folder of a reconstructed scene")
    sheet.add_argument("--conditioning", type=Path, required=True, help="folder with colour/ and mask/")
    sheet.add_argument("--frames", type=Path, required=True, help="folder with the result's frames")
    sheet.add_argument("--output", type=Path, required=True, help="the PNG to write")
    sheet.set_defaults(run=_sheet)

    export = commands.add_parser("export", help="a scene, or a shot of it, as PLY, USD and camera files")
    export_command.add_arguments(export)
    export.set_defaults(run=export_command.run)

    evaluate = commands.add_parser("evaluate", help="measure a result").add_subparsers(required=True, metavar="WHAT")
    flicker = evaluate.add_parser("flicker", help="how steady what was painted is, beside the source's own flicker")
    flicker.add_argument("--scene", type=Path, required=True, help="folder of a reconstructed scene")
    flicker.add_argument("--conditioning", type=Path, required=True, help="folder with mask/")
    flicker.add_argument("--frames", type=Path, required=True, help="folder with the result's frames")
    flicker.add_argument("--json", action="store_true", help="for programs")
    flicker.set_defaults(run=_flicker)
    geometry = evaluate.add_parser("geometry", help="mask, colour and depth against ground truth")
    geometry_command.add_arguments(geometry)
    geometry.set_defaults(run=geometry_command.run)
    steadiness = evaluate.add_parser("depth", help="how right and how steady depth is, before and after clean-up")
    depth_figures_command.add_arguments(steadiness)
    steadiness.set_defaults(run=depth_figures_command.run)

    models = commands.add_parser("models", help="weights: what there is, fetching and checking them, where they lie")
    models_command.add_arguments(models)

    doctor = commands.add_parser("doctor", help="what works here, what is missing, under which licence")
    doctor.add_argument("--json", action="store_true", help="for programs")
    doctor.set_defaults(run=_doctor)
    return parser


def _sheet(arguments: argparse.Namespace) -> None:
    from ex4d.step_folders import sheet

    if arguments.output.suffix.lower() != ".png":
        raise Ex4dError(BAD_INPUT, f"{arguments.output.name} is not a name for a PNG.", "Let it end in .png.")
    sheet(arguments.scene, arguments.conditioning, arguments.frames, arguments.output)
    print(arguments.output)


def _flicker(arguments: argparse.Namespace) -> None:
    from ex4d.evaluate.flicker import flicker
    from ex4d.images import read_png
    from ex4d.step_folders import masks, pictures

    frames, seen = pictures(arguments.frames), masks(arguments.conditioning)
    if len(frames) < 2 or len(frames) != len(seen):
        raise Ex4dError(
            SIZE_MISMATCH,
            f"There are {len(frames)} frames and {len(seen)} masks.",
            "Flicker is measured between frames: give two or more, with a mask for each.",
        )
    plate = pictures(arguments.scene / "source")
    if len(plate) < 2:
        raise Ex4dError(NOT_FOUND, f"There is no scene of two or more frames in {arguments.scene}.")
    painted = flicker((read_png(path) for path in frames), [read_png(path) < 128 for path in seen])
    source = flicker(read_png(path) for path in plate)
    ratio = painted / source if source > 0.0 else math.nan
    if arguments.json:  # which knows no nan
        figures = {"painted": painted, "source": source, "ratio": ratio}
        print(json.dumps({name: value if math.isfinite(value) else None for name, value in figures.items()}))
        return
    print("flow-warped difference between consecutive frames, levels of 255 (nan: nothing to compare)")
    print(f"  painted areas of the result {painted:.3f}, source {source:.3f}, ratio {ratio:.2f}")


def _doctor(arguments: argparse.Namespace) -> None:
    from ex4d.doctor import about_depth, depth_facts, doors, models, parts, torch_here, wan_parts
    from ex4d.versions import project_version

    found = [(kind, door, *door.available()) for kind, door in doors()]
    torch = torch_here()
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
                **(depth_facts(door.name) if kind == "depth" else {}),
            }
            for kind, door, works, reason in found
        ]
        told = {
            "version": project_version(),
            "doors": rows,
            "parts": [vars(part) for part in parts()],
            "torch": None if torch is None else asdict(torch),
            "wan_parts": [vars(part) for part in wan_parts()],
            "models": [vars(model) for model in models()],
        }
        print(json.dumps(told, indent=1))
        return
    print(f"ex4d {project_version()}, Python {sys.version.split()[0]}, free disk {_free_gib():.0f} GiB here\n")
    for kind, door, works, reason in found:
        state = "works" if works else f"missing: {reason}"
        paid = "commercial use allowed" if door.commercial_use else "NOT for commercial use"
        lines = [state, door.label, f"{door.licence}; {paid}"]
        lines += [about_depth(door.name)] if kind == "depth" else []
        print(f"{kind:11}{door.name:22}" + f"\n{'':33}".join(lines))
    print("\nPyTorch")
    if torch is None:
        print("  missing: pip install ex4d-blender[wan], or [depth] for depth alone")
    else:
        print(f"  {torch.version}, {f'CUDA {torch.cuda}' if torch.cuda else 'without CUDA'}")
        for card in torch.cards:
            print(f"  {card.name}, {card.memory / 2**30:.0f} GiB")
        if torch.problem:
            print(f"  cannot be used: {torch.problem}")
        elif not torch.cards:
            print("  no GPU that it can use")
    print("\nmodels")
    for model in models():
        paid = "" if model.commercial_use else f"; NOT free for commercial use ({model.licence})"
        print(f"  {model.name:24}{gigabytes(model.size):>9}  {model.path}{paid}")
    print("  see `ex4d models list` for what there is")
    for title, packages in (("built on", parts()), ("for estimators and generators with weights", wan_parts())):
        print(f"\n{title}")
        for part in packages:
            print(f"  {part.name:24}{part.version or 'missing':12} {part.licence}")


def _free_gib() -> float:
    return shutil.disk_usage(".").free / 2**30
