# SPDX-License-Identifier: Apache-2.0
"""`ex4d evaluate depth`: how right and how steady depth is on scenes with known depth, before and after clean-up."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ex4d.arguments import whole
from ex4d.console import Console
from ex4d.depth.door import Progress
from ex4d.depth.estimate import estimate_depth
from ex4d.evaluate import geometry
from ex4d.evaluate.clean_up import STAGES, cleaned
from ex4d.evaluate.degrade import degrade
from ex4d.evaluate.depth import FIGURES, DepthCounts, figures, in_exact_units, landings, measure
from ex4d.evaluate.ground_truth import GroundTruthSet, SceneTruth, load_move_truth, load_scene_truth, load_set
from ex4d.evaluate.report import aligned
from ex4d.files import replacing
from ex4d.on_disk import workspace
from ex4d.settings import Value
from ex4d.values import F32, Clip
from ex4d.versions import project_version

DEPTHS = ("exact", "degraded")
MASK_FIGURES = ("iou", "decided_iou", "depth_iou")  # of `ex4d.evaluate.geometry`
_TITLES = {
    "temporal": "temporal error",
    "inner": "inner",
    "warped": "warped difference",
    "true_warped": "of exact depth",
    "absrel": "AbsRel",
    "delta1": "delta1",
    "iou": "mask IoU",
    "decided_iou": "decided IoU",
    "depth_iou": "depth IoU",
}


@dataclass(frozen=True)
class Row:
    """What was measured on one scene."""

    scene: str
    depth: str  # "exact", "degraded" or an estimator's name
    seed: int | None  # of degraded depth; None where several are pooled, and for other depth
    stage: str  # of `STAGES`
    counts: DepthCounts
    mask: geometry.Counts  # empty where no move was rendered


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The command's options."""
    parser.add_argument("--set", type=Path, required=True, metavar="DIR", help="a ground-truth set")
    parser.add_argument(
        "--depth", choices=(*DEPTHS, "both", "none"), default="both", help="exact and degraded depth (default: both)"
    )
    parser.add_argument(
        "--seeds", nargs="+", type=whole, default=[0, 1, 2], help="of the degraded depth (default: 0 1 2)"
    )
    parser.add_argument("--estimators", nargs="+", default=[], metavar="NAME", help="measure depth that these estimate")
    parser.add_argument("--commercial", choices=("on", "off"), default="on", help="off: with models not free for it")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES), help="of clean-up (default: all)")
    parser.add_argument("--scenes", nargs="+", default=[], metavar="NAME", help="default: all of the set")
    parser.add_argument(
        "--moves", nargs="+", default=[], metavar="NAME", help="render masks at these (default: each scene's first)"
    )
    parser.add_argument("--no_masks", action="store_true", help="render nothing")
    parser.add_argument(
        "--json", type=Path, metavar="FILE", help="write the figures, and the sums behind them, as JSON"
    )


def run(arguments: argparse.Namespace) -> None:
    """Measures and prints; progress goes to stderr.

    Raises:
        Ex4dError: for options that do not fit, and whatever reading the set, estimating and rendering report.
    """
    truth = load_set(arguments.set.resolve())
    depths = {"both": DEPTHS, "none": ()}.get(arguments.depth, (arguments.depth,))
    with Console() as console:
        rows = list(
            evaluate(
                truth,
                depths,
                seeds=tuple(dict.fromkeys(arguments.seeds)),
                estimators=tuple(dict.fromkeys(arguments.estimators)),
                commercial=arguments.commercial == "on",
                stages=[stage for stage in STAGES if stage in arguments.stages],
                scenes=arguments.scenes,
                moves=arguments.moves,
                masks=not arguments.no_masks,
                console=console,
            )
        )
    if arguments.json is not None:
        value = {
            "version": project_version(),
            "set": {**asdict(truth), "folder": truth.folder.name},
            "rows": [as_json(row) for row in rows],
            "pooled": [as_json(row) for row in pooled(rows)],
        }
        with replacing(arguments.json) as part:
            part.write_text(json.dumps(value, indent=1, allow_nan=False), encoding="utf-8")
    by_scene = [row for name in truth.scenes for row in pooled((r for r in rows if r.scene == name), name)]
    sys.stdout.write(f"{table(by_scene)}\n\n{table(pooled(rows))}\n")


