# SPDX-License-Identifier: Apache-2.0
"""The three steps from a clip to a new shot, each from folders to a folder.

The command line and the backend's worker both run a re-shoot through these functions, so both write the same files:
see "Files" in docs/architecture.md. A step that was interrupted and is run again on the same folder makes only the
files that are not there yet: every file is renamed into place when it is whole, so a file that exists is finished.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ex4d.cameras import save_path, stretched
from ex4d.clip import read_clip
from ex4d.depth.as_upstream import as_upstream
from ex4d.depth_step import DepthOptions, depth_of_clip
from ex4d.doors import named
from ex4d.files import TAKE, UNFINISHED, replacing
from ex4d.generate import GENERATORS, GenerateRequest
from ex4d.images import read_exr, read_png, write_exr, write_png
from ex4d.in_order import CORES, InOrder
from ex4d.lead_in import with_lead_in
from ex4d.lifting import lifted
from ex4d.media.sequence import expand
from ex4d.on_disk import workspace
from ex4d.render import RenderOptions, render_conditioning
from ex4d.scene import load_scene, save_scene
from ex4d.settings import Value, read_settings
from ex4d.step_folders import load_conditioning
from ex4d.upstream.mesh import FOCAL as UPSTREAM_FOCAL
from ex4d.values import F32, U8, Bool, CameraPath, Conditioning, Scene, Shot, ShotConditioning, SourceModel
from ex4d.versions import ALGORITHMS, project_version

Json = dict[str, Any]

MADE_WITH = f"{UNFINISHED}/made_with.json"  # what a generator told until now, for a run that goes on from there


class Report(Protocol):
    """Where a step tells how far it is."""

    def progress(self, phase: str, done: int, total: int) -> None:
        """`done` of `total` steps of this phase are behind us. Raises Ex4dError(CANCELLED) to stop the work here."""
        ...

    def file(self, name: str) -> None:
        """The file `name`, relative to the step's folder, is finished."""
        ...

    def glimpse(self, picture: U8) -> None:
        """How the unfinished result looks at this moment: [h, w, 3] sRGB, any size."""
        ...


@dataclass(frozen=True)
class ReconstructOptions:
    """How a clip is read and lifted; defaults as on the wire (`shared_protocol.messages.Reconstruct`)."""

    first: int = 0
    count: int = 0
    fps: Fraction | None = None
    max_side: int = 1280
    geometry: str = "closed"  # "upstream" takes that code's focal length where none is given, and depth as it comes


def reconstruct(
    folder: Path,
    clip_files: Sequence[Path],
    wish: DepthOptions,
    options: ReconstructOptions,
    report: Report,
    inputs: Sequence[Json] = (),
    scratch: Path | None = None,
) -> None:
    """Clip → depth → scene, written to `folder`. What is held in memory does not grow with the clip's length.

    Args:
        folder: made if missing.
        clip_files: one movie, or the pictures of a sequence in order.
        wish: what its depth is made of; its `first` is that of `options`.
        options: how the clip is read and lifted.
        inputs: name and sha256 of each input, for the side-car; made from the files where left out.
        scratch: a folder on a disk, for the clip's arrays while this works; None = the one that `folder` is in.

    Raises:
        Ex4dError: whatever reading, estimating or lifting reports.
    """
    upstream = options.geometry == "upstream"
    wish = replace(wish, first=options.first)
    if upstream:
        wish = replace(wish, options={**as_upstream(wish.estimator), **wish.options}, default_focal=UPSTREAM_FOCAL)
    report.progress("Reading the clip", 0, 1)
    with workspace(folder.parent if scratch is None else scratch) as arrays:
        clip = read_clip(
            clip_files,
            first=options.first,
            count=options.count,
            fps=options.fps,
            max_side=options.max_side,
            workspace=arrays,
            progress=partial(report.progress, "Reading the clip"),
        )
        total, done = len(clip.frames), 0
        found = depth_of_clip(clip, arrays, wish, report.progress)
        given = {**asdict(options), "fps": None if options.fps is None else str(options.fps), **wish.told()}
        provenance = _provenance("reconstruct", given)
        provenance["inputs"] = list(inputs) or [
            describe(path) for path in _files((*clip_files, *wish.files, *wish.sky))
        ]
        scene = lifted(clip, found.depth, camera=found.camera, sharpen=not upstream, progress=report.progress)

        def finished(name: str) -> None:
            nonlocal done
            done += name.startswith("mesh/")
            report.file(name)
            report.progress("Writing the mesh", done, total)

        save_scene(folder, scene, finished, {**provenance, **found.facts})


