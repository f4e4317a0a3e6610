# SPDX-License-Identifier: Apache-2.0
"""The commands `ex4d recon` and `ex4d reshoot`: a clip and a new camera → conditioning, and the new shot."""

from __future__ import annotations

import argparse
import json
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from ex4d.arguments import at_least_one, seed, whole
from ex4d.console import PARTS, Console, output_folder
from ex4d.depth.arguments import DECIDES, depth_wish
from ex4d.depth.arguments import add_arguments as add_depth_arguments
from ex4d.generate.chosen import Chosen, add_arguments, chosen
from ex4d.mesh.surface import GEOMETRIES
from ex4d.render import RenderOptions
from ex4d.values import BORDER, ShotConditioning
from ex4d.versions import ALGORITHMS
from shared_protocol.errors import BAD_INPUT, Ex4dError
from shared_protocol.moves import MOVES

# What decides a re-shoot beside its generator.
_SHOT = (
    *("input_video", "cam", "camera", "num_frames", *DECIDES),
    *("max_side", "geometry", "persist", "lead_in", "rasterizer"),
)


def add_recon(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds `recon` to the command line."""
    recon = commands.add_parser("recon", help="clip → colour and mask video seen from the new camera")
    _add_shot_arguments(recon)
    recon.add_argument("--save_mesh", action="store_true", help="write the first frame's mesh, DW-Mesh.ply")
    recon.add_argument("--save_camera", action="store_true", help="write the camera path as npz as well")
    recon.add_argument("--save_depth", action="store_true", help="write the z-depth of the new view, depth/0001.exr …")
    recon.add_argument(
        "--filter_type",
        choices=("angle", "boundary"),
        default="angle",
        help="with --geometry upstream: the public code's test for stretched faces",
    )
    recon.add_argument(
        "--use_dwmesh",
        type=int,
        choices=(0, 1),
        default=1,
        help="with --geometry upstream: 0 drops stretched faces instead of letting them hide what is behind them",
    )
    recon.set_defaults(run=_recon, geometry="closed")


def add_reshoot(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds `reshoot` to the command line."""
    reshoot = commands.add_parser("reshoot", help="clip → the new shot, with no Blender")
    _add_shot_arguments(reshoot)
    add_arguments(reshoot, default="preview")
    reshoot.set_defaults(run=_reshoot, use_dwmesh=1, filter_type="angle", save_depth=False, seed=None)


def _add_shot_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--input_video", type=Path, required=True, help="movie, or folder of PNG or EXR pictures")
    camera = parser.add_mutually_exclusive_group(required=True)
    camera.add_argument("--cam", choices=MOVES, help="a preset move")
    camera.add_argument("--camera", type=Path, help="a camera path, .json or .npz")
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument(
        "--num_frames",
        type=at_least_one,
        default=0,
        help="frames used from the start, of clip and camera (default: all)",
    )
    parser.add_argument("--max_side", type=whole, default=1280, help="larger pictures are scaled down (0: never)")
    parser.add_argument(
        "--geometry",
        choices=GEOMETRIES,
        help="closed: stretched faces hide all that is behind them; bounded: they reach back only a little; "
        "upstream: as the public code has it (default: closed; for reshoot what the generator works best with)",
    )
    parser.add_argument(
        "--persist", action="store_true", help="let still background that other frames saw fill what this frame hides"
    )
    parser.add_argument(
        "--lead_in",
        type=whole,
        metavar="N",
        help="render N frames more that glide from the source camera to the first frame; they are cut from the result "
        "(default: none; for reshoot as many as the generator wants)",
    )
    parser.add_argument("--rasterizer", default="numba", help="see `ex4d doctor` (default: numba)")
    parser.add_argument("--seed", type=seed, default=0, help="of everything that is drawn at random (default: 0)")
    add_depth_arguments(parser)


def _condition(
    arguments: argparse.Namespace, work: Path, console: Console, choice: Chosen | None = None
) -> tuple[Path, Path, str, ShotConditioning]:
    """Scene and conditioning folders below `work`, the move's name for file names, and what is in the second folder.

    With a `choice`, the conditioning has the size that its generator works at, and the lead-in that it wants.
    """
    from ex4d import pipeline
    from ex4d.cameras import load_path, preset_path, static_source
    from ex4d.doors import choose
    from ex4d.lead_in import check_lead_in
    from ex4d.render import RASTERIZERS
    from ex4d.scene import load_scene
    from ex4d.source_camera import rebased
    from ex4d.upstream.cameras import check_move, upstream_path, upstream_radius

    given = None if arguments.camera is None else load_path(arguments.camera)  # said now, not after minutes of work
    scene_folder, conditioning = (work / part for part in PARTS)
    wish = depth_wish(arguments)
    options = pipeline.ReconstructOptions(
        count=arguments.num_frames,
        max_side=arguments.max_side,
        geometry=arguments.geometry,
    )
    how = _how(arguments)
    how.check()
    lead_in = arguments.lead_in
    if lead_in is None:
        lead_in = choice.generator.lead_in if choice else 0
    check_lead_in(lead_in)
    if arguments.geometry == "upstream" and given is None:
        check_move(arguments.cam)
    rasterizer = choose(RASTERIZERS, arguments.rasterizer, "rasterizer")
    if not rasterizer.commercial_use:
        print(f"note: {rasterizer.label} is not for commercial use: {rasterizer.licence}", file=sys.stderr)
    if not (scene_folder / "scene.json").exists():  # else an earlier run of the same command got this far
        pipeline.reconstruct(scene_folder, [arguments.input_video], wish, options, console)
    scene = load_scene(scene_folder)
    console.end()
    for note in scene.notes:  # what was done to clip and depth on the way in
        print(f"note: {note}", file=sys.stderr)
    total = len(scene.clip.frames)
    if given is not None:
        # Frame k of the path goes with frame k of the clip, so the clip's rate is the shot's.
        path = replace(given, fps=scene.clip.fps)
        if wish.source_camera is not None:
            path = rebased(path, wish.source_camera.world_from_camera[0])
        name = arguments.camera.stem
        if arguments.num_frames:  # of the start: of the camera as of the clip
            path = replace(path, world_from_camera=path.world_from_camera[:total], intrinsics=path.intrinsics[:total])
        if len(path.world_from_camera) > total:
            raise Ex4dError(
                BAD_INPUT,
                f"The camera path has {len(path.world_from_camera)} frames, the clip {total}.",
                "Give a path no longer than the clip.",
            )
    elif arguments.geometry == "upstream":
        radius = upstream_radius(scene.mesh_depth[0, BORDER:-BORDER, BORDER:-BORDER])
        path = upstream_path(arguments.cam, total, radius, scene.intrinsics, scene.clip.fps)
        name = arguments.cam
    else:
        path = preset_path(arguments.cam, total, scene.pivot, scene.intrinsics, scene.clip.fps)
        name = arguments.cam
    source = static_source(scene, len(path.world_from_camera))
    made = pipeline.render(
        conditioning,
        scene_folder,
        path,
        source,
        console,
        how,
        lead_in=lead_in,
        seed=choice.seed if choice else arguments.seed,
        save_depth=arguments.save_depth,
        size=choice.generator.size(path.width, path.height, choice.options) if choice else None,
        scene=scene,
    )
    console.end()
    if arguments.lead_in and not made.lead_in:
        print("note: the shot starts at the source camera, so it got no lead-in", file=sys.stderr)
    elif arguments.lead_in is None and made.lead_in:
        print(
            f"note: the shot starts elsewhere than the source camera: it got {_frames(made.lead_in)} of lead-in, "
            "which are not in the result (--lead_in 0: none)",
            file=sys.stderr,
        )
    return scene_folder, conditioning, name, made


def _how(arguments: argparse.Namespace) -> RenderOptions:
    return RenderOptions(
        geometry=arguments.geometry,
        persist=arguments.persist,
        rasterizer=arguments.rasterizer,
        filter_type=arguments.filter_type,
        use_dwmesh=bool(arguments.use_dwmesh),
    )


def _recon(arguments: argparse.Namespace) -> None:
    from ex4d.cameras import save_path
    from ex4d.clip import write_video
    from ex4d.export.ply import write_ply, write_upstream_ply
    from ex4d.export.posed import posed_mesh
    from ex4d.render.conditioning import upstream_mesh_at

    with output_folder(arguments.output_dir) as out, Console() as console:
        _, folder, name, made = _condition(arguments, out, console)
        shot = made.shot
        masks = (mask[..., None].repeat(3, axis=2).astype("uint8") * 255 for mask in made.mask)
        with ThreadPoolExecutor(1) as encoder:
            movie = encoder.submit(write_video, out / f"color_{name}.mp4", made.colour, shot.path.fps)
            write_video(out / f"mask_{name}.mp4", masks, shot.path.fps)
            movie.result()
        if arguments.save_mesh:
            if arguments.geometry == "upstream":
                write_upstream_ply(out / "DW-Mesh.ply", upstream_mesh_at(shot, _how(arguments), made.lead_in))
            else:
                write_ply(out / "DW-Mesh.ply", posed_mesh(shot.scene, shot.source, made.lead_in))
        if arguments.save_camera:
            save_path(out / f"camera_{name}.npz", shot.path)
        for kind in ("colour", "mask", *(("depth",) if arguments.save_depth else ())):
            (folder / kind).replace(out / kind)
        for file in ("camera.json", "coverage.json", "source_model.json", "provenance.json"):
            (folder / file).replace(out / file)
        folder.rmdir()
    print(f"{_frames(len(made.colour))} in {out}; the source saw {made.coverage.mean():.0%} of the new view")


def _reshoot(arguments: argparse.Namespace) -> None:
    from ex4d import pipeline, step_folders
    from ex4d.clip import write_video
    from ex4d.files import TAKE
    from ex4d.images import read_png
    from ex4d.take_folder import GLIMPSE, check_disk, take_folder

    out: Path = arguments.output_dir
    with Console() as console:
        choice = chosen(arguments, console.progress)  # what is wrong with it is said now, not after minutes of work
    for note in choice.notes:
        print(f"note: {note}", file=sys.stderr)
    arguments.geometry = arguments.geometry or choice.generator.geometry
    with take_folder(out, _request(arguments, choice)), Console(out / GLIMPSE) as console:
        scene_folder, conditioning, _, made = _condition(arguments, out, console, choice)
        size = choice.generator.size(made.mask.shape[2], made.mask.shape[1], choice.options)
        check_disk(out, len(made.mask) - made.lead_in, size, 1)
        del made  # it need not stay in memory
        how = choice.generator.name, choice.seed, choice.options
        pipeline.generate(out, scene_folder, conditioning, *how, console)
        take: dict[str, Any] = json.loads((out / TAKE).read_text("utf-8"))
        frames = step_folders.pictures(out / "frames")
        write_video(out / "result.mp4", (read_png(path) for path in frames), Fraction(*take["fps"]))
        step_folders.sheet(scene_folder, conditioning, out / "frames", out / "contact_sheet.png")
    for note in take["generator"]["made_with"].get("notes", ()):  # what the generator met on its way
        print(f"note: {note}", file=sys.stderr)
    print(f"{_frames(len(frames))} in {out / 'frames'}; look at {out / 'contact_sheet.png'}")


def _request(arguments: argparse.Namespace, choice: Chosen) -> dict[str, Any]:
    """All that decides what a re-shoot's folder holds: the content of files, not their names."""
    from ex4d.take_folder import fingerprint

    shot = {name: value for name, value in vars(arguments).items() if name in _SHOT}
    files = {name: fingerprint(value) if isinstance(value, Path) else value for name, value in shot.items()}
    return {"command": "reshoot", "shot": files, **choice.request(), "algorithms": ALGORITHMS}


def _frames(count: int) -> str:
    return f"{count} frame{'s' if count != 1 else ''}"