def evaluate(
    truth: GroundTruthSet,
    depths: Sequence[str] = DEPTHS,
    *,
    seeds: Sequence[int] = (0,),
    estimators: Sequence[str] = (),
    commercial: bool = True,
    stages: Sequence[str] = STAGES,
    scenes: Sequence[str] = (),
    moves: Sequence[str] = (),
    masks: bool = True,
    console: Console,
) -> Iterator[Row]:
    """Measures depth on a set, one row for each scene, depth, seed and stage.

    Args:
        truth: the set.
        depths: of `DEPTHS`.
        seeds: of the degraded depth.
        estimators: names of `ex4d.depth.DEPTH_DOORS`; what they give without the stages is what "off" measures. Depth
            that is not metric is aligned to the exact depth by one scale and one shift for the clip.
        commercial: only models that may be used commercially.
        stages: of `STAGES`.
        scenes: names; all if none are given.
        moves: that masks are rendered at; the first of each scene if none are given.
        masks: whether any are.
        console: is told which frame is done.

    Raises:
        Ex4dError: BAD_INPUT for names that the set does not have, at once; later whatever reading the set, estimating
            and rendering report.
    """
    for name, scene_moves in truth.choose(scenes, moves):
        scene = load_scene_truth(truth, name)
        landed = landings(scene.colour)
        for kind, seed, z, metric in _depths(scene, depths, seeds, estimators, commercial, console):
            for stage in stages:
                told = f"{name}, {kind}{'' if seed is None else f' {seed}'}, {stage}"

                def tell(phase: str, done: int, total: int, told: str = told) -> None:
                    console.progress(f"{told}: {phase}", done, total)

                clean = cleaned(z, scene.colour, stage, tell)
                if not metric:
                    clean = in_exact_units(clean, scene.depth)
                mask = geometry.Counts()
                for move in (scene_moves if moves else scene_moves[:1]) if masks else ():
                    mask += _mask(truth, scene, move, clean, tell)
                yield Row(name, kind, seed, stage, measure(clean, scene.depth, landed), mask)


def _depths(
    scene: SceneTruth,
    depths: Sequence[str],
    seeds: Sequence[int],
    estimators: Sequence[str],
    commercial: bool,
    console: Console,
) -> Iterator[tuple[str, int | None, F32, bool]]:
    """Name, seed and depth, and whether that has the exact depth's units."""
    for kind in depths:
        if kind == "exact":
            yield kind, None, scene.depth, True
        else:
            for seed in seeds:
                yield kind, seed, degrade(scene.depth, seed, scene.name), True
    for name in estimators:

        def tell(phase: str, done: int, total: int, name: str = name) -> None:
            console.progress(f"{scene.name}, {name}: {phase}", done, total)

        clip = Clip(scene.colour, scene.camera.fps, scene.name)
        wishes: dict[str, Value] = {"steady": "off", "edges": "off", "sky": "off", "commercial": commercial}
        with workspace() as folder:
            found = estimate_depth(clip, folder, estimator=name, options=wishes, progress=tell)
            yield name, None, found.z, found.metric


def _mask(truth: GroundTruthSet, scene: SceneTruth, name: str, z: F32, tell: Progress) -> geometry.Counts:
    from ex4d.evaluate.renders import reconstructed, rendered  # these load Numba
    from ex4d.render.conditioning import RenderOptions

    move = load_move_truth(truth, scene.name, name)
    frames = rendered(
        reconstructed(scene, z), move, RenderOptions(), lambda index: tell(f"rendering {name}", index + 1, truth.frames)
    )
    return geometry.measure(scene, move, frames.__getitem__)


def pooled(rows: Iterable[Row], scene: str = "all") -> list[Row]:
    """All scenes and seeds together, one row for each depth and stage, in the order they first appear."""
    sums: dict[tuple[str, str], tuple[DepthCounts, geometry.Counts]] = {}
    for row in rows:
        counts, mask = sums.get((row.depth, row.stage), (DepthCounts(), geometry.Counts()))
        sums[row.depth, row.stage] = counts + row.counts, mask + row.mask
    return [Row(scene, kind, None, stage, *found) for (kind, stage), found in sums.items()]


def table(rows: Sequence[Row]) -> str:
    """A Markdown table, one line a row; masks have columns where a row has one."""
    names = (*FIGURES, *(MASK_FIGURES if any(row.mask.frames for row in rows) else ()))
    lines = [["depth", "scene", "stage", *(_TITLES[name] for name in names)]]
    for row in rows:
        found = _figures(row)
        cells = ["-" if math.isnan(found[name]) else f"{found[name]:.5f}" for name in names]
        lines.append([row.depth, row.scene, row.stage, *cells])
    return aligned(lines, left=3)


def as_json(row: Row) -> dict[str, Any]:
    """A row for programs: figures (null where there is nothing to say) and the sums behind them."""
    return {
        "scene": row.scene,
        "depth": row.depth,
        "seed": row.seed,
        "stage": row.stage,
        "figures": {name: value if math.isfinite(value) else None for name, value in _figures(row).items()},
        "sums": {"depth": asdict(row.counts), "mask": asdict(row.mask)},
    }


def _figures(row: Row) -> dict[str, float]:
    masks = geometry.figures(row.mask)
    return {**figures(row.counts), **{name: masks[name] for name in MASK_FIGURES}}