def render(
    folder: Path,
    scene_folder: Path,
    given: CameraPath,
    source: SourceModel,
    report: Report,
    options: RenderOptions = RenderOptions(),  # noqa: B008 - frozen
    *,
    lead_in: int = 0,
    seed: int = 0,
    save_depth: bool = False,
    size: tuple[int, int] | None = None,
    scene: Scene | None = None,
) -> ShotConditioning:
    """Scene + camera → conditioning, written to `folder` and given back.

    Args:
        given: the new camera, in the scene's world.
        source: the source mesh at each of its frames.
        options: how it is rendered.
        lead_in: frames that glide from the source camera to the first of `given`, before it; see `ex4d.lead_in`.
        seed: of the lead-in.
        save_depth: write the z-depth of the new view as well.
        size: width and height of the pictures; the camera's view is stretched to them. None = the camera's own.
        scene: what is in `scene_folder`, where the caller has it already.

    Raises:
        Ex4dError: EMPTY_VIEW where the camera sees nothing of the scene, and whatever loading or writing reports.
    """
    scene = load_scene(scene_folder) if scene is None else scene
    shot = with_lead_in(Shot(scene, given, source), lead_in, seed)
    if size is not None:  # after the lead-in, which asks whether the camera is the source camera
        shot = replace(shot, path=stretched(shot.path, *size))
    path, source = shot.path, shot.source
    total = len(path.world_from_camera)
    lead_in = total - len(given.world_from_camera)
    report.progress("Rendering the new view", 0, total)
    _write_json(folder, "source_model.json", {k: v.tolist() for k, v in vars(source).items()}, report)
    coverage: list[float] = []

    def names(index: int) -> tuple[str, ...]:
        number = f"{index + 1:04d}"
        return f"colour/{number}.png", f"mask/{number}.png", *((f"depth/{number}.exr",) if save_depth else ())

    def known(index: int) -> tuple[U8, Bool, F32] | None:
        files = [folder / name for name in names(index)]
        if not all(file.exists() for file in files):
            return None
        z = read_exr(files[2])["Z"] if save_depth else np.zeros((0, 0), np.float32)  # nobody asked for it
        return read_png(files[0]), read_png(files[1]) > 127, z

    def write(index: int, colour: U8, mask: Bool, z: F32) -> int:
        for name in names(index):
            if not (folder / name).exists():
                if name.startswith("depth/"):
                    write_exr(folder / name, {"Z": z})
                else:
                    write_png(folder / name, colour if name.startswith("colour/") else mask.astype(np.uint8) * 255)
        return index

    def written(index: int) -> None:
        for name in names(index):
            report.file(name)
        report.progress("Rendering the new view", index + 1, total)

    with InOrder(written, CORES) as writing:

        def on_frame(index: int, colour: U8, mask: Bool, z: F32, share: float) -> None:
            coverage.append(share)
            writing.add(partial(write, index, colour, mask, z))

        made = render_conditioning(shot, on_frame, known=known, options=options, progress=report.progress)
    save_path(folder / "camera.json", path)
    report.file("camera.json")
    counts = {"coverage": coverage[lead_in:], "lead_in": lead_in, "lead_in_coverage": coverage[:lead_in]}
    _write_json(folder, "coverage.json", counts, report)
    provenance = _provenance("render", {**options.effective(), "lead_in": lead_in, "seed": seed})
    provenance["camera_sha256"] = describe(folder / "camera.json")["sha256"]
    provenance["source_model_sha256"] = describe(folder / "source_model.json")["sha256"]
    _write_json(folder, "provenance.json", provenance, report)
    return replace(made, lead_in=lead_in)


def generate(
    folder: Path,
    scene_folder: Path,
    conditioning_folder: Path,
    generator_name: str,
    seed: int,
    options: Mapping[str, Value],
    report: Report,
) -> None:
    """Conditioning → the new shot, frame by frame, written to `folder`.

    Raises:
        Ex4dError: UNAVAILABLE or BAD_INPUT for the generator, and whatever it reports.
    """
    conditioning = load_conditioning(scene_folder, conditioning_folder)
    origin = {
        "conditioning": json.loads((conditioning_folder / "provenance.json").read_text("utf-8")),
        "scene": json.loads((scene_folder / "scene.json").read_text("utf-8"))["provenance"],
    }
    paint(folder, conditioning, origin, generator_name, seed, options, report)


