# SPDX-License-Identifier: Apache-2.0
"""The command `ex4d generate`: a colour and a mask video, or our own folders, → the new shot."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ex4d.arguments import at_least_one, seed
from ex4d.console import Console
from ex4d.generate.chosen import Chosen, add_arguments, chosen
from shared_protocol.errors import BAD_INPUT, Ex4dError

if TYPE_CHECKING:
    from ex4d.pipeline import Report

_MOVIES = (".mp4", ".mov", ".mkv")


@dataclass(frozen=True)
class _Shot:
    """What is painted, before it is."""

    inputs: dict[str, Any]  # for the request: what the conditioning is, as hashes
    frames: int
    size: tuple[int, int]  # of the conditioning
    paint: Callable[[Path, Chosen, Report], None]  # into a folder
    notes: tuple[str, ...] = ()


def add_generate(commands: argparse._SubParsersAction[Any]) -> None:
    """Adds `generate` to the command line."""
    parser = commands.add_parser("generate", help="colour and mask, as videos or folders → the new shot")
    videos = parser.add_argument_group("from videos")
    videos.add_argument("--color_video", type=Path, help="what the new camera sees: movie, or folder of pictures")
    videos.add_argument("--mask_video", type=Path, help="where it is seen (white), of the same length and size")
    videos.add_argument(
        "--num_frames",
        type=at_least_one,
        default=0,
        help="frames to take, spread evenly; more than there are: the last one is held (default: all)",
    )
    folders = parser.add_argument_group("from our own folders")
    folders.add_argument("--scene", type=Path, help="folder of a reconstructed scene")
    folders.add_argument("--conditioning", type=Path, help="folder with colour/, mask/ and camera.json")
    output = parser.add_argument_group("output")
    output.add_argument("--output_video", type=Path, help="the movie; frames and take.json go to NAME_take beside it")
    output.add_argument("--output_dir", type=Path, help="folder for frames/, take.json and result.mp4")
    parser.add_argument("--seed", type=seed, help="of everything that is drawn at random (default: 0)")
    add_arguments(parser, default="wan")
    parts = parser.add_argument_group("the public code's paths of Wan's parts, which lie in one folder here")
    for flag in ("--text_encoder_path", "--vae_path", "--clip_path"):
        parts.add_argument(flag, type=Path, metavar="FILE", help="has to lie in the folder of --dit_dir")
    parser.set_defaults(run=_run)


def _run(arguments: argparse.Namespace) -> None:
    from ex4d.files import TAKE
    from ex4d.step_folders import pictures
    from ex4d.take_folder import GLIMPSE, check_disk, resumes, take_folder

    folder, movie = _places(arguments)
    _check_inputs(arguments)
    _one_folder_of_parts(arguments)
    with Console() as console:
        choice = chosen(arguments, console.progress)
        shot = _from_folders(arguments) if arguments.scene else _from_videos(arguments, console)
    request = {"command": "generate", "inputs": shot.inputs, **choice.request()}
    if movie is not None:
        request["output_video"] = str(movie.absolute())
    for note in (*shot.notes, *choice.notes):
        print(f"note: {note}", file=sys.stderr)
    if not resumes(folder, request) and movie is not None and movie.exists():
        raise Ex4dError(BAD_INPUT, f"{movie} is there already.", "Name another --output_video, or remove that one.")
    size = choice.generator.size(*shot.size, choice.options)
    movies = [path for path in (folder / "result.mp4" if arguments.output_dir else None, movie) if path is not None]
    check_disk(folder, shot.frames, size, len(movies))
    with take_folder(folder, request), Console(folder / GLIMPSE) as console:
        shot.paint(folder, choice, console)
        made = pictures(folder / "frames")
        take = json.loads((folder / TAKE).read_text("utf-8"))
        _write_movies(movies, made, Fraction(*take["fps"]))
    for note in take["generator"]["made_with"].get("notes", ()):  # what the generator met on its way
        print(f"note: {note}", file=sys.stderr)
    print(f"{len(made)} frame{'s' if len(made) != 1 else ''} in {folder / 'frames'}; look at {movies[-1]}")


def _places(arguments: argparse.Namespace) -> tuple[Path, Path | None]:
    """The take's folder, and the movie that was asked for by name."""
    movie: Path | None = arguments.output_video
    folder: Path | None = arguments.output_dir
    if movie is not None and movie.suffix.lower() not in _MOVIES:
        raise Ex4dError(BAD_INPUT, f"{movie.name} is not a name for a movie.", "Let it end in .mp4.")
    if folder is None and movie is not None:
        folder = movie.with_name(f"{movie.stem}_take")
    if folder is None:
        raise Ex4dError(BAD_INPUT, "Nothing says where the shot goes.", "Give --output_video or --output_dir.")
    return folder, movie


