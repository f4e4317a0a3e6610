# SPDX-License-Identifier: Apache-2.0
"""What the worker does with a job: hands the files of the store to the engine, and tells what comes out."""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from pathlib import Path, PurePosixPath

import numpy as np

from ex4d import pipeline
from ex4d.cameras import load_path
from ex4d.depth.choose import Choice, choose_estimator
from ex4d.depth.kept import KeptDepth
from ex4d.depth.known.file import load_points
from ex4d.depth.known.values import Known, Measure, Pick
from ex4d.depth_step import DepthOptions
from ex4d.doors import named
from ex4d.generate import GENERATORS
from ex4d.render import RenderOptions
from ex4d.settings import read_settings
from ex4d.values import CameraPath, SourceModel
from shared_protocol import messages as m
from shared_protocol.errors import BAD_INPUT, INTERNAL, LIMIT, Ex4dError

from .ids import artifact_id, camera_suffix_of, lead_in_seed, points_suffix_of, suffix_of
from .pipe import PipeMessage, Run
from .report import Report
from .shelf import inputs_of
from .state_folder import Folders
from .store import disk_error

_log = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_WINDOWS_DEVICE = re.compile(r"con|prn|aux|nul|com\d|lpt\d", re.IGNORECASE)


def artifact_of(job: m.Reconstruct | m.Generate, folders: Folders) -> str:
    """Id of what a job makes here and now: its settings in full, and its weights, have their say.

    Reads the weights where they are not known yet: slow. For a reconstruction the estimator is chosen without asking
    how much memory is free, which may be little just because another job runs.

    Raises:
        Ex4dError: as `perform`; BAD_INPUT or UNAVAILABLE for the estimator, the generator or an option.
    """
    if isinstance(job, m.Reconstruct):
        with _as_one_line(folders, {}, job.estimator):
            given = [Path(asset.name) for asset in job.depth]
            return _reconstruction(job, choose_estimator(job.estimator, given, _depth_options(job)))
    with _as_one_line(folders, {}, job.generator):
        generator = named(GENERATORS, job.generator, "generator")
        settings = read_settings(generator.settings, dict(job.options), generator.name)
        identity = generator.identity(dict(job.options))
        return artifact_id(replace(job, options=tuple(settings.items())), identity)


def _reconstruction(job: m.Reconstruct, choice: Choice) -> str:
    """Id of what a reconstruct job makes with an estimator."""
    options = {**choice.options, **choice.stage}
    full = replace(job, estimator=choice.door.name, depth_kind="auto", depth_options=tuple(options.items()))
    return artifact_id(full, choice.door.identity(choice.options, bool(choice.stage["commercial"])))


class _OtherArtifactError(Exception):
    """What a run makes is another artifact."""

    def __init__(self, artifact: str) -> None:
        super().__init__(artifact)
        self.artifact = artifact


def perform(run: Run, folders: Folders, send: Callable[[PipeMessage], None], stopped: Callable[[], bool]) -> str:
    """Makes what is missing of an artifact.

    Args:
        run: what to make.
        folders: of the state.
        send: takes `Progress` and `Made`.
        stopped: whether to stop at the next step.

    Returns:
        Id of the artifact. Where it is another one than that of the run, nothing was made: the estimator that is best
        now is another one than when the job came, or its weights are.

    Raises:
        Ex4dError: what a person is told; INTERNAL for a bug, whose traceback is in the log.
    """
    temp = folders.temp / f"{run.artifact[:16]}-{os.getpid()}"
    names: dict[str, str] = {}  # server-made name of an input -> the artist's
    try:
        with _as_one_line(folders, names, run.artifact[:12]):
            report = Report(run, folders.artifacts / run.artifact, send, stopped)
            try:
                _perform(run, folders, temp, report, names)
            except _OtherArtifactError as other:
                return other.artifact
            return run.artifact
    finally:
        shutil.rmtree(temp, ignore_errors=True)


@contextmanager
def _as_one_line(folders: Folders, names: dict[str, str], what: str) -> Iterator[None]:
    """Makes of every failure inside one line for a person. A bug's traceback is in the log."""
    try:
        yield
    except Ex4dError as exc:
        raise Ex4dError(exc.code, _for_a_person(exc.message, names), _for_a_person(exc.hint, names)) from exc
    except MemoryError as exc:
        _log.exception("out of memory")
        raise Ex4dError(
            LIMIT, "The backend's memory does not suffice for this job.", "Use fewer or smaller frames."
        ) from exc
    except OSError as exc:
        _log.exception("a file operation failed")
        raise disk_error(exc, str(exc.filename or what)) from exc
    except Exception as exc:
        _log.exception("a bug")
        raise Ex4dError(
            INTERNAL,
            f"The backend met a bug of its own ({type(exc).__name__}).",
            f"See its log {folders.log}.",
        ) from exc