def paint(
    folder: Path,
    conditioning: Conditioning,
    origin: Json,
    generator_name: str,
    seed: int,
    options: Mapping[str, Value],
    report: Report,
) -> None:
    """What `generate` does, from a conditioning at hand.

    Frames that are in `folder` already are not made again. A take that is whole stays as it is.

    Args:
        origin: what the side-car tells about where the conditioning came from.

    Raises:
        Ex4dError: UNAVAILABLE or BAD_INPUT for the generator, and whatever it reports.
    """
    generator = named(GENERATORS, generator_name, "generator")
    options = read_settings(generator.settings, options, generator.name)  # all of them, for the side-car
    lead_in = conditioning.lead_in  # made where a generator needs it, never delivered
    total = len(conditioning.colour) - lead_in
    names = {lead_in + index: f"frames/{index + 1:04d}.png" for index in range(total)}
    wanted = [index for index, name in names.items() if not (folder / name).exists()]
    for index in sorted(names.keys() - set(wanted)):
        report.file(names[index])
    if not wanted and (folder / TAKE).exists():
        report.file(TAKE)
        shutil.rmtree(folder / UNFINISHED, ignore_errors=True)
        return
    done = total - len(wanted)
    weights = generator.identity(options, report.progress)
    made_with: Json = {**_told_before(folder / MADE_WITH), **({"weights": dict(weights)} if weights else {})}

    def record(facts: Mapping[str, Any]) -> None:
        made_with.update(facts)
        with replacing(folder / MADE_WITH) as part:
            part.write_text(json.dumps(made_with), encoding="utf-8")

    request = GenerateRequest(
        conditioning=conditioning,
        seed=seed,
        options=options,
        wanted=wanted,
        progress=report.progress,
        glimpse=report.glimpse,
        record=record,
        scratch=folder / UNFINISHED,
    )
    for index, frame in generator.frames(request):
        write_png(folder / names[index], frame)
        report.file(names[index])
        done += 1
        report.progress(generator.label, done, total)
    take = _provenance("generate", {"options": dict(options), "seed": seed})
    take["generator"] = {
        "name": generator.name,
        "label": generator.label,
        "licence": generator.licence,
        "commercial_use": generator.commercial_use,
        "made_with": made_with,
    }
    take["colour_space"] = "sRGB"
    take["fps"] = [conditioning.fps.numerator, conditioning.fps.denominator]
    height, width = conditioning.mask.shape[1:]
    take["size"] = list(generator.size(width, height, options))
    take["frames"] = total
    take["lead_in"] = lead_in
    coverage = conditioning.coverage[lead_in:]
    take["coverage"] = {
        "mean": float(coverage.mean()),
        "least": float(coverage.min()),
        "per_frame": [round(float(share), 6) for share in coverage],
    }
    if isinstance(conditioning, ShotConditioning):
        scene = conditioning.shot.scene
        told = {key: scene.facts[key] for key in ("model", "licence", "commercial_use") if key in scene.facts}
        take["depth"] = {
            "estimator": scene.estimator,
            **told,
            "draft": scene.draft,
            "metric": scene.metric,
            "notes": list(scene.notes),
        }
    take.update(origin)
    _write_json(folder, TAKE, take, report)
    shutil.rmtree(folder / UNFINISHED, ignore_errors=True)


def _told_before(file: Path) -> Json:
    """What the generator of an interrupted run told of how it made its frames; nothing where there was none."""
    try:
        return dict(json.loads(file.read_text("utf-8")))
    except (OSError, ValueError, TypeError, RecursionError):
        return {}


def describe(path: Path) -> Json:
    """Name and sha256 of a file, for side-cars."""
    with path.open("rb") as file:
        return {"name": path.name, "sha256": hashlib.file_digest(file, "sha256").hexdigest()}


def _provenance(step: str, parameters: Json) -> Json:
    return {
        "version": 1,
        "made_by": {"program": "ex4d", "version": project_version(), "algorithms": ALGORITHMS[step]},
        "parameters": parameters,
    }


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        if path.is_dir():
            yield from expand([path])[0]
        else:
            yield path


def _write_json(folder: Path, name: str, value: Json, report: Report) -> None:
    with replacing(folder / name) as part:
        part.write_text(json.dumps(value, indent=1, sort_keys=True), encoding="utf-8")
    report.file(name)