def _check_inputs(arguments: argparse.Namespace) -> None:
    videos, folders = (
        [getattr(arguments, name) is not None for name in names]
        for names in (("color_video", "mask_video"), ("scene", "conditioning"))
    )
    if any(videos) == any(folders) or not (all(videos) or all(folders)):
        raise Ex4dError(
            BAD_INPUT,
            "A shot is painted from a colour and a mask.",
            "Give --color_video and --mask_video, or --scene and --conditioning.",
        )
    if arguments.num_frames and all(folders):
        raise Ex4dError(BAD_INPUT, "--num_frames is for videos; a conditioning has its frames.", "Leave it out.")


def _one_folder_of_parts(arguments: argparse.Namespace) -> None:
    """Takes the public code's paths of Wan's parts for what they say together: the folder that they lie in."""
    parts = [path for path in (arguments.text_encoder_path, arguments.vae_path, arguments.clip_path) if path]
    if not parts:
        return
    given = getattr(arguments, "option_model", None)
    folder = parts[0].absolute().parent if given is None else Path(given).absolute()
    for part in parts:
        if part.absolute().parent != folder:
            raise Ex4dError(
                BAD_INPUT, f"{part} does not lie in {folder}.", "Put all parts of Wan into one folder, and name it."
            )
    arguments.option_model = str(folder)


def _from_videos(arguments: argparse.Namespace, console: Console) -> _Shot:
    from ex4d.generate.video_input import read_videos
    from ex4d.pipeline import paint
    from ex4d.take_folder import fingerprint

    console.progress("Reading the videos", 0, 1)
    found = read_videos(arguments.color_video, arguments.mask_video, arguments.num_frames)
    conditioning = found.conditioning
    inputs = [
        {"kind": kind, "name": path.name, "sha256": fingerprint(path)}
        for kind, path in (("colour", arguments.color_video), ("mask", arguments.mask_video))
    ]
    origin = {"inputs": inputs, "notes": list(found.notes)}

    def into(folder: Path, choice: Chosen, report: Report) -> None:
        paint(folder, conditioning, origin, choice.generator.name, choice.seed, choice.options, report)

    total, height, width = conditioning.mask.shape
    hashes = {about["kind"]: about["sha256"] for about in inputs}
    return _Shot({**hashes, "frames": total}, total, (width, height), into, found.notes)


def _from_folders(arguments: argparse.Namespace) -> _Shot:
    from ex4d.cameras import load_path
    from ex4d.pipeline import generate
    from ex4d.take_folder import CONDITIONING_FILES, SCENE_FILES, fingerprint

    scene, conditioning = arguments.scene, arguments.conditioning
    path = load_path(conditioning / "camera.json")
    inputs = {
        "scene": fingerprint(scene, SCENE_FILES),
        "conditioning": fingerprint(conditioning, CONDITIONING_FILES),
    }

    def into(folder: Path, choice: Chosen, report: Report) -> None:
        generate(folder, scene, conditioning, choice.generator.name, choice.seed, choice.options, report)

    return _Shot(inputs, len(path.world_from_camera), (path.width, path.height), into)


def _write_movies(movies: list[Path], frames: list[Path], fps: Fraction) -> None:
    """Writes what is not there yet: once encoded, once copied."""
    from ex4d.clip import write_video
    from ex4d.files import replacing
    from ex4d.images import read_png

    for index, movie in enumerate(movies):
        if movie.exists():
            continue
        if index and movie.suffix == movies[0].suffix:
            with replacing(movie) as part:
                shutil.copyfile(movies[0], part)
        else:
            write_video(movie, (read_png(path) for path in frames), fps)