def _perform(run: Run, folders: Folders, temp: Path, report: Report, names: dict[str, str]) -> None:
    job = run.job
    if isinstance(job, m.Reconstruct):
        clip = _bring(job.clip, temp / "clip", folders, names)
        depth = _bring(job.depth, temp / "depth", folders, names)
        options = pipeline.ReconstructOptions(
            first=job.first,
            count=job.count,
            fps=None if job.fps is None else Fraction(*job.fps),
            max_side=job.max_side,
        )

        def chosen(choice: Choice) -> None:
            artifact = _reconstruction(job, choice)
            if artifact != run.artifact:
                raise _OtherArtifactError(artifact)

        wish = DepthOptions(
            estimator=job.estimator,
            options=_depth_options(job),
            files=depth,
            sky=_bring(job.sky_mask, temp / "sky", folders, names),
            focal=job.focal,
            lens=job.lens,
            source_camera=_source_camera(job, temp, folders, names),
            known=_known(job, temp, folders, names),
            kept=KeptDepth(folders.depth),
            chosen=chosen,
        )
        inputs = [{"name": a.name, "sha256": a.sha256} for a in inputs_of(job)]
        pipeline.reconstruct(report.folder, clip, wish, options, report, inputs, scratch=folders.temp)
    elif isinstance(job, m.Render):
        path, source = _cameras(job)
        pipeline.render(
            report.folder,
            folders.artifacts / job.scene,
            path,
            source,
            report,
            RenderOptions(geometry=job.geometry, persist=job.persist),
            lead_in=job.lead_in,
            seed=lead_in_seed(job),
        )
    else:
        if artifact_of(job, folders) != run.artifact:
            raise Ex4dError(
                BAD_INPUT, f"The files of the generator '{job.generator}' changed while the job waited.", "Try again."
            )
        pipeline.generate(
            report.folder,
            folders.artifacts / run.scene,
            folders.artifacts / job.conditioning,
            job.generator,
            job.seed,
            dict(job.options),
            report,
        )


def _depth_options(job: m.Reconstruct) -> dict[str, m.OptionValue]:
    told = dict(job.depth_options)
    return {"depth_kind": job.depth_kind, **told} if job.depth and job.depth_kind != "auto" else told


def _known(job: m.Reconstruct, temp: Path, folders: Folders, names: dict[str, str]) -> Known:
    points = None
    if job.points is not None:
        (file,) = _bring((job.points,), temp / "points", folders, names, points_suffix_of)
        points = load_points(file, job.first)
    return Known(
        points,
        tuple(Measure(each.frame, (each.ax, each.ay), (each.bx, each.by), each.distance) for each in job.measures),
        job.camera_height,
        tuple(Pick(each.frame, each.x, each.y) for each in job.ground),
    )


def _source_camera(job: m.Reconstruct, temp: Path, folders: Folders, names: dict[str, str]) -> CameraPath | None:
    if job.source_camera is None:
        return None
    (file,) = _bring((job.source_camera,), temp / "camera", folders, names, camera_suffix_of)
    return load_path(file)


def _bring(
    assets: tuple[m.Asset, ...],
    folder: Path,
    folders: Folders,
    names: dict[str, str],
    suffix: Callable[[m.Asset], str] = suffix_of,
) -> list[Path]:
    """Gives uploads names that readers understand: our own characters only, a known suffix, sequences numbered."""
    if not assets:
        return []
    folder.mkdir(parents=True)
    stem = _clean(assets[0].name, sequence=len(assets) > 1) or folder.name
    paths = []
    for number, asset in enumerate(assets, 1):
        name = f"{stem}_{number:04d}" if len(assets) > 1 else stem
        path = folder / (name + suffix(asset))
        _link(folders.assets / asset.sha256, path)
        names[str(path)] = names[path.name] = asset.name
        paths.append(path)
    return paths


def _clean(name: str, sequence: bool) -> str:
    """The stem of an artist's file name in letters, digits, "_" and "-"; of a sequence, what its names share."""
    stem = PurePosixPath(name.replace("\\", "/")).stem
    if sequence:
        stem = stem.rstrip("0123456789")
    clean = _UNSAFE.sub("_", stem)[:64].strip("_-")
    return "" if _WINDOWS_DEVICE.fullmatch(clean) else clean


def _link(asset: Path, path: Path) -> None:
    try:
        os.link(asset, path)
    except OSError:  # file systems without hard links
        shutil.copyfile(asset, path)


def _for_a_person(text: str, names: dict[str, str]) -> str:
    """Puts the artist's file names for ours, and the message into one line of bounded length that can be sent."""
    for ours in sorted(names, key=len, reverse=True):
        text = text.replace(ours, names[ours])
    return " ".join(text.split())[:1000].encode(errors="replace").decode()  # names of files may be no Unicode


def _cameras(job: m.Render) -> tuple[CameraPath, SourceModel]:
    c = job.cameras
    path = CameraPath(
        world_from_camera=np.array([s.world_from_camera for s in c], np.float64).reshape(-1, 4, 4),
        intrinsics=np.array([(s.fx, s.fy, s.cx, s.cy) for s in c], np.float64),
        width=job.width,
        height=job.height,
        fps=Fraction(*job.fps),
    )
    source = SourceModel(
        frame=np.array([s.source_frame for s in c], np.int32),
        focal=np.array([s.source_focal for s in c], np.float64),
        cx=np.array([s.source_cx for s in c], np.float64),
        cy=np.array([s.source_cy for s in c], np.float64),
        disparity_scale=np.array([s.disparity_scale for s in c], np.float64),
        disparity_shift=np.array([s.disparity_shift for s in c], np.float64),
    )
    return path, source
