# SPDX-License-Identifier: Apache-2.0
"""`ex4d evaluate geometry`: the mask, colour and depth of the engine against ground truth."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from ex4d.arguments import whole
from ex4d.console import Console
from ex4d.evaluate import degrade
from ex4d.evaluate.clean_up import STAGES, cleaned
from ex4d.evaluate.geometry import measure
from ex4d.evaluate.ground_truth import GroundTruthSet, load_move_truth, load_scene_truth, load_set
from ex4d.evaluate.report import Row, as_json, pooled, table
from ex4d.files import replacing
from ex4d.mesh.surface import GEOMETRIES
from ex4d.versions import project_version

DEPTHS = ("exact", "degraded")


@dataclass(frozen=True)
class Variant:
    """One way to render that is measured."""

    geometry: str
    persist: bool = False

    @property
    def name(self) -> str:
        """As it stands in tables."""
        return self.geometry + ("+persist" if self.persist else "")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--set", type=Path, required=True, metavar="DIR", help="a ground-truth set")
    parser.add_argument(
        "--geometry", nargs="+", choices=GEOMETRIES, default=["closed"], help="what is measured (default: closed)"
    )
    parser.add_argument("--persist", action="store_true", help="with background from other frames; tells what it added")
    parser.add_argument("--depth", choices=(*DEPTHS, "both"), default="both", help="default: both")
    parser.add_argument("--seed", type=whole, default=0, help="of the degraded depth (default: 0)")
    parser.add_argument("--clean_up", choices=STAGES, default="off", help="of the degraded depth (default: off)")
    parser.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="default: all of the set")
    parser.add_argument("--moves", nargs="+", default=[], metavar="NAME", help="default: all of the scene")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures, and the sums behind them, as JSON"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; progress goes to stderr.

    Raises:
        Ex4dError: for options that do not fit, and whatever reading the set and rendering report.
    """
    truth = load_set(arguments.set.resolve())
    depths = DEPTHS if arguments.depth == "both" else (arguments.depth,)
    variants = [Variant(geometry, arguments.persist) for geometry in dict.fromkeys(arguments.geometry)]
    with Console() as console:
        rows = list(
            evaluate(
                truth,
                variants,
                depths,
                seed=arguments.seed,
                clean_up=arguments.clean_up,
                scenes=arguments.scenes,
                moves=arguments.moves,
                console=console,
            )
        )
    if arguments.json is not None:
        value = {
            "version": project_version(),
            "set": {**asdict(truth), "folder": truth.folder.name},
            "seed": arguments.seed,
            "clean_up": arguments.clean_up,
            "rows": [as_json(row) for row in rows],
            "pooled": [as_json(row) for row in pooled(rows)],
        }
        with replacing(arguments.json) as part:
            part.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")
    sys.stdout.write(f"{table(rows)}\n\n{table(pooled(rows))}\n")


def evaluate(
    truth: GroundTruthSet,
    variants: Sequence[Variant],
    depths: Sequence[str] = DEPTHS,
    *,
    seed: int = 0,
    clean_up: str = "off",
    scenes: Sequence[str] = (),
    moves: Sequence[str] = (),
    console: Console,
) -> Iterator[Row]:
    """Measures variants of the engine on a set, one row for each scene, kind of depth, move and variant.

    Args:
        truth: the set.
        variants: geometries, each with or without persistence.
        depths: of `DEPTHS`.
        seed: of the degraded depth.
        clean_up: of `ex4d.evaluate.clean_up.STAGES`, what is done to the degraded depth.
        scenes: names; all if none are given.
        moves: names; all of each scene if none are given.
        console: is told which frame is done.

    Raises:
        Ex4dError: BAD_INPUT for names and options that cannot be used, at once; later whatever reading the set and
            rendering report.
    """
    from ex4d.evaluate.renders import reconstructed, rendered  # these load Numba
    from ex4d.render.conditioning import RenderOptions

    chosen = truth.choose(scenes, moves)
    options = [RenderOptions(geometry=variant.geometry, persist=variant.persist) for variant in variants]
    for option in options:
        option.check()
    for name, scene_moves in chosen:
        scene = load_scene_truth(truth, name)
        for depth in depths:
            z = scene.depth
            if depth == "degraded":
                z = cleaned(degrade.degrade(z, seed, name), scene.colour, clean_up)
            made = {variant.geometry: reconstructed(scene, z, variant.geometry) for variant in variants}
            for move_name in scene_moves:
                move = load_move_truth(truth, name, move_name)
                for variant, option in zip(variants, options, strict=True):
                    phase = f"{name}, {move_name}, {variant.name}, {depth} depth"

                    def tell(index: int, phase: str = phase) -> None:
                        console.progress(phase, index + 1, truth.frames)

                    frames = rendered(made[variant.geometry], move, option, tell)
                    without = None
                    if variant.persist:
                        plain = rendered(made[variant.geometry], move, RenderOptions(geometry=variant.geometry))
                        without = [mask for _, mask, _ in plain].__getitem__
                    yield Row(name, move_name, depth, variant.name, measure(scene, move, frames.__getitem__, without))
