# SPDX-License-Identifier: Apache-2.0
"""The command `ex4d export`: a reconstructed scene, and a shot of it, as files for other programs."""

from __future__ import annotations

import argparse
from pathlib import Path

from ex4d.arguments import whole
from ex4d.console import Console, output_folder

KINDS = ("ply", "usd", "camera_usd", "camera_json")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What `ex4d export` can be told."""
    parser.add_argument("--scene", type=Path, required=True, help="folder of a reconstructed scene")
    shot = parser.add_mutually_exclusive_group()
    shot.add_argument(
        "--conditioning",
        type=Path,
        help="folder of a rendered shot: its camera, and the mesh as it stood then; without its lead-in",
    )
    shot.add_argument(
        "--camera", type=Path, help="a new camera in the scene's world, .json or .npz: as many frames as it has"
    )
    parser.add_argument("--output_dir", type=Path, required=True)
    parser.add_argument("--ply", action="store_true", help="the mesh of each frame, ply/0001.ply …")
    parser.add_argument("--usd", action="store_true", help="the mesh of all frames and the cameras, mesh.usdc")
    parser.add_argument("--camera_usd", action="store_true", help="the cameras alone, camera.usda")
    parser.add_argument("--camera_json", action="store_true", help="the cameras, source_camera.json and camera.json")
    parser.add_argument("--seen_only", action="store_true", help="PLY without the faces that the source did not see")
    parser.add_argument(
        "--first_frame", type=whole, default=1, metavar="N", help="number of the first frame (default: 1)"
    )


def run(arguments: argparse.Namespace) -> None:
    """Writes what was asked for, or everything where nothing was named.

    Raises:
        Ex4dError: UNAVAILABLE for USD without usd-core, and whatever reading and writing report.
    """
    from ex4d.export.shot import export, load_shot
    from ex4d.export.usd import need_usd

    kinds = [kind for kind in KINDS if getattr(arguments, kind)] or list(KINDS)
    if "usd" in kinds or "camera_usd" in kinds:
        need_usd()  # said now, not after a long clip was read
    with output_folder(arguments.output_dir) as out, Console() as console:
        shot = load_shot(arguments.scene, arguments.conditioning, arguments.camera)
        first, seen_only = arguments.first_frame, arguments.seen_only
        export(out, shot, kinds, console.progress, first_frame=first, seen_only=seen_only)
    total, names = len(shot.source.frame), ", ".join(sorted(path.name for path in out.iterdir()))
    print(f"{total} frame{'s' if total != 1 else ''} in {out}: {names}")
